//! The client of the trace collector.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

/// The timeout of the collector for one batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a response that is read. It contains the number of rejected spans.
const ANSWER: usize = 64 * 1024;

/// The address of a collector, to which the paths of the protocol are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    base: Uri,
}

/// An invalid address of a collector.
#[derive(Debug, thiserror::Error)]
#[error("found {found:?}; expected the address of a collector, such as http://collector:4318")]
pub(super) struct EndpointError {
    found: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let speaks_http = |base: &Uri| [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&base.scheme());
        let base = text.trim_end_matches('/').parse().ok().filter(speaks_http);
        base.map(|base| Self { base }).ok_or_else(|| EndpointError { found: text.to_owned() })
    }
}

impl Endpoint {
    /// The address for traces.
    pub(super) fn traces(&self) -> String {
        format!("{}/v1/traces", self.base.to_string().trim_end_matches('/'))
    }

    fn is_https(&self) -> bool {
        self.base.scheme() == Some(&Scheme::HTTPS)
    }
}

/// A client of the collector. A thread without a runtime creates the batches, so they are sent in that of the program.
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    is_received: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// # Errors
    /// If the connection uses TLS, and this machine has no trusted certificates.
    pub(super) fn new(endpoint: &Endpoint, runtime: Handle) -> anyhow::Result<Self> {
        let provider = aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new();
        let connector = if endpoint.is_https() {
            let trusting = connector.with_provider_and_native_roots(provider);
            trusting.context("failed to find certificates to trust")?.https_or_http().enable_http1().build()
        } else {
            // An image without any certificates may still use a collector in its cluster.
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            connector.with_tls_config(config).https_or_http().enable_http1().build()
        };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime, is_received: AtomicBool::new(true) })
    }

    /// Logs when the collector starts to reject traces, and when it accepts them again.
    fn log(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let problem = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match (self.is_received.swap(problem.is_none(), Ordering::Relaxed), problem) {
            (true, Some(problem)) => tracing::warn!(problem, "the collector takes no traces: they are lost"),
            (false, None) => tracing::info!("the collector takes traces again"),
            (true, None) | (false, Some(_)) => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let requested = self.client.request(request.map(Full::new));
        let answered = async {
            let (parts, body) = requested.await?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        };
        // The timer also needs the runtime.
        let sending = self.runtime.spawn(async { tokio::time::timeout(TIMEOUT, answered).await });
        let sent = match sending.await {
            Ok(Ok(sent)) => sent,
            Ok(Err(late)) => Err(late.into()),
            Err(ended) => Err(ended.into()),
        };
        self.log(&sent);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_a_path_below_the_endpoint() {
        for (endpoint, traces) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.org/otlp", "https://example.org/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint.parse::<Endpoint>().unwrap().traces(), traces);
        }
        for text in ["", "collector:4318", "grpc://collector:4317", "/v1/traces"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("found {text:?}; expected ")), "{error}");
        }
    }
}
