//! Times as people give them.

use crate::filter::UsageError;
use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// From, and before: nanoseconds since the Unix epoch.
pub type Times = (Option<i64>, Option<i64>);

/// What `--since` and `--until` mean together.
pub fn between(since: Option<i64>, until: Option<i64>) -> Result<Times, UsageError> {
    match since.zip(until) {
        Some((since, until)) if since >= until => {
            Err(UsageError("--until is not later than --since: nothing lies between".to_owned()))
        }
        _ => Ok((since, until)),
    }
}

/// Reads a time: nanoseconds since the Unix epoch.
pub fn parse(text: &str) -> Result<i64, String> {
    at(text, &Zoned::now())
}

fn at(text: &str, now: &Zoned) -> Result<i64, String> {
    let moment = read(text.trim(), now).ok_or_else(|| {
        "give a time such as 2026-11-26T10:00:00Z, '2026-11-26 10:00', 10:00, today, yesterday, or \
         so long ago: 2h, 7d"
            .to_owned()
    })?;
    i64::try_from(moment.as_nanosecond()).map_err(|_| "no recording is from then".to_owned())
}

fn read(text: &str, now: &Zoned) -> Option<Timestamp> {
    let zone = now.time_zone();
    let local = |time: DateTime| time.to_zoned(zone.clone()).ok().map(|z| z.timestamp());
    let midnight = |date: Date| local(date.to_datetime(Time::midnight()));
    match text {
        "now" => return Some(now.timestamp()),
        "today" => return midnight(now.date()),
        "yesterday" => return midnight(now.date().checked_sub(1.day()).ok()?),
        _ => {}
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == "2026-11-26".len()
    {
        return midnight(date);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return local(time);
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<Time>()
    {
        return local(now.date().to_datetime(time));
    }
    let days = text.strip_suffix('d').and_then(|n| n.parse::<u32>().ok());
    let ago = match days {
        Some(days) => SignedDuration::from_hours(i64::from(days) * 24),
        None => text.parse().ok()?,
    };
    (!ago.is_negative()).then(|| now.timestamp().checked_sub(ago).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::{Offset, TimeZone};

    #[test]
    fn times_are_read_as_people_mean_them() {
        let zone = TimeZone::fixed(Offset::constant(1));
        let now: Timestamp = "2026-11-26T13:30:00Z".parse().unwrap();
        let now = now.to_zoned(zone);
        let read = |text: &str| {
            at(text, &now).map(|ns| Timestamp::from_nanosecond(ns.into()).unwrap().to_string())
        };
        for (text, wanted) in [
            ("now", "2026-11-26T13:30:00Z"),
            ("today", "2026-11-25T23:00:00Z"),
            ("yesterday", "2026-11-24T23:00:00Z"),
            ("2h", "2026-11-26T11:30:00Z"),
            ("1h30m", "2026-11-26T12:00:00Z"),
            ("7d", "2026-11-19T13:30:00Z"),
            ("10:00", "2026-11-26T09:00:00Z"),
            ("2026-11-26", "2026-11-25T23:00:00Z"),
            ("2026-11-26 10:00", "2026-11-26T09:00:00Z"),
            ("2026-11-26T10:00:00.5Z", "2026-11-26T10:00:00.5Z"),
            ("2026-11-26T10:00:00+02:00", "2026-11-26T08:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted), "{text}");
        }
        for bad in ["", "soon", "-2h", "25:00", "2026-13-01", "7", "d"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
