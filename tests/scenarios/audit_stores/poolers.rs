//! PgBouncer in front of the platform's database, as Debian installs it. In both modes nothing of ours stays behind on
//! the sessions that it shares between us and the platform.

use codex_k8s_shared::audit::{Filter, PostgresStore, Store, StoreError};
use codex_k8s_shared::database::DatabaseError;
use codex_k8s_shared::runs::PlatformRuns;
use codex_k8s_tests::postgres::PgBouncer;

use crate::harness::{TIMEOUT, TestDatabase, address, told};
use crate::suite::{behaves, decisions_are_reported_once_between};

/// Everything about a session that outlives a transaction: its settings, its statements and its locks.
const SESSION: &str = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT IN \
     ('application_name', 'client_encoding', 'DateStyle', 'TimeZone') \
     UNION ALL SELECT name, statement FROM pg_prepared_statements \
     UNION ALL SELECT locktype, mode FROM pg_locks WHERE locktype = 'advisory' AND database = \
     (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The platform's database behind PgBouncer, in which the user may do what the platform and we do.
fn pooled(settings: &str) -> (TestDatabase, PgBouncer) {
    let db = TestDatabase::platform();
    db.sql(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO USER; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO USER; \
         GRANT CREATE ON SCHEMA public TO USER; GRANT CREATE ON DATABASE {} TO USER; \
         INSERT INTO agent_runs (correlation_id, status) VALUES ('c1', 'running')",
        db.database
    ));
    let pooler = PgBouncer::start(&db.postgres, &db.database, &db.user, settings).unwrap();
    (db, pooler)
}

/// Uses the platform's table, a schema of ours and the platform's runs, like a sweep and its set-up.
async fn uses_everything(url: &str, meanwhile: impl Fn()) {
    let run = "00000000-0000-4000-8000-000000000001";
    let installed = address(&format!("{url}?schema=codex_k8s_guard"));
    let ours = PostgresStore::install_with_timeout(&installed, TIMEOUT).await.unwrap();
    meanwhile();
    behaves(&ours).await;
    meanwhile();
    let stores = [
        PostgresStore::open_with_timeout(&address(url), TIMEOUT).await.unwrap(),
        PostgresStore::open_with_timeout(&address(url), TIMEOUT).await.unwrap(),
    ];
    decisions_are_reported_once_between(&stores).await;
    meanwhile();
    let runs = PlatformRuns::open_with_timeout(&address(url), TIMEOUT).await.unwrap();
    assert!(runs.of(&[run]).await.unwrap().is_empty());
    meanwhile();
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_in_session_mode_as_installed_serves_every_use() {
    let (db, pooler) = pooled("pool_mode = session");
    let url = pooler.url(&db.user, &db.database);
    uses_everything(&url, || {
        assert_eq!(db.postgres.sql_at(&url, SESSION).unwrap(), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_transaction_mode_nothing_of_ours_stays_behind_on_the_only_session_that_we_share_with_the_platform()
 {
    let (db, pooler) = pooled("pool_mode = transaction\ndefault_pool_size = 1");
    let url = pooler.url(&db.user, &db.database);
    let server = db.postgres.sql_at(&url, "SELECT pg_backend_pid()").unwrap();
    let settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN \
         ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'row_security', 'jit', \
          'default_transaction_read_only', 'synchronous_commit', 'search_path')";
    let before = db.postgres.sql_at(&url, settings).unwrap();
    assert!(before.contains("statement_timeout=0") && before.contains("row_security=on"), "{before}");
    uses_everything(&url, || {
        assert_eq!(db.postgres.sql_at(&url, "SELECT pg_backend_pid()").unwrap(), server);
        assert_eq!(db.postgres.sql_at(&url, settings).unwrap(), before);
        assert_eq!(db.postgres.sql_at(&url, SESSION).unwrap(), "");
        db.postgres.sql_at(&url, "CREATE TABLE t (); DROP TABLE t").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pooler_that_refuses_us_is_named_with_its_own_reason() {
    let (db, pooler) = pooled("pool_mode = statement");
    let url = pooler.url(&db.user, &db.database);
    let absent = pooler.url(&db.user, "absent");
    let refused = PostgresStore::open_with_timeout(&address(&absent), TIMEOUT).await.unwrap_err();
    let is_pooler = matches!(&refused, StoreError::Database(DatabaseError::Pooler { .. }));
    assert!(is_pooler && told(&refused).contains("no such database"), "{}", told(&refused));
    assert!(!told(&refused).contains("does it run"), "{}", told(&refused));
    let refused = PostgresStore::open_with_timeout(&address(&url), TIMEOUT).await.unwrap_err();
    let is_mode = matches!(&refused, StoreError::Database(DatabaseError::StatementPooling { .. }));
    assert!(is_mode && told(&refused).contains("pool_mode = transaction or session"), "{}", told(&refused));
}

#[tokio::test]
async fn rows_behind_a_pooler_are_read_although_the_session_that_was_used_before_has_ended() {
    let (db, pooler) = pooled("pool_mode = transaction");
    let store = PostgresStore::open_with_timeout(&address(&pooler.url(&db.user, &db.database)), TIMEOUT)
        .await
        .unwrap();
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty());
    // PgBouncer hands the next transaction to a new server session.
    let ended =
        db.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'USER'");
    assert_ne!(ended, "0");
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty());
}
