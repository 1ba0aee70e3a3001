//! The state of runs in the platform's database.

use std::collections::BTreeMap;

use codex_k8s_shared::database::{DatabaseError, PgAddress};
use codex_k8s_shared::runs::{PlatformRuns, RunRow, RunsError};
use jiff::Timestamp;

use crate::harness::{SHORT, TIMEOUT, TestDatabase, address, start, told};

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// The platform's database, with a running and an ended run, of which the user may only read the runs.
fn platform() -> TestDatabase {
    let db = TestDatabase::platform();
    db.sql(&format!(
        "GRANT SELECT ON agent_runs TO USER; INSERT INTO agent_runs (id, correlation_id, status, finished_at) VALUES \
         ('{}', 'c1', 'running', NULL), ('{}', 'c2', 'succeeded', '2026-02-01 12:00:00.123456+00')",
        id(1),
        id(2)
    ));
    db
}

async fn open(address: &PgAddress) -> Result<PlatformRuns, RunsError> {
    PlatformRuns::open_with_timeout(address, TIMEOUT).await
}

#[tokio::test]
async fn runs_are_reported_by_id_to_who_may_only_read_and_unknown_ones_are_left_out() {
    let db = platform();
    let runs = open(&db.address("")).await.unwrap();
    let (one, two, three) = (id(1), id(2), id(3));
    let ids = [&*one, &two, &one, &three, "unknown", "", "run-1", "'; DROP TABLE agent_runs; --"];
    let found = runs.of(&ids).await.unwrap();
    let finished_at: Timestamp = "2026-02-01T12:00:00.123456Z".parse().unwrap();
    let row = |status: &str, finished_at| RunRow { status: status.to_owned(), finished_at };
    let expected = [(id(1), row("running", None)), (id(2), row("succeeded", Some(finished_at)))];
    assert_eq!(found, BTreeMap::from(expected));
    assert_eq!(runs.of(&[&id(3)]).await.unwrap(), BTreeMap::new());
    assert_eq!(runs.of(&[]).await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn an_unknown_status_is_reported_unchanged() {
    let db = platform();
    db.sql("ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_status_check; UPDATE agent_runs SET status = 'parked'");
    let found = open(&db.address("")).await.unwrap().of(&[&id(1)]).await.unwrap();
    assert_eq!(found[&id(1)].status, "parked");
}

#[tokio::test]
async fn more_runs_than_one_question_holds_are_all_reported() {
    let db = platform();
    db.sql(
        "INSERT INTO agent_runs (id, correlation_id, status) SELECT ('00000000-0000-4000-8000-' || \
         lpad(to_hex(n), 12, '0'))::uuid, n::text, 'failed' FROM generate_series(10, 1209) AS n",
    );
    let ids: Vec<String> = (10..1210).map(id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let found = open(&db.address("")).await.unwrap().of(&ids).await.unwrap();
    assert_eq!(found.len(), 1200);
    assert!(found.values().all(|run| run.status == "failed"));
}

#[tokio::test]
async fn a_table_without_a_single_run_is_not_the_platforms() {
    let db = platform();
    let runs = open(&db.address("")).await.unwrap();
    db.sql("TRUNCATE agent_runs");
    for refused in [runs.of(&[&id(1)]).await.unwrap_err(), open(&db.address("")).await.unwrap_err()] {
        assert!(matches!(refused, RunsError::Empty { .. }), "{}", told(&refused));
        assert!(
            refused.to_string().contains("holds no run at all")
                && refused.to_string().contains("nothing may be")
        );
    }
}

#[tokio::test]
async fn a_database_that_is_not_the_platforms_is_refused_with_what_is_different() {
    for (change, said) in [
        ("DROP TABLE agent_runs", "has no table agent_runs; name the platform's database"),
        (
            "ALTER TABLE agent_runs ALTER id DROP DEFAULT, ALTER id TYPE text",
            "found the column id of type text",
        ),
        ("ALTER TABLE agent_runs DROP finished_at", "found no column finished_at"),
        (
            "ALTER TABLE agent_runs ALTER status DROP DEFAULT, DROP CONSTRAINT agent_runs_status_check, \
          ALTER status TYPE integer USING 1",
            "found the column status of type integer",
        ),
    ] {
        let db = platform();
        db.sql(change);
        let refused = told(&open(&db.address("")).await.unwrap_err());
        assert!(refused.contains(said) && refused.contains("nothing may be deleted"), "{change}: {refused}");
    }
}

#[tokio::test]
async fn runs_that_may_not_be_read_or_are_hidden_are_refused() {
    let db = platform();
    db.sql("REVOKE SELECT ON agent_runs FROM USER");
    let refused = open(&db.address("")).await.unwrap_err();
    assert!(
        matches!(&refused, RunsError::Database(DatabaseError::Forbidden { grant, .. })
            if *grant == format!("GRANT SELECT ON public.agent_runs TO \"{}\"", db.user)),
        "{}",
        told(&refused)
    );
    db.sql("GRANT SELECT ON agent_runs TO USER; ALTER TABLE agent_runs ENABLE ROW LEVEL SECURITY");
    let refused = told(&open(&db.address("")).await.unwrap_err());
    assert!(refused.contains("row-level security"), "{refused}");
}

#[tokio::test]
async fn runs_behind_a_lock_or_a_database_that_was_stopped_are_refused() {
    let postgres = start();
    postgres.create_platform("platform").unwrap();
    postgres.sql("platform", "INSERT INTO agent_runs (correlation_id) VALUES ('c')").unwrap();
    let address = address(&postgres.admin_url("platform"));
    let runs = PlatformRuns::open_with_timeout(&address, SHORT).await.unwrap();
    let holder = sqlx::PgPool::connect(&postgres.admin_url("platform")).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE agent_runs IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let refused = runs.of(&[&id(1)]).await.unwrap_err();
    assert!(matches!(refused, RunsError::Database(DatabaseError::Locked { .. })), "{}", told(&refused));
    held.rollback().await.unwrap();
    runs.of(&[&id(1)]).await.unwrap();
    postgres.stop().unwrap();
    let refused = runs.of(&[&id(1)]).await.unwrap_err();
    assert!(matches!(refused, RunsError::Database(DatabaseError::Unreachable { .. })), "{}", told(&refused));
    assert!(refused.to_string().contains("without them nothing may be deleted"));
}
