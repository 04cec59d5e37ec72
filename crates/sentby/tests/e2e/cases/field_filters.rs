//! Filters over the fields of requests, with real clients: what matches is shown, what
//! does not is counted as filtered.

use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::Proc;
use crate::topology::{B4, B6, Pair};
use anyhow::{Result, ensure};
use serde_json::Value;

pub const CASES: &[Case] = &[
    case("filter_http_fields", filter_http, &["curl", "python3"]),
    case("filter_http_path", filter_http_path, &["curl", "python3"]),
    case("filter_http_status", filter_http_status, &["curl", "python3"]),
    case("filter_tls_fields", filter_tls, &["openssl", "python3"]),
    case("filter_dns_fields", filter_dns, &["dig"]),
    case("filter_icmp_type", filter_icmp, &["ping"]),
    case("filter_shared_host", filter_shared_host, &["curl", "openssl", "dig", "python3"]),
    case("filter_field_errors", filter_errors, &[]),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Auto).tools(tools)
}

/// Answers every request on port 80: 404 below /missing, else 200. Bytes that are no
/// HTTP end the connection.
const SERVER: &str = r#"
import http.server, socket, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST = do_HEAD = do_CONNECT = answer
    def log_message(self, *a): pass
    def send_error(self, *a): pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
s = S(("::", 80), H)
print("ready", flush=True)
s.serve_forever()
"#;

/// Two namespaces, and a server in the second.
struct Net {
    pair: Pair,
    _server: Proc,
}

impl Net {
    fn new(ctx: &Ctx) -> Result<Net> {
        let pair = Pair::new(ctx)?;
        let mut server = ctx.tool("python3")?.args(["-c", SERVER]).in_ns(&pair.b)?.spawn()?;
        server.await_output("ready", ctx.secs(20))?;
        Ok(Net { pair, _server: server })
    }

    /// What sentby with `args` shows of these clients, whose ends do not matter.
    fn shown(&self, ctx: &Ctx, args: &[&str], clients: &[&[&str]]) -> Result<Vec<Event>> {
        shown(ctx, &[&self.pair.a, &self.pair.b], args, clients)
    }
}

/// Runs clients in the first namespace while sentby watches; nothing may be lost, and
/// what is not shown of theirs was filtered.
fn shown(ctx: &Ctx, ns: &[&Netns], args: &[&str], clients: &[&[&str]]) -> Result<Vec<Event>> {
    let tracer = ctx.tracing(args[0]).args(&args[1..]).start()?;
    for client in clients {
        let cmd = ctx.tool(client[0])?.args(&client[1..]).in_ns(ns[0])?;
        cmd.spawn()?.wait(ctx.secs(30))?;
    }
    let trace = tracer.stop()?;
    ensure!(trace.ledger.lost == 0, "{args:?}: {} lost", trace.ledger.lost);
    let events: Vec<Event> = trace.within(ns).into_iter().cloned().collect();
    let hidden = (clients.len()).saturating_sub(events.len()) as u64;
    let filtered = trace.ledger.filtered;
    ensure!(filtered >= hidden, "{args:?}: {filtered} filtered, not {hidden}");
    Ok(events)
}

/// One field of every event, in order.
fn told(events: &[Event], field: &str) -> Vec<String> {
    let text = |e: &Event| match e.own.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "-".into(),
    };
    events.iter().map(text).collect()
}

fn expect(what: &[&str], events: &[Event], field: &str, wanted: &[&str]) -> Result<()> {
    let told = told(events, field);
    ensure!(told == wanted, "{what:?} showed {field} {told:?}, not {wanted:?}");
    Ok(())
}

fn filter_http(ctx: &Ctx) -> Result<()> {
    let net = Net::new(ctx)?;
    let (one, two) = (format!("http://{B4}/one"), format!("http://{B4}/two"));
    let (v6, proxy) = (format!("http://[{B6}]/v6"), format!("http://{B4}:80"));
    let clients: [&[&str]; 5] = [
        &["curl", "-s", "-H", "Host: a.example", &one],
        &["curl", "-s", "-H", "Host: B.Example:8080", "-d", "x", &two],
        &["curl", "-s", &v6],
        &["curl", "-s", "-x", &proxy, "http://proxied.example/p"],
        &["curl", "-sk", "-x", &proxy, "https://tunnel.example/"],
    ];
    let all = ["/one", "/two", "/v6", "http://proxied.example/p", "tunnel.example:443"];
    let but = |left_out: &str| all.into_iter().filter(|t| *t != left_out).collect::<Vec<_>>();
    let cases: [(&[&str], Vec<&str>); 9] = [
        (&["http", "--host", "a.example"], vec!["/one"]),
        (&["http", "--host", "b.example,a.example"], vec!["/one", "/two"]),
        (&["http", "--host", "*.example"], but("/v6")),
        (&["http", "--host", "!b.example"], but("/two")),
        (&["http", "--host", "[2001:DB8:a::2]"], vec!["/v6"]),
        (&["http", "--host", "proxied.example,tunnel.example"], all[3..].to_vec()),
        (&["http", "--method", "post"], vec!["/two"]),
        (&["http", "--method", "!GET"], vec!["/two", "tunnel.example:443"]),
        (&["http", "--method", "GET", "--host", "?.example"], vec!["/one"]),
    ];
    for (args, wanted) in cases {
        expect(args, &net.shown(ctx, args, &clients)?, "target", &wanted)?;
    }
    Ok(())
}

/// The path is the same whatever is shown of the query, and is all that can be asked for.
fn filter_http_path(ctx: &Ctx) -> Result<()> {
    let net = Net::new(ctx)?;
    let (url, proxy) = (format!("http://{B4}/api/v1?token=s3cret"), format!("http://{B4}:80"));
    let other = format!("http://{B4}/other");
    let clients: [&[&str]; 3] = [
        &["curl", "-s", &url],
        &["curl", "-s", "-x", &proxy, "http://u:s3cret@proxied.example/api/v2?token=s3cret"],
        &["curl", "-s", &other],
    ];
    let (plain, full) = ("/api/v1?token=*", "/api/v1?token=s3cret");
    let absolute = "http://proxied.example/api/v2?token=";
    let (starred, whole) = (format!("{absolute}*"), format!("{absolute}s3cret"));
    let cases: [(&[&str], &[&str]); 7] = [
        (&["http", "--path", "/api/v1"], &[plain]),
        (&["http", "--full-url", "--path", "/api/v1"], &[full]),
        (&["http", "--path", "/api/*"], &[plain, &starred]),
        (&["http", "--full-url", "--path", "/api/*"], &[full, &whole]),
        (&["http", "--path", "!/api/*"], &["/other"]),
        (&["http", "--path", "/API/*"], &[]),
        (&["http", "--full-url", "--path", "*s3cret*"], &[]),
    ];
    for (args, wanted) in cases {
        expect(args, &net.shown(ctx, args, &clients)?, "target", wanted)?;
    }
    Ok(())
}

fn filter_http_status(ctx: &Ctx) -> Result<()> {
    let net = Net::new(ctx)?;
    let (found, missing) = (format!("http://{B4}/found"), format!("http://{B4}/missing"));
    let clients: [&[&str]; 2] = [&["curl", "-s", &found], &["curl", "-s", &missing]];
    let cases: [(&[&str], &[&str]); 3] = [
        (&["http", "--responses", "--status", "404"], &["404"]),
        (&["http", "--responses", "--status", "100-399,500-599"], &["200"]),
        // A request has no status: it is not an unwanted one.
        (&["http", "--responses", "--status", "!400-499"], &["-", "200", "-"]),
    ];
    for (args, wanted) in cases {
        expect(args, &net.shown(ctx, args, &clients)?, "status", wanted)?;
    }
    Ok(())
}

fn filter_tls(ctx: &Ctx) -> Result<()> {
    let net = Net::new(ctx)?;
    let to = format!("{B4}:80");
    let openssl = ["openssl", "s_client", "-connect", &to];
    let hello = |more: &[&'static str]| [&openssl[..], more].concat();
    let (a, b, none) = (
        hello(&["-servername", "a.example", "-alpn", "h2,http/1.1"]),
        hello(&["-servername", "b.example", "-alpn", "http/1.1"]),
        hello(&["-noservername", "-tls1_2"]),
    );
    let clients = [&a[..], &b[..], &none[..]];
    let all = net.shown(ctx, &["tls"], &clients)?;
    expect(&["tls"], &all, "sni", &["a.example", "b.example", "-"])?;
    let (ja3, ja4) = (told(&all, "ja3"), told(&all, "ja4"));
    let begin = format!("{}*", &ja4[2][..4]);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["tls", "--host", "A.example"], &["a.example"]),
        (&["tls", "--host", "*.example", "--host", "!a.*"], &["b.example"]),
        (&["tls", "--host", "!*"], &["-"]),
        (&["tls", "--alpn", "h2"], &["a.example"]),
        (&["tls", "--alpn", "http/1.1"], &["a.example", "b.example"]),
        (&["tls", "--ja3", &ja3[1]], &["b.example"]),
        (&["tls", "--ja4", &begin], &["-"]),
        (&["tls", "--client", "OpenSSL"], &["a.example", "b.example", "-"]),
        (&["tls", "--client", "go,rustls"], &[]),
    ];
    for (args, wanted) in cases {
        // A client's fingerprint changes with its names: whether it has some.
        let wanted = if args[1] == "--ja3" && ja3[0] == ja3[1] {
            vec!["a.example", "b.example"]
        } else {
            wanted.to_vec()
        };
        expect(args, &net.shown(ctx, args, &clients)?, "sni", &wanted)?;
    }
    Ok(())
}

fn filter_dns(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let server = format!("@{B4}");
    let dig = ["dig", &server, "+tries=1", "+time=1", "+retry=0"];
    let query = |more: &[&'static str]| [&dig[..], more].concat();
    let queries = [
        query(&["a.Example", "A"]),
        query(&["b.example", "AAAA"]),
        query(&["c.test", "TYPE65400"]),
    ];
    let clients = queries.each_ref().map(Vec::as_slice);
    let cases: [(&[&str], &[&str]); 8] = [
        (&["dns", "--name", "a.example"], &["a.Example"]),
        (&["dns", "--name", "*.EXAMPLE."], &["a.Example", "b.example"]),
        (&["dns", "--name", "!*.example"], &["c.test"]),
        (&["dns", "--type", "aaaa"], &["b.example"]),
        (&["dns", "--type", "A,28"], &["a.Example", "b.example"]),
        (&["dns", "--type", "TYPE65400"], &["c.test"]),
        (&["dns", "--type", "!A"], &["b.example", "c.test"]),
        (&["dns", "--type", "A", "--name", "b.example"], &[]),
    ];
    for (args, wanted) in cases {
        expect(args, &shown(ctx, &[&pair.a], args, &clients)?, "name", wanted)?;
    }
    Ok(())
}

fn filter_icmp(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let clients: [&[&str]; 2] = [&["ping", "-nc1", B4], &["ping", "-6", "-nc1", B6]];
    let cases: [(&[&str], &[&str]); 4] = [
        (&["icmp", "--type", "echo-request"], &["8", "128"]),
        (&["icmp", "--type", "128"], &["128"]),
        (&["icmp", "--kernel", "--type", "echo-reply"], &["0", "129"]),
        (&["icmp", "--kernel", "--type", "!echo-request,129"], &["0"]),
    ];
    for (args, wanted) in cases {
        let spaces = [&pair.a, &pair.b];
        let mut events = shown(ctx, &spaces, args, &clients)?;
        // The kernel may look for neighbours and listeners as well.
        events.retain(|e| e.icmp.id.is_some());
        expect(args, &events, "type_number", wanted)?;
    }
    Ok(())
}

/// One option, several protocols; one that does not have it has nothing that is wanted.
fn filter_shared_host(ctx: &Ctx) -> Result<()> {
    let net = Net::new(ctx)?;
    let (url, to, server) = (format!("http://{B4}/"), format!("{B4}:80"), format!("@{B4}"));
    let clients: [&[&str]; 4] = [
        &["curl", "-s", "-H", "Host: x.example", &url],
        &["openssl", "s_client", "-connect", &to, "-servername", "x.example"],
        &["openssl", "s_client", "-connect", &to, "-servername", "y.example"],
        &["dig", &server, "+tries=1", "+time=1", "x.example"],
    ];
    let cases: [(&[&str], &[&str]); 3] = [
        (&["http", "tls", "dns", "--host", "x.example"], &["http", "tls"]),
        (&["http", "tls", "dns", "--host", "!x.example"], &["tls", "dns"]),
        (&["all", "--name", "x.example"], &["dns"]),
    ];
    for (args, wanted) in cases {
        let events = net.shown(ctx, args, &clients)?;
        let protocols: Vec<&str> = events.iter().map(|e| e.proto.as_str()).collect();
        ensure!(protocols == wanted, "{args:?} showed {protocols:?}, not {wanted:?}");
    }
    Ok(())
}

/// What can match nothing is said before anything is traced.
fn filter_errors(ctx: &Ctx) -> Result<()> {
    for (args, words) in [
        (&["http", "--host", "x:80"][..], "--host x:80: hosts are compared without their port"),
        (&["http", "--path", "api"], "--path api: a path begins with a slash"),
        (&["http", "--status", "200"], "without --responses"),
        (&["http", "--responses", "--status", "x"], "--status x: x is neither a number"),
        (&["dns", "--type", "AAAAA"], "--type AAAAA: AAAAA is no type of dns (A, "),
        (&["icmp", "--host", "x"], "--host: only http and tls requests have that"),
        (&["tls", "--ja4", "t13"], "--ja4 t13: a JA4 fingerprint has"),
        (&["dns", "--name", "a["], "--name 'a[': not a valid pattern"),
    ] {
        let done = ctx.program(&ctx.env.bin).args(args).spawn()?.wait(ctx.secs(20))?;
        let errors = done.errors();
        ensure!(done.status.code() == Some(2), "{args:?}: {}: {errors}", done.status);
        ensure!(errors.contains(words), "{args:?}: {words:?} is not in {errors:?}");
        ensure!(errors.lines().count() == 1 && done.stdout.is_empty(), "{args:?}: {errors}");
    }
    Ok(())
}
