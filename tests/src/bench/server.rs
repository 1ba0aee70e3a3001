//! The servers to measure.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::report::Figures;
use crate::control_plane::free_port;
use crate::eventually::eventually;
use crate::guard::Guard;
use crate::process::Process;

/// An endpoint of a server, with its results.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    pub(super) process: Process,
    pub(super) figures: Figures,
}

impl Target {
    pub(super) fn new(name: &'static str, address: SocketAddr, path: &'static str, process: Process) -> Self {
        Self { name, address, path, process, figures: Figures::default() }
    }
}

/// A running floor.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    pub(super) process: Process,
}

impl Echo {
    pub(super) fn start(guard: &Guard, playground: &Path, parse: bool) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listen = format!("--listen={address}");
        let file = |name| guard.file(name).display().to_string();
        let mut args = vec![
            "echo".to_owned(),
            listen.clone(),
            format!("--tls-cert={}", file("webhook.crt")),
            format!("--tls-key={}", file("webhook.key")),
        ];
        args.extend(parse.then(|| "--parse".to_owned()));
        let name = if parse { "parsing-echo" } else { "empty-echo" };
        guard.control_plane.run(name, playground.to_owned(), args, Vec::new())?;
        eventually("the echo listens", Duration::from_secs(10), || {
            std::net::TcpStream::connect(address).ok().map(drop)
        })?;
        Ok(Self { address, process: Process::started_with(&listen)? })
    }
}
