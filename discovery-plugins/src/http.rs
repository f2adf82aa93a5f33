//! The thin HTTP client of the plugins that speak JSON: requests with a deadline, and answers that are streams of lines.

use crate::{Error, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Largest answer that is read, and largest line of a stream.
const ANSWER_BYTES: usize = 16 << 20;
const CONNECT: Duration = Duration::from_secs(3);

/// What an `https://` address is verified with; PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The authority; without one, the public ones are trusted.
    pub ca: Option<Vec<u8>>,
    /// A certificate of ours and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where a server is and how to talk to it.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// A header with a secret, such as `x-consul-token`.
    pub secret: Option<(&'static str, String)>,
    pub tls: Tls,
}

/// One server.
#[derive(Clone)]
pub struct Http {
    plugin: &'static str,
    options: HttpOptions,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer: status, headers, body.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self, plugin: &'static str) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::new(plugin, format!("the answer is no JSON: {e}")))
    }
}

impl Http {
    pub fn new(plugin: &'static str, options: HttpOptions) -> Result<Http> {
        let scheme = options.url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https")) || options.url.parse::<http::Uri>().is_err() {
            return Err(Error::new(plugin, format!("{:?} is no address like http://host:port", options.url)));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        connector.set_keepalive(Some(Duration::from_secs(15)));
        connector.enforce_http(false);
        let tls = tls_config(&options.tls).map_err(|e| Error::new(plugin, e))?;
        let https =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(https.wrap_connector(connector));
        Ok(Http { plugin, options, client })
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<http::Response<Incoming>> {
        let uri = format!("{}{path}", self.options.url.trim_end_matches('/'));
        let mut request = http::Request::builder().method(method).uri(&uri);
        if let Some((name, value)) = &self.options.secret {
            request = request.header(*name, value);
        }
        let bytes = body.map(|b| b.to_string()).unwrap_or_default();
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(bytes)).map_err(|e| Error::new(self.plugin, e))?;
        let answer = self.client.request(request).await;
        answer.map_err(|e| Error::new(self.plugin, format!("{method} {uri}: {}", whole(&e))))
    }

    /// One call; answers of any status are handed back.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer> {
        let call = async {
            let answer = self.send(method, path, body).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await;
            let body = body.map_err(|e| Error::new(self.plugin, format!("{method} {path}: {e}")))?;
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
        };
        let late = |_| {
            Error::new(self.plugin, format!("{method} {}{path}: no answer in {patience:?}", self.options.url))
        };
        tokio::time::timeout(patience, call).await.map_err(late)?
    }

    /// One call that must succeed.
    pub async fn expect(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer> {
        let answer = self.call(method, path, body, patience).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(self.refused(method, path, answer.status, &answer.body))
    }

    pub fn refused(&self, method: &str, path: &str, status: u16, body: &[u8]) -> Error {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
        Error::new(self.plugin, format!("{method} {}{path}: HTTP {status}: {text}", self.options.url))
    }

    /// A call whose answer goes on: its lines, each a JSON value. Ends where the server ends it, or is silent for
    /// longer than `silence`.
    pub async fn lines(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        silence: Duration,
    ) -> Result<(u16, BoxStream<'static, Result<Value>>)> {
        let late = |_| Error::new(self.plugin, format!("{method} {path}: no answer in {silence:?}"));
        let answer = tokio::time::timeout(silence, self.send(method, path, body)).await.map_err(late)??;
        let status = answer.status().as_u16();
        let state = Lines { plugin: self.plugin, body: answer.into_body(), buffer: Vec::new(), silence };
        let lines = stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            match state.next().await {
                Ok(Some(value)) => Some((Ok(value), Some(state))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        });
        Ok((status, lines.boxed()))
    }
}

struct Lines {
    plugin: &'static str,
    body: Incoming,
    buffer: Vec<u8>,
    silence: Duration,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let value = serde_json::from_slice(&line);
                return value
                    .map(Some)
                    .map_err(|e| Error::new(self.plugin, format!("a line is no JSON: {e}")));
            }
            if self.buffer.len() > ANSWER_BYTES {
                return Err(Error::new(self.plugin, "a line of the answer does not end"));
            }
            match tokio::time::timeout(self.silence, self.body.frame()).await {
                Err(_) => {
                    return Err(Error::new(
                        self.plugin,
                        format!("the stream was silent for {:?}", self.silence),
                    ));
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => return Err(Error::new(self.plugin, format!("the stream broke: {e}"))),
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..]))
                }
            }
        }
    }
}

fn tls_config(tls: &Tls) -> std::result::Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match &tls.ca {
        None => builder.with_webpki_roots(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|e| format!("the authority's certificate: {e}"))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the private key: {e}"))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|e| format!("the certificate: {e}"))
        }
    }
}

fn certificates(pem: &[u8]) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found.map_err(|e| format!("a certificate cannot be read: {e}"))? {
        none if none.is_empty() => Err("there is no certificate in the file".to_owned()),
        found => Ok(found),
    }
}

/// An error with its causes.
fn whole(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Escapes a part of a path or of a query.
pub fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
