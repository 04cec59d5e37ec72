//! Names of containers, from a real runtime: Podman, with a root file system made here.

use crate::cgroup::{Cgroup, remove_tree};
use crate::ctx::{Case, Ctx, Hooks, find_tool, skip};
use crate::event::Event;
use crate::proc::{Done, Proc, poll};
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const CASES: &[Case] = &[Case::new("podman_names", names)
    .hooks(Hooks::Auto)
    .tools(&["podman", "runc", "busybox", "ping"])
    .heavy()];

/// A Podman of its own: nothing of what it keeps, or serves, is the machine's.
struct Podman<'c> {
    ctx: &'c Ctx,
    rootfs: PathBuf,
    netns: String,
    runroot: String,
    /// The cgroup that all its containers are below.
    parent: String,
    service: Option<Proc>,
}

impl<'c> Podman<'c> {
    fn new(ctx: &'c Ctx, netns: &Path) -> Result<Podman<'c>> {
        let rootfs = ctx.dir().join("rootfs");
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(rootfs.join(folder))?;
        }
        let busybox = find_tool("busybox").context("busybox")?;
        std::fs::copy(busybox, rootfs.join("bin/busybox"))?;
        let netns = format!("ns:{}", netns.display());
        let parent = format!("/{}", ctx.unique("podman"));
        let runroot = format!("/run/{}", ctx.unique("podman"));
        let mut podman = Podman { ctx, rootfs, netns, runroot, parent, service: None };
        let try_it = podman.command(&podman.run("try", &[], &["true"]))?;
        if !try_it.status.success() {
            let why = try_it.errors();
            return Err(skip(format!("Podman cannot run a container here: {}", why.trim())));
        }
        let socket = format!("unix://{}", podman.socket().display());
        let service = podman.tool()?.args(["system", "service", "--time", "0", &socket]).spawn()?;
        podman.service = Some(service);
        let there = || Ok(podman.socket().exists().then_some(()));
        poll(ctx.secs(20), there)?.context("the service's socket never came")?;
        Ok(podman)
    }

    fn socket(&self) -> PathBuf {
        self.ctx.dir().join("podman.sock")
    }

    fn tool(&self) -> Result<crate::proc::Cmd> {
        let own = |name: &str| self.ctx.dir().join(name).into_os_string();
        let tool = self.ctx.tool("podman")?;
        let tool = tool.args([OsString::from("--root"), own("root")]);
        // Its path has 50 characters at the most.
        let tool = tool.args(["--runroot", &self.runroot]);
        let tool = tool.args([OsString::from("--tmpdir"), own("podman")]);
        // There is no systemd here, or it is not told.
        let tool = tool.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        Ok(tool.args(["--runtime", "runc", "--log-level", "error"]))
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<Done> {
        self.tool()?.args(args).spawn()?.wait(self.ctx.secs(60))
    }

    /// Arguments that run a command of busybox in a container.
    fn run(&self, name: &str, more: &[&str], command: &[&str]) -> Vec<OsString> {
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let mut args: Vec<OsString> = vec!["run".into(), "--name".into(), name.into()];
        args.extend(["--rm", "--cap-add", "NET_RAW", "--network", &self.netns].map(Into::into));
        args.extend(limits.map(Into::into));
        let below = more.iter().any(|word| word.starts_with("--cgroup-parent"));
        if !below {
            args.push(format!("--cgroup-parent={}", self.parent).into());
        }
        args.extend(more.iter().map(Into::into));
        args.extend(["--rootfs".into(), self.rootfs.clone().into_os_string()]);
        args.push("/bin/busybox".into());
        args.extend(command.iter().map(Into::into));
        args
    }

    fn good<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<String> {
        let done = self.command(args)?;
        ensure!(done.status.success(), "podman: {}: {}", done.status, done.errors());
        Ok(done.text().trim().to_owned())
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--all", "--force", "--time", "0"]);
        self.service = None;
        let _ = std::fs::remove_dir_all(&self.runroot);
        // With version 1 of cgroups Podman makes folders in each hierarchy.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of_cgroups =
            |line: &&str| line.split(' ').nth(2).is_some_and(|t| t.starts_with("cgroup"));
        for line in mounts.lines().filter(of_cgroups) {
            let at = Path::new(line.split(' ').nth(1).unwrap_or("/"));
            let path = at.join(&self.parent[1..]);
            let _ = poll(Duration::from_secs(2), || {
                remove_tree(&path);
                Ok((!path.exists()).then_some(()))
            });
        }
    }
}

const LABELS: [&str; 3] = [
    "--label=io.kubernetes.container.name=app",
    "--label=io.kubernetes.pod.name=web-0",
    "--label=io.kubernetes.pod.namespace=shop",
];

/// What an event says of a container: id, name, pod, namespace.
type Said<'e> = (Option<&'e str>, Option<&'e str>, Option<&'e str>, Option<&'e str>);

fn said(event: &Event) -> Said<'_> {
    let namespace = event.pod_namespace.as_deref();
    (event.container.as_deref(), event.container_name.as_deref(), event.pod.as_deref(), namespace)
}

/// Two pings, so far apart that a runtime has answered in between: what Podman is busy with
/// it does not tell of, so the first may have the id alone.
const TWICE: [&str; 6] = ["ping", "-c", "2", "-i", "0.5", B4];

/// A container that ran before, one that is made now, one of a pod, and one that no runtime
/// knows.
fn names(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let podman = Podman::new(ctx, &pair.a.path())?;
    let early = podman.good(&podman.run("early", &["-d"], &["sleep", "60"]))?;
    let socket = format!("docker:{}", podman.socket().display());
    let netns = format!("--netns={}", pair.a.inode());
    let tracer = ctx.tracing("icmp").args([netns.as_str(), "--runtime-socket", &socket]).start()?;
    podman.good(&["exec", "early", "/bin/busybox", "ping", "-c", "1", B4])?;
    podman.good(&podman.run("late", &[], &TWICE))?;
    let parent = format!("--cgroup-parent={}/kubepods/besteffort/pod7c3f1a52", podman.parent);
    let mut of_pod = LABELS.to_vec();
    of_pod.push(&parent);
    podman.good(&podman.run("in-a-pod", &of_pod, &TWICE))?;
    // A cgroup as the kubelet makes it, whose container nobody knows.
    let id = "c0de".repeat(16);
    let path = format!("/kubepods/burstable/pod7c3f1a52-0000-1111-2222-333344445555/{id}");
    let cgroup = Cgroup::new(&ctx.unique("pod"), &path)?;
    let enter = format!("echo $$ > {} && exec \"$@\"", cgroup.procs()?.display());
    let ping = ctx.tool("ping")?.args(["-n", "-c", "1", B4]);
    let ping = ctx.shell(&enter).arg("sh").args(ping.argv());
    ping.in_ns(&pair.a)?.spawn()?.wait_ok(ctx.secs(20))?;
    let trace = tracer.stop()?;
    let told: Vec<Said<'_>> = trace.within(&[&pair.a]).into_iter().map(said).collect();
    let [first, late, late_again, pod, pod_again, alone] = told[..] else {
        bail!("events {told:?}");
    };
    ensure!(first == (Some(&early), Some("early"), None, None), "{told:?}");
    let new = (late_again.0, Some("late"), None, None);
    ensure!(late_again == new && [new, (new.0, None, None, None)].contains(&late), "{told:?}");
    let new = (pod_again.0, Some("app"), Some("web-0"), Some("shop"));
    ensure!(pod_again == new && [new, (new.0, None, None, None)].contains(&pod), "{told:?}");
    let ids = [first.0, late.0, pod.0, alone.0].into_iter().flatten().collect::<BTreeSet<_>>();
    ensure!(ids.len() == 4 && ids.iter().all(|id| id.len() == 64), "{told:?}");
    ensure!(alone == (Some(&id), None, None, None), "{told:?}");
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    Ok(())
}
