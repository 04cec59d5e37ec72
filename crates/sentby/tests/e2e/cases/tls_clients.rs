//! TLS by the libraries that speak it: each hello once, by its process, with the names
//! that were asked for; fingerprints as tshark computes them from the same packets.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::netns::Netns;
use crate::proc::{Cmd, Proc, poll};
use crate::stage::{Stage, go_client, source, text};
use crate::topology::{A4, A6, B4, B6, Pair};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::PathBuf;

pub const CASES: &[Case] = &[
    case("tls_openssl", openssl, &["openssl", "curl", "python3"]).heavy(),
    case("tls_gnutls", gnutls, &["openssl", "gnutls-cli", "wget", "git", "python3"]).heavy(),
    case("tls_runtimes", runtimes, &["openssl", "python3", "node", "go", "java", "javac"]).heavy(),
    case("tls_chromium", chromium, &["openssl", "python3", "chromium"]).heavy(),
    case("tls_rustls", rustls, &["openssl", "python3"]),
    case("tls_dtls", dtls, &["openssl"]),
    case("tls_starttls", starttls, &["openssl", "python3"]).heavy(),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

const NAME: &str = "host.example";

/// Shakes hands, says with whom, and answers one request.
const TLS_SERVER: &str = r#"
import socket, ssl, sys, threading
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain(sys.argv[1])
def said(s, name, _):
    address, port = s.getpeername()[:2]
    print(f"hello {address.removeprefix('::ffff:')} {port} {name or '-'}\n", end="", flush=True)
c.sni_callback = said
def serve(s):
    try:
        with c.wrap_socket(s, server_side=True) as t:
            t.recv(4096)
            t.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    except OSError: pass
l = socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print("ready", flush=True)
while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
"#;

/// A client, and what its hello must say.
struct Client {
    cmd: Cmd,
    src: &'static str,
    sni: Option<&'static str>,
    alpn: &'static [&'static str],
    library: &'static str,
    /// A helper of the program sends it, not the program itself.
    helper: Option<&'static str>,
}

impl Client {
    fn new(cmd: Cmd, library: &'static str, alpn: &'static [&'static str]) -> Client {
        Client { cmd, src: A4, sni: Some(NAME), alpn, library, helper: None }
    }

    /// Told an address, it names nobody.
    fn nameless(mut self) -> Client {
        self.sni = None;
        self
    }

    fn over_ipv6(mut self) -> Client {
        self.src = A6;
        self
    }
}

/// A key and a certificate for it, in one file.
fn certificate(ctx: &Ctx) -> Result<PathBuf> {
    let path = ctx.dir().join("server.pem");
    let subject = format!("/CN={NAME}");
    ctx.tool("openssl")?
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-days", "2", "-subj", &subject])
        .args(["-keyout".as_ref(), path.as_os_str(), "-out".as_ref(), path.as_os_str()])
        .run(ctx.secs(20))?;
    Ok(path)
}

fn shake(ctx: &Ctx, clients: Vec<Client>) -> Result<()> {
    let script = format!("import sys; sys.argv[1:] = [{:?}]\n{TLS_SERVER}", certificate(ctx)?);
    let stage = Stage::with(ctx, &script, "tls", &[])?;
    let capture = Capture::start(ctx, &stage.pair.a)?;
    let mut done = Vec::new();
    for client in clients {
        let Client { cmd, src, sni, alpn, library, helper } = client;
        let ended = cmd.in_ns(&stage.pair.a)?.spawn()?.wait(ctx.secs(60))?;
        done.push((ended, src, sni, alpn, library, helper));
    }
    let heard = std::fs::read_to_string(stage.server.out())?.matches("hello ").count();
    let told = capture.map(|capture| capture.hellos(ctx, heard)).transpose()?;
    let (events, said) = stage.events_and_said(ctx)?;
    let seen: Vec<String> = events
        .iter()
        .map(|e| format!("{} {} {}", e.src, e.sport.unwrap_or(0), text(e, "sni").unwrap_or("-")))
        .collect();
    let heard: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("hello ")).collect();
    ensure!(seen == heard, "the server heard {heard:?}, events say {seen:?}");
    // A program with helpers stands last, and may connect again.
    let more = done.last().is_some_and(|last| last.5.is_some());
    let enough = events.len() == done.len() || (more && events.len() > done.len());
    ensure!(enough, "{} events for {} clients", events.len(), done.len());
    let last = done.last().into_iter().cycle();
    for (event, client) in events.iter().zip(done.iter().chain(last)) {
        let (client, src, sni, alpn, library, helper) = client;
        let check = || -> Result<()> {
            match helper {
                None => {
                    let who = Who { tid: None, comm: None, ..Who::of(client) };
                    check::names(event, &who)?;
                }
                Some(name) => {
                    let exe = event.exe.as_deref().unwrap_or_default();
                    ensure!(exe.contains(name), "exe {exe:?}");
                    ensure!(event.pid.is_some_and(|pid| pid != client.pid), "not by a helper");
                }
            }
            let dst = if *src == A6 { B6 } else { B4 };
            ensure!(event.src.to_string() == *src && event.dst.to_string() == dst);
            ensure!(event.dport == Some(443), "to port {:?}", event.dport);
            ensure!(text(event, "sni") == *sni, "sni {:?}", text(event, "sni"));
            let offered = event.own.get("alpn").cloned().unwrap_or(json!([]));
            ensure!(offered == json!(alpn), "alpn {offered}, not {alpn:?}");
            ensure!(text(event, "client") == Some(library), "client {:?}", event.own);
            ensure!(event.faults.is_none(), "{:?}", event.faults);
            Ok(())
        };
        let name = client.argv.first().map(|a| String::from_utf8_lossy(a).into_owned());
        check().with_context(|| format!("{name:?}: {}", client.errors()))?;
    }
    for (fingerprint, told) in told.unwrap_or_default() {
        ensure!(told.len() == events.len(), "tshark says {told:?}");
        for (told, event) in told.iter().zip(&events) {
            // Of JA4 it leaves in the GREASE among Chromium's signature algorithms.
            if fingerprint == "ja4" && event.own["grease"] == true {
                continue;
            }
            let texts = ["sni", fingerprint].map(|name| text(event, name).unwrap_or_default());
            let mine = format!("{}\t{}", event.sport.unwrap_or(0), texts.join("\t"));
            ensure!(*told == mine, "tshark says {told:?}, the event {mine:?}");
        }
    }
    Ok(())
}

/// What tcpdump saw of the same packets, where it and tshark are installed.
struct Capture {
    tcpdump: Proc,
    file: PathBuf,
}

impl Capture {
    fn start(ctx: &Ctx, ns: &Netns) -> Result<Option<Capture>> {
        // Emulated, tshark takes a minute to start.
        if ctx.env.light {
            return Ok(None);
        }
        let (Ok(tcpdump), Ok(_)) = (ctx.tool("tcpdump"), ctx.tool("tshark")) else {
            ensure!(!ctx.env.strict, "tcpdump or tshark is not installed");
            return Ok(None);
        };
        let file = ctx.dir().join("hellos.pcap");
        let cmd = tcpdump
            .args(["-Z", "root", "-U", "--immediate-mode", "-s", "0", "-i", "a0", "-w"])
            .arg(&file);
        let mut tcpdump = cmd.arg("tcp").in_ns(ns)?.spawn()?;
        poll(ctx.secs(20), || {
            ensure!(tcpdump.try_wait()?.is_none(), "tcpdump: {}", tcpdump.stderr());
            Ok(tcpdump.stderr().contains("listening on").then_some(()))
        })?
        .context("tcpdump does not listen")?;
        Ok(Some(Capture { tcpdump, file }))
    }

    /// What tshark says of them, when it has seen `n`: by fingerprint, a line each.
    fn hellos(mut self, ctx: &Ctx, n: usize) -> Result<Vec<(&'static str, Vec<String>)>> {
        let limit = ctx.secs(20);
        // A packet may be in tcpdump's file a moment later.
        let ja3 = poll(limit, || {
            let told = hellos(ctx, &self.file, "tls.handshake.ja3")?;
            Ok((told.len() >= n).then_some(told))
        })?;
        self.tcpdump.signal(libc::SIGINT)?;
        self.tcpdump.wait_mut(limit)?;
        let mut told = vec![("ja3", ja3.context("tshark saw fewer hellos")?)];
        // Since Wireshark 4.2.
        told.extend(hellos(ctx, &self.file, "tls.handshake.ja4").ok().map(|ja4| ("ja4", ja4)));
        Ok(told)
    }
}

/// Port, name and fingerprint of each hello, in their order.
fn hellos(ctx: &Ctx, file: &std::path::Path, fingerprint: &str) -> Result<Vec<String>> {
    let tshark = ctx.tool("tshark")?.arg("-r").arg(file).args(["-n", "-T", "fields"]);
    let tshark = tshark.args(["-Y", "tls.handshake.type == 1", "-e", "tcp.srcport", "-e"]);
    let done = tshark
        .args(["tls.handshake.extensions_server_name", "-e", fingerprint])
        .run(ctx.secs(60))?;
    Ok(done.text().lines().map(str::to_owned).collect())
}

fn rustls(ctx: &Ctx) -> Result<()> {
    let client = |address: &str| {
        let own = std::env::current_exe()?;
        Ok::<_, anyhow::Error>(ctx.program(&own).args([crate::rustls_client::COMMAND, address]))
    };
    shake(
        ctx,
        vec![
            Client::new(client(B4)?.args([NAME, "h2", "http/1.1"]), "rustls", &["h2", "http/1.1"]),
            Client::new(client(B6)?.arg(NAME), "rustls", &[]).over_ipv6(),
            Client::new(client(B4)?.arg(B4), "rustls", &[]).nameless(),
        ],
    )
}

/// Over UDP, to a port where nobody listens: one hello each, and an error.
fn dtls(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracing("tls").start()?;
    let mut clients = Vec::new();
    for address in [format!("{B4}:443"), format!("[{B6}]:443")] {
        let cmd = ctx.tool("openssl")?.args(["s_client", "-dtls1_2", "-connect", &address]);
        let cmd = cmd.args(["-servername", NAME, "-alpn", "h3"]).in_ns(&pair.a)?;
        clients.push(cmd.spawn()?.wait(ctx.secs(60))?);
    }
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a]);
    ensure!(events.len() == clients.len(), "{} events", events.len());
    for (event, client) in events.into_iter().zip(&clients) {
        check::names(event, &Who { tid: None, comm: None, ..Who::of(client) })?;
        ensure!(event.dport == Some(443) && event.sport.is_some(), "ports {:?}", event.dport);
        ensure!(text(event, "sni") == Some(NAME), "{:?}", event.own);
        ensure!(event.own["dtls"] == true, "{:?}", event.own);
        ensure!(event.own["alpn"] == json!(["h3"]), "{:?}", event.own);
    }
    Ok(())
}

fn openssl(ctx: &Ctx) -> Result<()> {
    let connect = |address: &str| {
        let cmd = ctx.tool("openssl")?.args(["s_client", "-connect", address]);
        Ok::<_, anyhow::Error>(cmd.args(["-servername", NAME, "-alpn", "h2,x"]))
    };
    let url = format!("https://{NAME}/");
    let resolve = format!("{NAME}:443:{B4}");
    let python = format!(
        "import socket, ssl\nc = ssl._create_unverified_context()\n\
         c.wrap_socket(socket.create_connection(('{B6}', 443)), server_hostname='{NAME}')"
    );
    let curl = ctx.tool("curl")?.args(["-sk", "--resolve", &resolve, &url]);
    let nameless = ctx.tool("curl")?.args(["-sk", "--no-alpn", &format!("https://{B4}/")]);
    shake(
        ctx,
        vec![
            Client::new(connect(&format!("{B4}:443"))?, "openssl", &["h2", "x"]),
            Client::new(connect(&format!("[{B6}]:443"))?, "openssl", &["h2", "x"]).over_ipv6(),
            Client::new(curl, "openssl", &["h2", "http/1.1"]),
            Client::new(nameless, "openssl", &[]).nameless(),
            Client::new(ctx.tool("python3")?.args(["-c", &python]), "openssl", &[]).over_ipv6(),
        ],
    )
}

fn gnutls(ctx: &Ctx) -> Result<()> {
    let cli = ctx.tool("gnutls-cli")?.args(["--insecure", "--sni-hostname", NAME, "--alpn", "h2"]);
    let wget = ctx.tool("wget")?.args(["-q", "--tries=1", "--no-check-certificate", "-O"]);
    let resolve = format!("http.curloptResolve={NAME}:443:{B4}");
    let git = ctx.tool("git")?.args(["-c", &resolve, "-c", "http.sslVerify=false", "ls-remote"]);
    let git = Client::new(git.arg(format!("https://{NAME}/")), "gnutls", &["h2", "http/1.1"]);
    shake(
        ctx,
        vec![
            Client::new(cli.arg(B4), "gnutls", &["h2"]),
            Client::new(wget.args(["/dev/null", &format!("https://{B4}/")]), "gnutls", &[])
                .nameless(),
            Client { helper: Some("git-remote-http"), ..git },
        ],
    )
}

fn runtimes(ctx: &Ctx) -> Result<()> {
    let node = ctx.tool("node")?.arg(source("get.mjs")).args(["https", B4, "443", NAME, "h2,x"]);
    let go = ctx.program(&go_client(ctx)?).args(["https", &format!("[{B6}]:443"), NAME]);
    let java = ctx.tool("java")?.arg(source("Get.java")).args(["https", B4, "443", NAME]);
    shake(
        ctx,
        vec![
            Client::new(node, "openssl", &["h2", "x"]),
            Client::new(go, "go", &["h2", "http/1.1"]).over_ipv6(),
            Client::new(java, "java", &[]),
        ],
    )
}

fn chromium(ctx: &Ctx) -> Result<()> {
    let home = ctx.dir().join("home");
    let cmd = ctx.tool("chromium")?.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-quic",
        "--no-first-run",
        "--ignore-certificate-errors",
        "--dump-dom",
    ]);
    let cmd = cmd.arg(format!("--host-resolver-rules=MAP {NAME} {B4}"));
    let cmd = cmd.arg(format!("--user-data-dir={}", home.display()));
    let cmd = cmd.arg(format!("https://{NAME}/")).env("HOME", &home);
    let client = Client::new(cmd, "boringssl", &["h2", "http/1.1"]);
    shake(ctx, vec![Client { helper: Some("chromium"), ..client }])
}

/// A hello that comes after some words in the clear.
fn starttls(ctx: &Ctx) -> Result<()> {
    for (protocol, greeting, asked, answer) in [
        ("smtp", "220 h ESMTP\\r\\n", "STARTTLS", "220 go\\r\\n"),
        ("postgres", "", "\\x04\\xd2\\x16\\x2f", "S"),
    ] {
        let script = format!(
            r#"
import socket
s = socket.create_server(("", 80))
print("ready", flush=True)
c, _ = s.accept()
c.sendall(b"{greeting}")
while True:
    said = c.recv(4096)
    if not said: break
    if b"{asked}" in said: c.sendall(b"{answer}"); break
    c.sendall(b"250-h\r\n250 STARTTLS\r\n")
while c.recv(4096): pass
c.close()
while True: s.accept()
"#
        );
        let mut stage = Stage::with(ctx, &script, "tls", &[])?;
        let connect = format!("{B4}:80");
        let args = ["s_client", "-starttls", protocol, "-connect", &connect, "-servername", NAME];
        let cmd = ctx.tool("openssl")?.args(args).in_ns(&stage.pair.a)?;
        let mut client = cmd.spawn()?;
        let who = Who { tid: None, comm: None, ..Who::running(&client) };
        stage.tracer.await_events(1, ctx.secs(20), |e| e.proto == "tls")?;
        client.signal(libc::SIGTERM)?;
        client.wait(ctx.secs(20))?;
        let events = stage.events(ctx)?;
        ensure!(events.len() == 1, "{protocol}: {} events", events.len());
        crate::stage::all_by(&events, &who, A4)?;
        ensure!(text(&events[0], "sni") == Some(NAME), "{protocol}: {:?}", events[0].own);
        ensure!(text(&events[0], "client") == Some("openssl"), "{protocol}: {:?}", events[0].own);
    }
    Ok(())
}
