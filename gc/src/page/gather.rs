//! Reads the data of the page.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_k8s_shared::audit::{AuditStore, Filter, Row, Store as _};
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::errors;
use codex_k8s_shared::last_sweep::LastSweep;
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::quota::{JOB_RESERVATION, RESERVATION};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::sync::{mpsc, oneshot};

use super::model::{Known, Listed, Model, Namespaces};
use super::quota::{Usage, usage};
use crate::health::Health;
use crate::outcome;
use crate::plan::{self, Planned, Surroundings};
use crate::progress::Unseen;
use crate::session::Session;
use crate::sweep::inspect::inspect;

/// The time for which data is cached, so that a page that is reloaded often does not load the API server.
const FRESH: Duration = Duration::from_secs(5);
/// The maximum number of audit rows on the page.
const ROWS: u32 = 30;

/// The timeout of each read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the policy.
pub(crate) type ReadPolicy = Box<dyn Fn() -> Known<RunPolicy> + Send + Sync>;

/// The data of the page, and the current time.
pub(crate) type Answer = (Arc<Model>, Timestamp);

/// The number of requests in the queue; further ones wait to be queued.
const WAITING: usize = 32;

/// The sender of requests for the data of the page.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::Sender<oneshot::Sender<Answer>>);

/// The receiver of these requests.
pub type Questions = mpsc::Receiver<oneshot::Sender<Answer>>;

impl Requests {
    /// Creates a sender and its receiver.
    pub fn new() -> (Self, Questions) {
        let (requests, questions) = mpsc::channel(WAITING);
        (Self(requests), questions)
    }

    /// Requests the data; `None` if the receiver is gone.
    pub(crate) async fn ask(&self) -> Option<Answer> {
        let (question, answer) = oneshot::channel();
        self.0.send(question).await.ok()?;
        answer.await.ok()
    }
}

/// Reads the data of the page, concurrently with the sweeps and in the same task.
pub struct Gatherer {
    session: Arc<Session>,
    policy: ReadPolicy,
    health: Arc<Health>,
}

impl fmt::Debug for Gatherer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gatherer").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The result, with an error and its causes in one line.
fn known<T, E: std::error::Error + 'static>(found: Result<T, E>) -> Known<T> {
    found.map_err(|error| errors::chain(&error))
}

/// The result, or an error after the timeout.
async fn in_time<T>(what: &str, found: impl Future<Output = Known<T>>) -> Known<T> {
    let found = tokio::time::timeout(TIMEOUT, Box::pin(found)).await;
    found.unwrap_or_else(|_| Err(format!("{what}: there was no answer within {} s", TIMEOUT.as_secs())))
}

/// The usage of the scopes.
fn fullness(
    policy: &Known<RunPolicy>,
    listed: &Known<Vec<Candidate>>,
    quota_usage: Known<Vec<String>>,
) -> Known<Vec<Usage>> {
    let (policy, listed) = (policy.as_ref().map_err(Clone::clone)?, listed.as_ref().map_err(Clone::clone)?);
    Ok(usage(&policy.quotas, listed, quota_usage?.iter().map(String::as_str)))
}

impl Gatherer {
    /// Reads with the clients of a session.
    pub const fn new(session: Arc<Session>, policy: ReadPolicy, health: Arc<Health>) -> Self {
        Self { session, policy, health }
    }

    /// Responds to all requests, forever. Requests that arrive during a read get its result.
    pub async fn answer(&self, mut questions: Questions) {
        let mut last: Option<(Instant, Arc<Model>)> = None;
        while let Some(question) = questions.recv().await {
            let fresh = last.take().filter(|(read, _)| read.elapsed() < FRESH);
            let (read, model) = if let Some(fresh) = fresh {
                fresh
            } else {
                let model = Arc::new(Box::pin(self.read()).await);
                (Instant::now(), model)
            };
            // The receiver of the response may be gone.
            let _ = question.send((Arc::clone(&model), self.session.clock.now()));
            last = Some((read, model));
        }
    }

    async fn read(&self) -> Model {
        let now = self.session.clock.now();
        let policy = (self.policy)();
        let (sweep, rows, quota_usage, listed) = tokio::join!(
            in_time("the last sweep", async { known(self.session.install.last_sweep().await) }),
            in_time("the audit rows", self.rows()),
            in_time("the reservations", self.quota_usage()),
            in_time("the namespaces", async { known(self.session.cluster.managed().await) }),
        );
        let quota_usage = fullness(&policy, &listed, quota_usage);
        let namespaces = match listed {
            Ok(listed) => Ok(Box::pin(self.decide(now, policy, &sweep, listed)).await),
            Err(why) => Err(why),
        };
        let sweep = sweep.map(|noted| later(noted, self.health.last.last()));
        Model { read_at: now, namespaces, quota_usage, rows, sweep, next: self.health.next_start() }
    }

    /// Decides as a sweep would do now.
    async fn decide(
        &self,
        now: Timestamp,
        policy: Known<RunPolicy>,
        last: &Known<Option<LastSweep>>,
        mut listed: Vec<Candidate>,
    ) -> Namespaces {
        let session = &self.session;
        let facts = async {
            let policy = policy?;
            let runs = known(session.runs.open().await)?;
            let found = known(runs.add_states(&mut listed).await);
            runs.close().await;
            found?;
            known(inspect(&session.cluster, &policy, now, &mut listed, &Unseen).await)?;
            Ok((policy, runs.are_requested(), known(session.cluster.ahead(session.clock).await)))
        };
        let (policy, runs_requested, ahead) = match Box::pin(in_time("what is decided by", facts)).await {
            Ok(facts) => facts,
            Err(why) => return Namespaces::undecided(listed, why),
        };
        let planned: Vec<_> =
            listed.into_iter().map(|candidate| Planned::new(&policy, now, candidate)).collect();
        let trips = ahead.and_then(|ahead| {
            let due_before = outcome::due_before(last.as_ref().map_err(Clone::clone)?.as_ref());
            let around = Surroundings { ahead, due_before, runs_requested, allowed: None };
            Ok(plan::trips(&policy, &planned, &around).iter().map(ToString::to_string).collect())
        });
        let decided =
            |planned: Planned| Listed { candidate: planned.candidate, verdict: Some(planned.verdict) };
        Namespaces { listed: planned.into_iter().map(decided).collect(), undecided: None, trips }
    }

    /// The names of the reservations that are held.
    async fn quota_usage(&self) -> Known<Vec<String>> {
        let (cluster, namespace) = (&self.session.cluster, &self.session.install_namespace);
        let mut names = Vec::new();
        for label in [RESERVATION, JOB_RESERVATION] {
            let leases = Api::<Lease>::namespaced(cluster.client(), namespace);
            let found = cluster.list_with("quotas", leases, &ListParams::default().labels(label)).await;
            names.extend(known(found)?.iter().map(ResourceExt::name_any));
        }
        Ok(names)
    }

    async fn rows(&self) -> Known<Vec<Row>> {
        let store = known(AuditStore::open(&self.session.store).await)?;
        let rows = store.rows(&Filter { limit: Some(ROWS), ..Filter::default() }).await;
        store.close().await;
        let mut rows = known(rows)?;
        rows.reverse();
        Ok(rows)
    }
}

/// The last sweep of any process, or a later one that this process could not start.
fn later(noted: Option<LastSweep>, ours: Option<LastSweep>) -> Option<LastSweep> {
    [noted, ours].into_iter().flatten().max_by_key(|sweep| sweep.finished_at)
}

impl Namespaces {
    fn undecided(listed: Vec<Candidate>, why: String) -> Self {
        let listed = listed.into_iter().map(|candidate| Listed { candidate, verdict: None }).collect();
        Self { listed, trips: Err(why.clone()), undecided: Some(why) }
    }
}
