//! sentby names the process behind every network request this machine sends.
#![allow(dead_code)]

mod capture;
mod event;
mod host;
mod enrich;
mod ledger;
mod output;
mod plan;

fn main() {}
