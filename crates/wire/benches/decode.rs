//! How long one request takes to decode: `cargo bench -p sentby-wire`.
//!
//! A protocol adds its inputs to [`INPUTS`]; each is measured, and counted as one
//! request a turn.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::fmt;
use wire::protocol::by_name;
use wire::{Progress, Stream, Switches};

fn main() {
    divan::main();
}

/// One request as it is sent over a stream.
struct Input {
    protocol: &'static str,
    name: &'static str,
    bytes: &'static [u8],
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
        bytes: b"GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\n\
                 Accept: */*\r\n\r\n",
    },
    Input {
        protocol: "http",
        name: "get of 200 bytes",
        bytes: b"GET /api/v1/items HTTP/1.1\r\nHost: api.example.com\r\n\
                 User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate, br\r\n\
                 Accept: application/json, */*;q=0.8\r\nConnection: keep-alive\r\n\r\n",
    },
    Input {
        protocol: "http",
        name: "get by a browser, with a query",
        bytes: b"GET /search?q=weather&lang=en&page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 \
                 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,\
                 image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
                 Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
                 Cookie: sid=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
                 Upgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n",
    },
    Input {
        protocol: "http",
        name: "through a proxy",
        bytes: b"GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\n\
                 User-Agent: curl/8.5.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    },
];

#[divan::bench(args = INPUTS)]
fn decode(bencher: Bencher, input: &Input) {
    let protocol = by_name(input.protocol).expect("a protocol");
    let stream = Stream { bytes: input.bytes, ended: false, on: Switches::OFF };
    assert!(matches!(protocol.decode_stream(&stream), Progress::Done(..)), "{input}");
    bencher
        .counter(ItemsCount::new(1usize))
        .counter(BytesCount::of_slice(input.bytes))
        .bench(|| protocol.decode_stream(black_box(&stream)));
}

#[divan::bench(args = INPUTS)]
fn describe(bencher: Bencher, input: &Input) {
    let protocol = by_name(input.protocol).expect("a protocol");
    let stream = Stream { bytes: input.bytes, ended: false, on: Switches::OFF };
    let Progress::Done(request, _) = protocol.decode_stream(&stream) else {
        panic!("{input} is no request")
    };
    let mut line = String::with_capacity(1024);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        line.clear();
        let _ = protocol.describe(black_box(&request), &mut line);
    });
}
