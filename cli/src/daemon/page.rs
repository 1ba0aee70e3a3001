//! The daemon's read-only page.

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

/// The page.
#[derive(Debug, clap::Args)]
pub(super) struct PageArgs {
    /// The plain address of a read-only page about the run namespaces, such as 127.0.0.1:8081; without one there is no
    /// page. Nobody is asked who he is: whoever reaches the address may read
    #[arg(long = "admin-listen", value_name = "ADDRESS", env = "CODEX_K8S_GUARD_ADMIN_LISTEN")]
    listen: Option<SocketAddr>,
    /// Let that address be another than a loopback one, for a proxy that asks who comes
    #[arg(long = "admin-allow-remote", requires = "listen")]
    allow_remote: bool,
    /// A name that the page is asked for under, beside addresses and localhost; may be given more than once
    #[arg(long = "admin-host", value_name = "NAME", requires = "listen")]
    host: Vec<String>,
}

/// A page that is about to be served.
pub(super) struct Page {
    listener: TcpListener,
    hosts: Hosts,
    gatherer: Gatherer,
    requests: Requests,
    questions: Questions,
}

impl PageArgs {
    /// The page, if there is to be one, on its own listener.
    pub(super) async fn page(
        &self,
        policy: &CleanupArgs,
        session: &Arc<Session>,
        health: &Arc<Health>,
    ) -> Result<Option<Page>, Failure> {
        let Some(address) = self.listen else { return Ok(None) };
        if !address.ip().is_loopback() && !self.allow_remote {
            let error = anyhow!(
                "--admin-listen {address} can be reached from elsewhere, and the page asks nobody who he is; use a loopback \
                 address, or add --admin-allow-remote if a proxy before it asks"
            );
            return Err(error).or_exit(Exit::Usage);
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"))
            .or_exit(Exit::Usage)?;
        tracing::info!(%address, "serves a page about the run namespaces");
        let policy = policy.clone();
        let read = Box::new(move || policy.read().map_err(|failure| format!("{:#}", failure.error)));
        let gatherer = Gatherer::new(Arc::clone(session), read, Arc::clone(health));
        let (requests, questions) = Requests::new();
        let hosts = Hosts::new(self.host.iter().cloned());
        Ok(Some(Page { listener, hosts, gatherer, requests, questions }))
    }
}

impl Page {
    /// Serves it for ever.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        tokio::select! {
            served = server::serve(self.listener, self.hosts, self.requests) => served,
            () = self.gatherer.answer(self.questions) => Ok(()),
        }
    }
}
