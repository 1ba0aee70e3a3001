//! The server with a reviewer that does what a review's uid says.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use codex_k8s_certs::{Authority, KeyPairPem, Leaf, ReloadableResolver};
use codex_k8s_tests::load::Dialer;
use codex_k8s_webhook::metrics::Metrics;
use codex_k8s_webhook::review::{AdmissionRequest, Entry, Outcome};
use codex_k8s_webhook::server::{self, Alpn, Limits, Readiness, Reviewer};
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The timeout of every wait in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Allows any other uid, panics at `panic`, never decides `hang`, and keeps `wait` until it is released.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) waiting: Notify,
    pub(crate) release: Notify,
}

impl Reviewer for Scripted {
    async fn review(&self, _: Entry, request: &AdmissionRequest<'_>, _: tokio::time::Instant) -> Outcome {
        match &*request.uid {
            "panic" => panic!("a rule that panics"),
            "hang" => std::future::pending().await,
            "wait" => {
                self.waiting.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        Outcome::default()
    }
}

/// A server that runs in the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) resolver: Arc<ReloadableResolver>,
    pub(crate) reviewer: Arc<Scripted>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
}

/// Short limits, and HTTP/1.1 as in production.
pub(crate) fn limits() -> Limits {
    Limits { alpn: Alpn::Http1, drain_delay: Duration::from_millis(300), ..Limits::default() }
}

impl Server {
    pub(crate) fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Authority::generate(Timestamp::now(), "server tests").unwrap();
        let resolver = Arc::new(ReloadableResolver::empty());
        let reviewer = Arc::<Scripted>::default();
        let metrics = Arc::<Metrics>::default();
        let readiness = Readiness::waiting_for(&[]);
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(server::serve(
            listener,
            Arc::clone(&resolver),
            Arc::clone(&reviewer),
            Arc::clone(&metrics),
            readiness.clone(),
            limits,
            shutdown.clone(),
        ));
        let server = Self { address, authority, resolver, reviewer, metrics, readiness, shutdown, ended };
        server.install_new_certificate();
        server
    }

    /// Issues a certificate and installs it; its serial number is new.
    pub(crate) fn install_new_certificate(&self) -> KeyPairPem {
        let pair = self.authority.issue(Timestamp::now(), &Leaf::of_loopback()).unwrap();
        self.resolver.install(pair.certificate.as_bytes(), pair.key.as_bytes(), Timestamp::now()).unwrap();
        pair
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::trusting(self.authority.pem().certificate.as_bytes()).unwrap()
    }

    /// Returns true if the metrics have a line that begins with this.
    pub(crate) fn counted(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|found| found.starts_with(line))
    }
}

/// A review with this uid.
pub(crate) fn review(uid: &str) -> Bytes {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": uid, "operation": "CREATE", "object": {}},
    });
    serde_json::to_vec(&review).unwrap().into()
}

/// A review like [`review`], too large to be decided on the thread that read it.
pub(crate) fn large_review(uid: &str) -> Bytes {
    let mut review: Value = serde_json::from_slice(&review(uid)).unwrap();
    review["request"]["object"]["padding"] = "x".repeat(100_000).into();
    serde_json::to_vec(&review).unwrap().into()
}

/// The `response` in an answer.
pub(crate) fn response(body: &[u8]) -> Value {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    answer["response"].take()
}
