//! Time stamps of capture files, as nanoseconds since the Unix epoch.

const NS_PER_S: u64 = 1_000_000_000;

/// The latest time, in nanoseconds: the year 2262. Later ones are garbage, and become this.
const LATEST: u64 = i64::MAX as u64;

/// What a time stamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    unit: Unit,
    /// Seconds to add.
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds.
    Times(u64),
    /// So many of them are a nanosecond.
    Parts(u64),
    /// Seconds over this power of 2.
    Binary(u8),
}

impl Scale {
    /// Microseconds, which pcapng has where nothing is said.
    pub const MICROSECONDS: Scale = Scale { unit: Unit::Times(1000), offset: 0 };
    /// Nanoseconds.
    pub const NANOSECONDS: Scale = Scale { unit: Unit::Times(1), offset: 0 };

    /// The same with the resolution of `if_tsresol`: a negative power of 10, or with the
    /// highest bit of 2.
    pub(super) fn with_resolution(self, resolution: u8) -> Scale {
        let power = resolution & 0x7f;
        let unit = match (resolution & 0x80 != 0, u32::from(power)) {
            (true, _) => Unit::Binary(power),
            (false, power @ 0..=9) => Unit::Times(10_u64.pow(9 - power)),
            // Of units that small not even all together are a nanosecond.
            (false, power) => match 10_u64.checked_pow(power - 9) {
                Some(parts) => Unit::Parts(parts),
                None => Unit::Times(0),
            },
        };
        Scale { unit, ..self }
    }

    /// The same with seconds to add.
    pub(super) fn with_offset(self, offset: i64) -> Scale {
        Scale { offset, ..self }
    }

    /// The time of a stamp.
    pub(super) fn of(&self, stamp: u64) -> u64 {
        let ns = match self.unit {
            Unit::Times(n) => stamp.saturating_mul(n),
            Unit::Parts(n) => stamp / n,
            Unit::Binary(power) => {
                let ns = (u128::from(stamp) * u128::from(NS_PER_S)) >> power;
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
        };
        let offset = self.offset.saturating_mul(NS_PER_S as i64);
        ns.min(LATEST).saturating_add_signed(offset).min(LATEST)
    }

    /// The time of a stamp in two parts.
    pub(super) fn of_seconds(&self, seconds: u32, fraction: u32) -> u64 {
        let whole = u64::from(seconds) * NS_PER_S;
        (whole + self.of(fraction.into())).min(LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_counts_nanoseconds() {
        let at = |resolution, stamp| Scale::MICROSECONDS.with_resolution(resolution).of(stamp);
        assert_eq!(at(6, 1_000_001), 1_000_001_000);
        assert_eq!(at(9, 5), 5);
        assert_eq!(at(0, 3), 3_000_000_000);
        assert_eq!(at(12, 5_999), 5);
        assert_eq!(at(127, u64::MAX), 0);
        assert_eq!(at(0x80 | 10, 1536), 1_500_000_000);
        assert_eq!(at(0x80 | 127, u64::MAX), 0);
        assert_eq!(at(0, u64::MAX), LATEST);
    }

    #[test]
    fn offsets_move_the_epoch_and_nothing_overflows() {
        let scale = Scale::NANOSECONDS.with_offset(10);
        assert_eq!(scale.of(7), 10_000_000_007);
        assert_eq!(Scale::NANOSECONDS.with_offset(i64::MIN).of(7), 0);
        assert_eq!(Scale::NANOSECONDS.with_offset(i64::MAX).of(u64::MAX), LATEST);
        assert_eq!(Scale::MICROSECONDS.of_seconds(u32::MAX, u32::MAX), 4_294_971_589_967_295_000);
    }
}
