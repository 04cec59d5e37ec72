//! How often something happened: a ring of seconds, which is a minute long.

/// Seconds that are kept: the width of a sparkline.
pub const SECONDS: usize = 60;

/// Seconds that a rate is the mean of.
pub const RATE_SECONDS: u64 = 5;

const NS: u64 = 1_000_000_000;

/// Counts of the last minute, one a second.
#[derive(Clone, Debug)]
pub struct Rates {
    /// The newest second, since the Unix epoch.
    newest: u64,
    counts: [u32; SECONDS],
}

impl Default for Rates {
    fn default() -> Self {
        Rates { newest: 0, counts: [0; SECONDS] }
    }
}

impl Rates {
    /// Counts one more at a time, in nanoseconds since the Unix epoch. What is older than
    /// a minute is not counted.
    pub fn add(&mut self, time: u64) {
        let second = time / NS;
        if second > self.newest {
            self.advance(second);
        }
        if self.newest - second < SECONDS as u64 {
            let count = &mut self.counts[(second % SECONDS as u64) as usize];
            *count = count.saturating_add(1);
        }
    }

    fn advance(&mut self, second: u64) {
        let passed = (second - self.newest).min(SECONDS as u64);
        for back in 0..passed {
            self.counts[((second - back) % SECONDS as u64) as usize] = 0;
        }
        self.newest = second;
    }

    fn at(&self, second: u64) -> u32 {
        match self.newest.checked_sub(second) {
            Some(age) if age < SECONDS as u64 => self.counts[(second % SECONDS as u64) as usize],
            _ => 0,
        }
    }

    /// Counts of the minute that ends now, oldest first.
    pub fn minute(&self, now: u64) -> [u32; SECONDS] {
        let now = now / NS;
        std::array::from_fn(|i| {
            now.checked_sub((SECONDS - 1 - i) as u64).map_or(0, |second| self.at(second))
        })
    }

    /// Events a second: the mean of the last whole seconds and the one that runs, or of
    /// the time since `began` where that is shorter; of one second at least.
    pub fn rate(&self, now: u64, began: u64) -> f64 {
        let second = now / NS;
        let first = second.saturating_sub(RATE_SECONDS - 1);
        let count: u64 = (first..=second).map(|s| u64::from(self.at(s))).sum();
        let window = now.saturating_sub((first * NS).max(began)).max(NS);
        count as f64 * NS as f64 / window as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_800_000_000 * NS;

    #[test]
    fn a_steady_rate_is_that_rate() {
        let mut rates = Rates::default();
        for i in 0..1000 {
            rates.add(T + i * NS / 100);
        }
        assert!((rates.rate(T + 10 * NS - 1, T) - 100.0).abs() < 1.0);
        // A young run is divided by its age, not by the window.
        let mut rates = Rates::default();
        (0..200).for_each(|i| rates.add(T + i * NS / 100));
        assert!((rates.rate(T + 2 * NS, T) - 100.0).abs() < 1.0);
    }

    #[test]
    fn what_stops_fades() {
        let mut rates = Rates::default();
        (0..50).for_each(|_| rates.add(T));
        assert!(rates.rate(T + NS, T) > 0.0);
        assert_eq!(rates.rate(T + 6 * NS, T), 0.0);
        assert_eq!(rates.minute(T + 59 * NS)[0], 50);
        assert_eq!(rates.minute(T + 60 * NS), [0; SECONDS]);
    }

    #[test]
    fn a_gap_forgets_and_the_past_is_not_added() {
        let mut rates = Rates::default();
        rates.add(T);
        rates.add(T + 60 * NS);
        assert_eq!(rates.minute(T + 60 * NS).iter().sum::<u32>(), 1);
        rates.add(T);
        assert_eq!(rates.minute(T + 60 * NS).iter().sum::<u32>(), 1);
        rates.add(T + 30 * NS);
        assert_eq!(rates.minute(T + 60 * NS)[29], 1);
    }
}
