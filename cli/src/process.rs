//! Shared parts of the long-running commands: threads, sockets, signals.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Creates a runtime with two worker threads, because the commands mostly wait.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Listens on an address.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))
}

/// Option of the commands that serve their health.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct HealthArgs {
    /// Address to serve /livez, /readyz and /metrics on, over plain HTTP
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080",
        env = "CODEX_K8S_GUARD_HEALTH_LISTEN"
    )]
    health_listen: SocketAddr,
}

impl HealthArgs {
    /// Listens on the address.
    pub(crate) fn bind(self) -> anyhow::Result<TcpListener> {
        bind(self.health_listen)
    }
}

/// The name of this process in a Lease: the name of its Pod or host, with the process id.
pub(crate) fn identity(pod: Option<&str>) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = pod.map_or_else(host, str::to_owned);
    format!("{}-{}", name.trim(), std::process::id())
}

/// Handles SIGTERM and SIGINT: the first one drains, the second one ends the process immediately.
pub(crate) fn signals() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () };
        next().await;
        token.cancel();
        next().await;
        tracing::warn!("received a second signal, exiting immediately");
        std::process::exit(130);
    });
    Ok(shutdown)
}
