//! sentby names the process behind every network request this machine sends.
#![allow(dead_code)]

mod enrich;
mod escape;
mod event;
mod filter;
#[cfg(test)]
mod fixture;
mod ledger;
mod output;
mod plan;

fn main() {}
