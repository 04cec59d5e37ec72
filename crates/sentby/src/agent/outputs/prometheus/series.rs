//! Requests by protocol, process and unit.
//!
//! Counters of Prometheus must not vanish and come back smaller, so nothing makes room: the
//! combinations that came first are told apart, and all others of a protocol are one.

use crate::event::{Event, Evidence};
use std::collections::HashMap;

/// Bytes of a name that are kept.
pub const MAX_NAME: usize = 64;

/// What stands for all that are not told apart.
pub const OTHER: &str = "other";

/// One combination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// Protocol.
    pub protocol: &'static str,
    /// The process's name, or in brackets who else sent it.
    pub process: String,
    /// Its systemd unit, empty where it has none.
    pub unit: String,
}

/// The sums.
pub struct Series {
    counts: HashMap<Labels, u64>,
    others: HashMap<&'static str, u64>,
    /// What the last event was counted as: the next is often the same.
    last: Option<(Labels, u64)>,
    limit: usize,
}

impl Series {
    /// Of so many combinations.
    pub fn new(limit: usize) -> Series {
        Series { counts: HashMap::new(), others: HashMap::new(), last: None, limit }
    }

    /// Counts an event, with those that it stands for.
    pub fn add(&mut self, event: &Event<'_>) {
        let (labels, stands_for) = (labels(event), u64::from(event.sampled.unwrap_or(1)));
        if let Some((last, n)) = &mut self.last
            && *last == labels
        {
            *n += stands_for;
            return;
        }
        if let Some((last, n)) = self.last.replace((labels, stands_for)) {
            self.settle(last, n);
        }
    }

    fn settle(&mut self, labels: Labels, n: u64) {
        if let Some(count) = self.counts.get_mut(&labels) {
            *count += n;
        } else if self.counts.len() < self.limit {
            self.counts.insert(labels, n);
        } else {
            *self.others.entry(labels.protocol).or_default() += n;
        }
    }

    /// All sums, in a steady order.
    pub fn all(&mut self) -> Vec<(Labels, u64)> {
        if let Some((last, n)) = self.last.take() {
            self.settle(last, n);
        }
        let own = self.counts.iter().map(|(labels, n)| (labels.clone(), *n));
        let other = |(protocol, n): (&&'static str, &u64)| {
            let (process, unit) = (OTHER.to_owned(), OTHER.to_owned());
            (Labels { protocol, process, unit }, *n)
        };
        let mut all: Vec<_> = own.chain(self.others.iter().map(other)).collect();
        all.sort();
        all
    }
}

fn labels(event: &Event<'_>) -> Labels {
    // The first thread's name: threads are called all sorts of things.
    let comm = event.process.and_then(|p| p.comm.as_deref()).or(event.comm);
    let process = match (comm, event.evidence) {
        // What stands in brackets is said here, not by a process.
        (Some(comm), _) => name(comm).replacen('[', "(", usize::from(comm.starts_with(b"["))),
        (None, Evidence::Kernel) => "[kernel]".to_owned(),
        (None, Evidence::Forwarded) => "[forwarded]".to_owned(),
        (None, _) => "[unknown]".to_owned(),
    };
    let unit = event.unit.map(|unit| name(unit.as_bytes())).unwrap_or_default();
    Labels { protocol: event.request.protocol.name(), process, unit }
}

/// A name, bounded; what a terminal would obey is replaced.
fn name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_NAME)]);
    let harmless = |c: char| if crate::escape::is_hidden(c) { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;

    fn of(comm: &[u8]) -> Sample {
        let mut sample = Sample::ping();
        sample.comm = Some(comm.to_vec());
        sample
    }

    fn told(series: &mut Series) -> Vec<(String, u64)> {
        series.all().into_iter().map(|(labels, n)| (labels.process, n)).collect()
    }

    #[test]
    fn what_is_beyond_the_limit_is_other_and_nothing_shrinks() {
        let mut series = Series::new(2);
        for comm in ["a", "b", "c", "a", "d", "c"] {
            series.add(&of(comm.as_bytes()).event());
        }
        let want = [("a", 2), ("b", 1), ("other", 3)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(told(&mut series), want);
        series.add(&of(b"b").event());
        assert_eq!(told(&mut series)[1], ("b".to_owned(), 2));
    }

    #[test]
    fn those_that_were_left_out_count() {
        let mut series = Series::new(2);
        let mut sample = of(b"a");
        for sampled in [None, Some(7), Some(2)] {
            sample.sampled = sampled;
            series.add(&sample.event());
        }
        assert_eq!(told(&mut series), [("a".to_owned(), 10)]);
    }

    #[test]
    fn no_process_calls_itself_the_kernel() {
        let mut series = Series::new(9);
        for comm in [&b"[kernel]"[..], b"a[0]"] {
            series.add(&of(comm).event());
        }
        assert_eq!(told(&mut series), [("(kernel]".to_owned(), 1), ("a[0]".to_owned(), 1)]);
    }

    #[test]
    fn who_has_no_name_is_not_given_one() {
        let mut series = Series::new(9);
        let mut sample = Sample::unknown();
        for evidence in [Evidence::Unknown, Evidence::Kernel, Evidence::Forwarded] {
            sample.evidence = evidence;
            series.add(&sample.event());
        }
        let names: Vec<_> = told(&mut series).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["[forwarded]", "[kernel]", "[unknown]"]);
    }

    #[test]
    fn hostile_names_are_bounded_and_harmless() {
        let mut series = Series::new(9);
        series.add(&of(&[b'x'; 500]).event());
        series.add(&of(b"a\n\x1b[31m\"\\\xff").event());
        let names: Vec<_> = told(&mut series).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[1].len(), MAX_NAME);
        assert_eq!(names[0], "a\u{fffd}\u{fffd}[31m\"\\\u{fffd}");
    }
}
