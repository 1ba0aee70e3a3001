//! A steady load of requests through the API server while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use codex_k8s_tests::{Answer, Caller, Identity};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::Installed;

/// The number of concurrent requests.
const CLIENTS: usize = 12;

/// The requests, and their expected answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// A run namespace by its name alone, as a dry run, which must come back mutated; and one with a false identity,
    /// which must be refused by its rule. Each goes through both webhooks.
    Guarded,
    /// A `ConfigMap` in an unmanaged namespace, which must be created.
    Unguarded,
}

impl Asked {
    fn request(self, number: u64) -> (&'static str, Value) {
        let named =
            |name: String| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match self {
            Self::Guarded if number.is_multiple_of(2) => {
                ("/api/v1/namespaces?dryRun=All", named(format!("codex-run-load-{number}")))
            }
            Self::Guarded => {
                let mut namespace = named(format!("codex-run-load-{number}"));
                namespace["metadata"]["labels"] = json!({"codex-k8s.dev/managed-by": "somebody-else"});
                ("/api/v1/namespaces?dryRun=All", namespace)
            }
            Self::Unguarded => (
                "/api/v1/namespaces/default/configmaps?dryRun=All",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("free-{number}")}}),
            ),
        }
    }

    fn is_as_it_has_to_be(self, number: u64, answer: &Answer) -> bool {
        match self {
            Self::Guarded if number.is_multiple_of(2) => {
                answer.code == 201
                    && answer.body["metadata"]["labels"]["codex-k8s.dev/managed-by"] == "codex-k8s-worker"
            }
            Self::Guarded => answer.code == 403 && answer.message().contains("denied the request: NS001: "),
            Self::Unguarded => answer.code == 201,
        }
    }
}

/// The answers to the requests.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    /// The unexpected answers, each with the time at which it came.
    pub(crate) failed: Vec<(Duration, String)>,
    pub(crate) slowest: Duration,
    took: Duration,
}

impl Outcome {
    /// Prints the figures; no request may have failed.
    #[track_caller]
    pub(crate) fn without_a_failure(&self, what: &str) {
        self.tell(what);
        assert!(self.failed.is_empty(), "{:?}", self.failed);
    }

    /// Prints the figures for people who run the test.
    #[allow(clippy::print_stdout, reason = "shown with --nocapture")]
    pub(crate) fn tell(&self, what: &str) {
        println!(
            "{what}: {} of {} failed, {:.0} a second, the slowest took {:?}",
            self.failed.len(),
            self.sent,
            // The figures of a load are exact in a double.
            f64::from(u32::try_from(self.sent).unwrap()) / self.took.as_secs_f64(),
            self.slowest
        );
    }
}

/// Sends requests until `doing` has returned and at least so many were sent.
pub(crate) fn during(cluster: &Installed, asked: Asked, at_least: u64, doing: impl FnOnce()) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let caller = runtime.block_on(Caller::new(cluster.node.control_plane(), &Identity::Admin)).unwrap();
        let (done, sent) = (Arc::clone(&done), Arc::clone(&sent));
        clients.spawn_on(
            async move {
                let (mut failed, mut slowest) = (Vec::new(), Duration::ZERO);
                while !done.load(Ordering::Relaxed) || sent.load(Ordering::Relaxed) < at_least {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let (path, body) = asked.request(number);
                    let sent_at = Instant::now();
                    let answer = caller.send(Method::POST, path, &body).await;
                    slowest = slowest.max(sent_at.elapsed());
                    match answer {
                        Ok(answer) if asked.is_as_it_has_to_be(number, &answer) => {}
                        other => failed.push((begun.elapsed(), format!("{number}: {other:?}"))),
                    }
                }
                (failed, slowest)
            },
            runtime.handle(),
        );
    }
    doing();
    done.store(true, Ordering::Relaxed);
    let ended = runtime.block_on(clients.join_all());
    let slowest = ended.iter().map(|(_, slowest)| *slowest).max().unwrap();
    let failed = ended.into_iter().flat_map(|(failed, _)| failed).collect();
    Outcome { sent: sent.load(Ordering::Relaxed), failed, slowest, took: begun.elapsed() }
}
