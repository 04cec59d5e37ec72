//! What systemd is told (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names.
//! Without one nothing is sent.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to systemd.
pub struct Notify {
    to: Option<UnixDatagram>,
    watched: bool,
}

impl Notify {
    /// As the environment says. A socket that cannot be reached is none: systemd tells of what
    /// it misses itself.
    pub fn from_environment() -> Notify {
        let of = |name| env::var(name).ok();
        let own = std::process::id().to_string();
        let watched = of("WATCHDOG_USEC").is_some() && of("WATCHDOG_PID").is_none_or(|p| p == own);
        let to = env::var_os("NOTIFY_SOCKET").and_then(|name| reach(&name));
        Notify { to, watched }
    }

    fn tell(&self, what: &str) {
        if let Some(to) = &self.to {
            let _ = to.send(what.as_bytes());
        }
    }

    /// Everything is live.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read anew; [`Notify::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Captures pass through the pipeline.
    pub fn alive(&self) {
        if self.watched {
            self.tell("WATCHDOG=1");
        }
    }
}

fn reach(name: &OsStr) -> Option<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok()?,
        [b'/', ..] => SocketAddr::from_pathname(name).ok()?,
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A full socket costs a message, never time.
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    #[test]
    fn states_are_told_by_path_and_by_abstract_name() {
        let scratch = Scratch::new();
        let path = scratch.path("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("sentby-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let named = format!("@{name}");
        for (to, socket) in [(path.as_os_str(), &by_path), (OsStr::new(&named), &by_name)] {
            let notify = Notify { to: reach(to), watched: true };
            notify.ready("live");
            assert_eq!(received(socket), "READY=1\nSTATUS=live");
            notify.reloading();
            assert!(received(socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notify.alive();
            assert_eq!(received(socket), "WATCHDOG=1");
            notify.stopping();
            assert_eq!(received(socket), "STOPPING=1");
        }
    }

    #[test]
    fn nobody_who_listens_is_no_error() {
        assert!(reach(OsStr::new("/nowhere/at/all")).is_none());
        assert!(reach(OsStr::new("")).is_none());
        Notify { to: None, watched: true }.alive();
    }
}
