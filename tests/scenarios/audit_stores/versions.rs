//! Each supported version of PostgreSQL, as Debian or npm serves it.

use std::path::Path;

use codex_k8s_shared::audit::PostgresStore;
use codex_k8s_shared::runs::PlatformRuns;
use codex_k8s_tests::Postgres;

use crate::harness::{TIMEOUT, address};
use crate::suite::{
    behaves, decisions_are_reported_once_between, has_all_rows_of_its_decision,
    pruning_keeps_what_is_young_or_open,
};

#[allow(clippy::print_stderr, reason = "why nothing is tried has to be said")]
async fn serves(version: u32) {
    if let Some(hindrance) = Postgres::hindrance(version) {
        eprintln!("skipped: {hindrance}");
        return;
    }
    let postgres = Postgres::start_version(Path::new(env!("CARGO_BIN_EXE_playground")), version).unwrap();
    assert_eq!(
        postgres.sql("postgres", "SHOW server_version").unwrap().split('.').next().unwrap(),
        version.to_string()
    );
    postgres.create_platform("platform").unwrap();
    postgres
        .sql("platform", "INSERT INTO agent_runs (correlation_id, status) VALUES ('c', 'running')")
        .unwrap();
    let url = postgres.admin_url("platform");
    let open = async || PostgresStore::open_with_timeout(&address(&url), TIMEOUT).await.unwrap();
    let store = open().await;
    has_all_rows_of_its_decision(&store).await;
    pruning_keeps_what_is_young_or_open(&store).await;
    decisions_are_reported_once_between(&[store, open().await]).await;
    let ours = address(&format!("{url}?schema=codex_k8s_guard"));
    behaves(&PostgresStore::install_with_timeout(&ours, TIMEOUT).await.unwrap()).await;
    let runs = PlatformRuns::open_with_timeout(&address(&url), TIMEOUT).await.unwrap();
    let id = postgres.sql("platform", "SELECT id FROM agent_runs").unwrap();
    assert_eq!(runs.of(&[&id]).await.unwrap()[&id].status, "running");
}

#[tokio::test]
async fn postgresql_15_serves() {
    serves(15).await;
}

#[tokio::test]
async fn postgresql_16_serves() {
    serves(16).await;
}

#[tokio::test]
async fn postgresql_17_serves() {
    serves(17).await;
}

#[tokio::test]
async fn postgresql_18_serves() {
    serves(18).await;
}
