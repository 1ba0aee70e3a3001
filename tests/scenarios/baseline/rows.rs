//! Audit rows about prepared namespaces, which the reconciler writes where a database is configured.

use codex_k8s_tests::{Guard, Identity, Postgres, eventually};

use crate::harness::{Client, TIMEOUT, job, jobs, playground};

/// The user of the reconciler, who may read and add events.
const USER: &str = "reconciler";

#[test]
fn a_namespace_that_is_ready_has_one_row_at_once_and_after_a_restart_and_an_outage_of_the_database() {
    let guard = Guard::start_with_policy(playground(), "auditStore: {jobs: true}\n").unwrap();
    let postgres = Postgres::start(playground()).unwrap();
    postgres.create_platform("platform").unwrap();
    postgres.create_user(USER).unwrap();
    let grants = format!(
        "GRANT INSERT, SELECT ON flow_events TO {USER}; GRANT USAGE ON SEQUENCE flow_events_id_seq TO {USER}"
    );
    postgres.sql("platform", &grants).unwrap();
    let args =
        ["--no-leader-election".to_owned(), format!("--audit-store={}", postgres.url(USER, "platform"))];
    let client = Client::new(&guard, &Identity::developer());
    // It was ready before anything could write its row.
    let earlier = client.namespace();
    client.await_gate(&earlier);
    let first = guard.one_more_reconciler("rows-1", &args).unwrap();
    let second = guard.one_more_reconciler("rows-2", &args).unwrap();
    let later = client.namespace();
    client.await_gate(&later);
    let rows = || {
        let select = "SELECT payload ->> 'namespace' || ' ' || actor_id || ' ' || event_type FROM flow_events \
             WHERE event_type LIKE 'run.namespace.%' ORDER BY 1";
        postgres.sql("platform", select).unwrap()
    };
    let expected = |names: &[&String]| {
        let mut lines: Vec<_> =
            names.iter().map(|name| format!("{name} codex-k8s-reconcile run.namespace.prepared")).collect();
        lines.sort();
        lines.join("\n")
    };
    let are_written = |names: &[&String]| {
        let all = expected(names);
        eventually("the rows are written", TIMEOUT, || (rows() == all).then_some(())).unwrap();
    };
    are_written(&[&earlier, &later]);
    drop(first);
    postgres.stop().unwrap();
    let during = client.namespace();
    // The database delays no namespace.
    client.await_gate(&during);
    postgres.start_again().unwrap();
    are_written(&[&earlier, &later, &during]);
    drop(second);
    let _third = guard.one_more_reconciler("rows-3", &args).unwrap();
    let last = client.namespace();
    are_written(&[&earlier, &later, &during, &last]);
    a_job_has_a_row_for_its_start_and_one_for_its_end(&client, &postgres, &last);
}

fn a_job_has_a_row_for_its_start_and_one_for_its_end(
    client: &Client<'_>,
    postgres: &Postgres,
    namespace: &str,
) {
    client.await_gate(namespace);
    // Nothing runs its Pod.
    let mut late = job("late");
    late["spec"]["activeDeadlineSeconds"] = 1.into();
    client.create(&jobs(namespace), &late);
    let rows = || {
        let select = "SELECT event_type || ' ' || (payload ->> 'job_name') || ' ' || coalesce(payload ->> 'reason', '-') \
             FROM flow_events WHERE event_type LIKE 'run.job.%' ORDER BY id";
        postgres.sql("platform", select).unwrap()
    };
    let expected = "run.job.admitted late -\nrun.job.finished late DeadlineExceeded";
    eventually("the rows of the Job are written", TIMEOUT, || (rows() == expected).then_some(())).unwrap();
}
