//! Times as outputs print them.

use super::TimeStyle;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use std::fmt::{self, Write};

/// Nanoseconds in a second.
const NS: u64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch as RFC 3339, UTC, with nine decimals.
pub fn rfc3339(time: u64) -> [u8; 30] {
    let t = Offset::UTC.to_datetime(timestamp(time));
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[..4], t.year() as u32);
    digits(&mut text[5..7], t.month() as u32);
    digits(&mut text[8..10], t.day() as u32);
    digits(&mut text[11..13], t.hour() as u32);
    digits(&mut text[14..16], t.minute() as u32);
    digits(&mut text[17..19], t.second() as u32);
    digits(&mut text[20..29], (time % NS) as u32);
    text
}

/// Fills with the last digits of a number. Times are in every event, and the formatting
/// of the standard library takes ten times as long.
fn digits(to: &mut [u8], mut n: u32) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Any u64 of nanoseconds is within jiff's range (the year 2554).
fn timestamp(time: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(time)).unwrap_or(jiff::Timestamp::MAX)
}

fn clock(t: &DateTime, out: &mut impl Write) -> fmt::Result {
    write!(out, "{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())
}

/// Writes the times of a stream of events in one style.
pub struct Clock {
    style: TimeStyle,
    zone: TimeZone,
    first: Option<u64>,
    last: Option<u64>,
    /// The last second that was written, and how.
    second: Option<(u64, String)>,
}

impl Clock {
    /// A clock in the local time zone.
    pub fn new(style: TimeStyle) -> Self {
        Self::in_zone(style, TimeZone::system())
    }

    /// A clock in a given time zone.
    pub fn in_zone(style: TimeStyle, zone: TimeZone) -> Self {
        Clock { style, zone, first: None, last: None, second: None }
    }

    /// Writes the time of the next event (nanoseconds since the Unix epoch), to the
    /// microsecond; nothing in the style without times.
    pub fn write(&mut self, time: u64, out: &mut impl Write) -> fmt::Result {
        let first = *self.first.get_or_insert(time);
        let last = self.last.replace(time).unwrap_or(time);
        let micros = time % NS / 1000;
        match self.style {
            TimeStyle::None => Ok(()),
            TimeStyle::Epoch => write!(out, "{}.{micros:06}", time / NS),
            TimeStyle::Delta => since(last, time, out),
            TimeStyle::SinceFirst => since(first, time, out),
            TimeStyle::Clock | TimeStyle::Date => {
                out.write_str(self.second(time)?)?;
                let mut text = *b".000000";
                digits(&mut text[1..], micros as u32);
                out.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    }

    /// The time up to its second; many events share one.
    fn second(&mut self, time: u64) -> Result<&str, fmt::Error> {
        let whole = time / NS;
        if self.second.as_ref().is_none_or(|(second, _)| *second != whole) {
            let t = self.zone.to_datetime(timestamp(time));
            let mut text = String::new();
            if self.style == TimeStyle::Date {
                write!(text, "{:04}-{:02}-{:02} ", t.year(), t.month(), t.day())?;
            }
            clock(&t, &mut text)?;
            self.second = Some((whole, text));
        }
        Ok(self.second.as_ref().map_or("", |(_, text)| text))
    }
}

/// Writes a difference in seconds. CPUs report a little out of order: it may be negative.
fn since(then: u64, now: u64, out: &mut impl Write) -> fmt::Result {
    let (sign, difference) = if now < then { ("-", then - now) } else { ("", now - then) };
    write!(out, "{sign}{}.{:06}", difference / NS, difference % NS / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_795_343_885_123_456_789;

    fn lines(style: TimeStyle, times: &[u64]) -> Vec<String> {
        let mut clock = Clock::in_zone(style, TimeZone::fixed(jiff::tz::offset(2)));
        let line = |time: &u64| {
            let mut out = String::new();
            clock.write(*time, &mut out).unwrap();
            out
        };
        times.iter().map(line).collect()
    }

    #[test]
    fn rfc3339_is_utc_with_nanoseconds() {
        let text = |time| String::from_utf8(rfc3339(time).to_vec()).unwrap();
        assert_eq!(text(TIME), "2026-11-22T10:38:05.123456789Z");
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn every_style() {
        let times = [TIME, TIME + 1_500_000_000, TIME + 1_499_999_000];
        let cases: [(TimeStyle, [&str; 3]); 6] = [
            (TimeStyle::None, ["", "", ""]),
            (TimeStyle::Clock, ["12:38:05.123456", "12:38:06.623456", "12:38:06.623455"]),
            (TimeStyle::Epoch, ["1795343885.123456", "1795343886.623456", "1795343886.623455"]),
            (TimeStyle::Delta, ["0.000000", "1.500000", "-0.000001"]),
            (TimeStyle::SinceFirst, ["0.000000", "1.500000", "1.499999"]),
            (
                TimeStyle::Date,
                [
                    "2026-11-22 12:38:05.123456",
                    "2026-11-22 12:38:06.623456",
                    "2026-11-22 12:38:06.623455",
                ],
            ),
        ];
        for (style, want) in cases {
            assert_eq!(lines(style, &times), want, "{style:?}");
        }
    }
}
