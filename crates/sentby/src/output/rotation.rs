//! Which file is written when, as tcpdump(8) has it: `-C` by size, `-G` by time, `-W` by
//! number.

use anyhow::{Context, Result};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::time::Duration;

/// When another file begins.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// The name, of the first file or of all; with `every` a strftime(3) format.
    pub name: String,
    /// After a file has more than so many bytes.
    pub size: Option<u64>,
    /// After so much time, by the packets' own.
    pub every: Option<Duration>,
    /// With `size`: so many files, then the first again. With `every` alone: so many, then
    /// the end. With both it is only for the names.
    pub count: Option<u32>,
}

/// What is to be done before the next packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Go on with the file.
    Stay,
    /// Begin this file.
    Next(PathBuf),
    /// There are as many as were asked for.
    Enough,
}

/// Where the rotation is.
pub struct Rotating {
    rotation: Rotation,
    zone: TimeZone,
    /// When the present interval began: seconds since the Unix epoch.
    since: Option<u64>,
    intervals: u32,
    files: u32,
    /// The name without a number.
    base: String,
}

impl Rotating {
    /// Before the first file.
    pub fn new(rotation: Rotation, zone: TimeZone) -> Rotating {
        let base = rotation.name.clone();
        Rotating { rotation, zone, since: None, intervals: 0, files: 0, base }
    }

    /// The first file, which is opened at `now` (seconds since the Unix epoch).
    pub fn first(&mut self, now: u64) -> Result<PathBuf> {
        self.name_of(now)?;
        Ok(self.numbered())
    }

    /// What comes before a packet of this time, when the file has `written` bytes.
    pub fn turn(&mut self, now: u64, written: u64) -> Result<Turn> {
        let Rotation { size, every, count, .. } = self.rotation;
        if let Some(every) = every {
            let since = *self.since.get_or_insert(now);
            if now.saturating_sub(since) >= every.as_secs() {
                self.since = Some(now);
                self.intervals += 1;
                if size.is_none() && count.is_some_and(|count| self.intervals >= count) {
                    return Ok(Turn::Enough);
                }
                self.files = 0;
                self.name_of(now)?;
                return Ok(Turn::Next(self.numbered()));
            }
        }
        if size.is_none_or(|size| written <= size) {
            return Ok(Turn::Stay);
        }
        self.files += 1;
        if every.is_none() && count.is_some_and(|count| self.files >= count) {
            self.files = 0;
        }
        Ok(Turn::Next(self.numbered()))
    }

    /// Sets the name to that of a moment.
    fn name_of(&mut self, now: u64) -> Result<()> {
        if self.rotation.every.is_none() {
            return Ok(());
        }
        let name = &self.rotation.name;
        let seconds = i64::try_from(now).unwrap_or(i64::MAX);
        let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        let moment = moment.to_zoned(self.zone.clone());
        self.base = strtime::format(name, &moment)
            .with_context(|| format!("-w {name}: not a strftime format"))?;
        Ok(())
    }

    /// The name with its number, if it has one.
    fn numbered(&self) -> PathBuf {
        let Rotation { size, count, .. } = self.rotation;
        let digits = count.filter(|_| size.is_some()).map_or(0, |n| {
            let last = n.saturating_sub(1);
            if last == 0 { 0 } else { last.ilog10() as usize + 1 }
        });
        match (self.files, digits) {
            (0, 0) => PathBuf::from(&self.base),
            (n, digits) => PathBuf::from(format!("{}{n:0digits$}", self.base)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotating(name: &str, size: Option<u64>, every: Option<u64>, count: Option<u32>) -> Rotating {
        let every = every.map(Duration::from_secs);
        Rotating::new(Rotation { name: name.into(), size, every, count }, TimeZone::UTC)
    }

    /// The names of files for packets at these times, each of them 60 bytes.
    fn names(mut r: Rotating, times: &[u64]) -> Vec<String> {
        let mut names = vec![r.first(0).unwrap().display().to_string()];
        let mut written = 0;
        for time in times {
            match r.turn(*time, written).unwrap() {
                Turn::Stay => {}
                Turn::Next(path) => {
                    names.push(path.display().to_string());
                    written = 0;
                }
                Turn::Enough => {
                    names.push("end".to_owned());
                    break;
                }
            }
            written += 60;
        }
        names
    }

    #[test]
    fn by_size_the_first_has_no_number() {
        assert_eq!(names(rotating("f", Some(100), None, None), &[0; 6]), ["f", "f1", "f2"]);
    }

    #[test]
    fn with_a_number_of_files_the_first_is_written_again() {
        let wanted = ["f0", "f1", "f2", "f0"];
        assert_eq!(names(rotating("f", Some(100), None, Some(3)), &[0; 8]), wanted);
        let many = names(rotating("f", Some(1), None, Some(11)), &[0; 12]);
        assert_eq!((many[0].as_str(), many[10].as_str(), many[11].as_str()), ("f00", "f10", "f00"));
        assert_eq!(names(rotating("f", Some(1), None, Some(1)), &[0; 3]), ["f", "f", "f"]);
    }

    #[test]
    fn by_time_the_name_is_a_format() {
        let r = rotating("f-%H%M%S", None, Some(10), None);
        assert_eq!(names(r, &[0, 9, 10, 19, 35]), ["f-000000", "f-000010", "f-000035"]);
        let r = rotating("f", None, Some(10), Some(2));
        assert_eq!(names(r, &[0, 10, 20]), ["f", "f", "end"]);
    }

    #[test]
    fn time_that_goes_backwards_begins_nothing() {
        let r = rotating("f-%S", None, Some(10), None);
        assert_eq!(names(r, &[50, 9, 55, 3]), ["f-00"]);
    }

    #[test]
    fn by_both_numbers_begin_anew() {
        let r = rotating("f-%S-", Some(100), Some(10), Some(20));
        let wanted = ["f-00-00", "f-00-01", "f-10-00", "f-10-01"];
        assert_eq!(names(r, &[0, 0, 0, 10, 10, 10]), wanted);
    }

    #[test]
    fn a_wrong_format_is_one_line() {
        let error = rotating("f-%Q%", None, Some(1), None).first(0).unwrap_err();
        assert_eq!(error.to_string(), "-w f-%Q%: not a strftime format");
    }
}
