//! The webhook as a process beside a control plane.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::control_plane::{ControlPlane, free_port};
use crate::eventually::eventually;
use crate::identity::Identity;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(30);

/// A webhook that serves.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where it serves reviews.
    pub address: SocketAddr,
    health: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl Webhook {
    /// Starts `serve` with these arguments beside the addresses, and waits until it is ready. Its output goes to
    /// `<name>.log` of the control plane.
    ///
    /// # Errors
    /// If it does not get ready; with the end of its log.
    pub fn start(
        control_plane: &ControlPlane,
        playground: &Path,
        name: &str,
        args: &[String],
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listen = format!("--listen={address}");
        let mut all =
            vec!["webhook".to_owned(), "serve".to_owned(), "--http1-only".to_owned(), listen.clone()];
        all.push(format!("--health-listen={health}"));
        all.extend_from_slice(args);
        let kubeconfig = control_plane.kubeconfig(&Identity::Admin)?.display().to_string();
        let env = vec![("KUBECONFIG".to_owned(), kubeconfig)];
        control_plane.run(name, playground.to_owned(), all, env)?;
        let ready = || is_ready(health).then_some(());
        eventually(&format!("{name} is ready"), PATIENCE, ready)
            .with_context(|| format!("{name}.log ends with:\n{}", control_plane.log_tail(name)))?;
        Ok(Self { address, health, process: Process::started_with(&listen)? })
    }

    /// What its plain port answers to a GET: the status line, the headers and the body.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn health(&self, path: &str) -> anyhow::Result<String> {
        get(self.health, path)
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        is_ready(self.health)
    }
}

fn is_ready(health: SocketAddr) -> bool {
    get(health, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
