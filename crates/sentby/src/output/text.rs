//! Text for people.

use super::{Options, Output};
use std::io::Write;

/// Opens the text output.
pub fn open(_options: Options, _out: Box<dyn Write>) -> Box<dyn Output> {
    unimplemented!()
}
