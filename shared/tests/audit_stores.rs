//! What every store of audit rows does, and what each says when it cannot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use codex_k8s_shared::audit::{
    Actor, Appended, Event, EventType, Filter, Payload, SqliteStore, Store, StoreError,
};
use jiff::{SignedDuration, Timestamp};

fn event(event_type: EventType, namespace: &str, decision: Option<&str>, minute: i64) -> Event {
    let start: Timestamp = "2026-02-01T12:00:00.123456Z".parse().unwrap();
    Event {
        correlation_id: format!("c-{namespace}"),
        actor: Actor::system("codex-k8s-gc"),
        event_type,
        payload: Payload {
            run_id: format!("r-{namespace}"),
            namespace: namespace.to_owned(),
            reason: Some("ttl_expired".to_owned()),
            decision_id: decision.map(str::to_owned),
            ..Payload::default()
        },
        created_at: start.checked_add(SignedDuration::from_mins(minute)).unwrap(),
    }
}

/// The conformance suite.
async fn behaves(store: &impl Store) {
    rows_come_back_as_they_were_written(store).await;
    a_stage_of_a_decision_is_told_once(store).await;
    filters_let_through_what_they_say(store).await;
    intentions_are_open_until_they_end(store).await;
    pruning_keeps_what_is_young_or_open(store).await;
}

async fn rows_come_back_as_they_were_written(store: &impl Store) {
    let written = event(EventType::CleanupSkipped, "whole", None, 0);
    assert_eq!(store.append(&written).await.unwrap(), Appended::Written);
    let rows =
        store.rows(&Filter { namespace: Some("whole".to_owned()), ..Filter::default() }).await.unwrap();
    assert_eq!(rows.iter().map(|row| &row.event).collect::<Vec<_>>(), [&written]);
}

async fn a_stage_of_a_decision_is_told_once(store: &impl Store) {
    let intended = event(EventType::CleanupIntended, "once", Some("d-once"), 0);
    let again = event(EventType::CleanupIntended, "once", Some("d-once"), 5);
    assert_eq!(store.append(&intended).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&again).await.unwrap(), Appended::AlreadyThere);
    assert_eq!(
        store.append(&event(EventType::Cleaned, "once", Some("d-once"), 6)).await.unwrap(),
        Appended::Written
    );
    // Rows without a decision are each their own.
    let prepared = event(EventType::Prepared, "once", None, 0);
    assert_eq!(store.append(&prepared).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&prepared).await.unwrap(), Appended::Written);
}

async fn filters_let_through_what_they_say(store: &impl Store) {
    for minute in 0..5 {
        store.append(&event(EventType::CleanupSkipped, "filtered", None, minute)).await.unwrap();
    }
    store.append(&event(EventType::Cleaned, "filtered", Some("d-filtered"), 5)).await.unwrap();
    let of = || Filter { namespace: Some("filtered".to_owned()), ..Filter::default() };
    let count = async |filter: Filter| store.rows(&filter).await.unwrap().len();
    let at = |minute| Some(event(EventType::Prepared, "", None, minute).created_at);
    assert_eq!(count(of()).await, 6);
    assert_eq!(count(Filter { event_type: Some(EventType::Cleaned), ..of() }).await, 1);
    assert_eq!(count(Filter { since: at(2), until: at(4), ..of() }).await, 2);
    assert_eq!(count(Filter { run_id: Some("r-filtered".to_owned()), ..Filter::default() }).await, 6);
    assert_eq!(count(Filter { correlation_id: Some("c-filtered".to_owned()), ..Filter::default() }).await, 6);
    assert_eq!(count(Filter { run_id: Some("r-' OR 1=1".to_owned()), ..Filter::default() }).await, 0);
    let newest = store.rows(&Filter { limit: Some(2), ..of() }).await.unwrap();
    assert_eq!(
        newest.iter().map(|row| row.event.created_at).collect::<Vec<_>>(),
        [at(4).unwrap(), at(5).unwrap()]
    );
    assert_eq!(count(Filter { after_id: Some(newest[0].id), ..of() }).await, 1);
}

async fn open_of(store: &impl Store, namespace: &str) -> usize {
    let open = store.open_intentions().await.unwrap();
    open.iter().filter(|row| row.event.payload.namespace == namespace).count()
}

async fn intentions_are_open_until_they_end(store: &impl Store) {
    let ends = EventType::ALL.into_iter().filter(|event_type| event_type.ends_an_intention());
    for (index, end) in ends.enumerate() {
        let decision = format!("d-open-{index}");
        store.append(&event(EventType::CleanupIntended, "open", Some(&decision), 0)).await.unwrap();
        assert_eq!(open_of(store, "open").await, 1);
        store.append(&event(end, "open", Some(&decision), 1)).await.unwrap();
        assert_eq!(open_of(store, "open").await, 0, "{end}");
    }
}

async fn pruning_keeps_what_is_young_or_open(store: &impl Store) {
    store.append(&event(EventType::CleanupIntended, "pruned", Some("d-pruned"), -600)).await.unwrap();
    store.append(&event(EventType::CleanupSkipped, "pruned", None, -600)).await.unwrap();
    store.append(&event(EventType::CleanupSkipped, "pruned", None, 0)).await.unwrap();
    let before = event(EventType::Prepared, "", None, -300).created_at;
    assert_eq!(store.prune(before).await.unwrap(), 1);
    assert_eq!(store.prune(before).await.unwrap(), 0);
    assert_eq!(open_of(store, "pruned").await, 1);
}

async fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_with_patience(file, Duration::from_millis(200)).await
}

#[tokio::test]
async fn sqlite_behaves_as_every_store() {
    let folder = tempfile::tempdir().unwrap();
    behaves(&open(&folder.path().join("audit.db")).await.unwrap()).await;
}

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
    store.close().await;
    let again = open(&file).await.unwrap();
    assert_eq!(again.rows(&Filter::default()).await.unwrap().len(), 1);
    assert_eq!(
        again.append(&event(EventType::Cleaned, "n", Some("d"), 1)).await.unwrap(),
        Appended::AlreadyThere
    );
}

#[tokio::test]
async fn two_processes_tell_a_decision_once_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let patience = Duration::from_secs(30);
    let stores = [
        SqliteStore::open_with_patience(&file, patience).await.unwrap(),
        SqliteStore::open_with_patience(&file, patience).await.unwrap(),
    ];
    let mut all = tokio::task::JoinSet::new();
    for decision in 0..50 {
        for store in &stores {
            let store = store.clone();
            let told = event(EventType::CleanupIntended, "raced", Some(&format!("d-{decision}")), 0);
            all.spawn(async move { store.append(&told).await.unwrap() });
        }
    }
    let written = all.join_all().await.into_iter().filter(|appended| *appended == Appended::Written).count();
    assert_eq!(written, 50);
}

#[tokio::test]
async fn a_locked_file_says_so_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let mut holder = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let refused = store.append(&event(EventType::Cleaned, "n", None, 0)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Locked(_)) && refused.to_string().contains("another sweep"),
        "{refused}"
    );
    sqlx::query("SELECT 1").execute(&mut *holder).await.unwrap();
    holder.rollback().await.unwrap();
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let text = "this is a note, and no database at all. ".repeat(200);
    fs::write(&file, &text).unwrap();
    let refused = open(&file).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged(_)), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open(&folder.path().join("absent/audit.db")).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Open { store, .. } if store.ends_with("absent/audit.db")),
        "{refused:?}"
    );
}
