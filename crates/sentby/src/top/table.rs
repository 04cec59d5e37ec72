//! The tables by process, destination and protocol.

use super::columns::{self, Sort, What};
use super::draw::{Scene, cell, put};
use super::model::Key;
use super::state::State;
use ratatui::buffer::Buffer;

/// Lines above the rows.
pub const FIRST_ROW: u16 = 3;

/// Draws heads and rows.
pub fn draw(state: &mut State, scene: &Scene, buffer: &mut Buffer) {
    heads(state, scene, buffer);
    let selected = state.position();
    state.above = window(state.above, selected, state.room, state.rows.len());
    let rows = state.rows.iter().enumerate().skip(state.above).take(state.room);
    for (line, (position, (key, row))) in rows.enumerate() {
        let y = FIRST_ROW + line as u16;
        let is_selected = position == selected;
        for (column, x, room) in columns::placed(state.view, state.fleet, buffer.area.width) {
            let text = columns::cell(column.what, row, &state.shown, room, scene.theme.unicode);
            let style = match (column.what, key) {
                (What::Minute, _) => scene.theme.bars(),
                (What::Name, Key::Process(_) | Key::Protocol(_)) => scene.theme.bold(),
                (What::Name, Key::Destination(..)) => scene.theme.plain(),
                (What::Name, _) => scene.theme.nobody(),
                (What::Host | What::Place | What::User | What::Last, _) => scene.theme.dim(),
                _ => scene.theme.plain(),
            };
            let style = if is_selected { scene.theme.plain() } else { style };
            cell(buffer, (x, y), (column.what, &text), room, style);
        }
        if is_selected {
            select(buffer, y, scene);
        }
    }
    if state.rows.is_empty() {
        let why = match (state.filter.is_empty(), state.shown.ended) {
            (false, _) => "no row holds what is filtered for; Esc clears the filter",
            (_, true) => "there was no event",
            _ => "no event yet",
        };
        put(buffer, (2, FIRST_ROW + 1), why, buffer.area.width, scene.theme.plain());
    }
}

/// Marks a line as the selected one: reversed, and by a character for terminals that
/// cannot reverse.
pub fn select(buffer: &mut Buffer, y: u16, scene: &Scene) {
    put(buffer, (0, y), ">", 1, scene.theme.plain());
    if y < buffer.area.height {
        let line = ratatui::layout::Rect { x: 0, y, width: buffer.area.width, height: 1 };
        buffer.set_style(line, scene.theme.reversed());
    }
}

fn heads(state: &State, scene: &Scene, buffer: &mut Buffer) {
    let y = FIRST_ROW - 1;
    let Sort { by, reversed } = state.sort();
    for (column, x, room) in columns::placed(state.view, state.fleet, buffer.area.width) {
        let sorted = column.what == by;
        let style = if sorted { scene.theme.key() } else { scene.theme.bold() };
        let mark = if reversed { '^' } else { 'v' };
        // The mark takes the place before or behind the head.
        let text = match (sorted, columns::is_right(column.what)) {
            (false, _) => column.title.to_owned(),
            (true, true) => format!("{mark}{}", column.title),
            (true, false) => format!("{}{mark}", column.title),
        };
        let (x, room) = match sorted && columns::is_right(column.what) {
            true => (x - 1, room + 1),
            false => (x, room),
        };
        cell(buffer, (x, y), (column.what, &text), room, style);
    }
}

/// Rows above a window of `room` rows, so that the selected one is inside.
pub fn window(above: usize, selected: usize, room: usize, len: usize) -> usize {
    let above = above.min(len.saturating_sub(room));
    above.clamp((selected + 1).saturating_sub(room), selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_selection() {
        assert_eq!(window(0, 0, 10, 100), 0);
        assert_eq!(window(0, 10, 10, 100), 1);
        assert_eq!(window(50, 20, 10, 100), 20);
        assert_eq!(window(95, 99, 10, 100), 90);
        assert_eq!(window(50, 0, 10, 5), 0);
    }
}
