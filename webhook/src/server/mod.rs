//! The HTTPS server for kube-apiserver, and the plain server for kubelet and Prometheus.

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

/// The offered versions of HTTP. kube-apiserver uses HTTP/1.1 for services. It would choose HTTP/2 only for a loopback
/// address, so tests must offer the same as production.
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
    /// Timeout of a TLS handshake.
    pub handshake: Duration,
    /// Idle timeout of a connection. Longer than the 90 seconds after which kube-apiserver closes its own: if the
    /// server closed first, a request could be lost.
    pub idle: Duration,
    /// Maximum number of connections; a request on a further one is answered with 429.
    pub connections: usize,
    /// Maximum number of concurrent requests; a further one is answered with 429.
    pub in_flight: usize,
    /// The maximum body length: enough for two objects of 3 MiB and their envelope.
    pub body: usize,
    /// Timeout of a request whose client does not send one.
    pub request: Duration,
    /// Time after the shutdown signal during which requests are still accepted, until every client has noticed.
    pub drain_delay: Duration,
    /// Time for the last requests to finish after that.
    pub drain_timeout: Duration,
    /// The offered versions of HTTP.
    pub alpn: Alpn,
    /// The allowed callers; any caller if absent.
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

/// Returns the TLS configuration: versions 1.2 and 1.3, the resolver's certificate at every handshake, and client
/// authentication if callers are given.
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

/// Serves reviews until `shutdown`, then drains: readiness ends; requests are answered for a while, each with
/// `Connection: close`; then connections are no longer accepted, and the last requests finish.
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
