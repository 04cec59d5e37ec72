//! The screen as a whole: what is above and below the part that a level draws.
//!
//! Cells are written at fixed places of the buffer, each cut to its own width: no text
//! can push another aside.

use super::columns::is_right;
use super::model::{Key, View};
use super::state::{Level, State};
use super::table::{self, FIRST_ROW};
use super::text;
use super::theme::Theme;
use super::{detail, help, requests};
use ratatui::buffer::Buffer;
use ratatui::style::Style;

/// Lines from which on the selected row is told in full below the table.
const TALL: u16 = 16;

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where events come from.
    pub source: String,
    /// How it looks.
    pub theme: Theme,
}

/// Writes a text, cut to a width. What is outside of the buffer is left out.
pub fn put(buffer: &mut Buffer, (x, y): (u16, u16), text: &str, room: u16, style: Style) {
    let area = buffer.area;
    if y >= area.height || x >= area.width {
        return;
    }
    let room = room.min(area.width - x);
    let fitted = text::fit(text, usize::from(room));
    buffer.set_stringn(x, y, fitted, usize::from(room), style);
}

/// The same, at the right end of its width.
pub fn put_right(buffer: &mut Buffer, (x, y): (u16, u16), text: &str, room: u16, style: Style) {
    let free = usize::from(room).saturating_sub(text::width(text)) as u16;
    put(buffer, (x + free, y), text, room - free, style);
}

/// Writes one cell.
pub fn cell(
    buffer: &mut Buffer,
    at: (u16, u16),
    (what, text): (super::columns::What, &str),
    room: u16,
    style: Style,
) {
    match is_right(what) {
        true => put_right(buffer, at, text, room, style),
        false => put(buffer, at, text, room, style),
    }
}

/// Draws everything.
pub fn draw(state: &mut State, scene: &Scene, buffer: &mut Buffer) {
    let height = buffer.area.height;
    if height == 0 || buffer.area.width == 0 {
        return;
    }
    let told = u16::from(height >= TALL && matches!(state.level, Level::Rows) && !state.help);
    state.room = usize::from(height.saturating_sub(FIRST_ROW + 1 + told)).max(1);
    summary(state, scene, buffer);
    tabs(state, scene, buffer);
    if state.help {
        help::draw(state, scene, buffer);
    } else {
        match &state.level {
            Level::Rows => table::draw(state, scene, buffer),
            Level::Requests(_) => requests::draw(state, scene, buffer),
            Level::Event(_, kept) => detail::draw(&kept.clone(), state, scene, buffer),
        }
    }
    if told > 0 {
        tell(state, scene, buffer);
    }
    hints(state, scene, buffer);
}

fn summary(state: &State, scene: &Scene, buffer: &mut Buffer) {
    let theme = scene.theme;
    let width = buffer.area.width;
    let shown = &state.shown;
    let mode = match (state.paused, shown.ended) {
        (true, _) => "PAUSED",
        (_, true) => "ended",
        _ => "",
    };
    let rate = match text::rate(shown.all.rates.rate(shown.now, shown.began)) {
        none if none.is_empty() => "0".to_owned(),
        rate => rate,
    };
    let text = format!("{rate}/s  {} events  {}B", shown.all.total, text::short(shown.all.bytes));
    put(buffer, (0, 0), "sentby top", width, theme.bold());
    put(buffer, (12, 0), &text, width.saturating_sub(12), theme.plain());
    let x = 12 + text::width(&text) as u16 + 2;
    put(buffer, (x, 0), mode, width.saturating_sub(x), theme.reversed());
    let x = x + if mode.is_empty() { 0 } else { mode.len() as u16 + 2 };
    if x < width {
        put_right(buffer, (x, 0), &scene.source, width - x, theme.dim());
    }
}

fn tabs(state: &State, scene: &Scene, buffer: &mut Buffer) {
    let theme = scene.theme;
    let width = buffer.area.width;
    let mut x = 0;
    for (i, view) in View::ALL.into_iter().enumerate() {
        let room = width.saturating_sub(x);
        // Where there is little room, the first letters do.
        let name = if width < 60 { &view.name()[..4] } else { view.name() };
        let text = if view == state.view {
            format!("[{} {name}]", i + 1)
        } else {
            format!(" {} {name} ", i + 1)
        };
        let style = if view == state.view { theme.key() } else { theme.plain() };
        put(buffer, (x, 1), &text, room, style);
        x += text.len() as u16 + 1;
    }
    let shown = state.rows.len();
    let all = state.shown.rows.len();
    let rows = if state.filter.is_empty() {
        format!("{all} rows")
    } else {
        format!("{shown} of {all} rows hold '{}'", text::visible(&state.filter, 80))
    };
    if x < width {
        put_right(buffer, (x, 1), &rows, width - x, theme.dim());
    }
}

/// The selected row's name and command line as a whole, as far as a line goes.
fn tell(state: &State, scene: &Scene, buffer: &mut Buffer) {
    let Some((key, row)) = state.rows.get(state.position()) else { return };
    let label = &row.label;
    let mut text = String::new();
    if let Some(pid) = label.pid {
        text = format!("{pid} ");
    }
    let tags = label.tags.join(",");
    let parts = [&label.host, &label.user, &tags, &label.place, &label.name, &label.more];
    let mut parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
    parts.retain(|part| !part.is_empty());
    text.push_str(&parts.join("  "));
    let style = match key {
        Key::Process(_) | Key::Destination(..) | Key::Protocol(_) => scene.theme.plain(),
        _ => scene.theme.nobody(),
    };
    put(buffer, (0, buffer.area.height - 2), &text, buffer.area.width, style);
}

fn hints(state: &State, scene: &Scene, buffer: &mut Buffer) {
    let y = buffer.area.height - 1;
    let width = buffer.area.width;
    let theme = scene.theme;
    if state.typing {
        let text = format!("/{}_", text::visible(&state.filter, 80));
        put(buffer, (0, y), &text, width, theme.bold());
        put_right(buffer, (0, y), "Enter keep  Esc clear", width, theme.dim());
        put(buffer, (0, y), &text, (text::width(&text) as u16).min(width), theme.bold());
        return;
    }
    let hints: &[(&str, &str)] = match (&state.level, state.help) {
        (_, true) => &[("Esc", "back"), ("Up/Down", "scroll"), ("q", "quit")],
        (Level::Rows, _) => &[
            ("q", "quit"),
            ("?", "help"),
            ("/", "filter"),
            ("Enter", "open"),
            ("< >", "sort"),
            ("r", "reverse"),
            ("Space", "pause"),
            ("Tab", "view"),
        ],
        (Level::Requests(_), _) => {
            &[("Esc", "back"), ("Enter", "open"), ("Space", "pause"), ("q", "quit")]
        }
        (Level::Event(..), _) => &[("Esc", "back"), ("Up/Down", "scroll"), ("q", "quit")],
    };
    let mut x = 0;
    for (key, what) in hints {
        if x + (key.len() + what.len() + 1) as u16 > width {
            break;
        }
        put(buffer, (x, y), key, width - x, theme.key());
        x += key.len() as u16 + 1;
        put(buffer, (x, y), what, width - x, theme.plain());
        x += what.len() as u16 + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::super::model::{MAX_ROWS, Model};
    use super::*;
    use crate::fixture::Sample;
    use crate::output::json::write_whole;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{Event, KeyCode};
    use ratatui::style::Modifier;

    const SIZES: [(u16, u16); 7] =
        [(80, 24), (40, 10), (200, 50), (20, 5), (10, 3), (1, 1), (300, 4)];

    fn scene(color: bool, unicode: bool) -> Scene {
        Scene { source: "live".to_owned(), theme: Theme { color, unicode } }
    }

    fn model(samples: &[Sample]) -> Model {
        let mut model = Model::new(MAX_ROWS);
        for sample in samples {
            model.add(&sample.event(), |json| write_whole(&sample.event(), json).unwrap());
        }
        model
    }

    /// The screen after some keys.
    fn screen(model: &Model, size: (u16, u16), scene: &Scene, typed: &[KeyCode]) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let mut state = State::new();
        let mut show = |state: &mut State| {
            state.arrange();
            terminal.draw(|frame| draw(state, scene, frame.buffer_mut())).unwrap();
        };
        state.refresh(model);
        show(&mut state);
        for code in typed {
            keys::take(&mut state, model, &Event::Key((*code).into()), size.0);
            show(&mut state);
        }
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(row).collect()
    }

    #[test]
    fn a_row_stands_under_its_heads_at_80_by_24() {
        let lines = lines(&screen(&model(&[Sample::ping()]), (80, 24), &scene(true, true), &[]));
        assert!(lines[0].starts_with("sentby top  1.0/s  1 events  84B"), "{lines:#?}");
        assert!(lines[1].starts_with("[1 process]"), "{lines:#?}");
        for (head, cell) in [("PID", "4711"), ("TOTAL", "1"), ("BYTES", "84")] {
            let end = |line: &str, what: &str| line.find(what).map(|at| at + what.len());
            let at = end(&lines[2], head).unwrap();
            assert!(lines[3][..at].ends_with(cell), "{head}: {lines:#?}");
        }
        assert!(lines[3].starts_with('>') && lines[3].contains("ping"), "{lines:#?}");
        assert!(lines[22].contains("ping -c 1 192.0.2.7"), "{lines:#?}");
        assert!(lines[23].starts_with("q quit"), "{lines:#?}");
    }

    #[test]
    fn every_size_and_level_holds_nothing_that_a_terminal_would_obey() {
        let model = model(&[Sample::hostile(), Sample::ping(), Sample::unknown()]);
        let deep = [KeyCode::Down, KeyCode::Enter, KeyCode::Enter, KeyCode::End];
        for size in SIZES {
            for view in ['1', '2', '3', '?'] {
                for depth in 0..=deep.len() {
                    let typed: Vec<_> =
                        [KeyCode::Char(view)].into_iter().chain(deep[..depth].to_vec()).collect();
                    let buffer = screen(&model, size, &scene(false, false), &typed);
                    for line in lines(&buffer) {
                        assert!(!line.chars().any(crate::escape::is_hidden), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn wide_and_piled_up_characters_move_no_column() {
        let mut evil = Sample::ping();
        let argv = "漢字漢字漢字\0e\u{301}\u{301}\u{301}\0\u{202e}\x1b[2J👩🏽".as_bytes();
        evil.process.as_mut().unwrap().argv = Some(argv.to_vec());
        evil.comm = Some("漢字漢字漢".as_bytes().to_vec());
        evil.user = Some("e\u{301}\u{301}\u{301}".to_owned());
        let plain = screen(&model(&[Sample::ping()]), (120, 24), &scene(true, true), &[]);
        let buffer = screen(&model(&[evil]), (120, 24), &scene(true, true), &[]);
        for (column, at, own) in super::super::columns::placed(View::Process, false, 120) {
            if is_right(column.what) {
                let text = |b: &Buffer| -> Vec<String> {
                    (at..at + own).map(|x| b[(x, 3)].symbol().to_owned()).collect()
                };
                assert!(text(&buffer) == text(&plain), "{}", column.title);
            }
        }
    }

    #[test]
    fn without_colours_the_selection_is_seen_and_there_is_no_colour() {
        let buffer = screen(&model(&[Sample::ping()]), (80, 24), &scene(false, true), &[]);
        assert!(buffer[(5, 3)].modifier.contains(Modifier::REVERSED));
        let colored = |buffer: &Buffer| {
            let reset = ratatui::style::Color::Reset;
            buffer.content.iter().any(|cell| cell.fg != reset || cell.bg != reset)
        };
        assert!(!colored(&buffer));
        assert!(colored(&screen(&model(&[Sample::ping()]), (80, 24), &scene(true, true), &[])));
    }

    #[test]
    fn an_event_is_told_in_full() {
        let sample = Sample::hostile();
        let typed = [KeyCode::Enter, KeyCode::Enter];
        let shown = lines(&screen(&model(&[sample]), (200, 80), &scene(true, true), &typed));
        let text = shown.join("\n");
        let mut json = Vec::new();
        write_whole(&Sample::hostile().event(), &mut json).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for key in parsed.as_object().unwrap().keys() {
            assert!(text.contains(key.as_str()), "{key} is not in {text}");
        }
        assert!(text.contains("The hook ran in the sending task itself"), "{text}");
        assert!(text.contains("module_version") && text.contains("bad-length"), "{text}");
    }

    #[test]
    fn nobody_is_a_row_of_its_own() {
        let lines = lines(&screen(&model(&[Sample::unknown()]), (80, 24), &scene(true, true), &[]));
        assert!(lines[3].contains("(unknown)") && lines[3].contains(" - "), "{lines:#?}");
    }
}
