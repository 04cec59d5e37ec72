//! Just as much of HTTP/1.1 as a scraper needs: GET of one page, one request a connection.
//!
//! Whoever connects is hostile: requests are bounded in bytes and time, connections in number,
//! and nothing of what they say is used but method and path.

use anyhow::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that are served at once; further ones are told to come back.
const MAX_CONNECTIONS: usize = 8;

/// Bytes of a request that are read.
const MAX_REQUEST: usize = 8 * 1024;

/// How long a request may take to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stack of a connection's thread.
const STACK: usize = 256 * 1024;

/// The media type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at an address, and serves what `page` makes.
    pub fn open(
        address: SocketAddr,
        page: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("sentby-metrics".to_owned());
        let thread = thread.spawn(move || {
            crate::privileges::drop_unneeded();
            accept(&listener, &Arc::new(page), &stopped);
        });
        let thread = Some(thread.context("starting the server's thread")?);
        Ok(Server { address, stop, thread })
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // accept(2) returns for a connection; ours is closed at once.
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(match own {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let woken = TcpStream::connect_timeout(&own, Duration::from_secs(1)).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn accept<P: Fn() -> String + Send + Sync + 'static>(
    listener: &TcpListener,
    page: &Arc<P>,
    stop: &AtomicBool,
) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            // No descriptors: there may be some again.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            let _ = refuse(&stream);
            open.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (page, counted) = (page.clone(), Counted(open.clone()));
        let thread = thread::Builder::new().name("sentby-metrics".to_owned()).stack_size(STACK);
        let _ = thread.spawn(move || {
            let _counted = counted;
            let _ = serve(stream, page.as_ref());
        });
    }
}

/// A connection, for as long as it is open.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn refuse(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    answer(stream, "503 Service Unavailable", "text/plain", "too many connections\n")
}

fn serve(mut stream: TcpStream, page: &impl Fn() -> String) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(head) = head(&mut stream)? else { return Ok(()) };
    let mut words = head.split(|b| *b == b' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default().split(|b| *b == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => answer(&stream, "200 OK", TEXT_FORMAT, &page()),
        (b"GET", _) => answer(&stream, "404 Not Found", "text/plain", "see /metrics\n"),
        _ => answer(&stream, "405 Method Not Allowed", "text/plain", "only GET\n"),
    }?;
    // With bytes unread the kernel would send a reset, which may overtake the answer.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 512];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && matches!(stream.read(&mut rest), Ok(n) if n > 0) {}
    Ok(())
}

/// The head of a request; `None` where it does not come, or is too long.
fn head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > MAX_REQUEST {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => return Ok(None),
            n => head.extend_from_slice(&part[..n]),
        }
    }
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(Some(head))
}

fn answer(mut stream: &TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::open("127.0.0.1:0".parse().unwrap(), || "a_total 1\n".to_owned()).unwrap()
    }

    fn ask(server: &Server, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn the_page_is_served_and_nothing_else() {
        let server = server();
        let page = ask(&server, b"GET /metrics?x=y HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains(TEXT_FORMAT) && page.ends_with("\r\n\r\na_total 1\n"), "{page}");
        assert!(ask(&server, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(&server, b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert_eq!(ask(&server, &vec![b'x'; 2 * MAX_REQUEST]), "");
    }

    #[test]
    fn idle_connections_are_bounded_and_end() {
        let server = server();
        let idle: Vec<_> =
            (0..MAX_CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        let until = Instant::now() + 4 * PATIENCE;
        let get = || ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n");
        let refused = |answer: &str| answer.starts_with("HTTP/1.1 503 ") || answer.is_empty();
        assert!(refused(&get()));
        while refused(&get()) {
            assert!(Instant::now() < until, "idle connections stay");
            thread::sleep(Duration::from_millis(50));
        }
        drop(idle);
    }

    /// Who goes on talking does not keep others out.
    #[test]
    fn who_sends_without_an_end_is_let_go() {
        let server = server();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let until = Instant::now() + 4 * PATIENCE;
        while stream.write_all(b"more").is_ok() {
            assert!(Instant::now() < until, "it is listened to for ever");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn the_address_is_free_again_afterwards() {
        let first = server();
        let address = first.address();
        assert!(Server::open(address, String::new).is_err());
        drop(first);
        drop(Server::open(address, String::new).expect("the address is free"));
    }
}
