//! The gateway to the network of a node: forwards connections from a loopback port of this machine to the same port of
//! the node.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd as _;
use std::thread::JoinHandle;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A gateway, which is open until it is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Gateway {
    /// Opens a gateway to the network of a process.
    ///
    /// # Errors
    /// Returns an error if the port is in use, or the process has ended.
    pub(super) fn open(port: u16, process: u32) -> anyhow::Result<Self> {
        let network = File::open(format!("/proc/{process}/ns/net"))
            .with_context(|| format!("process {process} has no network"))?;
        // A socket stays in the network namespace that it was created in.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let (close, closed) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || carry(listener, port, &network, closed))?;
        Ok(Self { close: Some(close), thread: Some(thread) })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            // Users of the gateway have seen its errors.
            let _ = thread.join();
        }
    }
}

/// Forwards connections. Only this thread enters the network namespace, so it does all the work.
fn carry(
    listener: TcpListener,
    port: u16,
    network: &File,
    closed: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accept = async {
            while let Ok((mut outside, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut inside = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                    inside.set_nodelay(true)?;
                    outside.set_nodelay(true)?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        };
        tokio::select! {
            () = accept => (),
            _ = closed => (),
        }
        Ok(())
    })
}
