//! How servers of NATS are reached: the same for the agent that publishes and for `watch`.

use anyhow::{Context, Result, anyhow};
use async_nats::{ConnectOptions, ServerAddr};
use clap::Args;
use std::fs::{self, File};
use std::path::PathBuf;

/// What subjects begin with: `sentby.HOST.PROTOCOL`.
pub const SUBJECTS: &str = "sentby";

/// What subjects of agents' own state begin with: `sentby-status.HOST`. Not below the others,
/// which a stream of events takes as a whole.
pub const STATUS: &str = "sentby-status";

/// Where the servers are, and what they are to believe.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Servers of NATS JetStream, e.g. nats://192.0.2.1:4222 or tls://nats.example.com
    #[arg(long, value_name = "URL", value_delimiter = ',', value_parser = url)]
    pub nats: Vec<String>,

    /// The stream
    #[arg(long, value_name = "NAME", default_value = "sentby", requires = "nats")]
    pub nats_stream: String,

    /// Credentials (JWT and seed, as nsc writes them)
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_creds: Option<PathBuf>,

    /// Certificates of those who sign the servers', instead of the system's
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,

    /// Certificate to show to the servers, with --nats-key
    #[arg(long, value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

fn url(text: &str) -> Result<String, String> {
    address(text).map(|_| text.to_owned())
}

/// The server that a URL names.
fn address(url: &str) -> Result<ServerAddr, String> {
    let parsed = url.parse::<ServerAddr>().ok().filter(|a| !a.host().is_empty());
    parsed.ok_or_else(|| "give a URL such as nats://192.0.2.1:4222".to_owned())
}

impl ServerArgs {
    /// How to connect; what is wrong with files is said now.
    pub fn options(&self, name: &str) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new().name(name);
        if let Some(creds) = &self.nats_creds {
            let reading = || format!("reading {}", creds.display());
            let text = fs::read_to_string(creds).with_context(reading)?;
            options = options.credentials(&text).with_context(reading)?;
        }
        for file in [&self.nats_ca, &self.nats_cert, &self.nats_key].into_iter().flatten() {
            File::open(file).with_context(|| format!("reading {}", file.display()))?;
        }
        if let Some(ca) = &self.nats_ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some((cert, key)) = self.nats_cert.clone().zip(self.nats_key.clone()) {
            options = options.add_client_certificate(cert, key);
        }
        Ok(options)
    }

    /// The servers.
    pub fn addresses(&self) -> Result<Vec<ServerAddr>> {
        self.nats.iter().map(|url| address(url).map_err(|e| anyhow!(e))).collect()
    }

    /// The servers for people, without the passwords that URLs may hold.
    pub fn names(&self) -> String {
        let name = |a: ServerAddr| format!("{}:{}", a.host(), a.port());
        let names = self.nats.iter().filter_map(|url| address(url).ok()).map(name);
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A word of a command line, without the user and the password that URLs in it may hold.
pub fn without_password(word: &[u8]) -> Vec<u8> {
    let urls = word.split(|b| *b == b',').map(|url| {
        let from = url.windows(3).position(|w| w == b"://").map(|at| at + 3);
        let to = url.iter().rposition(|b| *b == b'@');
        match from.zip(to).filter(|(from, to)| from <= to) {
            Some((from, to)) => [&url[..from], b"***", &url[to..]].concat(),
            None => url.to_vec(),
        }
    });
    urls.collect::<Vec<_>>().join(&b',')
}

/// Where a machine tells of its agent.
pub fn status_subject(host: &str) -> String {
    format!("{STATUS}.{}", token(host))
}

/// The stream of what agents tell of themselves, beside one of events.
pub fn status_stream(events: &str) -> String {
    format!("{events}-status")
}

/// A name as one token of a subject: dots would be several.
pub fn token(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let token: String = name.chars().map(plain).collect();
    if token.is_empty() { "_".to_owned() } else { token }
}

/// Where a machine publishes events of a protocol.
pub fn subject(host: &str, protocol: &str) -> String {
    format!("{SUBJECTS}.{}.{protocol}", token(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_token_of_a_subject() {
        assert_eq!(token("web-1.example.com"), "web-1_example_com");
        assert_eq!(token("a b*>\u{e9}"), "a_b___");
        assert_eq!(token(""), "_");
    }

    #[test]
    fn command_lines_are_told_without_passwords() {
        for (word, plain) in [
            ("--nats=nats://u:secret@a,tls://v:p@ss@b:1", "--nats=nats://***@a,tls://***@b:1"),
            ("nats://192.0.2.1", "nats://192.0.2.1"),
            ("a@b", "a@b"),
            ("a@b://c", "a@b://c"),
            ("", ""),
        ] {
            assert_eq!(without_password(word.as_bytes()), plain.as_bytes());
        }
    }

    #[test]
    fn servers_are_told_without_their_passwords() {
        let args = ServerArgs {
            nats: vec!["nats://user:secret@192.0.2.1:4222".into(), "tls://n.example.com".into()],
            nats_stream: String::new(),
            nats_creds: None,
            nats_ca: None,
            nats_cert: None,
            nats_key: None,
        };
        assert_eq!(args.names(), "192.0.2.1:4222, n.example.com:4222");
        assert!(url("nats://").is_err() && url("nats://192.0.2.1").is_ok());
    }
}
