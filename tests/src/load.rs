//! A client like kube-apiserver: HTTP/1.1 over TLS on keep-alive connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A dialer for servers with certificates of given CAs.
#[derive(Debug, Clone)]
pub struct Dialer {
    tls: Arc<ClientConfig>,
}

/// A response to a review.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// True if the server will close the connection.
    pub closes: bool,
    /// The header `Retry-After`, if there is one.
    pub retry_after: Option<String>,
}

impl Dialer {
    /// Creates a dialer that trusts only the CAs in a PEM text.
    ///
    /// # Errors
    /// Returns an error if the text is not valid PEM, or contains no certificate.
    pub fn trusting(authorities: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots.add(certificate.context("the CA is not a valid PEM certificate")?)?;
        }
        ensure!(!roots.is_empty(), "no CA to trust");
        let provider = Arc::new(codex_k8s_certs::resolver::provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(config) })
    }

    /// Opens a connection. It is bound to the runtime that it is opened in.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or is not trusted.
    pub async fn connect(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let tls = self.connect_raw(address).await?;
        let certificate =
            tls.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec());
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, address, certificate })
    }

    /// Opens a connection for bytes that no client would send.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or is not trusted.
    pub async fn connect_raw(&self, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
        self.shake_hands(Arc::clone(&self.tls), address).await
    }

    /// Posts one review over HTTP/2.
    ///
    /// # Errors
    /// Returns an error if the server does not support it, or does not respond.
    pub async fn post_over_http2(
        &self,
        address: SocketAddr,
        path: &str,
        review: Bytes,
    ) -> anyhow::Result<Reply> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = self.shake_hands(Arc::new(tls), address).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        let request = posting(&format!("https://{address}{path}"), review)?;
        Reply::read(sender.send_request(request).await?).await
    }

    async fn shake_hands(
        &self,
        tls: Arc<ClientConfig>,
        address: SocketAddr,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await.with_context(|| format!("failed to reach {address}"))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(tls).connect(name, tcp).await.context("the TLS handshake failed")
    }
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    certificate: Option<Vec<u8>>,
}

impl Connection {
    /// Returns the certificate that the server presented, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(&mut self) {
        while self.sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Posts a review and reads the whole response.
    ///
    /// # Errors
    /// Returns an error if the connection breaks before the response is complete.
    pub async fn post(&mut self, path: &str, review: Bytes) -> anyhow::Result<Reply> {
        let mut request = posting(path, review)?;
        request.headers_mut().insert(HOST, self.address.to_string().try_into()?);
        self.send(request).await
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// Returns an error if the connection breaks before the response is complete.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        self.sender.ready().await?;
        Reply::read(self.sender.send_request(request).await?).await
    }
}

impl Reply {
    async fn read(response: Response<Incoming>) -> anyhow::Result<Self> {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let closes = header(CONNECTION) == Some("close");
        let retry_after = header(RETRY_AFTER).map(str::to_owned);
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Self { status, body, closes, retry_after })
    }
}

fn posting(uri: &str, review: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::post(uri).header(CONTENT_TYPE, "application/json");
    Ok(request.body(Full::new(review))?)
}
