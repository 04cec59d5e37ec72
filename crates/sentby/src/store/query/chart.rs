//! How many over time, drawn with blocks.

use super::groups::Group;
use crate::output::TimeStyle;
use crate::output::time::Clock;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;

/// Eighths of a block, from below.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Characters of the longest bar.
const BAR: u64 = 40;

/// Characters of a line of blocks; steps of time are put together to fit.
const SPARKS: u64 = 60;

/// Most steps without an event that are shown in a row.
const MAX_EMPTY: u64 = 1000;

/// From the first step of time to the last, over all groups.
pub struct Span {
    first: u64,
    /// Nanoseconds of a block.
    step: u64,
    blocks: u64,
}

impl Span {
    /// That of some groups; `None` where there are no steps.
    pub fn of(groups: &[(Vec<u8>, Group)], bin: Option<u64>) -> Option<Span> {
        let bin = bin?;
        let first = groups.iter().filter_map(|(_, g)| g.bins.keys().next()).min()?;
        let last = groups.iter().filter_map(|(_, g)| g.bins.keys().next_back()).max()?;
        let bins = (last - first) / bin + 1;
        let each = bins.div_ceil(SPARKS);
        Some(Span { first: *first, step: bin.saturating_mul(each), blocks: bins.div_ceil(each) })
    }

    /// A block for each step, as high as its number compared to the highest.
    pub fn sparkline(&self, bins: &BTreeMap<u64, (u64, u64)>) -> String {
        let mut sums = vec![0_u64; usize::try_from(self.blocks).unwrap_or_default()];
        for (time, (events, _)) in bins {
            let at = usize::try_from((time - self.first) / self.step).unwrap_or_default();
            if let Some(sum) = sums.get_mut(at) {
                *sum += events;
            }
        }
        let most = sums.iter().max().copied().unwrap_or_default().max(1);
        let block = |n: &u64| match n {
            0 => ' ',
            // One event is never nothing.
            n => BLOCKS[(u128::from(n - 1) * 8 / u128::from(most)) as usize],
        };
        sums.iter().map(block).collect()
    }
}

/// A line for each step of time.
pub fn times(groups: &[(Vec<u8>, Group)], bin: u64, out: &mut impl Write) -> Result<()> {
    let mut clock = Clock::new(TimeStyle::Date);
    let mut all: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (time, (events, bytes)) in groups.iter().flat_map(|(_, group)| &group.bins) {
        let (e, b) = all.entry(*time).or_default();
        *e += events;
        *b += bytes;
    }
    let most = all.values().map(|(events, _)| *events).max().unwrap_or_default().max(1);
    let width = most.to_string().len();
    let mut before = None;
    for (time, (events, bytes)) in &all {
        let empty = before.map_or(0, |before: u64| (time - before) / bin - 1);
        for n in 1..=if empty <= MAX_EMPTY { empty } else { 0 } {
            line(&mut clock, time - (empty - n + 1) * bin, (0, 0), (most, width), out)?;
        }
        if empty > MAX_EMPTY {
            writeln!(out, "… {empty} times nothing")?;
        }
        line(&mut clock, *time, (*events, *bytes), (most, width), out)?;
        before = Some(*time);
    }
    Ok(())
}

fn line(
    clock: &mut Clock,
    time: u64,
    (events, bytes): (u64, u64),
    (most, width): (u64, usize),
    out: &mut impl Write,
) -> Result<()> {
    let mut when = String::new();
    clock.write(time, &mut when)?;
    let eighths = (u128::from(events) * u128::from(BAR) * 8).div_ceil(u128::from(most)) as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    writeln!(out, "{}", format!("{when}  {events:>width$}  {bytes:>12}  {bar}").trim_end())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_seen_beside_many() {
        let span = Span { first: 0, step: 10, blocks: 4 };
        let bins = BTreeMap::from([(0, (1000, 0)), (10, (1, 0)), (30, (500, 0))]);
        assert_eq!(span.sparkline(&bins), "█▁ ▄");
    }
}
