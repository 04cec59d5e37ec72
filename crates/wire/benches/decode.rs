//! How long one request takes to decode: `cargo bench -p sentby-wire`.
//!
//! A protocol adds its inputs to [`INPUTS`]; each is measured, and counted as one
//! request a turn.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::fmt;
use wire::protocol::by_name;
use wire::{Layer, Progress, Protocol, Request, Stream, Switches, packet};

fn main() {
    divan::main();
}

/// One request as it is sent.
struct Input {
    protocol: &'static str,
    name: &'static str,
    bytes: Bytes,
}

/// Where an input's bytes come from.
#[derive(Clone, Copy)]
enum Bytes {
    /// They stand here, and are sent over a stream.
    Stream(&'static [u8]),
    /// The ClientHello that a client sent: the beginning of its line in `HELLOS`.
    Hello(&'static str),
    /// What an IP packet carries over UDP.
    Datagram(&'static [u8]),
}

/// ClientHellos of real clients.
const HELLOS: &str = include_str!("../tests/clients/hellos.tsv");

impl Bytes {
    fn get(self) -> Vec<u8> {
        match self {
            Bytes::Stream(bytes) => bytes.to_vec(),
            Bytes::Hello(who) => {
                let line = HELLOS.lines().find(|line| line.starts_with(who)).expect(who);
                let hex = line.rsplit('\t').next().expect("bytes");
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
                (0..hex.len()).step_by(2).map(byte).collect()
            }
            Bytes::Datagram(payload) => {
                let [ip, udp] = [28, 8].map(|before| (before + payload.len() as u16).to_be_bytes());
                let mut packet = vec![0x45, 0, ip[0], ip[1], 0, 0, 0, 0, 64, 17, 0, 0];
                packet.extend([198, 51, 100, 2, 192, 0, 2, 7]);
                packet.extend([0x9c, 0xb8, 0, 53, udp[0], udp[1], 0, 0]);
                packet.extend(payload);
                packet
            }
        }
    }

    /// Decodes them the way they were captured.
    fn decode<'a>(self, protocol: &'static dyn Protocol, bytes: &'a [u8]) -> Option<Request<'a>> {
        if let Bytes::Datagram(_) = self {
            return protocol.decode(&packet::parse(Layer::Ip, bytes)?, Switches::OFF);
        }
        let stream = Stream { bytes, ended: false, on: Switches::OFF };
        match protocol.decode_stream(&stream) {
            Progress::Done(request, _) => Some(request),
            _ => None,
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.name)
    }
}

const INPUTS: &[Input] = &[
    Input {
        protocol: "http",
        name: "get by curl",
        bytes: Bytes::Stream(
            b"GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\n\
                 Accept: */*\r\n\r\n",
        ),
    },
    Input {
        protocol: "http",
        name: "get of 200 bytes",
        bytes: Bytes::Stream(
            b"GET /api/v1/items HTTP/1.1\r\nHost: api.example.com\r\n\
                 User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate, br\r\n\
                 Accept: application/json, */*;q=0.8\r\nConnection: keep-alive\r\n\r\n",
        ),
    },
    Input {
        protocol: "http",
        name: "get by a browser, with a query",
        bytes: Bytes::Stream(
            b"GET /search?q=weather&lang=en&page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 \
                 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,\
                 image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
                 Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
                 Cookie: sid=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
                 Upgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n",
        ),
    },
    Input {
        protocol: "http",
        name: "through a proxy",
        bytes: Bytes::Stream(
            b"GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\n\
                 User-Agent: curl/8.5.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        ),
    },
    Input {
        protocol: "tls",
        name: "hello of Go 1.25, TLS 1.2 alone",
        bytes: Bytes::Hello("go1.25.5, go.mod=1.25, aes=aes=on, tls12_max"),
    },
    Input {
        protocol: "tls",
        name: "hello of Go 1.25",
        bytes: Bytes::Hello("go1.25.5, go.mod=1.25, aes=aes=on, http_name"),
    },
    Input {
        protocol: "tls",
        name: "hello of Chromium",
        bytes: Bytes::Hello("Chromium 156.0.8078.79, again"),
    },
    Input {
        protocol: "dns",
        name: "query by a stub resolver",
        bytes: Bytes::Datagram(
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x03com\x00\
              \x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
        ),
    },
];

#[divan::bench(args = INPUTS)]
fn decode(bencher: Bencher, input: &Input) {
    let protocol = by_name(input.protocol).expect("a protocol");
    let bytes = input.bytes.get();
    assert!(input.bytes.decode(protocol, &bytes).is_some(), "{input}");
    bencher
        .counter(ItemsCount::new(1usize))
        .counter(BytesCount::of_slice(&bytes))
        .bench(|| input.bytes.decode(protocol, black_box(&bytes)));
}

#[divan::bench(args = INPUTS)]
fn describe(bencher: Bencher, input: &Input) {
    let protocol = by_name(input.protocol).expect("a protocol");
    let bytes = input.bytes.get();
    let request = input.bytes.decode(protocol, &bytes).expect("a request");
    let mut line = String::with_capacity(1024);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        line.clear();
        let _ = protocol.describe(black_box(&request), &mut line);
    });
}
