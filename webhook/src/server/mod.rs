//! The HTTPS server that kube-apiserver calls, and the plain one that kubelet and Prometheus call.

mod connection;
pub mod handler;
pub mod health;
pub mod trust;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use codex_k8s_certs::{Callers, ReloadableResolver};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

pub use handler::Reviewer;
pub use health::Readiness;
pub use trust::Trust;

use crate::metrics::Metrics;

/// Which versions of HTTP are offered. kube-apiserver speaks HTTP/1.1 to services; only to a loopback address
/// would it choose HTTP/2, so that tests offer what production sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 and HTTP/1.1.
    Both,
}

/// The limits of the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may be idle. Longer than the 90 seconds after which kube-apiserver closes its own:
    /// whoever closes first must not be us, or a request is lost on the way.
    pub idle: Duration,
    /// Connections at a time; a request on any further one is answered with 429.
    pub connections: usize,
    /// Requests at a time; any further one is answered with 429.
    pub in_flight: usize,
    /// The longest body: two objects of 3 MiB and what is around them fit.
    pub body: usize,
    /// How long a request may take when its client does not say.
    pub request: Duration,
    /// How long requests are still taken after the signal to end, until every client has heard of it.
    pub drain_delay: Duration,
    /// How long the last requests may take after that.
    pub drain_timeout: Duration,
    /// The versions of HTTP that are offered.
    pub alpn: Alpn,
    /// Who may call; anybody without one.
    pub callers: Option<Arc<Callers>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(3),
            connections: 512,
            in_flight: 256,
            body: 8 * 1024 * 1024,
            request: Duration::from_secs(10),
            drain_delay: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            alpn: Alpn::Both,
            callers: None,
        }
    }
}

/// The TLS configuration: 1.2 and 1.3, the certificate from the resolver at every handshake, which only callers end, if it is said
/// who these are.
///
/// # Errors
/// If the cryptography does not support these versions.
pub fn tls_config(
    resolver: Arc<ReloadableResolver>,
    alpn: Alpn,
    callers: Option<Arc<Callers>>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(codex_k8s_certs::resolver::provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match callers {
        Some(callers) => config.with_client_cert_verifier(callers),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(resolver);
    let http1 = b"http/1.1".to_vec();
    config.alpn_protocols = match alpn {
        Alpn::Http1 => vec![http1],
        Alpn::Both => vec![b"h2".to_vec(), http1],
    };
    Ok(config)
}

/// Serves reviews until `shutdown`, then drains: readiness goes off, requests are still answered for a while, each
/// with `Connection: close`, then no more connections are taken and the last requests end.
///
/// # Errors
/// If the listener or TLS cannot be used.
pub async fn serve<R: Reviewer>(
    listener: TcpListener,
    resolver: Arc<ReloadableResolver>,
    reviewer: Arc<R>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    limits: Limits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tls = RustlsConfig::from_config(Arc::new(tls_config(resolver, limits.alpn, limits.callers.clone())?));
    let rustls = RustlsAcceptor::new(tls).handshake_timeout(limits.handshake);
    let rustls = rustls.acceptor(axum_server::accept::NoDelayAcceptor::new());
    let acceptor = connection::CappedAcceptor::new(rustls, limits.connections, Arc::clone(&metrics));
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle.clone())
        .first_request_timeout(limits.idle);
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).keep_alive(true);
    server.http_builder().http2().timer(TokioTimer::new()).keep_alive_interval(limits.idle);
    let app = handler::router(reviewer, metrics, &limits, shutdown.clone());
    let drain = async {
        shutdown.cancelled().await;
        readiness.drain();
        tracing::info!(delay = ?limits.drain_delay, "draining");
        tokio::time::sleep(limits.drain_delay).await;
        handle.graceful_shutdown(Some(limits.drain_timeout));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = server.serve(app.into_make_service()) => ended?,
        () = drain => {}
    }
    Ok(())
}
