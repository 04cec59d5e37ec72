//! Bytes in, requests out.
//!
//! This crate decodes what sentby captured, or others did ([`capture_file`]): packet
//! headers ([`link`], [`packet`], [`transport`]) and the requests inside ([`protocol`]). It does no IO, holds no state of the machine,
//! has no unsafe code and never panics: hostile bytes are normal input. What was
//! understood is returned; what was wrong is listed beside it as [`Fault`]s.
#![forbid(unsafe_code)]

pub mod answers;
mod bytes;
pub mod capture_file;
pub mod filter;
pub mod fragments;
pub mod link;
pub mod packet;
pub mod protocol;
pub mod rebuild;
pub mod start;
pub mod transport;
pub mod tunnel;

pub use filter::{Compare, FieldFilter, Operand};
pub use packet::{Layer, Packet};
pub use protocol::{
    Ending, Fault, Field, Interest, Kind, Next, Outcome, PROTOCOLS, Progress, Protocol, Request,
    Stream, Switch, Switches, Value,
};
