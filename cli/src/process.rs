//! Shared parts of the long-running commands: threads, sockets, signals.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Creates a runtime with two worker threads, because the commands mostly wait.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The maximum number of connections that wait to be accepted, as in the standard library.
const BACKLOG: i32 = 128;

/// Listens on an address. `[::]` accepts IPv4 as well, and stands for `0.0.0.0` where there is no IPv6.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind_with(address, listen).with_context(|| format!("failed to listen on {address}"))
}

fn bind_with<T>(address: SocketAddr, listen: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match listen(address) {
        // Without IPv6, either the socket or its address is refused. A port that is in use is an error.
        Err(error) if is_any_ipv6(address) && error.kind() != io::ErrorKind::AddrInUse => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| error)
        }
        listening => listening,
    }
}

/// Listens on a port of `127.0.0.1` and `::1`, or of the one that exists.
pub(crate) fn bind_localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let (mut listeners, mut refused) = (Vec::new(), None);
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        match listen((address, port).into()) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn is_any_ipv6(address: SocketAddr) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if is_any_ipv6(address) {
        // Even if net.ipv6.bindv6only is set.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Option of the commands that serve their health.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct HealthArgs {
    /// Address to serve /livez, /readyz and /metrics on, over plain HTTP; `[::]` is every IPv6 and IPv4 address
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080", env = "CODEX_K8S_GUARD_HEALTH_LISTEN")]
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn every_address_is_ipv4_alone_where_there_is_no_ipv6_and_a_port_in_use_is_an_error() {
        let bound = |kind| {
            let refuse_ipv6 = |address: SocketAddr| {
                if address.is_ipv6() { Err(io::Error::from(kind)) } else { Ok(address) }
            };
            bind_with("[::]:8443".parse().unwrap(), refuse_ipv6)
        };
        for kind in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported] {
            assert_eq!(bound(kind).unwrap(), "0.0.0.0:8443".parse().unwrap());
        }
        assert_eq!(bound(io::ErrorKind::AddrInUse).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let refused = bind_with("[::1]:8443".parse().unwrap(), |_| -> io::Result<()> {
            Err(io::ErrorKind::AddrNotAvailable.into())
        });
        assert!(refused.is_err(), "only the unspecified address stands for another");
    }

    #[test]
    fn every_address_and_localhost_answer_on_ipv4_and_on_ipv6() {
        let any = bind("[::]:0".parse().unwrap()).unwrap();
        let port = any.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if any.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
        drop(any);
        let both = bind_localhost(port).unwrap();
        for listener in &both {
            let address = listener.local_addr().unwrap();
            assert!(address.ip().is_loopback());
            TcpStream::connect(address).unwrap();
        }
        assert_eq!(bind_localhost(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
