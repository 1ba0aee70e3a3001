//! The conformance suite for stores of audit rows.

use codex_k8s_shared::audit::{Actor, Appended, Event, EventType, Filter, Payload, Store};
use jiff::{SignedDuration, Timestamp};

pub(crate) fn event(event_type: EventType, namespace: &str, decision: Option<&str>, minute: i64) -> Event {
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

/// Runs the whole suite.
pub(crate) async fn behaves(store: &impl Store) {
    has_all_rows_of_its_decision(store).await;
    pruning_keeps_what_is_young_or_open(store).await;
}

/// Runs all but pruning, for which a store may lack the right.
pub(crate) async fn has_all_rows_of_its_decision(store: &impl Store) {
    rows_come_back_as_they_were_written(store).await;
    a_stage_of_a_decision_is_reported_once(store).await;
    filters_let_through_what_they_say(store).await;
    intentions_are_open_until_they_end(store).await;
    texts_of_any_kind_are_stored_unchanged(store).await;
}

async fn rows_come_back_as_they_were_written(store: &impl Store) {
    let written = event(EventType::CleanupSkipped, "whole", None, 0);
    assert_eq!(store.append(&written).await.unwrap(), Appended::Written);
    let rows =
        store.rows(&Filter { namespace: Some("whole".to_owned()), ..Filter::default() }).await.unwrap();
    assert_eq!(rows.iter().map(|row| &row.event).collect::<Vec<_>>(), [&written]);
}

async fn a_stage_of_a_decision_is_reported_once(store: &impl Store) {
    let intended = event(EventType::CleanupIntended, "once", Some("d-once"), 0);
    let again = event(EventType::CleanupIntended, "once", Some("d-once"), 5);
    assert_eq!(store.append(&intended).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&again).await.unwrap(), Appended::AlreadyThere);
    assert_eq!(
        store.append(&event(EventType::Cleaned, "once", Some("d-once"), 6)).await.unwrap(),
        Appended::Written
    );
    // Each row without a decision is separate.
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
    let next = store.rows(&Filter { after_id: Some(0), limit: Some(2), ..of() }).await.unwrap();
    assert_eq!(
        next.iter().map(|row| row.event.created_at).collect::<Vec<_>>(),
        [at(0).unwrap(), at(1).unwrap()],
        "the next two, the oldest first"
    );
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

pub(crate) async fn pruning_keeps_what_is_young_or_open(store: &impl Store) {
    store.append(&event(EventType::CleanupIntended, "pruned", Some("d-pruned"), -600)).await.unwrap();
    store.append(&event(EventType::CleanupSkipped, "pruned", Some("d-old"), -600)).await.unwrap();
    store.append(&event(EventType::CleanupSkipped, "pruned", Some("d-young"), 0)).await.unwrap();
    let before = event(EventType::Prepared, "", None, -300).created_at;
    assert_eq!(store.prune(before).await.unwrap(), 1);
    assert_eq!(store.prune(before).await.unwrap(), 0);
    assert_eq!(open_of(store, "pruned").await, 1);
}

async fn texts_of_any_kind_are_stored_unchanged(store: &impl Store) {
    let mut odd = event(EventType::CleanupFailed, "odd", Some("d-'odd\"\\; --"), 0);
    odd.actor.id = String::new();
    odd.payload.error = Some("é€😀 \u{7f}\u{85}\n\t' OR 1=1 %s $1 \\u0000".to_owned());
    odd.payload.guardrail_details = vec![String::new(), "pods=a,b".to_owned()];
    assert_eq!(store.append(&odd).await.unwrap(), Appended::Written);
    assert_eq!(store.append(&odd).await.unwrap(), Appended::AlreadyThere);
    let of = Filter { namespace: Some("odd".to_owned()), ..Filter::default() };
    let rows = store.rows(&of).await.unwrap();
    assert_eq!(rows.iter().map(|row| &row.event).collect::<Vec<_>>(), [&odd]);
}

/// Fifty decisions, each reported by every one of these stores at the same time: each is stored once.
pub(crate) async fn decisions_are_reported_once_between<S: Store + Clone + 'static>(stores: &[S]) {
    let mut all = tokio::task::JoinSet::new();
    for decision in 0..50 {
        for store in stores {
            let store = store.clone();
            let told = event(EventType::CleanupIntended, "raced", Some(&format!("d-{decision}")), 0);
            all.spawn(async move { store.append(&told).await.unwrap() });
        }
    }
    let written = all.join_all().await.into_iter().filter(|appended| *appended == Appended::Written).count();
    assert_eq!(written, 50);
    let raced = Filter { namespace: Some("raced".to_owned()), ..Filter::default() };
    assert_eq!(stores[0].rows(&raced).await.unwrap().len(), 50);
}
