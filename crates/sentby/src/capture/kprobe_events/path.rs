//! Where a value is when a kernel function is entered: an argument, and the offsets of
//! the pointers that lead on from it. Written as ftrace writes it: `+16(+232(%si))`.

use std::fmt;

/// Registers of the first arguments, by the calling convention of the kernel's code.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [&str; 5] = ["di", "si", "dx", "cx", "r8"];
/// AAPCS64.
#[cfg(not(target_arch = "x86_64"))]
const REGISTERS: [&str; 5] = ["x0", "x1", "x2", "x3", "x4"];

/// Longest chain of pointers: an argument's, the socket's, its namespace's, its number.
const STEPS_MAX: usize = 5;

/// Largest offset that is believed.
const OFFSET_MAX: u16 = 16 * 1024;

/// An argument of a function, counted from 0, and the steps that lead on from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    argument: u8,
    steps: Vec<u16>,
}

impl Path {
    /// The argument itself; `None` beyond those passed in registers that are known.
    pub fn argument(argument: u8) -> Option<Path> {
        (usize::from(argument) < REGISTERS.len()).then(|| Path { argument, steps: Vec::new() })
    }

    /// What is `offset` bytes behind where this points.
    #[must_use]
    pub fn then(&self, offset: u16) -> Path {
        let mut path = self.clone();
        path.steps.push(offset);
        path
    }

    /// What is `bytes` bytes further on in the same object.
    #[must_use]
    pub fn further(&self, bytes: u16) -> Path {
        let mut path = self.clone();
        if let Some(last) = path.steps.last_mut() {
            *last = last.saturating_add(bytes);
        }
        path
    }

    /// The same path from another argument.
    #[must_use]
    pub fn of_argument(&self, argument: u8) -> Path {
        Path { argument, ..self.clone() }
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Path> {
        let mut rest = text;
        let mut steps = Vec::new();
        while let Some(inner) = rest.strip_prefix('+') {
            let (offset, inner) = inner.split_once('(')?;
            steps.insert(0, offset.parse().ok().filter(|o| *o <= OFFSET_MAX)?);
            rest = inner.strip_suffix(')')?;
        }
        let register = rest.strip_prefix('%')?;
        let argument = REGISTERS.iter().position(|r| *r == register)? as u8;
        (steps.len() <= STEPS_MAX).then_some(Path { argument, steps })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps.iter().rev() {
            write!(f, "+{step}(")?;
        }
        let register = REGISTERS.get(usize::from(self.argument)).unwrap_or(&REGISTERS[0]);
        write!(f, "%{register}{}", ")".repeat(self.steps.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_ftrace_reads_them() {
        let data = Path::argument(1).unwrap().then(232).then(12);
        let text = data.to_string();
        assert_eq!(text, format!("+12(+232(%{}))", REGISTERS[1]));
        assert_eq!(Path::parse(&text), Some(data.clone()));
        assert_eq!(data.further(4).to_string(), format!("+16(+232(%{}))", REGISTERS[1]));
        assert_eq!(Path::argument(9), None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let register = REGISTERS[0];
        for bad in ["", "+", "+1", "+1(%zz)", "+1(%di", "+-1(%di)", "%di x", "+99999(%di)"] {
            assert_eq!(Path::parse(&bad.replace("di", register)), None, "{bad}");
        }
        let deep = format!("{}%{register}{}", "+0(".repeat(6), ")".repeat(6));
        assert_eq!(Path::parse(&deep), None);
    }
}
