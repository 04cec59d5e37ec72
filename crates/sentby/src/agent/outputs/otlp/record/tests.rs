use super::super::names;
use super::*;
use crate::fixture::Sample;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use wire::Request;

fn to_json(value: &Option<AnyValue>) -> Json {
    match value.as_ref().and_then(|v| v.value.as_ref()).expect("a value") {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(flag) => json!(flag),
        Any::IntValue(n) => json!(n),
        Any::ArrayValue(array) => {
            array.values.iter().map(|v| to_json(&Some(v.clone()))).collect::<Vec<_>>().into()
        }
        Any::KvlistValue(map) => {
            let pairs = map.values.iter().map(|p| (p.key.clone(), to_json(&p.value)));
            Json::Object(pairs.collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Attributes, each of which may be there once.
fn attributes(record: &LogRecord) -> BTreeMap<String, Json> {
    let mut all = BTreeMap::new();
    for pair in &record.attributes {
        let before = all.insert(pair.key.clone(), to_json(&pair.value));
        assert!(before.is_none(), "{} twice", pair.key);
    }
    all
}

fn of(sample: &Sample) -> BTreeMap<String, Json> {
    attributes(&record(&sample.event(), 1))
}

/// A request of a protocol that there is.
fn request(protocol: &str, fields: &[(&str, wire::Value<'static>)]) -> Sample {
    let protocol = wire::protocol::by_name(protocol).expect("a protocol");
    let mut sample = Sample::ping();
    sample.request = Request::new(protocol);
    for (name, value) in fields {
        sample.request.set(name, value.clone());
    }
    sample
}

fn text(text: &'static str) -> wire::Value<'static> {
    wire::Value::Text(Cow::Borrowed(text.as_bytes()))
}

#[test]
fn a_ping() {
    let sample = Sample::ping();
    let record = record(&sample.event(), 77);
    assert_eq!(record.time_unix_nano, sample.capture.time);
    assert_eq!((record.observed_time_unix_nano, record.severity_number), (77, 9));
    assert_eq!(record.event_name, "sentby.probe");
    assert_eq!(to_json(&record.body), "probe asks 7");
    let want = json!({
        "network.protocol.name": "probe", "network.type": "ipv4",
        "process.pid": 4711, "thread.id": 4711, "thread.name": "ping",
        "process.executable.path": "/usr/bin/ping", "process.executable.name": "ping",
        "process.command_args": ["ping", "-c", "1", "192.0.2.7"],
        "process.real_user.id": 0, "process.real_user.name": "root",
        "source.address": "198.51.100.2", "destination.address": "192.0.2.7",
        "network.interface.name": "eth0",
        "sentby.evidence": "task", "sentby.hook": "test", "sentby.netns": 4_026_531_840_u64,
        "sentby.len": 84, "sentby.probe.number": 7,
    });
    assert_eq!(json!(attributes(&record)), want);
}

#[test]
fn what_is_unknown_is_left_out() {
    let want = json!({
        "network.protocol.name": "probe", "network.type": "ipv4",
        "source.address": "198.51.100.2", "destination.address": "192.0.2.7",
        "sentby.evidence": "unknown", "sentby.hook": "test", "sentby.probe.number": 7,
    });
    assert_eq!(json!(of(&Sample::unknown())), want);
}

#[test]
fn every_field_of_the_envelope_arrives() {
    let mut sample = Sample::hostile();
    sample.host = Some("other".into());
    let all = of(&sample);
    for field in FIELDS.iter().filter(|f| (f.get)(&sample.event()).is_some()) {
        let there = match names::rule("", field.name) {
            None => all.contains_key(&names::own("", field.name)),
            Some(Rule::As(names)) => names.iter().all(|name| all.contains_key(*name)),
            Some(Rule::Executable { path, .. }) => all.contains_key(path),
            Some(_) => true,
        };
        assert!(there, "{}", field.name);
    }
    assert_eq!(all["host.name"], "other");
    assert_eq!(all["sentby.candidates"][1], json!({"pid": 34, "comm": "b"}));
    assert_eq!(all["sentby.ancestor_pids"], json!([812, 1]));
    assert_eq!(all["sentby.faults"], json!(["truncated", "bad-length"]));
    assert!(all["sentby.go"]["version"].is_string());
}

#[test]
fn other_bytes_are_readable_and_exact() {
    let mut sample = Sample::ping();
    sample.comm = Some(b"caf\xe9".to_vec());
    sample.process.as_mut().unwrap().argv = Some(b"a\0b\xff\0".to_vec());
    let all = of(&sample);
    assert_eq!(all["thread.name"], "caf\u{fffd}");
    assert_eq!(all["sentby.comm_hex"], "636166e9");
    assert_eq!(all["process.command_args"], json!(["a", "b\u{fffd}", ""]));
    assert_eq!(all["sentby.cmdline_hex"], json!(["61", "62ff", ""]));
    assert!(!all.contains_key("sentby.exe_hex") && !all.contains_key(CUT));
}

#[test]
fn what_is_too_long_is_cut_between_characters_and_named() {
    let mut sample = Sample::ping();
    let process = sample.process.as_mut().unwrap();
    process.argv = Some(["a".repeat(5000), "\u{e9}".repeat(5000), "b".into()].join("\0").into());
    process.exe = Some(format!("/{}", "\u{20ac}".repeat(4000)).into());
    let all = of(&sample);
    let args = all["process.command_args"].as_array().unwrap();
    assert_eq!((args.len(), args[0].as_str().unwrap().len()), (2, 5000));
    assert_eq!(args[1].as_str().unwrap(), "\u{e9}".repeat((MAX_VALUE - 5000) / 2));
    let exe = all["process.executable.path"].as_str().unwrap();
    assert!(exe.len() > MAX_VALUE - 3 && exe.len() <= MAX_VALUE && exe.ends_with('\u{20ac}'));
    assert!(!all.contains_key("process.executable.name"));
    assert_eq!(all[CUT], json!(["process.executable.path", "process.command_args"]));
    sample.process.as_mut().unwrap().argv = Some(vec![0; 4000]);
    assert_eq!(of(&sample)["process.command_args"].as_array().unwrap().len(), MAX_LIST);
    assert_eq!(shortened(b"\x80\x80\x80\x80\x80\x80", 5), [0x80; 5]);
    assert_eq!(shortened(b"abc", 0), b"");
}

#[test]
fn a_body_has_nothing_that_a_terminal_would_obey() {
    let record = record(&Sample::hostile().event(), 1);
    let body = to_json(&record.body);
    assert!(!body.as_str().unwrap().chars().any(crate::escape::is_hidden), "{body}");
}

#[test]
fn a_number_that_has_no_room_is_counted_and_not_changed() {
    let sample = request("http", &[("content_length", wire::Value::Number(u64::MAX))]);
    let record = record(&sample.event(), 1);
    assert_eq!(record.dropped_attributes_count, 1);
    assert!(!attributes(&record).contains_key("http.request.body.size"));
}

#[test]
fn a_request_and_a_response() {
    let method = ("method", text("GET"));
    let sample = request(
        "http",
        &[
            method.clone(),
            ("target", text("/a?b=*")),
            ("host", text("example.com:8080")),
            ("content_length", wire::Value::Number(5)),
        ],
    );
    let all = of(&sample);
    assert_eq!(all["http.request.method"], "GET");
    assert_eq!((&all["url.path"], &all["url.query"]), (&json!("/a"), &json!("b=*")));
    assert_eq!(
        (&all["server.address"], &all["server.port"]),
        (&json!("example.com"), &json!(8080))
    );
    assert_eq!(all["http.request.body.size"], 5);
    let status = ("status", wire::Value::Number(404));
    let all = of(&request("http", &[status, ("content_length", wire::Value::Number(9))]));
    assert_eq!(
        (&all["http.response.status_code"], &all["http.response.body.size"]),
        (&json!(404), &json!(9))
    );
    assert!(!all.contains_key("http.request.body.size") && !all.contains_key("url.path"));
}

#[test]
fn methods_and_targets_of_other_kinds() {
    let of = |method, target| {
        of(&request("http", &[("method", text(method)), ("target", text(target))]))
    };
    let all = of("FROB", "http://example.com/a?b=*");
    assert_eq!(all["http.request.method"], "_OTHER");
    assert_eq!(all["http.request.method_original"], "FROB");
    assert_eq!(all["url.full"], "http://example.com/a?b=*");
    let all = of("OPTIONS", "*");
    assert_eq!(all["sentby.http.target"], "*");
    assert!(!all.contains_key("http.request.method_original") && !all.contains_key("url.path"));
}

#[test]
fn hosts_with_and_without_ports() {
    let of = |text: &'static str| {
        let (host, port) = authority(text.as_bytes());
        (std::str::from_utf8(host).unwrap(), port)
    };
    assert_eq!(of("a.example"), ("a.example", None));
    assert_eq!(of("a.example:80"), ("a.example", Some(80)));
    assert_eq!(of("[2001:db8::1]:443"), ("2001:db8::1", Some(443)));
    assert_eq!(of("[2001:db8::1]"), ("2001:db8::1", None));
    for odd in ["2001:db8::1", "a:b", "a:", "a:+1", "a:99999", ":", "]:"] {
        assert_eq!(of(odd), (odd, None));
    }
}

#[test]
fn other_protocols_have_their_names() {
    let all = of(&request("tls", &[("sni", text("a.example")), ("ja4", text("t13"))]));
    assert_eq!(all["server.address"], "a.example");
    assert_eq!(all["tls.client.server_name"], "a.example");
    assert_eq!(
        (&all["sentby.tls.ja4"], &all["network.protocol.name"]),
        (&json!("t13"), &json!("tls"))
    );
    assert_eq!(of(&request("dns", &[("name", text("a."))]))["dns.question.name"], "a.");
    let all = of(&request("connect", &[("outcome", wire::Value::Name("refused"))]));
    assert_eq!(all["sentby.connect.outcome"], "refused");
    assert!(!all.contains_key("network.protocol.name"));
}

#[test]
fn the_transport_is_told_where_it_is_known() {
    let sample = Sample::ping();
    for (protocol, name) in [(6, Some("tcp")), (17, Some("udp")), (1, None)] {
        let mut event = sample.event();
        event.raw = crate::event::Raw::Payload { protocol, seq: 0, bytes: b"", whole: 0 };
        let all = attributes(&record(&event, 1));
        assert_eq!(all.get("network.transport"), name.map(|name| json!(name)).as_ref());
    }
}
