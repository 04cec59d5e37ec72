//! Records to a collector, once: a request of OTLP over HTTP with protobuf, or a call by gRPC.

use super::verdict::{Failure, Sent, of_answer, of_call, of_status};
use anyhow::{Context, Result, bail};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message;
use prost::bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

/// Where logs are taken (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/logs";

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// The two ways to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Protobuf in requests of HTTP/1.1, usually to port 4318
    Http,
    /// gRPC, usually at port 4317
    Grpc,
}

/// A collector, and what it is to be told beside records.
pub struct Target {
    /// Where it is; of HTTP with the path.
    pub uri: Uri,
    /// How it is spoken to.
    pub way: Way,
    /// What goes with each request.
    pub headers: HeaderMap,
    /// How long an answer may take.
    pub timeout: Duration,
    tls: rustls::ClientConfig,
}

impl Target {
    /// What is wrong with the certificates is said now.
    pub fn new(
        uri: Uri,
        way: Way,
        headers: HeaderMap,
        timeout: Duration,
        ca: Option<&Path>,
    ) -> Result<Target> {
        Ok(Target { tls: tls(&uri, ca)?, uri, way, headers, timeout })
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.uri.authority().map_or_else(String::new, |a| a.as_str().to_owned())
    }
}

/// The URL of a collector, as it is asked: of HTTP with the path for logs.
pub fn uri(url: &str, way: Way) -> Result<Uri, String> {
    let example = match way {
        Way::Http => "http://127.0.0.1:4318",
        Way::Grpc => "http://127.0.0.1:4317",
    };
    let wrong = || format!("give a URL such as {example}");
    let mut parts = url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
    let scheme = parts.scheme.as_ref().map(|s| s.as_str());
    let named = parts.authority.as_ref().filter(|a| !a.host().is_empty());
    if !matches!(scheme, Some("http" | "https")) || named.is_none() {
        return Err(wrong());
    }
    if named.is_some_and(|a| a.as_str().contains('@')) {
        return Err("a password belongs in --otlp-header".to_owned());
    }
    let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.contains('?') {
        return Err(wrong());
    }
    let path = match way {
        Way::Grpc if path.is_empty() => "/".to_owned(),
        Way::Grpc => return Err(format!("gRPC's URLs have no path: {}", wrong())),
        Way::Http if path.ends_with(PATH) => path.to_owned(),
        Way::Http => format!("{path}{PATH}"),
    };
    parts.path_and_query = Some(path.parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

/// The headers that `NAME=VALUE` give. Errors do not repeat what may be a secret.
pub fn headers(given: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (n, text) in (1..).zip(given) {
        let wrong = || format!("number {n} is no header: give NAME=VALUE");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        // gRPC's metadata is printable ASCII; names that end so hold base64 there.
        if value.to_str().is_err() || name.as_str().ends_with("-bin") {
            return Err(wrong());
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// Those who sign the collector's certificate: a file's, else the system's.
fn tls(uri: &Uri, ca: Option<&Path>) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca) = ca {
        let reading = || format!("reading {}", ca.display());
        for certificate in CertificateDer::pem_file_iter(ca).with_context(reading)? {
            roots.add(certificate.with_context(reading)?).with_context(reading)?;
        }
        if roots.is_empty() {
            bail!("{} holds no certificate", ca.display());
        }
    } else if uri.scheme_str() == Some("https") {
        let system = rustls_native_certs::load_native_certs();
        if roots.add_parsable_certificates(system.certs).0 == 0 {
            bail!("this system has no certificates to believe; give --otlp-ca");
        }
    }
    let provider = rustls::crypto::ring::default_provider().into();
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().context("setting up TLS")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A client, with the connections that it keeps.
pub enum Client {
    /// See [`Way::Http`].
    Http {
        /// Connections.
        pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
        /// Where they go.
        target: Target,
    },
    /// See [`Way::Grpc`].
    Grpc {
        /// The connection.
        service: LogsServiceClient<Checked>,
        /// Where it goes.
        target: Target,
    },
}

impl Client {
    /// Connects to nothing yet. Within a runtime.
    pub fn new(target: Target) -> Client {
        let mut tcp = HttpConnector::new();
        // It is TLS's part to tell what it speaks; and what is written is to leave: a frame that
        // waits for an acknowledgement (RFC 896) takes 40 ms.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new();
        let connector = connector.with_tls_config(target.tls.clone()).https_or_http();
        match target.way {
            Way::Http => {
                let pool = Pool::builder(TokioExecutor::new());
                Client::Http {
                    pool: pool.build(connector.enable_http1().wrap_connector(tcp)),
                    target,
                }
            }
            Way::Grpc => {
                let endpoint = Endpoint::from(target.uri.clone());
                let endpoint = endpoint.clone().user_agent(AGENT).unwrap_or(endpoint);
                let connector = connector.enable_http2().wrap_connector(tcp);
                let channel = endpoint.connect_with_connector_lazy(connector);
                Client::Grpc { service: LogsServiceClient::new(Checked(channel)), target }
            }
        }
    }

    /// Where records go.
    pub fn target(&self) -> &Target {
        match self {
            Client::Http { target, .. } | Client::Grpc { target, .. } => target,
        }
    }

    /// Sends them, and tells what became of them.
    pub async fn send(&self, request: &ExportLogsServiceRequest) -> Result<Sent, Failure> {
        let patience = self.target().timeout;
        let late = |_| Failure::again(format!("no answer within {patience:?}"));
        match self {
            Client::Http { pool, target } => {
                timeout(patience, post(pool, target, request)).await.map_err(late)?
            }
            Client::Grpc { service, target } => {
                timeout(patience, call(service.clone(), target, request)).await.map_err(late)?
            }
        }
    }
}

/// A connection for gRPC whose answers are looked at first. Those of a proxy that cannot reach
/// the collector have a status of HTTP and no message, and tonic would read one.
#[derive(Clone)]
pub struct Checked(Channel);

impl Service<http::Request<Body>> for Checked {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), StdError>> {
        self.0.poll_ready(task).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            Err(of_status(answer.status(), answer.headers()).into())
        })
    }
}

async fn post(
    pool: &Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: &Target,
    request: &ExportLogsServiceRequest,
) -> Result<Sent, Failure> {
    let body = Full::new(Bytes::from(request.encode_to_vec()));
    let mut request = http::Request::post(target.uri.clone()).body(body).map_err(failed)?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.extend(target.headers.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let answer = pool.request(request).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    if !head.status.is_success() {
        return Err(of_status(head.status, &head.headers));
    }
    // The status has said that they were taken.
    Ok(body.map_or(Sent::ALL, |body| of_answer(body.to_bytes())))
}

async fn call(
    mut service: LogsServiceClient<Checked>,
    target: &Target,
    request: &ExportLogsServiceRequest,
) -> Result<Sent, Failure> {
    let metadata = MetadataMap::from_headers(target.headers.clone());
    let request = tonic::Request::from_parts(metadata, Default::default(), request.clone());
    match service.export(request).await {
        Ok(answer) => Ok(Sent::of(answer.into_inner())),
        Err(status) => Err(of_call(&status)),
    }
}

/// What this client calls itself.
const AGENT: &str = concat!("sentby/", env!("CARGO_PKG_VERSION"));

/// Nobody answered: that may change.
fn failed(error: impl Error) -> Failure {
    Failure::again(chain(&error))
}

/// An error with what it is due to, each thing said once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_base_or_the_whole() {
        let http = |url| uri(url, Way::Http).map(|u| u.to_string());
        assert_eq!(http("http://h:4318").unwrap(), "http://h:4318/v1/logs");
        assert_eq!(http("https://h/otlp/").unwrap(), "https://h/otlp/v1/logs");
        assert_eq!(http("https://h/otlp/v1/logs").unwrap(), "https://h/otlp/v1/logs");
        assert_eq!(uri("http://h:4317/", Way::Grpc).unwrap().to_string(), "http://h:4317/");
        for wrong in ["h:4318", "http://", "ftp://h", "http://h?x", "http://u:p@h", "9817", "-"] {
            assert!(http(wrong).is_err(), "{wrong}");
        }
        assert!(uri("http://h/v1/logs", Way::Grpc).is_err());
    }

    #[test]
    fn what_is_no_header_is_refused_without_being_told() {
        let headers = |text: &str| super::headers(&["a=b".to_owned(), text.to_owned()]);
        let given = headers("Authorization=Basic c2VjcmV0==").unwrap();
        assert_eq!(given["authorization"], "Basic c2VjcmV0==");
        assert!(given["authorization"].is_sensitive());
        for wrong in ["secret", "se cret=x", "x=se\ncret", "secret-bin=x", "x=s\u{e9}cret"] {
            let error = headers(wrong).unwrap_err();
            assert!(error.contains("number 2") && !error.contains("cret"), "{error}");
        }
    }
}
