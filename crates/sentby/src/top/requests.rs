//! The requests of a row, newest first.

use super::draw::{Scene, put, put_right};
use super::model::{Kept, View};
use super::state::State;
use super::table::{FIRST_ROW, select, window};
use super::text;
use crate::output;
use ratatui::buffer::Buffer;

/// Draws the list.
pub fn draw(state: &mut State, scene: &Scene, buffer: &mut Buffer) {
    let width = buffer.area.width;
    let list = &state.list;
    let kept = match list.gone {
        true => "made room, now in (other)".to_owned(),
        false => format!("newest {} of {}", list.requests.len(), list.total),
    };
    put(buffer, (0, 2), &list.title, width, scene.theme.bold());
    let room = (text::width(&kept) as u16 + 2).min(width);
    put_right(buffer, (width - room, 2), &format!("  {kept}"), room, scene.theme.key());
    let selected = state.position();
    state.above = window(state.above, selected, state.room, list.requests.len());
    let shown = list.requests.iter().enumerate().skip(state.above).take(state.room);
    for (line, (position, request)) in shown.enumerate() {
        let y = FIRST_ROW + line as u16;
        request_line(request, state.view, y, scene, buffer);
        if position == selected {
            select(buffer, y, scene);
        }
    }
    if list.requests.is_empty() {
        let why = "none was kept: in a flood only the first of each second are";
        put(buffer, (2, FIRST_ROW + 1), why, width, scene.theme.plain());
    }
}

fn request_line(kept: &Kept, view: View, y: u16, scene: &Scene, buffer: &mut Buffer) {
    let width = buffer.area.width;
    let time = output::rfc3339(kept.time);
    // The time of day, to the millisecond.
    let clock = String::from_utf8_lossy(&time[11..23]).into_owned();
    put(buffer, (1, y), &clock, 12, scene.theme.dim());
    put(buffer, (14, y), kept.protocol, 8, scene.theme.key());
    let who = match view {
        View::Process => &kept.destination,
        _ => &kept.sender,
    };
    let own = (width / 3).clamp(12, 48);
    put(buffer, (23, y), who, own, scene.theme.plain());
    let x = 24 + own;
    put(buffer, (x, y), &kept.what, width.saturating_sub(x), scene.theme.bold());
}
