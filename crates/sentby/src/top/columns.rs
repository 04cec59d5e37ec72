//! The columns of each table: what they show, how wide they are, and how rows are sorted
//! by them.

use super::label::Label;
use super::model::{Key, Row, Snapshot, View};
use super::text;
use std::cmp::Ordering;

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The machine, where events of several come together.
    Host,
    /// Process id.
    Pid,
    /// User.
    User,
    /// Why the process is named; or the protocols of a destination.
    Tags,
    /// Events a second.
    Rate,
    /// Events.
    Total,
    /// Bytes of packets.
    Bytes,
    /// How long ago the last was.
    Last,
    /// The last minute.
    Minute,
    /// Name.
    Name,
    /// Container or unit.
    Place,
    /// Command line, address, or what a protocol is.
    More,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What it shows.
    pub what: What,
    /// Its head.
    pub title: &'static str,
    /// Columns of the terminal that it takes; 0 for what is left.
    pub width: u16,
    /// It is shown where the terminal has as many columns.
    pub from: u16,
}

const fn column(what: What, title: &'static str, width: u16, from: u16) -> Column {
    Column { what, title, width, from }
}

const PROCESS: &[Column] = &[
    column(What::Host, "HOST", 12, 0),
    column(What::Pid, "PID", 7, 0),
    column(What::User, "USER", 8, 72),
    column(What::Tags, "EVIDENCE", 9, 110),
    column(What::Rate, "RATE/s", 6, 0),
    column(What::Total, "TOTAL", 6, 0),
    column(What::Bytes, "BYTES", 6, 50),
    column(What::Last, "LAST", 4, 44),
    column(What::Minute, "MINUTE", 10, 60),
    column(What::Place, "UNIT", 20, 130),
    column(What::Name, "PROCESS", 12, 0),
    column(What::More, "COMMAND", 0, 78),
];

const DESTINATION: &[Column] = &[
    column(What::Rate, "RATE/s", 6, 0),
    column(What::Total, "TOTAL", 6, 0),
    column(What::Bytes, "BYTES", 6, 60),
    column(What::Last, "LAST", 4, 40),
    column(What::Minute, "MINUTE", 10, 60),
    column(What::Tags, "PROTOCOLS", 12, 76),
    column(What::More, "ADDRESS", 21, 0),
    column(What::Name, "NAME", 0, 70),
];

const PROTOCOL: &[Column] = &[
    column(What::Name, "PROTOCOL", 10, 0),
    column(What::Rate, "RATE/s", 6, 0),
    column(What::Total, "TOTAL", 6, 0),
    column(What::Bytes, "BYTES", 6, 36),
    column(What::Last, "LAST", 4, 40),
    column(What::Minute, "MINUTE", 20, 60),
    column(What::More, "WHAT", 0, 70),
];

/// Widths that grow with the terminal.
fn grown(column: &Column, width: u16) -> u16 {
    match column.what {
        What::Minute if width >= 170 => 60,
        What::Minute if width >= 110 => 20,
        // A command line says more than half a minute of bars.
        What::Minute if width < 90 => column.width / 2 + 1,
        What::Name if column.width > 0 && width < 90 => column.width.min(10),
        What::Name if column.width > 0 && width >= 110 => column.width.max(16),
        What::More if column.width > 0 && width >= 110 => 47,
        _ => column.width,
    }
}

/// Every column of a view, of one machine or of several.
pub fn all(view: View, fleet: bool) -> &'static [Column] {
    match view {
        // The first is that of the machine.
        View::Process => &PROCESS[usize::from(!fleet)..],
        View::Destination => DESTINATION,
        View::Protocol => PROTOCOL,
    }
}

/// A column and where it stands: from where, and how wide.
pub type Placed = (&'static Column, u16, u16);

/// The columns that have room in a terminal of this width, after one for the marker.
pub fn placed(view: View, fleet: bool, width: u16) -> Vec<Placed> {
    let mut at = 1;
    let mut placed = Vec::new();
    for column in all(view, fleet).iter().filter(|c| width >= c.from) {
        let rest = width.saturating_sub(at);
        let own = match grown(column, width) {
            0 => rest,
            own => own.min(rest),
        };
        if own > 0 {
            placed.push((column, at, own));
        }
        at = at.saturating_add(own + 1);
    }
    placed
}

/// Numbers stand on the right.
pub fn is_right(what: What) -> bool {
    matches!(what, What::Pid | What::Rate | What::Total | What::Bytes | What::Last)
}

/// What a cell says.
pub fn cell(what: What, row: &Row, shown: &Snapshot, room: u16, unicode: bool) -> String {
    let label = &row.label;
    match what {
        What::Host => label.host.clone(),
        What::Pid => label.pid.map(|p| p.to_string()).unwrap_or_else(|| "-".to_owned()),
        What::User => label.user.clone(),
        What::Tags => label.tags.join(","),
        What::Rate => text::rate(row.rates.rate(shown.now, shown.began)),
        What::Total => text::short(row.total),
        What::Bytes => text::short(row.bytes),
        What::Last => text::ago(row.last, shown.now),
        What::Minute => text::sparkline(&row.rates.minute(shown.now), usize::from(room), unicode),
        What::Place => label.place.clone(),
        What::Name => label.name.clone(),
        What::More => label.more.clone(),
    }
}

/// By what rows are sorted, and whether the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub by: What,
    /// The other way round: numbers begin with the least, texts end with `a`.
    pub reversed: bool,
}

/// Sorts rows: numbers begin with the most, texts with `a`. Equal ones keep an order of
/// their own, so that nothing jumps; "other" comes last.
pub fn sort(rows: &mut [(Key, Row)], sort: Sort, shown: &Snapshot) {
    let number = |value: u64| std::cmp::Reverse(value);
    let rate = |row: &Row| (row.rates.rate(shown.now, shown.began) * 1000.0) as u64;
    let minute =
        |row: &Row| -> u64 { row.rates.minute(shown.now).iter().map(|n| u64::from(*n)).sum() };
    let text = |of: fn(&Label) -> &str, a: &Row, b: &Row| of(&a.label).cmp(of(&b.label));
    let order = |a: &Row, b: &Row| match sort.by {
        What::Host => text(|l| &l.host, a, b),
        What::Pid => a.label.pid.cmp(&b.label.pid),
        What::User => text(|l| &l.user, a, b),
        What::Name => text(|l| &l.name, a, b),
        What::More => text(|l| &l.more, a, b),
        What::Place => text(|l| &l.place, a, b),
        What::Tags => a.label.tags.cmp(&b.label.tags),
        What::Rate => number(rate(a)).cmp(&number(rate(b))),
        What::Total => number(a.total).cmp(&number(b.total)),
        What::Bytes => number(a.bytes).cmp(&number(b.bytes)),
        What::Last => number(a.last).cmp(&number(b.last)),
        What::Minute => number(minute(a)).cmp(&number(minute(b))),
    };
    rows.sort_by(|(key_a, a), (key_b, b)| {
        let asked = order(a, b);
        let asked = if sort.reversed { asked.reverse() } else { asked };
        let other = (*key_a == Key::Other).cmp(&(*key_b == Key::Other));
        other.then(asked).then_with(|| rest(a, b))
    });
}

fn rest(a: &Row, b: &Row) -> Ordering {
    b.total
        .cmp(&a.total)
        .then_with(|| a.label.pid.cmp(&b.label.pid))
        .then_with(|| a.label.more.cmp(&b.label.more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_within_every_width() {
        for (view, fleet) in View::ALL.into_iter().flat_map(|v| [(v, false), (v, true)]) {
            for width in 0..300 {
                let placed = placed(view, fleet, width);
                assert!(placed.iter().all(|(_, at, own)| at + own <= width), "{width}");
                assert!(placed.windows(2).all(|w| w[0].1 + w[0].2 < w[1].1), "{width}");
            }
            assert!(placed(view, fleet, 40).len() >= 4, "little is left at 40");
        }
        let at_80: Vec<_> = placed(View::Process, false, 80).iter().map(|p| p.0.title).collect();
        for title in ["PID", "USER", "RATE/s", "TOTAL", "BYTES", "LAST", "MINUTE", "PROCESS"] {
            assert!(at_80.contains(&title), "{title} has no room in 80 columns");
        }
    }
}
