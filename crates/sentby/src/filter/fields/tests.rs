//! Tests of the filters over fields: one table of what options mean, one of what they
//! refuse.

use super::*;
use std::borrow::Cow;
use wire::protocol::by_name;
use wire::{Switches, Value};

fn asked(words: &str) -> Vec<Asked> {
    let on = if words.contains("--responses") {
        (0..8).fold(Switches::OFF, Switches::with)
    } else {
        Switches::OFF
    };
    let names = words.split(' ').filter(|w| !w.starts_with("--"));
    names.map(|name| Asked { protocol: by_name(name).unwrap(), on }).collect()
}

/// `http dns --host a --host !b`: the protocols, and one option.
fn arg(line: &str) -> FieldArg {
    let (protocols, option) = line.split_at(line.rfind(" --").unwrap());
    let option = option.split_whitespace().collect::<Vec<_>>();
    let all = PROTOCOLS.iter().flat_map(|p| p.filters());
    let name = all.map(|f| f.name).find(|n| option[0] == format!("--{n}")).unwrap();
    let has = |a: &Asked| filter_of(a.protocol, name).is_some();
    FieldArg {
        name,
        values: option[1..].iter().map(|v| (*v).to_owned()).collect(),
        of: asked(protocols).into_iter().filter(has).collect(),
    }
}

/// `http host=a.example:80 target=/x`; a value with `|` is a list, and digits a number.
fn request(line: &'static str) -> Request<'static> {
    let mut words = line.split(' ');
    let protocol = by_name(words.next().unwrap()).unwrap();
    let mut request = Request::new(protocol);
    for (name, text) in words.map(|word| word.split_once('=').unwrap()) {
        let kind = protocol.fields().iter().find(|f| f.name == name).unwrap().kind;
        let value = match kind {
            wire::Kind::Number => Value::Number(text.parse().unwrap()),
            wire::Kind::Name => Value::Name(text),
            wire::Kind::List => {
                Value::List(text.split('|').map(|t| Cow::Borrowed(t.as_bytes())).collect())
            }
            _ => Value::Text(Cow::Borrowed(text.as_bytes())),
        };
        request.set(name, value);
    }
    request
}

fn shows(line: &str, what: &'static str) -> bool {
    read(&arg(line)).unwrap_or_else(|e| panic!("{line}: {e}")).admit(&request(what))
}

#[test]
fn every_option_chooses_and_excludes() {
    let web = "http method=POST target=/api/v1/x,y?q=* host=www.Example.com:8080";
    let proxied = "http method=GET target=http://***@example.com/a?b=* host=example.com";
    let connect = "http method=CONNECT target=example.com:443 host=example.com:443";
    let v6 = "http method=GET target=/ host=[2001:db8::1]:80";
    let answer = "http status=404 reason=x";
    let hello = "tls sni=www.example.com alpn=h2|http/1.1 ja3=0123456789abcdef0123456789abcdef \
                 ja4=t13d1516h2_8daaf6152771_e5627efa2ab1 client=go";
    let query = "dns name=WWW.example.com type=AAAA type_number=28";
    let several =
        "dns name=a.local type=PTR type_number=12 names=a.local|b.local types=PTR|TYPE65400";
    let strange = "dns name=. type_number=65280";
    let ping = "icmp type=echo-request type_number=8";
    let cases = [
        (web, "http --method POST", "http --method GET"),
        (web, "http --method get,post", "http --method PUT,GET"),
        (web, "http --method P*", "http --method G*"),
        (web, "http --host www.example.com", "http --host example.com"),
        (web, "http --host WWW.EXAMPLE.COM.", "http --host www.example.co"),
        (web, "http --host *.example.com", "http --host *.example.org"),
        (web, "http --host {a,www}.example.com", "http --host {a,b}.example.com"),
        (web, "http tls --host x,www.example.com", "http tls --host x,y"),
        (web, "http --path /api/v1/x,y", "http --path /api/v1/x"),
        (web, "http --path /api/*", "http --path /API/*"),
        (web, "http --path */x,y", "http --path *q=*"),
        (proxied, "http --path /a", "http --path *example.com/a"),
        (proxied, "http --host example.com", "http --host ***@example.com"),
        (connect, "http --host example.com", "http --path *"),
        (v6, "http --host 2001:db8::1", "http --host 2001:db8::2"),
        (v6, "http --host [2001:DB8::1]", "http --host [2001:db8::2]"),
        (answer, "http --responses --status 404", "http --responses --status 200"),
        (answer, "http --responses --status 200,400-499", "http --responses --status 405-499"),
        (hello, "tls --host www.example.com", "tls --host example.com"),
        (hello, "tls --alpn h2", "tls --alpn h3,http/1.0"),
        (hello, "tls --alpn http/*", "tls --alpn H2"),
        (hello, "tls --ja3 0123456789ABCDEF0123456789abcdef", "tls --ja3 0*0"),
        (hello, "tls --ja4 t13d*_8daaf6152771_*", "tls --ja4 t12*"),
        (hello, "tls --client GO", "tls --client openssl"),
        (query, "dns --name www.example.com", "dns --name example.com"),
        (query, "dns --name *.EXAMPLE.com.", "dns --name *.example.net"),
        (query, "dns --type aaaa", "dns --type A"),
        (query, "dns --type 28", "dns --type 1"),
        (query, "dns --type TYPE28", "dns --type type1"),
        (query, "icmp dns --type echo-reply,AAAA", "icmp dns --type echo-reply,A"),
        (several, "dns --name b.local", "dns --name c.local"),
        (several, "dns --type TYPE65400", "dns --type TYPE65401"),
        (strange, "dns --type type65280", "dns --type 65281"),
        (strange, "dns --name .", "dns --name a"),
        (ping, "icmp --type echo-request", "icmp --type echo-reply"),
        (ping, "icmp --type 8", "icmp --type 0,128"),
        (ping, "icmp dns --type echo-request", "icmp dns --type A"),
    ];
    for (what, yes, no) in cases {
        assert!(shows(yes, what), "{yes}: {what}");
        assert!(!shows(no, what), "{no}: {what}");
        let negate = |line: &str| {
            let at = line.rfind(' ').unwrap() + 1;
            format!("{}!{}", &line[..at], &line[at..])
        };
        assert!(!shows(&negate(yes), what), "{}: {what}", negate(yes));
        assert!(shows(&negate(no), what), "{}: {what}", negate(no));
    }
}

#[test]
fn any_of_several_and_none_of_the_excluded() {
    let what = "http host=a.example target=/";
    assert!(shows("http --host b.example a.example", what));
    assert!(!shows("http --host *.example !a.*", what));
    assert!(!shows("http --host !x,a.example", what), "neither");
}

#[test]
fn a_request_without_the_field_is_neither_wanted_nor_unwanted() {
    for what in ["http method=GET target=/", "tls alpn=h2", "icmp type_number=8"] {
        assert!(!shows("http tls --host *", what), "{what}");
        assert!(shows("http tls --host !*", what), "{what}");
    }
}

#[test]
fn a_protocol_without_the_option_has_nothing_that_is_wanted() {
    let query = "dns name=example.com type=A";
    assert!(!shows("http dns --host example.com", query));
    assert!(shows("http dns --host !example.com", query));
    assert!(!shows("http dns --host example.com !x", query));
}

/// The whole filter asks all of them.
#[test]
fn they_are_part_of_the_filter() {
    let mut sample = crate::fixture::Sample::ping();
    sample.request = request("http host=a.example method=GET");
    for (options, want) in [
        (&["http --host a.example"][..], true),
        (&["http --host b.example"], false),
        (&["http --host a.example", "http --method POST"], false),
    ] {
        let fields = options.iter().map(|line| arg(line)).collect();
        let args = super::super::FilterArgs { fields, ..Default::default() };
        let filter = super::super::Filter::detached(&args).unwrap();
        assert_eq!(filter.matches(&sample.event()), want, "{options:?}");
    }
}

#[test]
fn errors_say_what_why_and_what_to_do() {
    let long = "a".repeat(super::super::pattern::MAX_PATTERN + 1);
    let long = format!("http --host {long}");
    for (line, want) in [
        ("icmp --host x", "--host: only http and tls requests have that; ask for those"),
        ("http --host x:80", "--host x:80: hosts are compared without their port; leave it out"),
        (
            "http tls --host https://x/",
            "--host https://x/: a host has no slash; give the name alone, e.g. example.com",
        ),
        ("http --host !", "--host '!': no value"),
        ("http --host a,,b", "--host a,,b: no value"),
        (
            "http --host {a",
            "--host '{a': not a valid pattern: unclosed alternate group; missing '}' (maybe escape \
             '{' with '[{]'?); a backslash makes the next character plain",
        ),
        (
            "http --path api",
            "--path api: a path begins with a slash; '*' before it matches whatever comes first",
        ),
        (
            "http --method ГЕТ",
            "--method ГЕТ: methods have letters, digits and hyphens only, e.g. GET",
        ),
        (
            "http --status 404",
            "--status 404: nothing that is shown has it without --responses; add that",
        ),
        (
            "http --responses --status 4xx",
            "--status 4xx: 4xx is neither a number up to 999 nor a range 1-999",
        ),
        (
            "http --responses --status 599-500",
            "--status 599-500: the range ends before it begins; write 500-599",
        ),
        (
            "dns --type AAAAA",
            "--type AAAAA: AAAAA is no type of dns (A, AFSDB, AAAA, APL, AXFR, ANY, NS, CNAME, \
             SOA, NULL, PTR, HINFO, …, or a number up to 65535)",
        ),
        (
            "tls --client gone",
            "--client gone: gone is no client of tls (gnutls, go, boringssl, java, nss, openssl, \
             rustls)",
        ),
        (
            "tls --ja3 771,4865",
            "--ja3 771,4865: a JA3 fingerprint is 32 hex digits; a part of it needs a *",
        ),
    ] {
        let error = read(&arg(line)).unwrap_err().to_string();
        assert_eq!(error, want);
    }
    assert!(read(&arg("dns --type 65536")).is_err() && read(&arg("icmp --type 256")).is_err());
    assert!(read(&arg("tls --ja4 t13d")).is_err() && read(&arg(&long)).is_err());
    let both = read(&arg("icmp dns --type bogus")).unwrap_err().to_string();
    assert!(both.contains("no type of icmp (") && both.contains("; bogus is no type of dns ("));
}

/// Whether a comma separates values must not depend on which protocol one asks.
#[test]
fn protocols_that_share_an_option_agree_about_commas() {
    let all = || PROTOCOLS.iter().flat_map(|p| p.filters());
    for one in all() {
        for other in all().filter(|other| other.name == one.name) {
            let path = |f: &FieldFilter| matches!(f.compare, Compare::Path);
            assert_eq!(path(one), path(other), "{}", one.name);
        }
    }
}
