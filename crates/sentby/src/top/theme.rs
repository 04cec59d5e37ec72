//! How things look, with colours and without: what matters is told by bold, reverse and
//! words, and colours only help.

use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Colours may be used.
    pub color: bool,
    /// Characters beyond ASCII may be used.
    pub unicode: bool,
}

impl Theme {
    fn with(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Text without a meaning of its own.
    pub fn plain(self) -> Style {
        Style::new()
    }

    /// What stands out.
    pub fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What stands back.
    pub fn dim(self) -> Style {
        if self.color { self.with(Color::DarkGray) } else { Style::new() }
    }

    /// What is selected, and heads of columns.
    pub fn reversed(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The column that rows are sorted by; keys in hints.
    pub fn key(self) -> Style {
        self.with(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Bars.
    pub fn bars(self) -> Style {
        self.with(Color::Green)
    }

    /// Rows without a process.
    pub fn nobody(self) -> Style {
        self.with(Color::Yellow)
    }
}
