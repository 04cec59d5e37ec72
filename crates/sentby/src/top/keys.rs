//! What keys and the mouse do.

use super::columns;
use super::model::{Model, View};
use super::state::{Level, State};
use super::table::FIRST_ROW;
use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

/// Characters of a filter.
const MAX_FILTER: usize = 64;

/// Rows that a turn of the wheel moves.
const WHEEL: isize = 3;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Draw.
    Draw,
    /// Stop for the shell (Ctrl-Z).
    Suspend,
    /// End.
    Quit,
}

/// Takes an event of a terminal with this many columns.
pub fn take(state: &mut State, model: &Model, event: &Event, width: u16) -> Action {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(state, model, key),
        Event::Mouse(mouse) => {
            point(state, model, mouse, width);
            Action::Draw
        }
        _ => Action::Draw,
    }
}

fn press(state: &mut State, model: &Model, key: &KeyEvent) -> Action {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Action::Quit,
            KeyCode::Char('z') => Action::Suspend,
            KeyCode::Char('u') if state.typing => {
                state.filter.clear();
                Action::Draw
            }
            _ => Action::Draw,
        };
    }
    if moves(state, key.code) {
        return Action::Draw;
    }
    if state.typing {
        types(state, key.code);
        return Action::Draw;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::F(10) => return Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
            state.help = !state.help;
            state.scroll = 0;
        }
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => state.leave(model),
        _ if state.help => {}
        code => acts(state, model, code),
    }
    Action::Draw
}

fn acts(state: &mut State, model: &Model, code: KeyCode) {
    let here = View::ALL.iter().position(|v| *v == state.view).unwrap_or(0);
    let n = View::ALL.len();
    match code {
        KeyCode::Char('1') => state.show(View::Process, model),
        KeyCode::Char('2') => state.show(View::Destination, model),
        KeyCode::Char('3') => state.show(View::Protocol, model),
        KeyCode::Tab => state.show(View::ALL[(here + 1) % n], model),
        KeyCode::BackTab => state.show(View::ALL[(here + n - 1) % n], model),
        KeyCode::Char('/') | KeyCode::F(3 | 4) => {
            state.level = Level::Rows;
            state.typing = true;
        }
        KeyCode::Char('>' | '.') | KeyCode::F(6) => state.sort_next(true),
        KeyCode::Char('<' | ',') => state.sort_next(false),
        KeyCode::Char('r' | 'I') => {
            let sort = &mut state.sorts[state.view as usize];
            sort.reversed = !sort.reversed;
        }
        KeyCode::Char(' ' | 'p') => {
            state.paused = !state.paused;
            state.refresh(model);
        }
        KeyCode::Enter | KeyCode::Right => state.enter(model),
        _ => {}
    }
}

/// Keys that move; while a filter is typed as well.
fn moves(state: &mut State, code: KeyCode) -> bool {
    let page = state.room.saturating_sub(1).max(1) as isize;
    match code {
        KeyCode::Up => state.go(-1),
        KeyCode::Down => state.go(1),
        KeyCode::Char('k') if !state.typing => state.go(-1),
        KeyCode::Char('j') if !state.typing => state.go(1),
        KeyCode::PageUp => state.go(-page),
        KeyCode::PageDown => state.go(page),
        KeyCode::Home => state.go(isize::MIN),
        KeyCode::End => state.go(isize::MAX),
        KeyCode::Char('g') if !state.typing => state.go(isize::MIN),
        KeyCode::Char('G') if !state.typing => state.go(isize::MAX),
        _ => return false,
    }
    true
}

fn types(state: &mut State, code: KeyCode) {
    match code {
        KeyCode::Char(c) if state.filter.chars().count() < MAX_FILTER => state.filter.push(c),
        KeyCode::Backspace => drop(state.filter.pop()),
        KeyCode::Enter | KeyCode::Tab => state.typing = false,
        KeyCode::Esc => {
            state.typing = false;
            state.filter.clear();
        }
        _ => {}
    }
}

fn point(state: &mut State, model: &Model, mouse: &MouseEvent, width: u16) {
    match mouse.kind {
        MouseEventKind::ScrollUp => state.go(-WHEEL),
        MouseEventKind::ScrollDown => state.go(WHEEL),
        MouseEventKind::Down(MouseButton::Left) if !state.help => {
            click(state, model, (mouse.column, mouse.row), width);
        }
        _ => {}
    }
}

fn click(state: &mut State, model: &Model, (x, y): (u16, u16), width: u16) {
    if matches!(state.level, Level::Event(..)) {
        return;
    }
    if y + 1 == FIRST_ROW && matches!(state.level, Level::Rows) {
        let placed = columns::placed(state.view, state.fleet, width);
        let hit = placed.iter().find(|(_, at, own)| (*at..=at + own).contains(&x));
        if let Some((column, ..)) = hit {
            state.sort_by(column.what);
        }
        return;
    }
    let Some(line) = y.checked_sub(FIRST_ROW).map(usize::from) else { return };
    let position = state.above + line;
    if line >= state.room || position >= state.len() {
        return;
    }
    // A click on what is selected goes into it.
    if position == state.position() {
        state.enter(model);
    } else {
        state.select(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;
    use ratatui::crossterm::event::KeyCode::Char;

    fn keys(state: &mut State, model: &Model, codes: &[KeyCode]) -> Action {
        let mut action = Action::Draw;
        for code in codes {
            action = take(state, model, &Event::Key((*code).into()), 80);
            state.arrange();
        }
        action
    }

    fn started() -> (State, Model) {
        let mut model = Model::new(9);
        model.add(&Sample::ping().event(), |_| {});
        model.add(&Sample::unknown().event(), |_| {});
        let mut state = State::new();
        state.room = 10;
        state.refresh(&model);
        state.arrange();
        (state, model)
    }

    #[test]
    fn typing_filters_and_does_nothing_else() {
        let (mut state, model) = started();
        let action = keys(&mut state, &model, &[Char('/'), Char('q'), KeyCode::Backspace]);
        assert_eq!(action, Action::Draw);
        keys(&mut state, &model, &[Char('u'), Char('N'), Char('k')]);
        assert_eq!((state.filter.as_str(), state.rows.len()), ("uNk", 1));
        keys(&mut state, &model, &[KeyCode::Enter, Char('2')]);
        assert_eq!((state.view, state.filter.as_str()), (View::Destination, "uNk"));
        keys(&mut state, &model, &[KeyCode::Esc]);
        assert_eq!(state.filter, "");
        assert_eq!(keys(&mut state, &model, &[Char('q')]), Action::Quit);
    }

    #[test]
    fn the_mouse_sorts_selects_and_enters() {
        let (mut state, model) = started();
        let at = |state: &mut State, x, y| {
            click(state, &model, (x, y), 80);
            state.arrange();
        };
        at(&mut state, 3, FIRST_ROW - 1);
        assert_eq!(state.sort().by, columns::What::Pid);
        at(&mut state, 3, FIRST_ROW + 1);
        assert_eq!(state.position(), 1);
        at(&mut state, 3, FIRST_ROW + 5);
        assert_eq!(state.position(), 1, "nothing is there");
        at(&mut state, 3, FIRST_ROW + 1);
        assert!(matches!(state.level, Level::Requests(_)));
    }

    #[test]
    fn any_keys_in_any_order_do_no_harm() {
        let (mut state, model) = started();
        let all = [
            Char('1'),
            Char('2'),
            Char('3'),
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            Char('/'),
            Char('x'),
            Char('<'),
            Char('>'),
            Char('r'),
            Char(' '),
            Char('?'),
            KeyCode::Backspace,
            KeyCode::Delete,
            KeyCode::F(6),
        ];
        let mut seed = 1u32;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            keys(&mut state, &model, &[all[(seed >> 16) as usize % all.len()]]);
            assert!(state.position() <= state.len());
            assert!(state.filter.len() <= MAX_FILTER);
        }
    }
}
