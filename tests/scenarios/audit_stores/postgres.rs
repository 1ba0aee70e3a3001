//! Rows in PostgreSQL: in the platform's table, and in a schema of ours.

use codex_k8s_shared::audit::{
    Appended, AuditStore, EventType, Filter, PostgresStore, Store, StoreAddress, StoreError,
};
use codex_k8s_shared::database::DatabaseError;
use jiff::Timestamp;

use crate::harness::{TIMEOUT, TestDatabase, told};
use crate::suite::{
    behaves, decisions_are_reported_once_between, event, has_all_rows_of_its_decision,
    pruning_keeps_what_is_young_or_open,
};

/// Everything that is defined in a database: a change of a table changes this.
const DEFINED: &str = "SELECT attrelid::regclass, attname, atttypid::regtype, attnotnull FROM pg_attribute \
    JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace \
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
    UNION ALL SELECT 'trigger'::regtype::oid::regclass, tgname, 'trigger'::regtype, false FROM pg_trigger ORDER BY 1, 2";

async fn install(db: &TestDatabase) -> Result<PostgresStore, StoreError> {
    PostgresStore::install_with_timeout(&db.address("?schema=codex_k8s_guard"), TIMEOUT).await
}

#[tokio::test]
async fn the_platforms_table_behaves_as_every_store_with_the_rights_to_insert_and_select_and_stays_as_it_is()
{
    let db = TestDatabase::granted();
    let before = db.sql(DEFINED);
    assert!(before.contains("flow_events_event_type_created_at_idx"), "{before}");
    has_all_rows_of_its_decision(&db.open().await.unwrap()).await;
    let owner = PostgresStore::open_with_timeout(&db.owners_address(), TIMEOUT).await.unwrap();
    pruning_keeps_what_is_young_or_open(&owner).await;
    assert_eq!(db.sql(DEFINED), before);
}

#[tokio::test]
async fn a_schema_of_ours_behaves_as_every_store() {
    let db = TestDatabase::empty();
    db.sql(&format!("GRANT CREATE ON DATABASE {} TO USER", db.database));
    behaves(&install(&db).await.unwrap()).await;
    let address = db.address("?schema=codex_k8s_guard");
    let opened = PostgresStore::open_with_timeout(&address, TIMEOUT).await.unwrap();
    assert!(!opened.rows(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_is_opened_by_its_address() {
    let db = TestDatabase::granted();
    let address: StoreAddress = db.postgres.url(&db.user, &db.database).parse().unwrap();
    assert!(!address.to_string().contains(&format!(":{}@", db.user)), "{address}");
    has_all_rows_of_its_decision(&AuditStore::open(&address).await.unwrap()).await;
}

#[tokio::test]
async fn two_processes_report_a_decision_once_at_any_default_isolation_level() {
    let db = TestDatabase::granted();
    db.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", db.database));
    let stores = [db.open().await.unwrap(), db.open().await.unwrap()];
    decisions_are_reported_once_between(&stores).await;
}

#[tokio::test]
async fn two_processes_report_a_decision_once_between_them_in_a_schema_of_ours() {
    let db = TestDatabase::empty();
    db.sql(&format!("GRANT CREATE ON DATABASE {} TO USER", db.database));
    let installed = tokio::join!(install(&db), install(&db));
    decisions_are_reported_once_between(&[installed.0.unwrap(), installed.1.unwrap()]).await;
}

#[tokio::test]
async fn a_decision_is_reported_once_in_a_schema_of_ours_even_to_who_does_not_take_the_lock() {
    let db = TestDatabase::empty();
    db.sql(&format!("GRANT CREATE ON DATABASE {} TO USER", db.database));
    let store = install(&db).await.unwrap();
    let told = event(EventType::Cleaned, "n", Some("d"), 0);
    assert_eq!(store.append(&told).await.unwrap(), Appended::Written);
    let mut other = told.clone();
    other.correlation_id = "another".to_owned();
    assert_eq!(store.append(&other).await.unwrap(), Appended::AlreadyThere);
    let refused = db.postgres.sql(
        &db.database,
        "INSERT INTO codex_k8s_guard.flow_events (correlation_id, actor_type, event_type, payload) \
         SELECT correlation_id, actor_type, event_type, payload FROM codex_k8s_guard.flow_events",
    );
    assert!(refused.unwrap_err().to_string().contains("flow_events_of_a_decision"));
}

#[tokio::test]
async fn a_number_that_is_taken_is_never_reported_as_a_row_that_is_there() {
    let db = TestDatabase::granted();
    let store = db.open().await.unwrap();
    store.append(&event(EventType::Cleaned, "n", Some("d1"), 0)).await.unwrap();
    // As after a restore of the table without its sequence.
    db.sql("ALTER SEQUENCE flow_events_id_seq RESTART");
    let refused = store.append(&event(EventType::Cleaned, "n", Some("d2"), 0)).await.unwrap_err();
    assert!(told(&refused).contains("flow_events_pkey"), "{}", told(&refused));
}

#[tokio::test]
async fn a_row_is_on_disk_whichever_synchronous_commit_is_the_default() {
    let db = TestDatabase::granted();
    db.sql(
        "ALTER ROLE USER SET synchronous_commit = off; CREATE TABLE seen (setting text); GRANT INSERT ON seen TO USER; \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO seen VALUES (current_setting(''synchronous_commit'')); RETURN NEW; END'; \
         CREATE TRIGGER see BEFORE INSERT ON flow_events FOR EACH ROW EXECUTE FUNCTION see()",
    );
    db.open().await.unwrap().append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
    assert_eq!(db.sql("SELECT setting FROM seen"), "on");
}

#[tokio::test]
async fn a_row_has_the_columns_that_the_platform_writes() {
    let db = TestDatabase::granted();
    let mut written = event(EventType::CleanupFailed, "n", Some("d"), 0);
    written.actor.id = String::new();
    db.open().await.unwrap().append(&written).await.unwrap();
    let row = db.sql(
        "SET timezone = 'UTC'; SELECT correlation_id, actor_type, actor_id IS NULL, event_type, jsonb_typeof(payload), \
         payload ->> 'namespace', created_at FROM flow_events",
    );
    assert_eq!(row, "c-n|system|t|run.namespace.cleanup_failed|object|n|2026-02-01 12:00:00.123456+00");
}

#[tokio::test]
async fn rows_of_others_are_reported_as_far_as_they_can_be_and_break_nothing() {
    let db = TestDatabase::granted();
    db.sql(
        "INSERT INTO flow_events (correlation_id, actor_type, event_type, payload, created_at) VALUES \
         ('c', 'agent', 'run.started', '[1]', now()), \
         ('c', 'system', 'run.namespace.cleaned', '[1]', 'infinity'), \
         ('c', 'system', 'run.namespace.cleaned', 'null', '-infinity'), \
         ('c', 'system', 'run.namespace.cleaned', '\"text\"', now()), \
         ('c', 'system', 'run.namespace.cleanup_intended', '{\"decision_id\": 7}', now()), \
         ('c', 'human', 'run.namespace.cleanup_skipped', \
          '{\"run_id\": 7, \"namespace\": \"n\", \"namespace_reused\": true, \"guardrail_details\": null}', now())",
    );
    let store = db.open().await.unwrap();
    let rows = store.rows(&Filter::default()).await.unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0].event.created_at, Timestamp::MAX);
    assert_eq!(rows[1].event.created_at, Timestamp::MIN);
    let skipped = &rows[4].event;
    assert_eq!((skipped.actor.kind.as_str(), skipped.payload.namespace.as_str()), ("human", "n"));
    let open = store.open_intentions().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].event.payload.decision_id, None);
    assert_eq!(store.append(&event(EventType::Cleaned, "n", Some("7"), 0)).await.unwrap(), Appended::Written);
}

#[tokio::test]
async fn pruning_leaves_the_platforms_rows() {
    let db = TestDatabase::granted();
    db.sql(
        "INSERT INTO flow_events (correlation_id, actor_type, event_type, payload, created_at) VALUES \
         ('c', 'system', 'run.namespace.cleaned', '{\"namespace\": \"n\"}', '2020-01-01'), \
         ('c', 'system', 'run.started', '{\"decision_id\": \"theirs\"}', '2020-01-01')",
    );
    let store = db.open().await.unwrap();
    store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
    let refused = store.prune(Timestamp::now()).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Database(DatabaseError::Forbidden { grant, .. })
            if *grant == format!("GRANT DELETE ON public.flow_events TO \"{}\"", db.user)),
        "{}",
        told(&refused)
    );
    assert_eq!(db.count(), "3");
    db.sql("GRANT DELETE ON flow_events TO USER");
    assert_eq!(store.prune(Timestamp::now()).await.unwrap(), 1);
    assert_eq!(db.count(), "2");
}

#[tokio::test]
async fn pruning_removes_more_than_a_batch() {
    let db = TestDatabase::granted();
    db.sql(
        "INSERT INTO flow_events (correlation_id, actor_type, event_type, payload, created_at) \
         SELECT 'c', 'system', 'run.namespace.cleanup_skipped', jsonb_build_object('decision_id', n::text), '2020-01-01' \
         FROM generate_series(1, 12000) AS n",
    );
    db.sql("GRANT DELETE ON flow_events TO USER");
    assert_eq!(db.open().await.unwrap().prune(Timestamp::now()).await.unwrap(), 12_000);
    assert_eq!(db.count(), "0");
}

#[tokio::test]
async fn text_that_postgresql_cannot_store_is_stored_as_similar_text() {
    let db = TestDatabase::granted();
    let store = db.open().await.unwrap();
    let mut odd = event(EventType::Cleaned, "odd", Some("d\0"), 0);
    // Random, so that no compression makes it fit into the index.
    odd.correlation_id =
        (0..4000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    odd.payload.error = Some("a\0b".to_owned());
    assert_eq!(store.append(&odd).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&odd).await.unwrap(), Appended::AlreadyThere);
    let of = Filter { correlation_id: Some(odd.correlation_id.clone()), ..Filter::default() };
    let rows = store.rows(&of).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].event.payload.error.as_deref(), Some("a\u{fffd}b"));
    assert!(odd.correlation_id.starts_with(&rows[0].event.correlation_id));
}

#[tokio::test]
async fn a_table_in_a_schema_that_is_not_looked_into_is_found_by_the_address() {
    let db = TestDatabase::granted();
    db.sql("CREATE SCHEMA platform; ALTER TABLE flow_events SET SCHEMA platform; GRANT USAGE ON SCHEMA platform TO USER");
    assert!(matches!(db.open().await, Err(StoreError::Database(DatabaseError::NoTable { .. }))));
    let address = db.address("?schema=platform");
    has_all_rows_of_its_decision(&PostgresStore::open_with_timeout(&address, TIMEOUT).await.unwrap()).await;
}

#[tokio::test]
async fn a_database_without_the_table_is_refused_and_nothing_is_made_in_it() {
    let db = TestDatabase::empty();
    db.sql(&format!("GRANT CREATE ON DATABASE {} TO USER", db.database));
    let before = db.sql(DEFINED);
    let refused = db.open().await.unwrap_err();
    assert!(
        told(&refused).contains("has no table flow_events; is it the platform's?")
            && told(&refused).contains("?schema=codex_k8s_guard"),
        "{}",
        told(&refused)
    );
    let address = db.address("?schema=codex_k8s_guard");
    let refused = PostgresStore::open_with_timeout(&address, TIMEOUT).await.unwrap_err();
    assert!(told(&refused).contains("no table codex_k8s_guard.flow_events"), "{}", told(&refused));
    assert_eq!(db.sql(DEFINED), before);
}

#[tokio::test]
async fn a_schema_is_created_only_on_request_and_never_over_another_owners() {
    let db = TestDatabase::platform();
    let before = db.sql(DEFINED);
    for parameters in ["", "?schema=public", "?schema=pg_catalog"] {
        let refused = PostgresStore::install_with_timeout(&db.address(parameters), TIMEOUT).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, StoreError::NoSchema { .. }), "{}", told(&refused));
        assert!(refused.to_string().contains("add ?schema=codex_k8s_guard"), "{refused}");
    }
    let refused = install(&db).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Database(DatabaseError::Forbidden { grant, .. })
            if *grant == format!("GRANT CREATE ON DATABASE \"{}\" TO \"{}\"", db.database, db.user)),
        "{}",
        told(&refused)
    );
    assert_eq!(db.sql(DEFINED), before);
    db.sql("CREATE SCHEMA theirs AUTHORIZATION USER; ALTER TABLE flow_events SET SCHEMA theirs");
    let before = db.sql(DEFINED);
    let address = db.address("?schema=theirs");
    let refused = PostgresStore::install_with_timeout(&address, TIMEOUT).await.unwrap_err();
    assert!(told(&refused).contains("theirs.flow_events") && told(&refused).contains("name another schema"));
    assert_eq!(db.sql(DEFINED), before);
}

#[tokio::test]
async fn a_schema_that_a_later_version_has_changed_serves_this_one() {
    let db = TestDatabase::empty();
    db.sql(&format!("GRANT CREATE ON DATABASE {} TO USER", db.database));
    install(&db).await.unwrap();
    db.sql(
        "ALTER TABLE codex_k8s_guard.flow_events ADD COLUMN shard integer; \
         INSERT INTO codex_k8s_guard._sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (2, 'shards', true, '', 1)",
    );
    behaves(&install(&db).await.unwrap()).await;
}

#[tokio::test]
async fn a_table_of_another_form_is_refused_with_what_was_found_and_expected() {
    for (change, found, expected) in [
        (
            "ALTER TABLE flow_events DROP COLUMN payload",
            "found no column payload",
            "expected payload of type jsonb",
        ),
        (
            "ALTER TABLE flow_events ALTER payload DROP DEFAULT, ALTER payload TYPE text",
            "found the column payload of type text",
            "expected payload of type jsonb",
        ),
        (
            "ALTER TABLE flow_events ALTER created_at TYPE timestamp",
            "found the column created_at of type timestamp without time zone",
            "expected created_at of type timestamp with time zone",
        ),
        (
            "ALTER TABLE flow_events ADD tenant text NOT NULL",
            "found the column tenant NOT NULL without a default",
            "expected none but the platform's",
        ),
        (
            "ALTER TABLE flow_events ALTER actor_id SET NOT NULL",
            "found the column actor_id NOT NULL",
            "expected actor_id nullable",
        ),
        (
            "ALTER TABLE flow_events RENAME TO events; CREATE VIEW flow_events AS SELECT * FROM events; \
             GRANT SELECT ON flow_events TO USER",
            "found a view or the like",
            "expected a table",
        ),
    ] {
        let db = TestDatabase::granted();
        db.sql(change);
        let refused = told(&db.open().await.unwrap_err());
        assert!(
            refused.contains(found) && refused.contains(expected) && refused.contains("nothing was written"),
            "{change}: {refused}"
        );
    }
    // Columns that the platform may add one day, optional or with a default.
    let db = TestDatabase::granted();
    db.sql("ALTER TABLE flow_events ADD trace text, ADD shard integer NOT NULL DEFAULT 0");
    has_all_rows_of_its_decision(&db.open().await.unwrap()).await;
}
