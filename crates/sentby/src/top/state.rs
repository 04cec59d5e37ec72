//! What the user looks at: the view, its order and filter, what is selected. Nothing
//! here knows a terminal.

use super::columns::{self, Sort, What};
use super::model::{Kept, Key, Model, Row, Snapshot, View};
use std::sync::Arc;

/// How deep the user has gone.
#[derive(Clone, Debug)]
pub enum Level {
    /// The table.
    Rows,
    /// The requests of a row.
    Requests(Key),
    /// One of them.
    Event(Key, Arc<Kept>),
}

/// The requests that are listed.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// What the row is called.
    pub title: String,
    /// Newest first.
    pub requests: Vec<Arc<Kept>>,
    /// All that the row has had.
    pub total: u64,
    /// The row has made room: this is what was known last.
    pub gone: bool,
    /// The number of the one selected; the newest if none is.
    pub selected: Option<u64>,
}

/// What is on the screen.
pub struct State {
    /// The view.
    pub view: View,
    /// Whether events of several machines came.
    pub fleet: bool,
    /// The order of each view.
    pub sorts: [Sort; 3],
    /// Only rows that hold this are shown.
    pub filter: String,
    /// Keys go to the filter.
    pub typing: bool,
    /// The screen stands still.
    pub paused: bool,
    /// Help covers everything.
    pub help: bool,
    /// How deep.
    pub level: Level,
    /// What is drawn, in order and filtered.
    pub rows: Vec<(Key, Row)>,
    /// Where it was drawn from.
    pub shown: Snapshot,
    /// The selected row; the first if none is.
    pub selected: Option<Key>,
    /// The list of requests.
    pub list: List,
    /// Lines that are above the window, in the detail and in help.
    pub scroll: usize,
    /// Lines that the window has for rows, as last drawn.
    pub room: usize,
    /// Rows above the window, as last drawn.
    pub above: usize,
    /// Lines of the detail or help, as last drawn.
    pub lines: usize,
}

impl State {
    /// The screen at the start.
    pub fn new() -> Self {
        let sort = |by| Sort { by, reversed: false };
        State {
            view: View::Process,
            fleet: false,
            sorts: [sort(What::Rate), sort(What::Rate), sort(What::Rate)],
            filter: String::new(),
            typing: false,
            paused: false,
            help: false,
            level: Level::Rows,
            rows: Vec::new(),
            shown: Snapshot::default(),
            selected: None,
            list: List::default(),
            scroll: 0,
            room: 1,
            above: 0,
            lines: 0,
        }
    }

    /// Takes what is new, unless the screen stands still.
    pub fn refresh(&mut self, model: &Model) {
        if !self.paused {
            self.take(model);
        }
    }

    /// Takes what is new.
    pub fn take(&mut self, model: &Model) {
        self.shown = model.snapshot(self.view);
        self.fleet |= self.shown.rows.iter().any(|(_, row)| !row.label.host.is_empty());
        if let Level::Requests(key) = self.level {
            self.take_requests(model, key);
        }
    }

    fn take_requests(&mut self, model: &Model, key: Key) {
        match model.requests(self.view, key) {
            Some((requests, total)) => {
                self.list.requests = requests;
                self.list.total = total;
                self.list.gone = false;
            }
            None => self.list.gone = true,
        }
    }

    /// Filters and sorts anew.
    pub fn arrange(&mut self) {
        let lower = self.filter.to_lowercase();
        let rows = self.shown.rows.iter();
        let wanted = rows.filter(|(_, row)| lower.is_empty() || row.label.holds(&lower));
        let mut rows: Vec<_> = wanted.cloned().collect();
        columns::sort(&mut rows, self.sort(), &self.shown);
        self.rows = rows;
    }

    /// The order of the view.
    pub fn sort(&self) -> Sort {
        self.sorts[self.view as usize]
    }

    /// Where the selected row or request stands.
    pub fn position(&self) -> usize {
        match self.level {
            Level::Rows => {
                let at = |key| self.rows.iter().position(|(k, _)| *k == key);
                self.selected.and_then(at).unwrap_or(0)
            }
            _ => {
                // Newest first: a request that has made room stood behind all others.
                let last = self.list.requests.len().saturating_sub(1);
                let selected = self.list.selected;
                selected.map_or(0, |number| {
                    self.list.requests.iter().position(|r| r.number <= number).unwrap_or(last)
                })
            }
        }
    }

    /// Rows or requests that there are.
    pub fn len(&self) -> usize {
        match self.level {
            Level::Rows => self.rows.len(),
            _ => self.list.requests.len(),
        }
    }

    /// Selects the one at a position, or the last. The first is selected as such: whatever
    /// comes first next is then.
    pub fn select(&mut self, position: usize) {
        let position = position.min(self.len().saturating_sub(1));
        match self.level {
            Level::Rows => {
                self.selected =
                    self.rows.get(position).map(|(key, _)| *key).filter(|_| position > 0);
            }
            _ => {
                let chosen = self.list.requests.get(position).map(|r| r.number);
                self.list.selected = chosen.filter(|_| position > 0);
            }
        }
    }

    /// Moves by so many rows or lines.
    pub fn go(&mut self, by: isize) {
        if self.help || matches!(self.level, Level::Event(..)) {
            let last = self.lines.saturating_sub(self.room);
            self.scroll = self.scroll.saturating_add_signed(by).min(last);
        } else {
            self.select(self.position().saturating_add_signed(by));
        }
    }

    /// Shows another view.
    pub fn show(&mut self, view: View, model: &Model) {
        if self.view != view {
            self.view = view;
            self.selected = None;
        }
        self.level = Level::Rows;
        self.take(model);
    }

    /// Goes into what is selected.
    pub fn enter(&mut self, model: &Model) {
        match self.level {
            Level::Rows => {
                let Some((key, row)) = self.rows.get(self.position()) else { return };
                if *key == Key::Other {
                    return;
                }
                let (key, label) = (*key, row.label.clone());
                let pid = label.pid.map(|p| format!("{p} ")).unwrap_or_default();
                let title = format!("{pid}{} {}", label.name, label.more);
                self.list = List { title: title.trim().to_owned(), ..List::default() };
                self.level = Level::Requests(key);
                self.take_requests(model, key);
            }
            Level::Requests(key) => {
                if let Some(kept) = self.list.requests.get(self.position()) {
                    self.list.selected = Some(kept.number);
                    self.level = Level::Event(key, kept.clone());
                    self.scroll = 0;
                }
            }
            Level::Event(..) => {}
        }
    }

    /// Goes back out: first of help, then of an event, its list, and the filter.
    pub fn leave(&mut self, model: &Model) {
        if std::mem::take(&mut self.help) {
            self.scroll = 0;
            return;
        }
        match self.level {
            Level::Event(key, _) => self.level = Level::Requests(key),
            Level::Requests(_) => self.level = Level::Rows,
            Level::Rows => self.filter.clear(),
        }
        self.refresh(model);
    }

    /// Sorts by a column; again, the other way round.
    pub fn sort_by(&mut self, by: What) {
        let sort = &mut self.sorts[self.view as usize];
        *sort = Sort { by, reversed: sort.by == by && !sort.reversed };
    }

    /// Sorts by the next column, or the one before.
    pub fn sort_next(&mut self, forward: bool) {
        let columns = columns::all(self.view, self.fleet);
        let at = columns.iter().position(|c| c.what == self.sort().by).unwrap_or(0);
        let step = if forward { 1 } else { columns.len() - 1 };
        let by = columns[(at + step) % columns.len()].what;
        self.sorts[self.view as usize] = Sort { by, reversed: false };
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{MAX_REQUESTS, MAX_ROWS};
    use super::*;
    use crate::event::ProcessKey;
    use crate::fixture::Sample;

    fn add(model: &mut Model, pid: u32, n: usize) {
        let mut sample = Sample::ping();
        sample.key = Some(ProcessKey { pid, start_ticks: 1 });
        sample.process.as_mut().unwrap().argv = Some(format!("ping\0{pid}").into_bytes());
        for _ in 0..n {
            model.add(&sample.event(), |json| json.extend_from_slice(b"{}"));
        }
    }

    fn pids(state: &State) -> Vec<u32> {
        state.rows.iter().filter_map(|(_, row)| row.label.pid).collect()
    }

    #[test]
    fn rows_are_sorted_filtered_and_stay_selected() {
        let mut model = Model::new(MAX_ROWS);
        let mut state = State::new();
        for (pid, n) in [(71, 1), (72, 3), (80, 2)] {
            add(&mut model, pid, n);
        }
        state.refresh(&model);
        state.arrange();
        assert_eq!(pids(&state), [72, 80, 71]);
        state.select(1);
        add(&mut model, 80, 9);
        state.refresh(&model);
        state.arrange();
        assert_eq!((pids(&state), state.position()), (vec![80, 72, 71], 0));
        state.sort_by(What::Pid);
        state.arrange();
        assert_eq!(pids(&state), [71, 72, 80]);
        state.sort_by(What::Pid);
        state.arrange();
        assert_eq!(pids(&state), [80, 72, 71]);
        state.filter = "PING 7".to_owned();
        state.arrange();
        assert_eq!(pids(&state), [72, 71]);
    }

    #[test]
    fn every_column_can_be_sorted_by() {
        let mut state = State::new();
        let n = columns::all(state.view, state.fleet).len();
        let mut seen = Vec::new();
        for _ in 0..n {
            seen.push(state.sort().by);
            state.sort_next(true);
        }
        assert!(columns::all(state.view, state.fleet).iter().all(|c| seen.contains(&c.what)));
        state.sort_next(false);
        assert_eq!(Some(&state.sort().by), seen.last());
    }

    #[test]
    fn an_event_stays_open_when_it_has_made_room() {
        let mut model = Model::new(MAX_ROWS);
        let mut state = State::new();
        add(&mut model, 7, 3);
        state.refresh(&model);
        state.arrange();
        state.enter(&model);
        assert_eq!((state.list.requests.len(), state.list.total), (3, 3));
        state.go(1);
        let number = state.list.selected.unwrap();
        state.enter(&model);
        add(&mut model, 7, MAX_REQUESTS);
        state.refresh(&model);
        assert!(matches!(&state.level, Level::Event(_, kept) if kept.number == number));
        state.leave(&model);
        assert!(state.list.requests.iter().all(|r| r.number != number), "still kept");
        assert_eq!(state.position(), MAX_REQUESTS - 1);
        state.leave(&model);
        assert!(matches!(state.level, Level::Rows));
    }

    #[test]
    fn a_row_that_made_room_is_said_to() {
        let mut model = Model::new(1);
        let mut state = State::new();
        add(&mut model, 7, 3);
        state.refresh(&model);
        state.arrange();
        state.enter(&model);
        add(&mut model, 8, 1);
        state.refresh(&model);
        assert!(state.list.gone && state.list.requests.len() == 3);
    }

    #[test]
    fn paused_means_that_nothing_moves() {
        let mut model = Model::new(MAX_ROWS);
        let mut state = State::new();
        add(&mut model, 7, 3);
        state.refresh(&model);
        state.paused = true;
        add(&mut model, 7, 3);
        state.refresh(&model);
        assert_eq!((state.shown.all.total, model.snapshot(View::Process).all.total), (3, 6));
    }
}
