//! A client that uses rustls: this binary itself, started anew.
//!
//!     e2e __rustls ADDRESS NAME [ALPN...]

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

/// The first argument that makes this binary the client.
pub const COMMAND: &str = "__rustls";

/// Runs the client, if that is what was asked for.
pub fn run_if_asked() -> Option<Result<()>> {
    let mut args = std::env::args().skip(1);
    (args.next()? == COMMAND).then(|| run(args))
}

/// Says hello. Nobody's certificate is trusted, so that it ends there.
fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let address: IpAddr = args.next().context("no address")?.parse()?;
    let name = ServerName::try_from(args.next().context("no name")?)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = args.map(String::into_bytes).collect();
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = TcpStream::connect((address, 443))?;
    match connection.complete_io(&mut stream) {
        Ok(_) => anyhow::bail!("the certificate is trusted"),
        Err(e) => eprintln!("{e}"),
    }
    Ok(())
}
