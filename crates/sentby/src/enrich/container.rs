//! Containers and systemd units, out of cgroup paths. Pure functions.
//!
//! The path is the one fact about a container that the kernel itself keeps, and tells while
//! the process sends. What runtimes call it is asked for beside (`containers`).

/// Hex digits in a container id (docker, containerd, CRI-O, podman: a SHA-256).
const ID_LEN: usize = 64;

/// Digits of a container id that text shows, as `docker ps` does.
pub const SHORT_ID: usize = 12;

/// Extracts the process's cgroup path out of /proc/PID/cgroup (cgroups(7)).
///
/// Version 2 (`0::/path`) counts, unless it says only `/`: on hybrid and v1 hosts the
/// path is then in a v1 hierarchy, systemd's own (`name=systemd`) first.
pub fn path_of(file: &[u8]) -> Option<&[u8]> {
    let lines = || file.split(|b| *b == b'\n').filter_map(hierarchy);
    let v2 = lines().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| path);
    if let Some(path) = v2.filter(|p| *p != b"/") {
        return Some(path);
    }
    // `max_by_key` takes the last of equals: so the first line wins in reverse.
    let v1 = lines()
        .filter(|(controllers, path)| !controllers.is_empty() && *path != b"/")
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .max_by_key(|(controllers, _)| rank(controllers))
        .map(|(_, path)| path);
    v1.or(v2).or_else(|| lines().next().map(|(_, path)| path))
}

/// Splits `5:cpu,cpuacct:/path` into controllers and path. A cgroup removed under its
/// process is marked in the path; the mark is dropped.
fn hierarchy(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = line.splitn(3, |b| *b == b':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some((controllers, path.strip_suffix(b" (deleted)").unwrap_or(path)))
}

/// How much a v1 hierarchy tells about who a process belongs to.
fn rank(controllers: &[u8]) -> usize {
    const BEST_LAST: [&str; 5] = ["cpu", "devices", "pids", "memory", "name=systemd"];
    controllers
        .split(|b| *b == b',')
        .filter_map(|c| BEST_LAST.iter().position(|known| known.as_bytes() == c))
        .max()
        .map_or(0, |i| i + 1)
}

/// The innermost container of a cgroup path: its full id, or for LXC and
/// systemd-nspawn, which have no ids, its name.
pub fn container(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = path.split('/').collect();
    (0..parts.len()).rev().find_map(|i| id(parts[i]).or_else(|| name(&parts[..i], parts[i])))
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>`,
/// `kubepods-…:cri-containerd:<id>`.
fn id(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let at = part.rfind(['-', ':']).map_or(0, |i| i + 1);
    let (prefix, id) = part.split_at(at);
    // conmon watches over a container of podman or CRI-O from outside.
    let watcher = prefix.ends_with("conmon-");
    let hex = id.len() == ID_LEN && id.bytes().all(|b| b.is_ascii_hexdigit());
    (hex && !watcher).then(|| id.to_ascii_lowercase())
}

/// LXC and systemd-nspawn.
fn name(parents: &[&str], part: &str) -> Option<String> {
    let nspawn = |name: &str| {
        let name = unescape(name);
        // systemd-machined registers virtual machines the same way.
        (!name.is_empty() && !name.starts_with("qemu-")).then_some(name)
    };
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    if let Some(name) =
        part.strip_prefix("systemd-nspawn@").and_then(|p| p.strip_suffix(".service"))
    {
        return nspawn(name);
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|p| p.strip_suffix(".scope")) {
        return nspawn(name);
    }
    let below_lxc = matches!(parents.last(), Some(&"lxc" | &"lxc.payload"));
    (below_lxc && !part.is_empty()).then(|| part.to_owned())
}

/// Undoes systemd's `\x2d` escaping of names (systemd-escape(1)).
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.strip_prefix(b"x").and_then(|t| t.get(..2));
        let byte = hex
            .filter(|_| *first == b'\\')
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The innermost systemd unit of a cgroup path: a service or a scope (or another unit
/// that runs processes), never a slice. Escapes stay (`\x2d`): systemctl wants them.
///
/// An `init.scope` inside another unit is the manager of that unit (`user@1000.service`,
/// a container's systemd) and is called by the unit's name.
pub fn unit(path: &[u8]) -> Option<String> {
    const RUNS: [&str; 5] = [".service", ".scope", ".mount", ".socket", ".swap"];
    let path = std::str::from_utf8(path).ok()?;
    // systemd puts `_` before names that cgroupfs could take for its own files.
    let names = path.split('/').map(|part| part.strip_prefix('_').unwrap_or(part));
    let is_unit = |n: &&str| RUNS.iter().any(|s| n.len() > s.len() && n.ends_with(s));
    let mut units = names.filter(is_unit);
    let innermost = units.next_back()?;
    let outer = units.next_back().filter(|_| innermost == "init.scope");
    Some(outer.unwrap_or(innermost).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa";

    #[test]
    fn containers_and_units_in_paths_seen_in_the_wild() {
        // Path with ID for the id; container; unit.
        let cases: &[(&str, Option<&str>, Option<&str>)] = &[
            ("/", None, None),
            ("", None, None),
            ("/docker/ID", Some("ID"), None),
            ("/system.slice/docker-ID.scope", Some("ID"), Some("docker-ID.scope")),
            (
                "/system.slice/docker-ID.scope/system.slice/nginx.service",
                Some("ID"),
                Some("nginx.service"),
            ),
            ("/system.slice/docker-ID.scope/init.scope", Some("ID"), Some("docker-ID.scope")),
            ("/system.slice/docker.service", None, Some("docker.service")),
            ("/system.slice/nerdctl-ID.scope", Some("ID"), Some("nerdctl-ID.scope")),
            ("/default/ID", Some("ID"), None),
            ("/ecs/prod/0123abcd/ID", Some("ID"), None),
            ("/kubepods/burstable/pod7c3f1a52-0000-1111-2222-333344445555/ID", Some("ID"), None),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod7c3f_1a52.slice/cri-containerd-ID.scope",
                Some("ID"),
                Some("cri-containerd-ID.scope"),
            ),
            (
                "/kubepods.slice/kubepods-pod7c3f.slice/crio-ID.scope/container",
                Some("ID"),
                Some("crio-ID.scope"),
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod7c3f.slice:cri-containerd:ID",
                Some("ID"),
                Some("containerd.service"),
            ),
            (
                "/kubepods.slice/kubepods-pod7c3f.slice/crio-conmon-ID.scope",
                None,
                Some("crio-conmon-ID.scope"),
            ),
            ("/machine.slice/libpod-ID.scope/container", Some("ID"), Some("libpod-ID.scope")),
            ("/machine.slice/libpod-conmon-ID.scope", None, Some("libpod-conmon-ID.scope")),
            ("/libpod_parent/libpod-ID", Some("ID"), None),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
                Some("ID"),
                Some("libpod-ID.scope"),
            ),
            // kind, minikube: a node is a container, a pod's container is inside.
            ("/docker/0000/kubelet/kubepods/besteffort/pod1/ID", Some("ID"), None),
            ("/lxc/web1", Some("web1"), None),
            ("/lxc.payload/web1", Some("web1"), None),
            ("/lxc.payload.web1/system.slice/ssh.service", Some("web1"), Some("ssh.service")),
            ("/lxc.monitor.web1", None, None),
            (
                "/machine.slice/systemd-nspawn@deb\\x2d12.service/payload",
                Some("deb-12"),
                Some("systemd-nspawn@deb\\x2d12.service"),
            ),
            (
                "/machine.slice/machine-deb\\x2d12.scope",
                Some("deb-12"),
                Some("machine-deb\\x2d12.scope"),
            ),
            (
                "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
                None,
                Some("machine-qemu\\x2d1\\x2dvm.scope"),
            ),
            ("/system.slice/nginx.service", None, Some("nginx.service")),
            ("/system.slice/postgresql@16-main.service", None, Some("postgresql@16-main.service")),
            ("/system.slice/foo.service/payload/deep", None, Some("foo.service")),
            ("/init.scope", None, Some("init.scope")),
            ("/user.slice/user-0.slice/session-3.scope", None, Some("session-3.scope")),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                None,
                Some("user@1000.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-99.scope",
                None,
                Some("app-firefox-99.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/pipewire.service",
                None,
                Some("pipewire.service"),
            ),
            ("/system.slice/_memory.service", None, Some("memory.service")),
            ("/system.slice/.service", None, None),
            ("/user.slice/user-1000.slice", None, None),
            ("/../../system.slice/cron.service", None, Some("cron.service")),
            ("/docker/3f2a91bc0d1e", None, None),
        ];
        for (path, want_container, want_unit) in cases {
            let path = path.replace("ID", ID);
            let want = |w: &Option<&str>| w.map(|w| w.replace("ID", ID));
            assert_eq!(container(path.as_bytes()), want(want_container), "container of {path}");
            assert_eq!(unit(path.as_bytes()), want(want_unit), "unit of {path}");
        }
    }

    #[test]
    fn the_path_comes_from_the_hierarchy_that_tells_most() {
        let cases: &[(&str, Option<&str>)] = &[
            ("0::/system.slice/cron.service\n", Some("/system.slice/cron.service")),
            ("0::/\n", Some("/")),
            ("", None),
            ("nonsense\n", None),
            ("0::/gone.scope (deleted)\n", Some("/gone.scope")),
            // systemd 219 on 3.10: no version 2.
            (
                "11:cpuset:/\n10:memory:/system.slice/sshd.service\n3:cpuacct,cpu:/system.slice\n\
                 1:name=systemd:/system.slice/sshd.service\n",
                Some("/system.slice/sshd.service"),
            ),
            // Hybrid: version 2 is there, and empty.
            ("12:pids:/docker/a\n1:name=systemd:/docker/b\n0::/\n", Some("/docker/b")),
            ("12:pids:/docker/a\n1:name=systemd:/\n0::/\n", Some("/docker/a")),
            ("1:name=systemd:/x\n0::/system.slice/y.service\n", Some("/system.slice/y.service")),
            ("4:freezer:/lxc/web\n3:net_cls:/lxc/web2\n", Some("/lxc/web")),
            ("2:cpu:/with:colon\n", Some("/with:colon")),
        ];
        for (file, want) in cases {
            let got = path_of(file.as_bytes()).map(|p| std::str::from_utf8(p).unwrap());
            assert_eq!(got, *want, "{file}");
        }
    }
}
