//! Reviews while certificate, policy and one of two servers change: none is lost, and each is decided correctly.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use codex_k8s_certs::{Authority, Leaf};
use codex_k8s_tests::load::{Connection, Dialer};
use codex_k8s_tests::{Identity, Webhook, eventually, review};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::harness::{create, guard, managed};

const REVIEWS: usize = 20_000;
const CONNECTIONS: usize = 25;
const TIMEOUT: Duration = Duration::from_mins(2);
const OLD_POLICY: &str = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
const NEW_POLICY: &str =
    "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules:\n  JOB022: audit\n";

/// State that the clients share: the ready servers, as a Service would list them, and the progress of the requests.
struct Traffic {
    servers: [(SocketAddr, AtomicBool); 2],
    next: AtomicUsize,
    done: AtomicUsize,
    enough: AtomicBool,
    dialer: Dialer,
    good: Value,
    bad: Value,
}

impl Traffic {
    /// A connection to a ready server, in rotation.
    async fn dial(&self) -> anyhow::Result<Connection> {
        let ready: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, ready)| ready.load(Ordering::Relaxed))
            .map(|(address, _)| *address)
            .collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % ready.len().max(1);
        self.dialer.connect(*ready.get(turn).context("no server is ready")?).await
    }

    async fn client(&self) -> anyhow::Result<()> {
        let mut connection = self.dial().await?;
        while !self.enough.load(Ordering::Relaxed) {
            let number = self.done.load(Ordering::Relaxed);
            let uid = format!("uid-{number}-{:p}", &raw const connection);
            let (job, allowed) =
                if number.is_multiple_of(2) { (&self.good, true) } else { (&self.bad, false) };
            let body = Bytes::from(review::job_creation(&uid, job));
            let reply = connection.post("/validate?timeout=3s", body).await?;
            let answer: Value = serde_json::from_slice(&reply.body)?;
            let response = &answer["response"];
            ensure!(reply.status.is_success(), "{}: {answer}", reply.status);
            ensure!(response["uid"] == *uid && response["allowed"] == allowed, "{uid}, {allowed}: {answer}");
            ensure!(allowed || response["status"]["details"]["causes"][0]["reason"] == "JOB018", "{answer}");
            self.done.fetch_add(1, Ordering::Relaxed);
            if reply.closes {
                connection = self.dial().await?;
            }
        }
        Ok(())
    }

    fn await_reviews(&self, count: usize) {
        let done = || (self.done.load(Ordering::Relaxed) >= count).then_some(());
        eventually(&format!("{count} reviews were answered"), TIMEOUT, done).unwrap();
    }
}

/// A mounted Secret: `tls.crt` and `tls.key` below `..data`, which is swapped as kubelet does.
fn mount(folder: &Path, generation: &str, authority: &Authority) {
    let pair = authority.issue(jiff::Timestamp::now(), &Leaf::of_loopback()).unwrap();
    let data = folder.join(generation);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), pair.certificate).unwrap();
    fs::write(data.join("tls.key"), pair.key).unwrap();
    symlink(generation, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{name}"), folder.join(name));
    }
}

fn start(name: &str, folder: &Path) -> Webhook {
    let file = |name: &str| folder.join(name).display().to_string();
    let args = [
        format!("--tls-cert={}", file("tls.crt")),
        format!("--tls-key={}", file("tls.key")),
        format!("--policy={}", file("policy.yaml")),
        "--drain-delay=1.5s".to_owned(),
    ];
    guard().one_more(name, &args).unwrap()
}

/// An admitted Job as it is stored, and the same Job on the host's network.
fn jobs() -> (Value, Value) {
    let namespace = managed();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "unit-tests"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
    let good = create(&Identity::agent(&namespace), &path, &job).admitted();
    let mut bad = good.clone();
    bad["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    (good, bad)
}

#[test]
fn no_review_is_lost_while_certificate_policy_and_one_of_two_servers_change() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let authority = Authority::generate(jiff::Timestamp::now(), "rollover").unwrap();
    mount(folder.path(), "one", &authority);
    fs::write(&policy, OLD_POLICY).unwrap();
    let (first, second) = (start("first", folder.path()), start("second", folder.path()));
    let (good, bad) = jobs();
    let traffic = Arc::new(Traffic {
        servers: [&first, &second].map(|server| (server.address, AtomicBool::new(true))),
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
        dialer: Dialer::trusting(authority.pem().certificate.as_bytes()).unwrap(),
        good,
        bad,
    });
    let probes = probe(&traffic, [first.clone(), second.clone()]);
    let clients = run_clients(&traffic);

    traffic.await_reviews(REVIEWS / 5);
    let before = certificates(&traffic);
    mount(folder.path(), "two", &authority);
    traffic.await_reviews(2 * REVIEWS / 5);
    fs::write(folder.path().join("policy.tmp"), NEW_POLICY).unwrap();
    fs::rename(folder.path().join("policy.tmp"), &policy).unwrap();
    let hash = |server: &Webhook| {
        let metrics = server.health.get("/metrics").unwrap_or_default();
        metrics.lines().find(|line| line.starts_with("codex_k8s_webhook_policy_info")).map(str::to_owned)
    };
    let old = hash(&guard().webhook).unwrap();
    for server in [&first, &second] {
        eventually("the new policy is in force", TIMEOUT, || hash(server).filter(|hash| *hash != old))
            .unwrap();
    }
    let renewed = || before.is_disjoint(&certificates(&traffic)).then_some(());
    eventually("both servers serve the new certificate", TIMEOUT, renewed).unwrap();
    traffic.await_reviews(3 * REVIEWS / 5);

    first.process.signal("TERM").unwrap();
    eventually("the first server has ended", TIMEOUT, || (!first.process.is_running()).then_some(()))
        .unwrap();
    traffic.await_reviews(REVIEWS);
    traffic.enough.store(true, Ordering::Relaxed);
    let failures: Vec<_> = clients
        .into_iter()
        .filter_map(|client| client.join().unwrap().err())
        .map(|error| format!("{error:#}"))
        .collect();
    assert_eq!(failures, [""; 0], "every review was answered, and rightly");
    probes.join().unwrap();
    let log = guard().control_plane.log_tail("first");
    assert!(log.contains("drained"), "the first server ended by itself: {log}");
    assert!(second.process.is_running());
    second.process.signal("TERM").unwrap();
}

/// Does the work of a Service: probes readiness, and sends new connections to the ready servers.
fn probe(traffic: &Arc<Traffic>, servers: [Webhook; 2]) -> std::thread::JoinHandle<()> {
    let traffic = Arc::clone(traffic);
    std::thread::spawn(move || {
        let over = || {
            for (server, (_, ready)) in servers.iter().zip(&traffic.servers) {
                ready.store(server.health.is_ready(), Ordering::Relaxed);
            }
            traffic.enough.load(Ordering::Relaxed).then_some(())
        };
        eventually("the clients have ended", TIMEOUT, over).unwrap();
    })
}

fn run_clients(traffic: &Arc<Traffic>) -> Vec<std::thread::JoinHandle<anyhow::Result<()>>> {
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    (0..CONNECTIONS)
        .map(|_| {
            let (traffic, runtime) = (Arc::clone(traffic), Arc::clone(&runtime));
            std::thread::spawn(move || runtime.block_on(traffic.client()))
        })
        .collect()
}

/// The certificates that new connections receive.
fn certificates(traffic: &Traffic) -> BTreeSet<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = |address| {
        let connection = runtime.block_on(traffic.dialer.connect(address)).unwrap();
        connection.certificate().unwrap().to_vec()
    };
    traffic.servers.iter().map(|(address, _)| shown(*address)).collect()
}
