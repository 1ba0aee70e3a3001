//! Errors of a PostgreSQL that cannot be used; no row counts as written then.

use std::time::{Duration, Instant};

use codex_k8s_certs::{Authority, Leaf};
use codex_k8s_shared::audit::{Appended, EventType, Filter, PostgresStore, Store, StoreError};
use codex_k8s_shared::database::DatabaseError;
use codex_k8s_tests::Postgres;
use jiff::Timestamp;

use crate::harness::{SHORT, TIMEOUT, TestDatabase, address, start, told};
use crate::suite::event;

/// Appends a row that is refused, and returns the error.
async fn is_refused(store: &PostgresStore) -> StoreError {
    let begun = Instant::now();
    let refused = store.append(&event(EventType::CleanupIntended, "n", Some("d"), 0)).await.unwrap_err();
    // A failover is waited for.
    assert!(begun.elapsed() < SHORT * 12 + Duration::from_secs(10), "{:?}", begun.elapsed());
    refused
}

/// Appends the row that was refused before: it is written now, so it was not then.
async fn succeeds(store: &PostgresStore) {
    let told = event(EventType::CleanupIntended, "n", Some("d"), 0);
    assert_eq!(store.append(&told).await.unwrap(), Appended::Written);
}

#[tokio::test]
async fn a_database_that_was_stopped_is_reported_and_used_again_when_it_runs() {
    let postgres = start();
    postgres.create_platform("platform").unwrap();
    let address = address(&postgres.admin_url("platform"));
    let store = PostgresStore::open_with_timeout(&address, SHORT).await.unwrap();
    postgres.stop().unwrap();
    for refused in
        [is_refused(&store).await, PostgresStore::open_with_timeout(&address, SHORT).await.unwrap_err()]
    {
        let unreachable = matches!(&refused, StoreError::Database(DatabaseError::Unreachable { .. }));
        assert!(unreachable && told(&refused).contains("does it run"), "{}", told(&refused));
        assert!(told(&refused).contains(&format!("127.0.0.1:{}/platform", postgres.port())));
    }
    postgres.start_again().unwrap();
    succeeds(&store).await;
    a_row_outlives_a_crash(&postgres, &store).await;
}

async fn a_row_outlives_a_crash(postgres: &Postgres, store: &PostgresStore) {
    postgres.process().unwrap().signal("KILL").unwrap();
    postgres.stop().unwrap();
    postgres.start_again().unwrap();
    assert_eq!(store.rows(&Filter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_that_answers_nothing_is_given_up() {
    let postgres = start();
    postgres.create_platform("platform").unwrap();
    let process = postgres.process().unwrap();
    process.signal("STOP").unwrap();
    let opened = PostgresStore::open_with_timeout(&address(&postgres.admin_url("platform")), SHORT).await;
    process.signal("CONT").unwrap();
    let refused = opened.unwrap_err();
    let slow = matches!(&refused, StoreError::Database(DatabaseError::Slow { .. }));
    assert!(slow && told(&refused).contains("was not done within 2s"), "{}", told(&refused));
}

#[tokio::test]
async fn a_lock_that_another_session_holds_is_reported_and_nothing_is_written() {
    let db = TestDatabase::granted();
    let store = db.open_hastily().await.unwrap();
    let holder = sqlx::PgPool::connect(&db.postgres.admin_url(&db.database)).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE flow_events IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let refused = is_refused(&store).await;
    assert!(
        matches!(refused, StoreError::Locked(_)) && told(&refused).contains("has held a lock for 2s"),
        "{}",
        told(&refused)
    );
    held.rollback().await.unwrap();
    assert_eq!(db.count(), "0");
    succeeds(&store).await;
}

#[tokio::test]
async fn a_decision_that_another_session_is_writing_is_waited_for() {
    let db = TestDatabase::granted();
    let store = db.open().await.unwrap();
    let holder = sqlx::PgPool::connect(&db.postgres.admin_url(&db.database)).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE flow_events IN SHARE MODE").execute(&mut *held).await.unwrap();
    let append = |store: PostgresStore| {
        tokio::spawn(
            async move { store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap() },
        )
    };
    let (one, two) = (append(store.clone()), append(store));
    // One of them waits for the table, and the other one for the first.
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = \
         (SELECT oid FROM pg_database WHERE datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&holder).await.unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    held.rollback().await.unwrap();
    let mut both = [one.await.unwrap(), two.await.unwrap()];
    both.sort_by_key(|appended| *appended == Appended::AlreadyThere);
    assert_eq!(both, [Appended::Written, Appended::AlreadyThere]);
}

/// Adds a trigger that runs this before a row is written.
fn before_each_row(db: &TestDatabase, does: &str) {
    db.sql(&format!(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NEW; END $$; \
         CREATE TRIGGER stop BEFORE INSERT ON flow_events FOR EACH ROW EXECUTE FUNCTION stop()"
    ));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_nothing_is_written() {
    let db = TestDatabase::granted();
    let store = db.open_hastily().await.unwrap();
    before_each_row(&db, "PERFORM pg_sleep(60)");
    let refused = is_refused(&store).await;
    let slow = matches!(&refused, StoreError::Database(DatabaseError::Slow { .. }));
    assert!(slow && told(&refused).contains("look at its load"), "{}", told(&refused));
    db.sql("DROP TRIGGER stop ON flow_events");
    assert_eq!(db.count(), "0");
    succeeds(&store).await;
}

#[tokio::test]
async fn a_database_that_takes_no_changes_is_reported() {
    let db = TestDatabase::granted();
    db.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", db.database));
    let store = db.open_hastily().await.unwrap();
    let refused = is_refused(&store).await;
    assert!(
        matches!(refused, StoreError::ReadOnly(_)) && told(&refused).contains("name the primary"),
        "{}",
        told(&refused)
    );
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_database_in_which_nothing_more_fits_is_reported() {
    for (state, said) in [("53100", "could not extend file"), ("53200", "out of memory")] {
        let db = TestDatabase::granted();
        let store = db.open_hastily().await.unwrap();
        before_each_row(&db, &format!("RAISE EXCEPTION '{said}' USING ERRCODE = '{state}'"));
        let refused = is_refused(&store).await;
        assert!(matches!(refused, StoreError::Full(_)), "{}", told(&refused));
        assert!(told(&refused).contains("its disk or its memory") && told(&refused).contains(said));
        db.sql("DROP TRIGGER stop ON flow_events");
        succeeds(&store).await;
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_reported_what_to_check_and_no_password() {
    let db = TestDatabase::granted();
    let url = db.postgres.url(&db.user, &db.database);
    let user = &db.user;
    for (url, said) in [
        (url.replace(&format!(":{user}@"), ":s3cret@"), "password authentication failed"),
        (url.replace(&format!("/{user}:{user}@"), "/nobody:s3cret@"), "password authentication failed"),
        (url.replace(&db.database, "absent"), "database \"absent\" does not exist"),
    ] {
        let refused = PostgresStore::open_with_timeout(&address(&url), TIMEOUT).await.unwrap_err();
        let sign_in = matches!(&refused, StoreError::Database(DatabaseError::SignIn { .. }));
        assert!(sign_in && told(&refused).contains(said), "{}", told(&refused));
        assert!(told(&refused).contains("check user, password (PGPASSWORD)"));
        assert!(!told(&refused).contains("s3cret") && !format!("{refused:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_database_whose_connections_are_all_taken_is_reported() {
    let db = TestDatabase::granted();
    db.sql("ALTER ROLE USER CONNECTION LIMIT 0");
    let refused = db.open_hastily().await.unwrap_err();
    let busy = matches!(&refused, StoreError::Database(DatabaseError::Busy { .. }));
    assert!(busy && told(&refused).contains("max_connections"), "{}", told(&refused));
}

#[tokio::test]
async fn a_missing_right_is_reported_with_the_sql_that_gives_it() {
    let db = TestDatabase::platform();
    let user = &db.user;
    let refused = db.open_hastily().await.unwrap_err();
    assert!(told(&refused).contains(&format!("GRANT SELECT ON public.flow_events TO \"{user}\"")));
    db.sql("GRANT SELECT ON flow_events TO USER");
    let store = db.open_hastily().await.unwrap();
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty(), "to read is enough to read");
    let grant = format!(
        "GRANT INSERT, SELECT ON public.flow_events TO \"{user}\"; \
         GRANT USAGE ON SEQUENCE public.flow_events_id_seq TO \"{user}\""
    );
    for (right, lacks) in
        [("", "table flow_events"), ("INSERT ON flow_events", "sequence flow_events_id_seq")]
    {
        if !right.is_empty() {
            db.sql(&format!("GRANT {right} TO USER"));
        }
        let refused = told(&is_refused(&store).await);
        assert!(refused.contains(&grant) && refused.contains(lacks), "{refused}");
    }
    db.sql(&grant);
    succeeds(&store).await;
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_never_taken_for_absent() {
    let db = TestDatabase::granted();
    db.sql("ALTER TABLE flow_events ENABLE ROW LEVEL SECURITY");
    let store = db.open_hastily().await.unwrap();
    let refused = store.open_intentions().await.unwrap_err();
    assert!(told(&refused).contains("row-level security"), "{}", told(&refused));
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_authority_verifies_for_and_with_no_one_else() {
    let postgres = start();
    postgres.create_platform("platform").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let authority = |name: &str| {
        let authority = Authority::generate(now, name).unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, &authority.pem().certificate).unwrap();
        (authority, file.display().to_string())
    };
    let ((ours, our_root), (_, other_root)) = (authority("ours"), authority("other"));
    postgres
        .require_tls(&ours.issue(now, &Leaf { addresses: Vec::new(), ..Leaf::of_loopback() }).unwrap())
        .unwrap();
    postgres.stop().unwrap();
    postgres.start_again().unwrap();
    let open = async |host: &str, parameters: String| {
        let url = postgres.admin_url("platform").replace("127.0.0.1", host);
        PostgresStore::open_with_timeout(&address(&format!("{url}?{parameters}")), TIMEOUT).await
    };
    let verified = format!("sslmode=verify-full&sslrootcert={our_root}");
    let store = open("localhost", verified.clone()).await.unwrap();
    succeeds(&store).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE backend_type = 'client backend'";
    assert_eq!(postgres.sql("platform", encrypted).unwrap(), "t");
    open("127.0.0.1", "sslmode=require".to_owned()).await.unwrap();
    for (host, parameters, said) in [
        ("127.0.0.1", verified.clone(), "not valid for name"),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other_root}"), "UnknownIssuer"),
        ("localhost", "sslmode=verify-full".to_owned(), "UnknownIssuer"),
        ("localhost", format!("sslmode=verify-full&sslrootcert={our_root}.absent"), "No such file"),
    ] {
        let refused = open(host, parameters.clone()).await.unwrap_err();
        let tls = matches!(&refused, StoreError::Database(DatabaseError::Tls { .. }));
        assert!(tls && told(&refused).contains(said), "{parameters}: {}", told(&refused));
    }
    let refused = open("127.0.0.1", "sslmode=disable".to_owned()).await.unwrap_err();
    assert!(told(&refused).contains("no encryption"), "{}", told(&refused));
}
