//! What an executable says about the Go that built it, beside what its hello looks like:
//! real programs, built in every way that moves the blob.

use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::Proc;
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    Case::new("go_programs", go_programs).hooks(Hooks::Auto).tools(&["go", "python3"]).heavy(),
    Case::new("no_go_programs", no_go_programs).hooks(Hooks::Auto).tools(&["openssl", "python3"]),
    Case::new("executable_not_served", not_served)
        .hooks(Hooks::Auto)
        .tools(&["go", "python3"])
        .heavy(),
];

/// Takes whatever comes and answers nothing: clients wait, and can be looked at.
const SINK: &str = r#"
import socket, threading
s = socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print("ready", flush=True)
def swallow(c):
    while c.recv(65536): pass
while True: threading.Thread(target=swallow, args=(s.accept()[0],), daemon=True).start()
"#;

const TOOL: &str = r#"
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 2 {
		fmt.Println("up")
		bufio.NewReader(os.Stdin).ReadString('\n')
	}
	if c, err := net.Dial("tcp", os.Args[1]); err == nil {
		c.Write([]byte("GET /plain HTTP/1.1\r\nHost: plain.example\r\n\r\n"))
	}
	config := &tls.Config{ServerName: "go.example"}
	tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", os.Args[1], config)
}
"#;

const MODULE: &str = "example.com/e2e/tool";

fn serve(ctx: &Ctx, ns: &Netns) -> Result<Proc> {
    let mut sink = ctx.tool("python3")?.args(["-c", SINK]).in_ns(ns)?.spawn()?;
    sink.await_output("ready", ctx.secs(20))?;
    Ok(sink)
}

/// Where programs are built, for all trials of this run: Go compiles its library once.
fn workshop(ctx: &Ctx) -> Result<PathBuf> {
    let dir = ctx.dir().parent().context("a folder of all trials")?.join("go");
    if !dir.exists() {
        std::fs::create_dir_all(dir.join("cmd/hello"))?;
        std::fs::write(dir.join("go.mod"), format!("module {MODULE}\n\ngo 1.17\n"))?;
        std::fs::write(dir.join("cmd/hello/main.go"), TOOL)?;
    }
    Ok(dir)
}

/// Runs Go with caches of its own: nothing of the user's is touched or fetched.
fn go(ctx: &Ctx, args: &[&str]) -> Result<String> {
    let dir = workshop(ctx)?;
    let script = "cd \"$0\" && exec env GOCACHE=\"$0/cache\" GOPATH=\"$0/path\" GOPROXY=off \
                  GOFLAGS=-mod=mod GOTOOLCHAIN=local CGO_ENABLED=0 go \"$@\"";
    let sh = ctx.tool("sh")?.args(["-c", script]).arg(&dir).args(args);
    let done = sh.spawn()?.wait(ctx.secs(300))?;
    ensure!(done.status.success(), "go {args:?}: {}", done.errors());
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// The program, built with these options.
fn build(ctx: &Ctx, name: &str, options: &[&str]) -> Result<PathBuf> {
    let to = ctx.dir().join(name);
    let out = to.display().to_string();
    go(ctx, &[&["build", "-o", out.as_str()], options, &["./cmd/hello"]].concat())?;
    Ok(to)
}

/// A copy without a table of sections, as packers leave it.
fn without_sections(built: &Path) -> Result<PathBuf> {
    let mut file = std::fs::read(built)?;
    // e_shoff; e_shentsize, e_shnum and e_shstrndx (gABI, 64-bit header).
    file[0x28..0x30].fill(0);
    file[0x3a..0x40].fill(0);
    let to = built.with_extension("sectionless");
    std::fs::copy(built, &to)?;
    std::fs::write(&to, file)?;
    Ok(to)
}

/// Runs clients, and hands over the events of each.
fn observe(ctx: &Ctx, clients: &[(&Path, &[&str])]) -> Result<Vec<Vec<Event>>> {
    let pair = Pair::new(ctx)?;
    let _sink = serve(ctx, &pair.b)?;
    let tracer = ctx.tracing("http").args(["tls"]).start()?;
    let mut pids = Vec::new();
    for (program, args) in clients {
        let mut client = ctx.program(program).args(*args).in_ns(&pair.a)?.with_stdin().spawn()?;
        pids.push(client.pid());
        if client.wait_mut(ctx.secs(3)).is_err() {
            client.interrupt(ctx.secs(10))?;
        }
    }
    let trace = tracer.stop()?;
    Ok(pids.into_iter().map(|pid| trace.by(pid).into_iter().cloned().collect()).collect())
}

fn one<'e>(events: &'e [Event], protocol: &str) -> Result<&'e Event> {
    let mut of = events.iter().filter(|e| e.proto == protocol);
    let event = of.next().with_context(|| format!("no {protocol} event"))?;
    ensure!(of.next().is_none(), "several {protocol} events");
    Ok(event)
}

fn go_programs(ctx: &Ctx) -> Result<()> {
    let version = go(ctx, &["env", "GOVERSION"])?;
    let plain = build(ctx, "plain", &["-buildvcs=false"])?;
    let bare = without_sections(&plain)?;
    let programs = [
        bare,
        build(ctx, "stripped", &["-buildvcs=false", "-ldflags=-s -w"])?,
        build(ctx, "pie", &["-buildvcs=false", "-buildmode=pie"])?,
        plain,
    ];
    let to = format!("{B4}:443");
    let args = [to.as_str()];
    let clients: Vec<(&Path, &[&str])> =
        programs.iter().map(|p| (p.as_path(), &args[..])).collect();
    for ((program, _), events) in clients.iter().zip(observe(ctx, &clients)?) {
        let hello = one(&events, "tls")?;
        let wanted = json!({
            "version": version, "path": format!("{MODULE}/cmd/hello"), "module": MODULE,
            "module_version": "(devel)",
        });
        ensure!(hello.go == Some(wanted), "{}: {:?}", program.display(), hello.go);
        ensure!(hello.own["client"] == "go", "{}: {}", program.display(), hello.own);
        let plain = one(&events, "http")?;
        ensure!(plain.go.is_none(), "beside a request that did not ask: {:?}", plain.go);
    }
    Ok(())
}

/// Other programs say nothing, also where they have Go's mark somewhere.
fn no_go_programs(ctx: &Ctx) -> Result<()> {
    let to = format!("{B4}:443");
    let openssl = ["s_client", "-connect", &to, "-servername", "x.example"];
    let script = format!(
        "import socket, ssl\nmark = b'\\xff Go buildinf:\\x08\\x02' + bytes(16) + b'\\x05go1.9\\x00'\n\
         c = ssl._create_unverified_context()\ns = socket.create_connection(('{B4}', 443), 1)\n\
         c.wrap_socket(s, server_hostname='x.example')"
    );
    let path = |tool| crate::ctx::find_tool(tool).with_context(|| format!("no {tool}"));
    let (openssl_path, python_path) = (path("openssl")?, path("python3")?);
    let python = ["-c", script.as_str()];
    let clients = [(openssl_path.as_path(), &openssl[..]), (python_path.as_path(), &python[..])];
    for ((program, _), events) in clients.iter().zip(observe(ctx, &clients)?) {
        let hello = one(&events, "tls")?;
        ensure!(hello.go.is_none(), "{}: {:?}", program.display(), hello.go);
        ensure!(hello.own["client"] != "go", "{}: {}", program.display(), hello.own);
    }
    Ok(())
}

/// A file system (FUSE) of one executable, `x`, in a mount namespace of its own. It runs
/// that once, so that its pages are in memory, and again; then it stops answering, and
/// lets it send.
const UNSERVED: &str = r#"
import ctypes, os, signal, struct, subprocess, sys
exe, mnt, to = sys.argv[1:4]
data = open(exe, 'rb').read()
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result: sys.exit(os.strerror(ctypes.get_errno()))
NEWNS, PRIVATE_ALL = 0x20000, 1 << 18 | 1 << 14
call(libc.unshare(NEWNS)); call(libc.mount(None, b'/', None, PRIVATE_ALL, None))
fd = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other'.encode()
call(libc.mount(b'x', mnt.encode(), b'fuse', 0, options))
silent = False
def stop(*_): global silent; silent = True
def attr(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100755, len(data))
    return struct.pack('<6Q10I', node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
INIT, LOOKUP, GETATTR, OPEN, OPENDIR, READ = 26, 1, 3, 14, 27, 15
KEEP_CACHE, NOENT, NOSYS = 2, -2, -38
def serve():
    while True:
        request = os.read(fd, 1 << 17)
        _, op, unique, node = struct.unpack_from('<IIQQ', request)
        body, answer, error = request[40:], b'', 0
        if op == INIT: answer = struct.pack('<IIIIHHIIHH', 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0) + bytes(28)
        elif op == LOOKUP and body == b'x\0': answer = struct.pack('<4Q2I', 2, 1, 0, 0, 0, 0) + attr(2)
        elif op == LOOKUP: error = NOENT
        elif op == GETATTR: answer = struct.pack('<QII', 0, 0, 0) + attr(node)
        elif op in (OPEN, OPENDIR): answer = struct.pack('<QII', 1, KEEP_CACHE, 0)
        elif op == READ: at, size = struct.unpack_from('<8xQI', body); answer = data[at:at + size]
        elif op not in (18, 25): error = NOSYS  # closing needs no answer to speak of
        if op in (2, 42): continue  # FORGET has none
        if not silent: os.write(fd, struct.pack('<IiQ', 16 + len(answer), error, unique) + answer)
server = os.fork()
if not server:
    # Who waits for an answer ends with it, at the latest.
    PDEATHSIG = 1; libc.prctl(PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGUSR1, stop)
    serve()
os.close(fd)
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
subprocess.run([mnt + '/x', to])
x = subprocess.Popen([mnt + '/x', to, 'wait'], **pipes)
x.stdout.readline()
os.kill(server, signal.SIGUSR1)
x.stdin.write(b'\n'); x.stdin.flush()
print('silent', x.pid, flush=True)
sys.stdin.readline()
os.kill(server, signal.SIGKILL); x.kill()
"#;

/// A program whose file's system does not answer holds nobody up.
fn not_served(ctx: &Ctx) -> Result<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(crate::ctx::skip("no /dev/fuse"));
    }
    let plain = build(ctx, "plain", &["-buildvcs=false"])?;
    let mount = ctx.dir().join("mnt");
    std::fs::create_dir_all(&mount)?;
    let (from, to, mount) =
        (plain.display().to_string(), format!("{B4}:443"), mount.display().to_string());
    let pair = Pair::new(ctx)?;
    let _sink = serve(ctx, &pair.b)?;
    let mut tracer = ctx.tracing("tls").start()?;
    let script = ctx.tool("python3")?.args(["-c", UNSERVED, &from, &mount, &to]);
    let mut unserved = script.in_ns(&pair.a)?.with_stdin().spawn()?;
    unserved.await_output("silent", ctx.secs(30))?;
    // It has sent once, and will again.
    let of_x = |e: &Event| e.exe.as_deref().is_some_and(|exe| exe.ends_with("/x"));
    tracer.await_events(2, ctx.secs(20), of_x)?;
    let served = ctx.program(&plain).arg(&to).in_ns(&pair.a)?.spawn()?;
    let pid = served.pid();
    let shown = tracer.await_events(1, ctx.secs(10), |e| e.pid == Some(pid));
    unserved.say("enough")?;
    unserved.wait(ctx.secs(20))?;
    shown.context("after a program that is not served")?;
    let trace = tracer.stop()?;
    ensure!(trace.events.iter().filter(|e| of_x(e)).all(|e| e.go.is_none()), "x was read");
    ensure!(trace.by(pid).iter().all(|e| e.go.is_some()), "the other was not read");
    Ok(())
}
