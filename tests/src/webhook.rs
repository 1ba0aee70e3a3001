//! The webhook and the reconciler as processes next to a control plane.

use std::net::SocketAddr;
use std::path::Path;

use crate::control_plane::{ControlPlane, free_port};
use crate::health::Health;
use crate::identity::Identity;
use crate::process::Process;

/// A running webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The address for reviews.
    pub address: SocketAddr,
    /// The health endpoint.
    pub health: Health,
    /// The process.
    pub process: Process,
}

/// A running reconciler.
#[derive(Debug, Clone)]
pub struct Reconciler {
    /// The health endpoint.
    pub health: Health,
    /// The process.
    pub process: Process,
}

/// Runs a command of the program as an identity, and waits until it is ready.
fn start(
    control_plane: &ControlPlane,
    playground: &Path,
    name: &str,
    identity: &Identity,
    args: Vec<String>,
) -> anyhow::Result<(Health, Process)> {
    let health = control_plane.at(free_port()?);
    let listen = format!("--health-listen={health}");
    let mut all = vec!["guard".to_owned()];
    all.extend(args);
    all.push(listen.clone());
    let kubeconfig = control_plane.kubeconfig(identity)?.display().to_string();
    control_plane.run(name, playground.to_owned(), all, vec![("KUBECONFIG".to_owned(), kubeconfig)])?;
    Health(health).await_ready(control_plane, name)?;
    Ok((Health(health), Process::started_with(&listen)?))
}

impl Webhook {
    /// Starts `serve` with these arguments in addition to the addresses, and waits until it is ready. Its output is
    /// written to `<name>.log` of the control plane.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn start(
        control_plane: &ControlPlane,
        playground: &Path,
        name: &str,
        args: &[String],
    ) -> anyhow::Result<Self> {
        Self::start_as(control_plane, playground, name, &Identity::Admin, args)
    }

    /// Like [`start`](Self::start), with the rights of an identity.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn start_as(
        control_plane: &ControlPlane,
        playground: &Path,
        name: &str,
        identity: &Identity,
        args: &[String],
    ) -> anyhow::Result<Self> {
        let address = control_plane.at(free_port()?);
        let mut all = vec!["serve".to_owned(), "--http1-only".to_owned(), format!("--listen={address}")];
        all.extend_from_slice(args);
        let (health, process) = start(control_plane, playground, name, identity, all)?;
        Ok(Self { address, health, process })
    }
}

impl Reconciler {
    /// Starts `reconcile` with these arguments as an identity. The reconciler of the default policy is
    /// [`Identity::reconciler`].
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn start(
        control_plane: &ControlPlane,
        playground: &Path,
        name: &str,
        identity: &Identity,
        args: &[String],
    ) -> anyhow::Result<Self> {
        let mut all = vec!["reconcile".to_owned()];
        all.extend_from_slice(args);
        let (health, process) = start(control_plane, playground, name, identity, all)?;
        Ok(Self { health, process })
    }
}
