//! The cases: one file per theme, one line per case in each file's slice.

mod af_packet;
mod agent;
mod bystander;
mod clients;
mod connect;
mod container;
mod declared;
mod dns_clients;
mod errors;
mod field_filters;
mod filters;
mod flood;
mod go_programs;
mod hostile;
mod http_clients;
mod identity;
mod leftovers;
mod lifecycle;
mod names;
mod oneshot;
mod packet_socket;
mod paths;
mod payload;
mod podman;
mod recording;
mod send_paths;
mod shapes;
mod sharing;
mod text;
mod tls_clients;
mod top;
mod written;

use crate::ctx::Case;

/// All of them, quick and basic ones first.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        clients::CASES,
        shapes::CASES,
        packet_socket::CASES,
        af_packet::CASES,
        identity::CASES,
        sharing::CASES,
        paths::CASES,
        payload::CASES,
        connect::CASES,
        names::CASES,
        send_paths::CASES,
        http_clients::CASES,
        tls_clients::CASES,
        dns_clients::CASES,
        container::CASES,
        podman::CASES,
        filters::CASES,
        field_filters::CASES,
        go_programs::CASES,
        hostile::CASES,
        text::CASES,
        top::CASES,
        lifecycle::CASES,
        errors::CASES,
        written::CASES,
        recording::CASES,
        agent::CASES,
        leftovers::CASES,
        declared::CASES,
        oneshot::CASES,
        bystander::CASES,
        flood::CASES,
    ]
    .into_iter()
    .flatten()
}
