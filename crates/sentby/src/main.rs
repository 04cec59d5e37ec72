//! sentby names the process behind every network request this machine sends.
#![allow(dead_code)]

mod event;
mod ledger;
mod output;
mod plan;

fn main() {}
