//! The keys, on the screen.

use super::draw::{Scene, put};
use super::state::State;
use super::table::FIRST_ROW;
use ratatui::buffer::Buffer;

/// Keys and what they do; docs/top.md has the same.
const KEYS: &[(&str, &str)] = &[
    ("1 2 3, Tab", "by process, by destination, by protocol"),
    ("Up Down, j k", "select a row"),
    ("PgUp PgDn Home End", "further; the first row follows whoever comes first"),
    ("Enter", "the row's requests; then one event with every field"),
    ("Esc", "back; in the table, clears the filter"),
    ("/", "filter as you type: rows that hold the text"),
    ("< >", "sort by the column before, the next"),
    ("r, I", "sort the other way round"),
    ("Space", "stand still; events are counted all the same"),
    ("mouse", "a head sorts, a row is selected, again opens it; wheel"),
    ("Ctrl-Z", "to the shell; fg comes back"),
    ("q, Ctrl-C", "quit; the ledger follows"),
    ("", ""),
    ("RATE/s", "mean of the last 5 seconds"),
    ("MINUTE", "the last minute, the newest second on the right"),
    ("(kernel) (forwarded)", "no process sent it"),
    ("(unknown)", "nobody can be named with evidence"),
    ("(one of)", "several processes hold the socket: all are listed"),
    ("(outside)", "a process without a pid in this pid namespace"),
    ("(other)", "rows that were quiet longest and made room"),
];

/// Draws help.
pub fn draw(state: &mut State, scene: &Scene, buffer: &mut Buffer) {
    let width = buffer.area.width;
    state.lines = KEYS.len();
    state.scroll = state.scroll.min(state.lines.saturating_sub(state.room));
    put(buffer, (0, 2), "Keys", width, scene.theme.bold());
    let names = 21.min(width / 2);
    for (line, (key, what)) in KEYS.iter().skip(state.scroll).take(state.room).enumerate() {
        let y = FIRST_ROW + line as u16;
        put(buffer, (1, y), key, names, scene.theme.key());
        put(buffer, (names + 2, y), what, width, scene.theme.plain());
    }
}
