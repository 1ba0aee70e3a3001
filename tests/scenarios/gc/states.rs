//! The states that a namespace can be in, and its fate in each.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, Ns, minutes, soon};

/// The number of namespaces in each state.
pub(crate) const COPIES: usize = 9;

/// The fate of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is deleted, with the rows of an intention and its end.
    Goes,
    /// It is retained, and a row has the reason.
    Stays(&'static str),
    /// It waits, and a row has the reason.
    WaitsTold(&'static str),
    /// It is retained or waits, without a row: verdict and reason.
    Quiet(&'static str, &'static str),
    /// It is not in scope of a sweep.
    Unseen,
}

/// A state by name.
pub(crate) struct State {
    pub(crate) name: &'static str,
    /// The prefix of its namespaces' names.
    pub(crate) prefix: &'static str,
    pub(crate) make: fn(&str) -> Ns,
    /// The objects in it: path and object.
    pub(crate) content: &'static [fn() -> (&'static str, Value)],
    pub(crate) fate: Fate,
}

const ISSUE: &str = "codex-issue";

const fn state(name: &'static str, make: fn(&str) -> Ns, fate: Fate) -> State {
    State { name, prefix: ISSUE, make, content: &[], fate }
}

const fn named(name: &'static str, prefix: &'static str, fate: Fate) -> State {
    State { name, prefix, make: Ns::expired, content: &[], fate }
}

const fn with(name: &'static str, content: &'static [fn() -> (&'static str, Value)], fate: Fate) -> State {
    State { name, prefix: ISSUE, make: Ns::expired, content, fate }
}

const ACTIVE: Fate = Fate::Stays("active_workloads_present");
const FOREIGN: Fate = Fate::Stays("foreign_label");
const HOLD: &str = "codex-k8s.dev/hold";
const EXPIRES_AT: &str = "codex-k8s.dev/namespace-lease-expires-at";

pub(crate) const STATES: &[State] = &[
    state("expired", Ns::expired, Fate::Goes),
    state(
        "expired a year ago",
        |name| Ns::expired(name).lease("1h0m0s", "2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"),
        Fate::Goes,
    ),
    state(
        "in code-only mode",
        |name| Ns::expired(name).label("codex-k8s.dev/runtime-mode", "code-only"),
        Fate::Goes,
    ),
    named("of the other prefix", "codex-run", Fate::Goes),
    state(
        "held until a while ago",
        |name| Ns::expired(name).annotation(HOLD, &format!("{} was looked into", minutes(-5))),
        Fate::Goes,
    ),
    state(
        "whose run was never tied to a correlation",
        |name| Ns::expired(name).without("annotations", "codex-k8s.dev/correlation-id"),
        Fate::Goes,
    ),
    with("with a Job that is done", &[done_job], Fate::Goes),
    with("with a CronJob that is suspended", &[|| cron_job(true)], Fate::Goes),
    with("with a Deployment of nothing", &[|| deployment(0)], Fate::Goes),
    with("with a ConfigMap and a Secret", &[config_map, secret], Fate::Goes),
    state("that lives", Ns::fresh, Fate::Quiet("wait", "lease_lives")),
    state(
        "that ended a minute ago",
        |name| Ns::expired(name).lease("1h0m0s", &minutes(-61), &minutes(-1)),
        Fate::Quiet("wait", "grace_period"),
    ),
    state(
        "with garbage for an end",
        |name| Ns::expired(name).annotation(EXPIRES_AT, "tomorrow"),
        Fate::Stays("unreadable_lease"),
    ),
    state(
        "with an end in Arabic digits",
        |name| Ns::expired(name).annotation(EXPIRES_AT, "\u{662}\u{660}\u{662}\u{665}-01-01T00:00:00Z"),
        Fate::Stays("unreadable_lease"),
    ),
    state(
        "without an end",
        |name| Ns::expired(name).without("annotations", EXPIRES_AT),
        Fate::Stays("unreadable_lease"),
    ),
    state(
        "with a garbage time to live",
        |name| Ns::expired(name).annotation("codex-k8s.dev/namespace-lease-ttl", "10ay"),
        Fate::Stays("unreadable_lease"),
    ),
    state(
        "without a lease",
        |name| {
            let keys = ["ttl", "updated-at", "expires-at"];
            keys.iter().fold(Ns::expired(name), |namespace, key| {
                namespace.without("annotations", &format!("codex-k8s.dev/namespace-lease-{key}"))
            })
        },
        Fate::Stays("missing_effective_lease"),
    ),
    state(
        "of the year 2998",
        |name| Ns::expired(name).annotation(EXPIRES_AT, "2998-12-31T23:59:59Z"),
        Fate::Stays("contradictory_lease"),
    ),
    state(
        "of the year 9999",
        |name| Ns::expired(name).annotation(EXPIRES_AT, "9999-12-31T23:59:59Z"),
        Fate::Stays("unreadable_lease"),
    ),
    state(
        "whose lease contradicts itself",
        |name| Ns::expired(name).lease("24h0m0s", &minutes(-120), &minutes(-60)),
        Fate::Stays("contradictory_lease"),
    ),
    state(
        "that somebody holds",
        |name| Ns::expired(name).annotation(HOLD, &format!("{} looking into it", minutes(60))),
        Fate::WaitsTold("held"),
    ),
    state(
        "that lives and is held",
        |name| Ns::fresh(name).annotation(HOLD, &format!("{} looking into it", minutes(90))),
        Fate::Quiet("wait", "held"),
    ),
    state(
        "with a hold that cannot be read",
        |name| Ns::expired(name).annotation(HOLD, "please"),
        Fate::Stays("unreadable_hold"),
    ),
    state(
        "of another purpose",
        |name| Ns::expired(name).label("codex-k8s.dev/namespace-purpose", "build"),
        FOREIGN,
    ),
    state("of another manager", |name| Ns::expired(name).label("codex-k8s.dev/managed-by", "helm"), FOREIGN),
    state(
        "of an unknown mode",
        |name| Ns::expired(name).label("codex-k8s.dev/runtime-mode", "half-env"),
        FOREIGN,
    ),
    state("of no mode", |name| Ns::expired(name).without("labels", "codex-k8s.dev/runtime-mode"), FOREIGN),
    state(
        "of no run",
        |name| Ns::expired(name).without("labels", "codex-k8s.dev/run-id"),
        Fate::Stays("missing_run_id_label"),
    ),
    state(
        "of which nothing proves that it was born managed",
        |name| Ns::expired(name).without("annotations", "codex-k8s.dev/requested-by"),
        Fate::Stays("not_created_by_webhook"),
    ),
    named("that only looks like ours", "codex-issues", Fate::Stays("name_out_of_scope")),
    named("of somebody else, adopted by labels", "payments", Fate::Stays("name_out_of_scope")),
    with("with a Pod that waits for a node", &[pod], ACTIVE),
    with("with a Job that is at work", &[job], ACTIVE),
    with("with a CronJob", &[|| cron_job(false)], ACTIVE),
    with("with a Deployment", &[|| deployment(1)], ACTIVE),
    state(
        "that nobody manages",
        |name| Ns::expired(name).without("labels", "codex-k8s.dev/managed-by"),
        Fate::Unseen,
    ),
];

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]},
    })
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({"kind": kind, "metadata": {"name": "a"}, "spec": spec})
}

fn pod() -> (&'static str, Value) {
    ("/api/v1/namespaces/{}/pods", object("Pod", &template()["spec"]))
}

fn job() -> (&'static str, Value) {
    ("/apis/batch/v1/namespaces/{}/jobs", object("Job", &json!({"template": template()})))
}

/// The Job controller completes a Job of no Pods at once.
fn done_job() -> (&'static str, Value) {
    let spec = json!({"completions": 0, "parallelism": 0, "template": template()});
    ("/apis/batch/v1/namespaces/{}/jobs", object("Job", &spec))
}

fn cron_job(suspend: bool) -> (&'static str, Value) {
    let job = json!({"spec": {"template": template()}});
    let spec = json!({"schedule": "0 0 1 1 *", "suspend": suspend, "jobTemplate": job});
    ("/apis/batch/v1/namespaces/{}/cronjobs", object("CronJob", &spec))
}

fn deployment(replicas: u8) -> (&'static str, Value) {
    let mut template = template();
    template["spec"]["restartPolicy"] = "Always".into();
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "a"}}, "template": template});
    ("/apis/apps/v1/namespaces/{}/deployments", object("Deployment", &spec))
}

fn config_map() -> (&'static str, Value) {
    ("/api/v1/namespaces/{}/configmaps", json!({"metadata": {"name": "a"}, "data": {"key": "value"}}))
}

fn secret() -> (&'static str, Value) {
    ("/api/v1/namespaces/{}/secrets", json!({"metadata": {"name": "a"}, "stringData": {"key": "value"}}))
}

impl State {
    /// Creates a namespace in this state.
    pub(crate) fn create(&self, cluster: &Cluster, name: &str) {
        cluster.create_namespace(&(self.make)(name));
        for content in self.content {
            let (path, object) = content();
            // Pods are refused until the namespace has its ServiceAccount.
            let create = || {
                let answer = cluster.send(Method::POST, &path.replace("{}", name), &object);
                let refused = answer.code == 403;
                (!refused).then(|| answer.object().unwrap())
            };
            soon(&format!("{path} of {name} is created"), create);
        }
    }
}
