//! A proxy that clients reach a server through, for HTTP CONNECT and SOCKS5.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A request for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The protocol: `CONNECT` or `SOCKS5`.
    pub protocol: &'static str,
    /// The requested host and port.
    pub target: String,
    /// The value of the header `Proxy-Authorization`.
    pub authorization: Option<String>,
}

/// The proxy. Each connection leads to the same server, for any target, so that a target needs no DNS. It ends with
/// the process.
#[derive(Debug, Clone)]
pub struct ConnectProxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Connect>>>,
}

impl ConnectProxy {
    /// Starts the proxy in front of a server.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self { address: listener.local_addr()?, seen: Arc::default() };
        let of_thread = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let proxy = of_thread.clone();
                // A client that goes away is none of the proxy's errors.
                thread::spawn(move || proxy.handle(client, server).ok());
            }
        });
        Ok(proxy)
    }

    /// Returns the address of the proxy.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests so far, and forgets them.
    pub fn take(&self) -> Vec<Connect> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn handle(&self, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let first = byte(&mut client)?;
        let (connect, response) = if first == 5 {
            (socks(&mut client)?, vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        } else {
            (connect(&mut client, first)?, b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec())
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(connect);
        let mut upstream = TcpStream::connect(server)?;
        client.write_all(&response)?;
        let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_upstream);
            let _ = to_upstream.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut upstream, &mut client);
        client.shutdown(Shutdown::Both)
    }
}

fn byte(stream: &mut TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn bytes(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the head of a CONNECT request, whose first byte was read.
fn connect(client: &mut TcpStream, first: u8) -> io::Result<Connect> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(client)?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let authorization = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    Ok(Connect { protocol: "CONNECT", target, authorization: authorization.map(str::to_owned) })
}

/// Does the handshake of SOCKS5 (RFC 1928), after its first byte and before the last response.
fn socks(client: &mut TcpStream) -> io::Result<Connect> {
    let methods = byte(client)?;
    bytes(client, methods.into())?;
    client.write_all(&[5, 0])?;
    let request = bytes(client, 4)?;
    let host = match request.last() {
        Some(1) => Ipv4Addr::from_octets(bytes(client, 4)?.try_into().unwrap_or_default()).to_string(),
        Some(3) => {
            let length = byte(client)?;
            String::from_utf8_lossy(&bytes(client, length.into())?).into_owned()
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let port = u16::from_be_bytes(bytes(client, 2)?.try_into().unwrap_or_default());
    Ok(Connect { protocol: "SOCKS5", target: format!("{host}:{port}"), authorization: None })
}
