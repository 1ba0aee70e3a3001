//! `page`: opens the page of the installation in a browser, through the API server.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, anyhow};
use codex_k8s_shared::install::{COLLECTOR, PART_OF};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::exit::{Ended, Exit, Failure, OrExit as _};
use crate::installation::Installation;
use crate::{output, process};

/// The option of the daemon that enables the page.
const LISTEN: &str = "--admin-listen=";

const HELP: &str = "\
Examples:
  codex-k8s-guard page
  codex-k8s-guard page --no-browser --port 8081

Exit codes:
  0  it was interrupted
  2  invalid usage, or the port is in use
  4  the API server is unreachable, or refused a request, or no daemon serves the page";

/// Open the page about the run namespaces in a browser
///
/// Forwards a port of this machine to the daemon's page until the command is interrupted, as kubectl port-forward does.
/// Only this machine can reach the port. Needs list on Pods, and get and create on pods/portforward in the install namespace.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    /// Port of this machine (default: a free one)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Print the address, and open no browser
    #[arg(long)]
    no_browser: bool,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        process::runtime()?.block_on(self.forward())
    }

    async fn forward(self) -> Ended {
        let installation = Installation::find(&self.cluster, &self.install).await?;
        // A page that does not exist is told now, and not at the first request.
        serving(&installation).await.or_exit(Exit::Cluster)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let bound = TcpListener::bind(address).await;
        let listener =
            bound.with_context(|| format!("--port: failed to listen on {address}")).or_exit(Exit::Usage)?;
        let url = format!("http://{}/", listener.local_addr().context("--port").or_exit(Exit::Usage)?);
        output::print(&format!("{url}\n"))?;
        output::note(&format!(
            "forwarding to the page of the installation in namespace {} of {}; interrupt to end",
            installation.namespace, installation.target
        ));
        if !self.no_browser
            && let Err(error) = open::that_detached(&url)
        {
            output::warn(&format!("failed to open a browser: {error}; open {url}"));
        }
        tokio::select! {
            () = accept(&listener, &installation) => Ok(Exit::Done),
            ended = tokio::signal::ctrl_c() => ended.map(|()| Exit::Done).map_err(Failure::from),
        }
    }
}

/// Forwards each connection.
async fn accept(listener: &TcpListener, installation: &Installation) {
    loop {
        let accepted = listener.accept().await;
        let installation = installation.clone();
        tokio::spawn(async move {
            let result = match accepted {
                Ok((client, _)) => connect(client, &installation).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                output::warn(&format!("failed to forward a connection: {error:#}"));
            }
        });
    }
}

/// Forwards a connection to the Pod that serves the page now: another Pod may have replaced the first one.
async fn connect(mut client: TcpStream, installation: &Installation) -> anyhow::Result<()> {
    let (name, port) = serving(installation).await?;
    let mut forwarder = pods(installation).portforward(&name, &[port]).await?;
    let closed = "the API server did not forward the port";
    let mut page = forwarder.take_stream(port).context(closed)?;
    let error = forwarder.take_error(port).context(closed)?;
    // Either side may end the connection.
    let _ = copy_bidirectional(&mut client, &mut page).await;
    // The API server may have closed the WebSocket already: only its own message is an error.
    forwarder.abort();
    match error.await {
        Some(message) => Err(anyhow!(message)),
        None => Ok(()),
    }
}

fn pods(installation: &Installation) -> Api<Pod> {
    Api::namespaced(installation.client.clone(), &installation.namespace)
}

/// Returns the name of the Pod that serves the page, and its port.
async fn serving(installation: &Installation) -> anyhow::Result<(String, u16)> {
    let params = ListParams::default().labels(&format!("{PART_OF},{COLLECTOR}"));
    let namespace = &installation.namespace;
    let what = || format!("failed to list Pods of namespace {namespace}");
    let listed = pods(installation).list(&params).await.with_context(what)?;
    let found =
        listed.items.iter().filter(|pod| is_ready(pod)).find_map(|pod| Some((pod.name_any(), port(pod)?)));
    found.with_context(|| {
        anyhow!(
            "no Pod in namespace {namespace} serves the page: it needs gc.mode: daemon and gc.page.enabled: true in the \
             values of the chart, and a daemon that is ready"
        )
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Returns the port of the page, from the arguments of the daemon.
fn port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut arguments = containers.flat_map(|container| container.args.iter().flatten());
    arguments.find_map(|argument| argument.strip_prefix(LISTEN)?.rsplit_once(':')?.1.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(arguments: &[&str], is_ready: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "codex-k8s-gc-1"},
            "spec": {"containers": [{"name": "gc", "args": arguments}]},
            "status": {"conditions": [{"type": "Ready", "status": is_ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_port_is_that_of_the_option_of_the_daemon() {
        assert_eq!(port(&pod(&["daemon", "--admin-listen=localhost:8081"], "True")), Some(8081));
        assert_eq!(port(&pod(&["daemon", "--admin-listen=[::]:9000"], "True")), Some(9000));
        assert_eq!(port(&pod(&["daemon"], "True")), None);
        assert!(is_ready(&pod(&[], "True")) && !is_ready(&pod(&[], "False")));
    }
}
