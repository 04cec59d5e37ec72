//! Events over time, in bins that grow as the time does.

use std::collections::BTreeMap;

/// Bins that hold anything, at the most.
pub const MAX_BINS: usize = 2_000;

const S: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * S;

/// Widths of a bin in nanoseconds; each is a multiple of the one before. With the widest,
/// all times that there are (u64) have fewer than [`MAX_BINS`].
const WIDTHS: &[u64] = &[
    S / 1000,
    S / 100,
    S / 10,
    S,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
    300 * S,
    600 * S,
    1800 * S,
    3600 * S,
    21_600 * S,
    DAY,
    7 * DAY,
    70 * DAY,
    700 * DAY,
];

/// Counts by time and protocol.
pub struct Bins {
    width: usize,
    counts: BTreeMap<u64, Vec<u64>>,
    protocols: usize,
}

impl Bins {
    /// None yet, for this many protocols.
    pub fn new(protocols: usize) -> Bins {
        Bins { width: 0, counts: BTreeMap::new(), protocols }
    }

    /// Counts an event.
    pub fn add(&mut self, time: u64, protocol: usize) {
        self.bin(time / self.width())[protocol] += 1;
        while self.counts.len() > MAX_BINS {
            self.widen();
        }
    }

    /// Width of each, in nanoseconds.
    pub fn width(&self) -> u64 {
        WIDTHS[self.width]
    }

    /// The number of each bin (its begin is that times the width) with its counts.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.counts.iter().map(|(at, counts)| (*at, counts.as_slice()))
    }

    fn bin(&mut self, at: u64) -> &mut Vec<u64> {
        let protocols = self.protocols;
        self.counts.entry(at).or_insert_with(|| vec![0; protocols])
    }

    fn widen(&mut self) {
        let by = WIDTHS[self.width + 1] / WIDTHS[self.width];
        self.width += 1;
        for (at, counts) in std::mem::take(&mut self.counts) {
            let to = self.bin(at / by);
            to.iter_mut().zip(counts).for_each(|(a, b)| *a += b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_multiples_and_the_last_is_enough() {
        assert!(WIDTHS.windows(2).all(|w| w[1] > w[0] && w[1] % w[0] == 0));
        assert!(u64::MAX / WIDTHS[WIDTHS.len() - 1] < MAX_BINS as u64);
    }

    #[test]
    fn bins_grow_and_lose_nothing() {
        let mut bins = Bins::new(2);
        for n in 0..10_000 {
            bins.add(n * 300 * S, (n % 2) as usize);
        }
        bins.add(u64::MAX, 0);
        bins.add(0, 1);
        assert!(bins.rows().count() <= MAX_BINS);
        let sum = |p: usize| bins.rows().map(|(_, c)| c[p]).sum::<u64>();
        assert_eq!((sum(0), sum(1)), (5001, 5001));
        assert_eq!(bins.width(), 1800 * S);
    }
}
