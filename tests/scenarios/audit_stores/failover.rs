//! Two PostgreSQL servers, a primary and its standby, and a failover between them.

use codex_k8s_shared::audit::{Appended, EventType, Filter, PostgresStore, Store, StoreError};
use codex_k8s_shared::database::DatabaseError;
use codex_k8s_tests::Postgres;

use crate::harness::{SHORT, TIMEOUT, address, start, told};
use crate::suite::event;

/// A primary with the platform's tables whose commits wait for its standby.
fn pair() -> (Postgres, Postgres) {
    let primary = start();
    primary.create_platform("platform").unwrap();
    let standby = primary.start_standby().unwrap();
    primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    primary.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    (primary, standby)
}

fn both(one: &Postgres, two: &Postgres, parameters: &str) -> String {
    format!("postgres://admin:admin@127.0.0.1:{},127.0.0.1:{}/platform{parameters}", one.port(), two.port())
}

fn promote(standby: &Postgres) {
    assert_eq!(standby.sql("postgres", "SELECT pg_promote()").unwrap(), "t");
}

async fn appends(store: &PostgresStore, decision: &str) {
    let told = event(EventType::CleanupIntended, "n", Some(decision), 0);
    assert_eq!(store.append(&told).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&told).await.unwrap(), Appended::AlreadyThere);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_the_new_primary_when_the_old_one_is_gone() {
    let (primary, standby) = pair();
    // The standby comes first, and is passed over.
    let url = both(&standby, &primary, "?target_session_attrs=read-write");
    let store = PostgresStore::open_with_timeout(&address(&url), TIMEOUT).await.unwrap();
    appends(&store, "before").await;
    primary.stop().unwrap();
    let appending = {
        let store = store.clone();
        tokio::spawn(async move { appends(&store, "during").await })
    };
    promote(&standby);
    appending.await.unwrap();
    assert_eq!(store.rows(&Filter::default()).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_the_new_primary_when_the_old_one_takes_no_changes_any_more() {
    let (primary, standby) = pair();
    let url = both(&primary, &standby, "?target_session_attrs=read-write");
    let store = PostgresStore::open_with_timeout(&address(&url), TIMEOUT).await.unwrap();
    appends(&store, "before").await;
    primary.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on").unwrap();
    primary.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    promote(&standby);
    appends(&store, "after").await;
    let count = "SELECT count(*) FROM flow_events";
    assert_eq!(
        (primary.sql("platform", count).unwrap(), standby.sql("platform", count).unwrap()),
        ("1".into(), "2".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_of_a_list_is_named_with_its_own_error() {
    let (primary, standby) = pair();
    let url = both(&primary, &standby, "?target_session_attrs=read-write");
    primary.stop().unwrap();
    let refused = PostgresStore::open_with_timeout(&address(&url), SHORT).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Database(DatabaseError::NoHost { .. })), "{}", told(&refused));
    for said in [
        format!("failed to reach the database 127.0.0.1:{}/platform", primary.port()),
        "Connection refused".to_owned(),
        format!("127.0.0.1:{}/platform is a standby; target_session_attrs=read-write", standby.port()),
    ] {
        assert!(told(&refused).contains(&said), "{}", told(&refused));
    }
    // A standby is enough to read.
    let standby_first = both(&standby, &primary, "?target_session_attrs=standby");
    PostgresStore::open_with_timeout(&address(&standby_first), TIMEOUT).await.unwrap();
}
