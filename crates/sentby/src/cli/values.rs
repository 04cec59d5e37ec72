//! Values of options.

use std::time::Duration;

/// Smallest and largest buffer, in bytes.
const BUFFER_SIZES: std::ops::RangeInclusive<usize> = 4 << 10..=1 << 30;

/// A time such as `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let duration = parsed.ok().and_then(|d| Duration::try_from(d).ok());
    duration
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "give a time such as 10s, 1m30s or 2h".to_owned())
}

/// A size as tcpdump's -C takes it.
pub fn file_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1_000_000,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => 0,
    };
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    size.filter(|size| *size > 0)
        .ok_or_else(|| "give a size in millions of bytes, or with k, m or g".to_owned())
}

/// A size in bytes, or with K, M, G.
pub fn buffer_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        _ => return Err("give bytes, or a number with K, M or G".to_owned()),
    };
    let size = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift));
    size.filter(|s| BUFFER_SIZES.contains(s)).ok_or_else(|| "give 4K to 1G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_or_refused() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        for bad in ["", "10", "-3s", "0s", "later"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(buffer_size("4M"), Ok(4 << 20));
        assert_eq!(buffer_size("65536"), Ok(65536));
        for bad in ["", "M", "1T", "1", "99999999999999999999", "-1"] {
            assert!(buffer_size(bad).is_err(), "{bad}");
        }
    }
}
