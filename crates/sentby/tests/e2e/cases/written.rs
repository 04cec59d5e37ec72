//! Capture files that `-w` writes: read again by sentby, and by tshark.

use crate::ctx::{Case, Ctx, Hooks};
use crate::proc::poll;
use crate::stage::{SERVER, Stage, client, python, run};
use crate::topology::{B4, B6};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

pub const CASES: &[Case] = &[
    case("written_and_read_again", written_and_read_again, &TOOLS),
    case("written_and_killed", written_and_killed, &["ping", "python3"]),
    case("written_to_a_pipe", written_to_a_pipe, &["ping", "tcpdump", "python3"]),
    case("replayed_from_tcpdump", replayed_from_tcpdump, &TOOLS),
];

const TOOLS: [&str; 6] = ["curl", "dig", "ping", "python3", "tcpdump", "tshark"];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Auto).tools(tools).heavy()
}

/// The web server, and one that takes what comes on port 443.
fn server() -> String {
    format!(
        "import socket, threading\n\
         t = socket.create_server(('::', 443), family=socket.AF_INET6, dualstack_ipv6=True)\n\
         def swallow():\n\
         \x20   while True: c = t.accept()[0]; c.recv(65536); c.close()\n\
         threading.Thread(target=swallow, daemon=True).start()\n{SERVER}"
    )
}

/// Something of everything, also split, pipelined and with a body.
fn traffic(ctx: &Ctx, stage: &Stage) -> Result<()> {
    let (url, dns) = (format!("http://{B4}/a?b=c"), format!("@{B4}"));
    let hello = format!("www.example:443:{B4}");
    run(ctx, stage, "ping", &["-n", "-c", "3", "-i", "0.05", B4])?;
    run(ctx, stage, "ping", &["-n", "-c", "2", "-i", "0.05", "-s", "3000", B6])?;
    run(ctx, stage, "curl", &["-s", &url, &format!("http://[{B6}]/six")])?;
    run(ctx, stage, "curl", &["-s", "-d", "x=1", &format!("http://{B4}/body")])?;
    run(ctx, stage, "dig", &[&dns, "+tries=1", "+time=1", "d.example", "AAAA"])?;
    run(ctx, stage, "curl", &["-sk", "--resolve", &hello, "https://www.example/"])?;
    python(
        ctx,
        stage,
        r#"
s = socket.create_connection(B); s.setsockopt(6, 1, 1)
H = b" HTTP/1.1\r\nHost: h\r\n"
for part in b"GE", b"T /split" + H[:5], H[5:], b"X: y\r\n\r\n": s.sendall(part); time.sleep(0.05)
s.recv(1000)
s.sendall(b"GET /one" + H + b"\r\nGET /two" + H + b"\r\n"); s.recv(1000); time.sleep(0.2); s.close()
s = socket.create_connection(B); s.sendall(b"POST /later" + H + b"Content-Length: 5\r\n\r\n")
time.sleep(0.1); s.sendall(b"12345"); s.recv(1000); s.close()
"#,
    )?;
    Ok(())
}

/// `sentby replay FILE --json`.
fn replay(ctx: &Ctx, file: &Path, args: &[&str]) -> Result<Vec<String>> {
    let cmd = ctx.program(&ctx.env.bin).arg("replay").arg(file).args(args).arg("--json");
    let done = cmd.spawn()?.wait(ctx.secs(20))?;
    ensure!(done.status.success(), "replay {}: {}", done.status, done.errors());
    Ok(done.text().lines().map(str::to_owned).collect())
}

/// Columns that tshark shows, without empty rows; it has to be content with the file.
fn tshark(ctx: &Ctx, file: &Path, fields: &[&str]) -> Result<Vec<String>> {
    let each = fields.iter().flat_map(|field| ["-e", *field]);
    // By itself it looks at none of them.
    let checks = ["ip", "tcp", "udp"].map(|of| format!("-o{of}.check_checksum:TRUE"));
    let cmd = ctx.tool("tshark")?.args(checks);
    let cmd = cmd.args(["-n", "-T", "fields", "-E", "separator=|", "-r"]);
    let done = cmd.arg(file).args(each).spawn()?.wait(ctx.secs(60))?;
    let errors = done.errors();
    let said: Vec<&str> = errors.lines().filter(|l| !l.contains("Running as user")).collect();
    ensure!(done.status.success() && said.is_empty(), "tshark {}: {said:?}", done.status);
    let rows = done.text();
    let rows = rows.lines().filter(|row| row.chars().any(|c| c != '|'));
    Ok(rows.map(str::to_owned).collect())
}

/// The same out of our events.
fn column(events: &[String], protocol: &str, keys: &[&str]) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for line in events {
        let event: Value = serde_json::from_str(line)?;
        let own = &event[protocol];
        let value = |key: &&str| match &own[*key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let row: Vec<String> = keys.iter().map(value).collect();
        if row.iter().any(|cell| !cell.is_empty()) {
            rows.push(row.join("|"));
        }
    }
    Ok(rows)
}

/// What tshark makes of the file is what we do.
fn same_columns(ctx: &Ctx, file: &Path, events: &[String]) -> Result<()> {
    for (protocol, keys, fields) in [
        ("http", &["method", "target"][..], &["http.request.method", "http.request.uri"][..]),
        ("tls", &["sni"], &["tls.handshake.extensions_server_name"]),
        ("dns", &["name", "type_number"], &["dns.qry.name", "dns.qry.type"]),
    ] {
        let (ours, theirs) = (column(events, protocol, keys)?, tshark(ctx, file, fields)?);
        ensure!(!ours.is_empty() && ours == theirs, "{protocol}: {ours:?}, tshark {theirs:?}");
    }
    let ours = column(events, "icmp", &["seq"])?;
    let theirs = tshark(ctx, file, &["icmp.seq", "icmpv6.echo.sequence_number"])?;
    let theirs: Vec<&str> = theirs.iter().map(|row| row.trim_matches('|')).collect();
    ensure!(!ours.is_empty() && ours == theirs, "icmp: {ours:?}, tshark {theirs:?}");
    Ok(())
}

fn written_and_read_again(ctx: &Ctx) -> Result<()> {
    let file = ctx.dir().join("written.pcapng");
    let path = file.to_str().context("a path")?;
    let stage = Stage::with(ctx, &server(), "all", &["--full-url", "--print", "-w", path])?;
    traffic(ctx, &stage)?;
    let trace = stage.tracer.stop()?;
    stage.server.interrupt(ctx.secs(10))?;
    let shown: Vec<String> = trace.text().lines().map(str::to_owned).collect();
    ensure!(shown.len() >= 15, "only {} events", shown.len());
    let again = replay(ctx, &file, &["--full-url"])?;
    for (ours, theirs) in shown.iter().zip(&again) {
        ensure!(ours == theirs, "shown    {ours}\nreplayed {theirs}");
    }
    ensure!(shown.len() == again.len(), "{} shown, {} replayed", shown.len(), again.len());
    same_columns(ctx, &file, &shown)?;
    // Every checksum that tshark looks at is right, and nothing is malformed.
    let wrong = tshark(
        ctx,
        &file,
        &["ip.checksum_bad.expert", "tcp.checksum_bad.expert", "udp.checksum.bad", "_ws.malformed"],
    )?;
    ensure!(wrong.is_empty(), "tshark finds {wrong:?}");
    let named = tshark(ctx, &file, &["frame.interface_name"])?;
    ensure!(named.iter().all(|name| name == "a0" || name == "b0"), "interfaces {named:?}");
    Ok(())
}

/// What was written before a kill -9 can be read.
fn written_and_killed(ctx: &Ctx) -> Result<()> {
    let file = ctx.dir().join("killed.pcapng");
    let path = file.to_str().context("a path")?;
    let mut stage = Stage::new(ctx, "icmp", &["--print", "-w", path])?;
    run(ctx, &stage, "ping", &["-n", "-c", "5", "-i", "0.05", B4])?;
    stage.tracer.await_events(5, ctx.secs(20), |_| true)?;
    // It is written when no more events wait, which is just after it is printed.
    let all = poll(ctx.secs(20), || Ok((replay(ctx, &file, &[])?.len() >= 5).then_some(())))?;
    all.context("not all of it was written while it ran")?;
    stage.tracer.kill()?;
    stage.server.interrupt(ctx.secs(10))?;
    ensure!(replay(ctx, &file, &[])?.len() == 5, "not five after the kill");
    Ok(())
}

/// `sentby -w - | sentby replay -`, and by hand what tcpdump writes.
fn written_to_a_pipe(ctx: &Ctx) -> Result<()> {
    let bin = ctx.env.bin.display();
    let script =
        format!("{bin} icmp -w - -- ping -n -c 4 -i 0.05 127.0.0.1 | {bin} replay - --json");
    let done = ctx.shell(&script).spawn()?.wait(ctx.secs(30))?;
    ensure!(done.status.success(), "{}: {}", done.status, done.errors());
    let text = done.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
    ensure!(lines.len() == 4, "{} events: {text}", lines.len());
    ensure!(lines.iter().all(|line| line.contains(r#""comm":"ping""#)), "{text}");
    Ok(())
}

/// The same traffic as tcpdump caught it: the same requests, of unknown senders.
fn replayed_from_tcpdump(ctx: &Ctx) -> Result<()> {
    let file = ctx.dir().join("tcpdump.pcap");
    let path = file.to_str().context("a path")?;
    let stage = Stage::with(ctx, &server(), "all", &[])?;
    let cmd = ctx.tool("tcpdump")?.args(["-U", "-i", "a0", "-Q", "out", "-w", path]);
    let tcpdump = cmd.in_ns(&stage.pair.a)?.spawn()?;
    let ready = poll(ctx.secs(20), || Ok(tcpdump.stderr().contains("listening").then_some(())))?;
    ready.context("tcpdump does not listen")?;
    traffic(ctx, &stage)?;
    client(ctx, &stage.pair.a, "ping", &["-n", "-c", "1", "-p", "77", B4])?;
    let last = poll(ctx.secs(20), || Ok(replay(ctx, &file, &[])?.last().cloned()))?;
    last.context("nothing was caught")?;
    tcpdump.interrupt(ctx.secs(10))?;
    let trace = stage.tracer.stop()?;
    stage.server.interrupt(ctx.secs(10))?;
    let live: Vec<String> = trace.text().lines().map(str::to_owned).collect();
    let replayed = replay(ctx, &file, &[])?;
    for (protocol, keys) in [
        ("http", &["method", "target"][..]),
        ("tls", &["sni", "ja4"]),
        ("dns", &["name", "type"]),
        ("icmp", &["id", "seq"]),
    ] {
        let own = |events| column(events, protocol, keys);
        let (live, replayed) = (own(&live)?, own(&replayed)?);
        ensure!(live == replayed, "{protocol}: live {live:?}, replayed {replayed:?}");
    }
    ensure!(replayed.iter().all(|line| line.contains(r#""evidence":"unknown""#)), "a name");
    Ok(())
}
