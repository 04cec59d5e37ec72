//! Requests out of a container: namespaces of its own for network, mounts, processes,
//! names and IPC, a cgroup as runtimes name them, and NAT on the way.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::stage::{SERVER, serve, text};
use crate::topology::{A4, A6, Chain, FAR4, FAR6};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[Case::new("payload_of_a_container", of_a_container)
    .hooks(Hooks::Auto)
    .tools(&["python3", "unshare", "nft"])];

/// A request of each protocol over each family, when it is told to.
const CLIENT: &str = r#"
import http.client, socket, ssl, struct, sys
print("ready", flush=True)
sys.stdin.readline()
for far in sys.argv[1:]:
    family = "six" if ":" in far else "four"
    c = http.client.HTTPConnection(far, 80)
    c.request("GET", "/" + family, headers={"Host": family})
    c.getresponse().read()
    c = ssl._create_unverified_context()
    try: c.wrap_socket(socket.create_connection((far, 80)), server_hostname=family)
    except OSError: pass
    u = socket.socket(socket.AF_INET6 if ":" in far else socket.AF_INET, socket.SOCK_DGRAM)
    name = bytes([len(family)]) + family.encode() + b"\0"
    u.sendto(struct.pack(">6H", 7, 256, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1), (far, 53))
print("done", flush=True)
"#;

fn of_a_container(ctx: &Ctx) -> Result<()> {
    let id = "c0de".repeat(16);
    let net = Chain::new(ctx)?;
    net.router.sh("nft -f - <<'END'
table inet nat {
  chain out { type nat hook postrouting priority 100; oifname r1 masquerade; }
}
END")?;
    let server = serve(ctx, &net.far, SERVER)?;
    let scope = format!("/system.slice/docker-{id}.scope");
    let cgroup = crate::cgroup::Cgroup::new(&ctx.unique("cgroup"), &scope)?;
    let enter = format!("echo $$ > {} && exec \"$@\"", cgroup.procs()?.display());
    let client = ctx.tool("python3")?.args(["-c", CLIENT, FAR4, FAR6]);
    let cmd = ctx.shell(&enter).args(["sh", "unshare", "-m", "-u", "-i", "-p", "-f"]);
    let cmd = cmd.args(["--kill-child", "--mount-proc"]).args(client.argv());
    let mut unshare = cmd.in_ns(&net.a)?.with_stdin().spawn()?;
    unshare.await_output("ready", ctx.secs(20))?;
    let spaces = [&net.a, &net.switch, &net.router, &net.far];
    let filter = spaces.map(|ns| format!("--netns={}", ns.inode()));
    let tracer = ctx.tracing("all").args(filter).start()?;
    let pid = super::identity::child_of(unshare.pid())?;
    unshare.ask("go", "done", ctx.secs(30))?;
    let trace = tracer.stop()?;
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    let said = server.interrupt(ctx.secs(10))?.text();
    ensure!(said.contains("got 198.51.100.254"), "no NAT on the way: {said:?}");
    // The router passes on what it did not send; the far end refuses what no one reads.
    let events: Vec<Event> = trace.within(&spaces).into_iter().cloned().collect();
    let who = Who {
        pid,
        tid: Some(pid),
        ppid: Some(unshare.pid()),
        argv: Some(client.argv().iter().map(|a| a.as_encoded_bytes().to_vec()).collect()),
        exe: Some(client.exe()),
        comm: Some("python3".into()),
        uid: Some(0),
        pid_in_ns: Some(1),
    };
    let told: Vec<_> = events.iter().map(|e| (e.proto.as_str(), e.src.to_string())).collect();
    let each = |src: &str| {
        ["connect", "http", "connect", "tls", "dns"].map(|proto| (proto, src.to_owned()))
    };
    ensure!(told == [each(A4), each(A6)].concat(), "events {told:?}");
    for event in &events {
        let name = if event.src.is_ipv4() { "four" } else { "six" };
        check::names(event, &who)?;
        ensure!(event.dst.to_string() == if name == "four" { FAR4 } else { FAR6 });
        ensure!(event.netns == Some(net.a.inode()), "netns {:?}", event.netns);
        ensure!(event.cgroup.as_deref() == Some(cgroup.name()), "cgroup {:?}", event.cgroup);
        ensure!(event.container.as_deref() == Some(&id), "container {:?}", event.container);
        let (field, value) = match event.proto.as_str() {
            "connect" => ("outcome", "established"),
            "http" => ("host", name),
            "tls" => ("sni", name),
            _ => ("name", name),
        };
        ensure!(text(event, field) == Some(value), "{:?}", event.own);
    }
    // By the ports before the NAT the far end knows nobody, but it did get both.
    let got = said.lines().filter(|l| l.starts_with("got ")).count();
    ensure!(got == 2, "the server got {got}");
    Ok(())
}
