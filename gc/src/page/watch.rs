//! Asks the webhooks what they have denied.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::header::HOST;
use http::uri::{Authority, Scheme, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::denials::{Counted, Hour, Look, Ring, read};
use crate::clock::Clock;

/// How often.
const EVERY: Duration = Duration::from_mins(1);
/// How soon after the first look comes the second, before which nothing is known.
const SECOND: Duration = Duration::from_secs(5);
/// How long one webhook may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an exposition that are read.
const LONGEST: usize = 4 << 20;
/// The port of `http`.
const PORT: u16 = 80;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where webhooks tell their metrics: each address that the host has is one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    authority: Authority,
    path: String,
}

/// A text that does not tell where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} names no metrics; expected an address such as http://codex-k8s-webhook-metrics:8080/metrics"
)]
pub struct ExposedError {
    found: String,
}

impl std::str::FromStr for Exposed {
    type Err = ExposedError;

    fn from_str(text: &str) -> Result<Self, ExposedError> {
        let read = || {
            let uri = text.parse::<Uri>().ok().filter(|uri| uri.scheme() == Some(&Scheme::HTTP))?;
            let authority = uri.authority()?.clone();
            // A password would be told wherever the address is.
            (!authority.as_str().contains('@')).then(|| Self { authority, path: uri.path().to_owned() })
        };
        read().ok_or_else(|| ExposedError { found: text.chars().take(80).collect() })
    }
}

impl Exposed {
    /// Looks once at each webhook that the host has an address of.
    async fn look(&self) -> Look {
        let name = || self.authority.to_string();
        let host = self.authority.host().trim_matches(['[', ']']);
        let resolved = tokio::net::lookup_host((host, self.authority.port_u16().unwrap_or(PORT))).await;
        let mut addresses: Vec<_> = match resolved {
            Ok(resolved) => resolved.collect(),
            Err(error) => return vec![(name(), Err(format!("it has no address: {error}")))],
        };
        addresses.sort();
        addresses.dedup();
        join_all(addresses.into_iter().map(async |address| {
            let asked = tokio::time::timeout(PATIENCE, self.ask(address)).await;
            let found = match asked {
                Ok(found) => found.map_err(|error| crate::cluster::told(&*error)),
                Err(_) => Err(format!("it did not answer within {PATIENCE:?}")),
            };
            (address.to_string(), found)
        }))
        .await
    }

    async fn ask(&self, address: std::net::SocketAddr) -> Result<Counted, BoxError> {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = http::Request::get(&self.path)
            .header(HOST, self.authority.as_str())
            .body(Empty::<Bytes>::new())?;
        // What reads and writes ends with this.
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await?.to_bytes();
        Ok(read(&String::from_utf8_lossy(&body)))
    }
}

/// What the webhooks have denied.
#[derive(Debug, Default)]
pub struct Watch {
    exposed: Vec<Exposed>,
    ring: Mutex<Ring>,
}

impl Watch {
    /// A watch over these.
    pub fn new(exposed: Vec<Exposed>) -> Arc<Self> {
        Arc::new(Self { exposed, ring: Mutex::default() })
    }

    /// The last hour; `None` if nobody is asked.
    pub fn hour(&self, now: Timestamp) -> Option<Hour> {
        let ring = || self.ring.lock().unwrap_or_else(PoisonError::into_inner).hour(now);
        (!self.exposed.is_empty()).then(ring)
    }

    /// Looks again and again, for ever.
    pub async fn follow(&self, clock: Clock) {
        if self.exposed.is_empty() {
            return std::future::pending().await;
        }
        for pause in [Duration::ZERO, SECOND].into_iter().chain(std::iter::repeat(EVERY)) {
            tokio::time::sleep(pause).await;
            let look = join_all(self.exposed.iter().map(Exposed::look)).await.concat();
            for (source, why) in
                look.iter().filter_map(|(source, found)| Some((source, found.as_ref().err()?)))
            {
                tracing::warn!(source, why, "a webhook does not tell what it has denied");
            }
            self.ring.lock().unwrap_or_else(PoisonError::into_inner).note(clock.now(), look);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with this.
    async fn exposing(answer: String) -> Exposed {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).await.unwrap();
            assert!(asked[..length].starts_with(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        format!("http://{address}/metrics").parse().unwrap()
    }

    #[tokio::test]
    async fn a_webhook_is_asked_and_one_that_gives_no_figures_is_not_taken_for_one_without_denials() {
        let body =
            "codex_k8s_webhook_decisions_total{rule=\"NS001\",dry_run=\"false\",outcome=\"denied\"} 12\n";
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let look = exposing(answer).await.look().await;
        assert_eq!(look[0].1.as_ref().unwrap()["NS001"].denied, 12);
        for (answer, why) in [
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "it answered 503"),
            ("", "connection closed"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\nshort", "error reading a body"),
        ] {
            let look = exposing(answer.to_owned()).await.look().await;
            assert!(look[0].1.as_ref().unwrap_err().contains(why), "{look:?}");
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told() {
        let nowhere: Exposed = "http://nowhere.invalid/metrics".parse().unwrap();
        let look = nowhere.look().await;
        assert!(look.len() == 1 && look[0].0 == "nowhere.invalid", "{look:?}");
        assert!(look[0].1.as_ref().unwrap_err().contains("it has no address"), "{look:?}");
    }

    #[test]
    fn what_names_no_metrics_is_told_with_what_would() {
        for text in ["", "metrics:8080", "https://a/metrics", "http://me:secret@a/metrics", "/metrics"] {
            assert!(text.parse::<Exposed>().unwrap_err().to_string().contains("names no metrics"), "{text}");
        }
        assert!("http://[::1]:8080/metrics".parse::<Exposed>().is_ok());
    }
}
