//! The floor of the benchmarks: an HTTPS server on the webhook's own stack that allows everything, with and without
//! parsing JSON.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing};
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use codex_k8s_certs::{FileSource, ReloadableResolver};
use codex_k8s_webhook::server::{Alpn, tls_config};
use jiff::Timestamp;
use serde_json::Value;

/// Respond to every admission review with "allowed"
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to serve on
    #[arg(long)]
    listen: SocketAddr,
    /// Serving certificate in PEM
    #[arg(long)]
    tls_cert: PathBuf,
    /// Private key of the serving certificate in PEM
    #[arg(long)]
    tls_key: PathBuf,
    /// Parse the body as JSON before responding
    #[arg(long)]
    parse: bool,
}

impl Args {
    /// Serves until it is killed.
    ///
    /// # Errors
    /// Returns an error if the address or the certificate cannot be used.
    pub fn run(self) -> anyhow::Result<()> {
        let resolver = Arc::new(ReloadableResolver::empty());
        FileSource::new(&self.tls_cert, &self.tls_key).load(&resolver, Timestamp::now())?;
        let tls = RustlsConfig::from_config(Arc::new(tls_config(resolver, Alpn::Http1, None)?));
        let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
        let listener = TcpListener::bind(self.listen)?;
        let answer = if self.parse { routing::post(parsing) } else { routing::post(empty) };
        let app = Router::new().route("/mutate", answer.clone()).route("/validate", answer);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let server = axum_server::from_tcp(listener)?.acceptor(acceptor);
            server.serve(app.into_make_service()).await.context("failed to serve")
        })
    }
}

async fn empty(body: Bytes) -> impl IntoResponse {
    // kube-apiserver writes the uid of the request before all other uids.
    const MARK: &[u8] = br#""uid":""#;
    let start = body.windows(MARK.len()).position(|window| window == MARK).map(|at| at + MARK.len());
    let uid = start.and_then(|start| body.get(start..start + 36)).unwrap_or_default();
    allowed(&String::from_utf8_lossy(uid))
}

async fn parsing(body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    allowed(review.pointer("/request/uid").and_then(Value::as_str).unwrap_or_default())
}

fn allowed(uid: &str) -> impl IntoResponse + use<> {
    let answer = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{uid}","allowed":true}}}}"#
    );
    ([(CONTENT_TYPE, "application/json")], answer)
}
