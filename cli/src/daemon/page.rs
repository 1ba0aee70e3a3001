//! The daemon's read-only status page.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use codex_k8s_gc::health::Health;
use codex_k8s_gc::page::gather::{Gatherer, Questions, Requests};
use codex_k8s_gc::page::server::{self, Hosts};
use codex_k8s_gc::session::Session;
use tokio::net::TcpListener;

use crate::connect::CleanupArgs;
use crate::exit::{Exit, Failure, OrExit as _};

/// Options of the status page.
#[derive(Debug, clap::Args)]
pub(super) struct PageArgs {
    /// Address to serve a read-only page about the run namespaces on, over plain HTTP, such as 127.0.0.1:8081 (default:
    /// no page)
    ///
    /// The page has no authentication: all clients that reach the address can read it.
    #[arg(long = "admin-listen", value_name = "ADDRESS", env = "CODEX_K8S_GUARD_ADMIN_LISTEN")]
    listen: Option<SocketAddr>,
    /// Allow an --admin-listen address that is not a loopback address, for a proxy that authenticates
    #[arg(long = "admin-allow-remote", requires = "listen")]
    allow_remote: bool,
    /// Host name that requests for the page may use, besides addresses and localhost (can be repeated)
    #[arg(long = "admin-host", value_name = "NAME", requires = "listen")]
    host: Vec<String>,
}

/// A status page that is ready to be served.
pub(super) struct Page {
    listener: TcpListener,
    hosts: Hosts,
    gatherer: Gatherer,
    requests: Requests,
    questions: Questions,
}

impl PageArgs {
    /// Creates the page on its own listener, if it is enabled.
    pub(super) async fn page(
        &self,
        policy: &CleanupArgs,
        session: &Arc<Session>,
        health: &Arc<Health>,
    ) -> Result<Option<Page>, Failure> {
        let Some(address) = self.listen else { return Ok(None) };
        if !address.ip().is_loopback() && !self.allow_remote {
            let error = anyhow!(
                "--admin-listen {address} is not a loopback address, and the page has no authentication; use a loopback \
                 address, or add --admin-allow-remote if a proxy in front of it authenticates"
            );
            return Err(error).or_exit(Exit::Usage);
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("--admin-listen: failed to listen on {address}"))
            .or_exit(Exit::Usage)?;
        tracing::info!(%address, "serving the status page");
        let policy = policy.clone();
        let read = Box::new(move || policy.read().map_err(|failure| format!("{:#}", failure.error)));
        let gatherer = Gatherer::new(Arc::clone(session), read, Arc::clone(health));
        let (requests, questions) = Requests::new();
        let hosts = Hosts::new(self.host.iter().cloned());
        Ok(Some(Page { listener, hosts, gatherer, requests, questions }))
    }
}

impl Page {
    /// Serves the page forever.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        tokio::select! {
            served = server::serve(self.listener, self.hosts, self.requests) => served,
            () = self.gatherer.answer(self.questions) => Ok(()),
        }
    }
}
