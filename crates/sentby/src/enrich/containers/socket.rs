//! The sockets that container runtimes listen at.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::UnixStream;

/// What is spoken at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The Docker Engine API, which Podman has as well: HTTP/1.1 and JSON.
    Docker,
    /// The Kubernetes Container Runtime Interface, version 1: gRPC.
    Cri,
}

/// A socket to ask at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSocket {
    /// What is spoken there.
    pub api: Api,
    /// Where it is.
    pub path: PathBuf,
    /// The user named it: it is missed where it is not there.
    pub named: bool,
}

/// Where runtimes listen if they are not told otherwise.
const DEFAULTS: [(Api, &str); 6] = [
    (Api::Docker, "/run/docker.sock"),
    (Api::Docker, "/run/podman/podman.sock"),
    (Api::Cri, "/run/containerd/containerd.sock"),
    (Api::Cri, "/run/crio/crio.sock"),
    (Api::Cri, "/run/k3s/containerd/containerd.sock"),
    (Api::Cri, "/run/cri-dockerd.sock"),
];

impl RuntimeSocket {
    /// The usual ones, whether they are there or not, and these.
    pub fn all(more: &[RuntimeSocket]) -> Vec<RuntimeSocket> {
        let usual =
            DEFAULTS.map(|(api, path)| RuntimeSocket { api, path: path.into(), named: false });
        let mut all = more.to_vec();
        all.extend(usual.into_iter().filter(|socket| more.iter().all(|m| m.path != socket.path)));
        all
    }

    /// Whether somebody may listen there.
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|meta| meta.file_type().is_socket())
    }

    /// Opens a connection; `None` where nobody listens, or there is no socket.
    pub async fn open(&self) -> io::Result<Option<UnixStream>> {
        match UnixStream::connect(&self.path).await {
            Ok(stream) => Ok(Some(stream)),
            Err(e) if is_absence(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | ConnectionRefused)
}

impl FromStr for RuntimeSocket {
    type Err = String;

    /// Reads `PATH`, `docker:PATH` or `cri:PATH`. Of a path alone the name tells: those with
    /// `containerd` or `cri` in them are CRI's.
    fn from_str(text: &str) -> Result<Self, String> {
        let (api, path) = match text.split_once(':') {
            Some(("docker", path)) => (Some(Api::Docker), path),
            Some(("cri", path)) => (Some(Api::Cri), path),
            _ => (None, text),
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err("give the whole path of a socket, as /run/docker.sock; before it \
                        `docker:` or `cri:` where its name does not tell what is spoken there"
                .to_owned());
        }
        let api = api.unwrap_or_else(|| {
            let of_cri = ["containerd", "cri"].iter().any(|word| path.contains(word));
            if of_cri { Api::Cri } else { Api::Docker }
        });
        Ok(RuntimeSocket { api, path: Path::new(path).to_owned(), named: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_unless_the_user_does() {
        let api = |text: &str| text.parse::<RuntimeSocket>().map(|s| (s.api, s.path));
        let cases = [
            ("/run/docker.sock", Api::Docker, "/run/docker.sock"),
            ("/run/user/1000/podman/podman.sock", Api::Docker, "/run/user/1000/podman/podman.sock"),
            ("/run/crio/crio.sock", Api::Cri, "/run/crio/crio.sock"),
            ("/var/snap/containerd.sock", Api::Cri, "/var/snap/containerd.sock"),
            ("docker:/run/containerd/x", Api::Docker, "/run/containerd/x"),
            ("cri:///run/x.sock", Api::Cri, "/run/x.sock"),
            ("/run/a:b", Api::Docker, "/run/a:b"),
        ];
        for (text, want, path) in cases {
            assert_eq!(api(text), Ok((want, path.into())), "{text}");
        }
        for wrong in ["", "docker.sock", "tcp://192.0.2.1:2375", "cri:", "docker:x"] {
            assert!(api(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_users_own_come_first_and_once() {
        let own = ["cri:/run/docker.sock", "/run/x.sock"].map(|s| s.parse().unwrap());
        let all = RuntimeSocket::all(&own);
        assert_eq!(all[..2], own);
        assert_eq!(all.len(), DEFAULTS.len() + 1);
    }
}
