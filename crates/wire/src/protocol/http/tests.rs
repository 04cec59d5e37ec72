use super::*;
use std::fmt::Write;

static HTTP: Http = Http;

fn decode(bytes: &[u8], ended: bool, on: Switches) -> Progress<'_> {
    HTTP.decode_stream(&Stream { bytes, ended, on })
}

/// The request in bytes after which no more come.
fn done(bytes: &[u8]) -> (Request<'_>, Next) {
    match decode(bytes, true, Switches::OFF) {
        Progress::Done(request, next) => (request, next),
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn is_no(bytes: &[u8], ended: bool) -> bool {
    matches!(decode(bytes, ended, Switches::OFF), Progress::No)
}

/// Whether the bytes begin like one of what is asked to be captured.
fn is_captured(bytes: &[u8], on: Switches) -> bool {
    HTTP.interest(on).stream.iter().any(|start| fits(start, bytes))
}

fn fits(start: Start, bytes: &[u8]) -> bool {
    let Some((step, steps)) = start.split_first() else { return true };
    if step.set().is_none() {
        return fits(steps, bytes);
    }
    let Some((first, rest)) = bytes.split_first() else { return false };
    match step {
        Step::One(set) => set.has(*first) && fits(steps, rest),
        Step::Some(set) => set.has(*first) && (fits(steps, rest) || fits(start, rest)),
        Step::Total { .. } | Step::Until(_) => unreachable!("they take no byte"),
    }
}

#[test]
fn every_beginning_is_captured() {
    let lines: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"x / HTTP/1.1\r\n\r\n",
        b"a!#$%&'*+-.^_`|~9Z /a HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\n\r\n",
        b"CONNECT 192.0.2.7:443 HTTP/1.1\r\n\r\n",
        b"CONNECT [2001:db8::7]:443 HTTP/1.1\r\n\r\n",
        b"\n\r\nGET / HTTP/1.1\r\n\r\n",
        PREFACE,
    ];
    for line in lines {
        assert!(is_captured(line, Switches::OFF), "{}", line.escape_ascii());
        done(line);
    }
    let response = b"HTTP/1.1 200 OK\r\n\r\n";
    assert!(!is_captured(response, Switches::OFF));
    assert!(is_captured(response, Switches::OFF.with(RESPONSES)));
}

#[test]
fn what_cannot_be_a_request_is_not_captured() {
    let lines: [&[u8]; 5] =
        [b"\x16\x03\x01\x02", b"SSH-2.0-OpenSSH_9.6\r\n", b"GET\r\n", b" GET / ", b"JOIN #a\r\n"];
    for line in lines {
        assert!(!is_captured(line, Switches::OFF), "{}", line.escape_ascii());
    }
}

#[test]
fn more_is_awaited_until_the_head_ends_and_no_longer() {
    let bytes = b"\r\nPOST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let head = bytes.len() - 5;
    for len in 0..=bytes.len() {
        match decode(&bytes[..len], false, Switches::OFF) {
            Progress::More => assert!(len < head, "{len}"),
            Progress::Done(_, next) => {
                assert!(len >= head, "{len}");
                assert_eq!(next, Next::At(bytes.len() as u64));
            }
            Progress::No => panic!("{len}"),
        }
    }
}

#[test]
fn a_response_is_awaited_too() {
    let bytes = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
    let on = Switches::OFF.with(RESPONSES);
    for len in 1..bytes.len() {
        let part = decode(&bytes[..len], false, on);
        assert!(matches!(part, Progress::More), "{len}: {part:?}");
    }
    assert!(matches!(decode(bytes, false, on), Progress::Done(_, Next::At(38))));
    assert!(matches!(decode(b"HTTP/1.1 20", true, on), Progress::No));
    assert!(matches!(decode(b"HTTP/1.1 20x", false, on), Progress::No));
    assert!(matches!(decode(b"HTTP/1.1 2000", false, on), Progress::No));
    assert!(matches!(decode(b"HTTP/2.0 200 ", false, on), Progress::No));
}

/// Nothing is buffered for what is clearly something else.
#[test]
fn other_protocols_are_let_go_as_soon_as_they_show() {
    let streams: [&[u8]; 14] = [
        b"\x16",
        b"SSH-2.0-OpenSSH_9.6p1 Debian-3\n",
        b"EHLO client.example\r\n",
        b"220 mail.example.com E",
        b"USER guest 0",
        b"a001 LOGIN me",
        b"GET /a\x01",
        b"GET /a\rb",
        b"GET  /",
        b"GET\t/",
        b"PRI * HTTP/2.0\r\nH",
        b"PRI * HTTP/2.0\r\n\r\nSN",
        b"JOIN #",
        b"*1\r\n",
    ];
    for stream in streams {
        assert!(is_no(stream, false), "{}", stream.escape_ascii());
        assert!(is_no(stream, true), "{}", stream.escape_ascii());
    }
    for line in ["GOT /a HTTP/1.10\r\n", "GET / HTTP/1.x\r\n", "GET / HTTP/2.0\r\n", "GET /\r\n"] {
        assert!(is_no(line.as_bytes(), true), "{line}");
    }
    assert!(is_no(&[b'x'; 200], false), "a method of 200 bytes");
    assert!(matches!(decode(&[b'x'; 100], false, Switches::OFF), Progress::More));
}

/// Whatever a method is called, its request is one.
#[test]
fn a_cut_line_is_a_request_where_it_can_be_nothing_else() {
    for line in ["GET /a", "PROPFIND https://h/a", "BREW /pot HTTP/1.1", "X * HTTP/1.1\r"] {
        assert_eq!(done(line.as_bytes()).0.faults, [Fault::Truncated], "{line}");
    }
    for line in
        ["GET", "GET ", "GET a", "RETR /a", "OPTIONS rtsp://h/", "X /a HTTP/1", "CONNECT h:1"]
    {
        assert!(is_no(line.as_bytes(), true), "{line}");
    }
}

#[test]
fn a_long_url_is_told_in_full() {
    let path = format!("/{}", "a".repeat(8000));
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let (request, next) = done(bytes.as_bytes());
    assert_eq!(request.text("target"), Some(path.as_bytes()));
    assert_eq!(next, Next::At(bytes.len() as u64));
    assert!(request.faults.is_empty());
}

#[test]
fn a_url_longer_than_the_capture_is_told_as_far_as_it_goes() {
    let bytes = format!("GET /{}", "a".repeat(16 << 10));
    let (request, next) = done(bytes.as_bytes());
    assert_eq!(request.text("target"), Some(&bytes.as_bytes()[4..]));
    assert_eq!(next, Next::Somewhere);
    assert_eq!(request.faults, [Fault::Truncated]);
}

#[test]
fn headers_longer_than_the_capture_are_told_as_far_as_they_go() {
    let cookie = "c".repeat(16 << 10);
    let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\nUser-Agent: me\r\n");
    let (request, next) = done(bytes.as_bytes());
    assert_eq!(request.text("host"), Some(&b"h"[..]));
    assert_eq!(request.text("user_agent"), None, "the next line may go on with it");
    assert_eq!(next, Next::Somewhere);
    assert_eq!(request.faults, [Fault::Truncated]);
    let whole = bytes + "\r\n";
    let (request, next) = done(whole.as_bytes());
    assert_eq!(request.text("user_agent"), Some(&b"me"[..]));
    assert_eq!(next, Next::At(whole.len() as u64));
    assert!(request.faults.is_empty());
}

/// A head without end is not waited for forever.
#[test]
fn a_head_has_a_limit() {
    let endless = format!("GET / HTTP/1.1\r\nHost: h\r\n{}", "X: y\r\n".repeat(20_000));
    let bytes = endless.as_bytes();
    assert!(matches!(decode(&bytes[..MAX_HEAD - 1], false, Switches::OFF), Progress::More));
    let Progress::Done(request, next) = decode(bytes, false, Switches::OFF) else { panic!() };
    assert_eq!((request.faults, next), (vec![Fault::Truncated], Next::Somewhere));
}

/// Nothing is copied from the stream unless something in it must not be shown.
#[test]
fn usual_texts_are_borrowed() {
    let bytes = b"GET /a:b HTTP/1.1\r\nHost: h\r\nUser-Agent: me\r\nUpgrade: x\r\n\r\n";
    let (request, _) = done(bytes);
    for (field, value) in request.fields() {
        let owned = matches!(value, Value::Text(Cow::Owned(_)));
        assert!(!owned, "{}", field.name);
    }
    assert_eq!(request.fields().count(), 6);
}

#[test]
fn chunks_end_where_they_end() {
    let body = b"5;x=y\r\nhello\r\n00a \n0123456789\n0\r\nA: b\r\n\r\n";
    for len in 0..body.len() {
        assert_eq!(chunked::len(&body[..len]), Ok(None), "{len}");
    }
    let pipelined = [&body[..], b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(chunked::len(&pipelined), Ok(Some(body.len())));
    for bad in ["\r\n", "x\r\n", "-1\r\n", "5:\r\n", "1\r\nab", "11111111111111111"] {
        assert_eq!(chunked::len(bad.as_bytes()), Err(chunked::Malformed), "{bad}");
    }
}

const SECRETS: &[&str] = &[
    "/a?ZZ",
    "/a?ZZ=",
    "/a?ZZ==",
    "/a?b=ZZ&ZZ",
    "/a?b==ZZ&&c=ZZ#ZZ",
    "/a#ZZ",
    "/a#ZZ?b=c",
    "/a?http://u:ZZ@h/=x",
    "/a?u=http://ZZ:ZZ@h/",
    "/a?u&:ZZ@h=x",
    "http://ZZ:ZZ@h/a?b=ZZ#ZZ",
    "http://ZZ@h",
    "http://ZZ@ZZ@h/a",
    "http://u:ZZ/ZZ@h/a",
    "http://u:ZZ?ZZ@h/a",
    "http://ZZ:ZZ@[2001:db8::7]:80/a",
    "/get/http://ZZ:ZZ@h/a",
    "/get/http://u:ZZ/ZZ@h/a",
    "/get/ftp://ZZ@h/http://ZZ@i/a",
    "ZZ:ZZ@h:443",
    "ZZ@h",
    "index.html?b=ZZ",
];

/// However little of a target there is, what is shown is a beginning of what would be
/// shown of the whole, without its secrets.
#[test]
fn secrets_are_never_shown() {
    for secret in SECRETS {
        let whole = redact::target(secret.as_bytes(), false, false);
        assert!(!whole.contains(&b'Z'), "{secret}: {}", whole.escape_ascii());
        for len in 0..secret.len() {
            let part = redact::target(&secret.as_bytes()[..len], false, true);
            let place = format!("{secret} cut at {len}: {}", part.escape_ascii());
            assert!(!part.contains(&b'Z'), "{place}");
            assert!(whole.starts_with(&part), "{place}");
        }
    }
}

#[test]
fn passwords_are_never_shown() {
    let urls = SECRETS.iter().filter(|url| url.contains('@') && !url.contains("ZZ?"));
    for url in urls.filter(|url| !url.contains("b=ZZ") && !url.contains("u&")) {
        for len in 0..=url.len() {
            let part = redact::target(&url.as_bytes()[..len], true, len < url.len());
            assert!(!part.contains(&b'Z'), "{url} cut at {len}: {}", part.escape_ascii());
        }
    }
}

#[test]
fn redaction_keeps_what_is_no_secret() {
    let shown = |target: &'static str, full_url| {
        String::from_utf8_lossy(&redact::target(target.as_bytes(), full_url, false)).into_owned()
    };
    for (target, short) in [
        ("/a?b=c&d[]=e", "/a?b=*&d[]=*"),
        ("/a?", "/a?"),
        ("/a?b=&c=d", "/a?*&c=*"),
        ("/a?&b=c#d", "/a?&b=*#*"),
        ("/@me", "/@me"),
        ("/v1/x:y", "/v1/x:y"),
        ("http://h:80/@me", "http://h:80/@me"),
        ("http://[2001:db8::7]/a", "http://[2001:db8::7]/a"),
        ("http://h?b=c", "http://h?b=*"),
        ("/get/http://u:p@h:80/a", "/get/http://***@h:80/a"),
        ("*", "*"),
    ] {
        assert_eq!(shown(target, false), short);
    }
    let full = "/a?b=c&u=http://h:80&me@example.com#d";
    assert_eq!(shown("/a?b=c#d", true), "/a?b=c#d");
    assert_eq!(shown(full, true), "/a?b=c&u=http://***@example.com#d");
    let long = format!("/a?{}=x", "n".repeat(65));
    assert_eq!(*redact::target(long.as_bytes(), false, false), *b"/a?*");
}

/// The longest of everything, of characters that take the most room when escaped.
#[test]
fn descriptions_are_short() {
    for text in ["a", "'", "\u{e9}", "\u{10ffff}"] {
        let text = text.repeat(3000);
        let bytes = format!(
            "{} /{text} HTTP/1.0\r\nHost: {text}\r\nUser-Agent: {text}\r\nUpgrade: {text}\r\n\
             Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            "'".repeat(128),
            u64::MAX
        );
        let (request, _) = done(bytes.as_bytes());
        let mut line = String::new();
        HTTP.describe(&request, &mut line).unwrap();
        let shown = line.escape_default().count();
        assert!((300..=1024).contains(&shown), "{shown}: {line}");
        assert!(line.ends_with("..."), "{line}");
    }
}

#[test]
fn a_description_says_where_it_left_out() {
    let path = "a".repeat(500);
    let bytes = format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut line = String::new();
    HTTP.describe(&done(bytes.as_bytes()).0, &mut line).unwrap();
    let mut want = String::new();
    write!(want, "GET h/{}...", &path[..399]).unwrap();
    assert_eq!(line, want);
}
