//! NDJSON: one object a line.

use super::{Options, Output};
use std::io::Write;

/// Opens the JSON output.
pub fn open(_options: Options, _out: Box<dyn Write>) -> Box<dyn Output> {
    unimplemented!()
}
