//! The daemon's read-only status page.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use codex_k8s_gc::health::Health;
use codex_k8s_gc::page::gather::{Gatherer, Questions, Requests};
use codex_k8s_gc::page::server::{self, Hosts};
use codex_k8s_gc::session::Session;
use futures::future::try_join_all;
use tokio::net::TcpListener;

use crate::connect::CleanupArgs;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::process;

/// The addresses of the page.
#[derive(Debug, Clone, Copy)]
enum Listen {
    /// This port of `127.0.0.1` and `::1`.
    Localhost(u16),
    /// One address.
    Address(SocketAddr),
}

impl FromStr for Listen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let port = text.strip_prefix("localhost:").map(str::parse);
        let parsed = match port {
            Some(port) => port.map(Self::Localhost).ok(),
            None => text.parse().map(Self::Address).ok(),
        };
        parsed.ok_or_else(|| anyhow!("must be localhost:PORT or ADDRESS:PORT"))
    }
}

impl Listen {
    fn is_loopback(self) -> bool {
        match self {
            Self::Localhost(_) => true,
            Self::Address(address) => address.ip().is_loopback(),
        }
    }

    fn bind(self) -> anyhow::Result<Vec<TcpListener>> {
        let bound = match self {
            Self::Localhost(port) => process::bind_localhost(port)
                .with_context(|| format!("failed to listen on port {port} of localhost"))?,
            Self::Address(address) => vec![process::bind(address)?],
        };
        let into_async = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        Ok(bound.into_iter().map(into_async).collect::<Result<_, _>>()?)
    }
}

/// Options of the status page.
#[derive(Debug, clap::Args)]
pub(super) struct PageArgs {
    /// Address to serve a read-only page about the run namespaces on, over plain HTTP, such as localhost:8081, which is
    /// 127.0.0.1 and `[::1]` (default: no page)
    ///
    /// The page has no authentication: all clients that reach the address can read it.
    #[arg(long = "admin-listen", value_name = "ADDRESS", env = "CODEX_K8S_GUARD_ADMIN_LISTEN")]
    listen: Option<Listen>,
    /// Allow an --admin-listen address that is not a loopback address, for a proxy that authenticates
    #[arg(long = "admin-allow-remote", requires = "listen")]
    allow_remote: bool,
    /// Host name that requests for the page may use, besides addresses and localhost (can be repeated)
    #[arg(long = "admin-host", value_name = "NAME", requires = "listen")]
    host: Vec<String>,
}

/// A status page that is ready to be served.
pub(super) struct Page {
    listeners: Vec<TcpListener>,
    hosts: Hosts,
    gatherer: Gatherer,
    requests: Requests,
    questions: Questions,
}

impl PageArgs {
    /// Creates the page on its own listener, if it is enabled.
    pub(super) fn page(
        &self,
        policy: &CleanupArgs,
        session: &Arc<Session>,
        health: &Arc<Health>,
    ) -> Result<Option<Page>, Failure> {
        let Some(listen) = self.listen else { return Ok(None) };
        if !listen.is_loopback() && !self.allow_remote {
            let error = anyhow!(
                "--admin-listen is not a loopback address, and the page has no authentication; use a loopback address, or \
                 add --admin-allow-remote if a proxy in front of it authenticates"
            );
            return Err(error).or_exit(Exit::Usage);
        }
        let listeners = listen.bind().context("--admin-listen").or_exit(Exit::Usage)?;
        for listener in &listeners {
            let address = listener.local_addr().context("--admin-listen").or_exit(Exit::Usage)?;
            tracing::info!(%address, "serving the status page");
        }
        let policy = policy.clone();
        let read = Box::new(move || policy.read().map_err(|failure| format!("{:#}", failure.error)));
        let gatherer = Gatherer::new(Arc::clone(session), read, Arc::clone(health));
        let (requests, questions) = Requests::new();
        let hosts = Hosts::new(self.host.iter().cloned());
        Ok(Some(Page { listeners, hosts, gatherer, requests, questions }))
    }
}

impl Page {
    /// Serves the page forever.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        let serve = |listener| server::serve(listener, self.hosts.clone(), self.requests.clone());
        tokio::select! {
            served = try_join_all(self.listeners.into_iter().map(serve)) => served.map(drop),
            () = self.gatherer.answer(self.questions) => Ok(()),
        }
    }
}
