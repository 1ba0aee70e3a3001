//! `ValidatingAdmissionPolicies` of others that refuse the collector's requests: nothing else is deleted instead, the
//! next namespaces are still handled, and each attempt is in the rows.

use std::time::{Duration, Instant};

use codex_k8s_shared::audit::EventType::{Cleaned, CleanupFailed, CleanupIntended};
use codex_k8s_tests::Identity;
use http::Method;
use serde_json::{Value, json};

use crate::breaker::last_sweep;
use crate::harness::{Cluster, Ns, SweepOutcome, soon, unique};

const COLLECTOR: &str = "hostile-collector";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A policy that denies; deleted when it is dropped.
struct Denial<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Denial<'a> {
    /// Denies a user's requests about these resources, unless `expression` is true.
    fn new(cluster: &'a Cluster, resources: &[&str], operations: &[&str], expression: &str) -> Self {
        let name = unique("denial");
        let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": resources}]);
        let user = format!("request.userInfo.username == '{COLLECTOR}'");
        let policy = json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": rules},
            "matchConditions": [{"name": "user", "expression": user}],
            "validations": [{"expression": expression, "message": "not on my watch"}]}});
        let binding = json!({"kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]}});
        cluster.create(&format!("{GROUP}/validatingadmissionpolicies"), &policy);
        cluster.create(&format!("{GROUP}/validatingadmissionpolicybindings"), &binding);
        Self { cluster, name }
    }

    /// Waits until a deletion is denied.
    fn await_denied(self, namespace: &str) -> Self {
        let path = self.cluster.control_plane.kubeconfig(&collector()).unwrap();
        soon("the policy is enforced", || {
            let swept = sweep_as(self.cluster, &path, &["--dry-run=server"]);
            (swept.outcome(namespace) == "failed").then_some(())
        });
        self
    }
}

impl Drop for Denial<'_> {
    fn drop(&mut self) {
        for resource in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
            let path = format!("{GROUP}/{resource}/{}", self.name);
            self.cluster.send(Method::DELETE, &path, &Value::Null);
        }
    }
}

fn collector() -> Identity {
    Identity::user(COLLECTOR).in_group("system:masters")
}

fn sweep_as(cluster: &Cluster, kubeconfig: &std::path::Path, args: &[&str]) -> SweepOutcome {
    let args = [&["sweep", "--output=json", "--allow-mass-deletion=1000"], args].concat();
    SweepOutcome::of(&cluster.command(&args).env("KUBECONFIG", kubeconfig).output().unwrap())
}

fn sweep(cluster: &Cluster, args: &[&str]) -> SweepOutcome {
    sweep_as(cluster, &cluster.control_plane.kubeconfig(&collector()).unwrap(), args)
}

fn expired(cluster: &Cluster, minutes: i64) -> String {
    let name = unique("codex-issue");
    let at = |minutes| crate::harness::minutes(minutes);
    cluster.create_namespace(&Ns::expired(&name).lease("1h0m0s", &at(-120 - minutes), &at(-60 - minutes)));
    name
}

#[test]
fn a_policy_that_denies_a_deletion_fails_that_one_and_the_next_are_deleted() {
    let cluster = Cluster::new();
    sweep(&cluster, &[]);
    let (denied, next) = (expired(&cluster, 10), expired(&cluster, 5));
    let stranger = unique("payroll");
    cluster.create("/api/v1/namespaces", &json!({"kind": "Namespace", "metadata": {"name": stranger}}));
    let expression = format!("oldObject.metadata.name != '{denied}'");
    let denial = Denial::new(&cluster, &["namespaces"], &["DELETE"], &expression).await_denied(&denied);

    // The failed deletion of the oldest does not count against the limit of a sweep.
    let policy = cluster.policy("cleanup: {breaker: {maxDeletions: 1}}\n");
    let swept = sweep(&cluster, &[&policy]);
    assert_eq!((swept.code, swept.outcome(&denied)), (1, "failed"), "{swept:?}");
    assert_eq!(swept.outcome(&next), "deleted", "{swept:?}");
    let error = swept.line(&denied).unwrap()["outcome"]["error"].to_string();
    assert!(error.contains("not on my watch"), "{error}");
    assert!(cluster.lives(&denied) && cluster.lives(&stranger) && cluster.read(&next).is_none());
    let ended = |reason: &str| (CleanupFailed, reason.to_owned());
    let intended = (CleanupIntended, "ttl_expired".to_owned());
    assert_eq!(cluster.rows(&denied), [intended.clone(), ended("delete_failed")], "one attempt in one sweep");
    assert_eq!(
        (&last_sweep(&cluster)["failed"], &last_sweep(&cluster)["result"]),
        (&json!(1), &json!("partial"))
    );
    let daemon = cluster.daemon_with(&["--schedule=@every 1h"]);
    soon("the daemon exports it", || {
        let text = daemon.health.get("/metrics").ok()?;
        text.contains("codex_k8s_gc_failed_namespaces 1").then_some(())
    });
    drop(daemon);

    let swept = sweep(&cluster, &[&policy]);
    assert_eq!((swept.code, swept.outcome(&denied)), (1, "failed"), "{swept:?}");
    assert_eq!(cluster.rows(&denied).len(), 4, "and one more in the next");
    drop(denial);
    soon("it is deleted once nothing denies it", || {
        (sweep(&cluster, &[&policy]).outcome(&denied) == "deleted").then_some(())
    });
    assert_eq!(cluster.rows(&denied).pop(), Some((Cleaned, "ttl_expired".to_owned())));
    assert!(cluster.lives(&stranger));
}

#[test]
fn a_policy_that_denies_everything_of_the_collector_ends_the_sweep_in_time_and_nothing_is_deleted() {
    let cluster = Cluster::new();
    sweep(&cluster, &[]);
    let names = [expired(&cluster, 10), expired(&cluster, 5)];
    let all = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
    let denial = Denial::new(&cluster, &["*/*"], &all, "false").await_denied_lease();

    let begun = Instant::now();
    let swept = sweep(&cluster, &[]);
    assert_eq!(swept.code, 4, "{swept:?}");
    let told = "failed to take the Lease codex-k8s-guard/codex-k8s-gc within";
    assert!(swept.told.contains(told) && swept.told.contains("not on my watch"), "{}", swept.told);
    assert!(names.iter().all(|name| cluster.lives(name) && cluster.rows(name).is_empty()));
    // Without the Lease it proceeds to the deletions, and reports them in the rows.
    let swept = sweep(&cluster, &["--no-lease"]);
    assert_ne!(swept.code, 0, "{swept:?}");
    for name in &names {
        let events: Vec<_> = cluster.rows(name).into_iter().map(|(event, _)| event).collect();
        assert_eq!((cluster.lives(name), events), (true, vec![CleanupIntended, CleanupFailed]));
    }
    assert!(begun.elapsed() < Duration::from_mins(3), "{:?}", begun.elapsed());
    drop(denial);
    soon("they are deleted once nothing denies it", || {
        let swept = sweep(&cluster, &[]);
        names
            .iter()
            .all(|name| swept.line(name).is_none_or(|line| line["outcome"]["type"] == "deleted"))
            .then_some(())
    });
    assert!(names.iter().all(|name| cluster.read(name).is_none()));
}

impl Denial<'_> {
    /// Waits until a sweep cannot even acquire its Lease.
    fn await_denied_lease(self) -> Self {
        let probe = json!({"kind": "ConfigMap", "metadata": {"name": "probe"}});
        let caller = self
            .cluster
            .block_on(codex_k8s_tests::Caller::new(self.cluster.control_plane, &collector()))
            .unwrap();
        soon("the policy is enforced", || {
            let path = "/api/v1/namespaces/default/configmaps?dryRun=All";
            let answer = self.cluster.block_on(caller.send(Method::POST, path, &probe)).unwrap();
            (answer.code == 422 || answer.code == 403).then_some(())
        });
        self
    }
}
