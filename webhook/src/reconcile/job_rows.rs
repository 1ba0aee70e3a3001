//! Watches the Jobs of runs for audit rows about them, while the policy asks for these.

use codex_k8s_shared::audit::decision::{JobTransition, RunJob};
use codex_k8s_shared::errors;
use codex_k8s_shared::keys;
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch::Receiver;

use super::audit_rows::AuditRows;
use super::context::Context;

/// Queues rows until there are no more changes of the policy, which is when the process ends.
pub(super) async fn run(client: Client, context: &Context, mut changes: Receiver<()>) {
    let Some(rows) = &context.audit_rows else { return };
    let is_on = || context.policy.load().audit_store.jobs;
    loop {
        if is_on() {
            tokio::select! {
                () = follow(client.clone(), context, rows) => {}
                next = changes.changed() => if next.is_err() { return },
            }
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn follow(client: Client, context: &Context, rows: &AuditRows) {
    let config = Config::default().labels(keys::RUN_ID).page_size(100);
    let mut events = std::pin::pin!(watcher(Api::<Job>::all(client), config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::InitApply(job) | Event::Apply(job)) => {
                let policy = context.policy.load_full();
                for transition in transitions(&job) {
                    rows.observe_job(&policy, transition);
                }
            }
            Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            Err(error) => tracing::warn!(error = errors::chain(&error), "failed to watch Jobs"),
        }
    }
}

/// Returns what has happened to a Job so far.
fn transitions(job: &Job) -> Vec<RunJob> {
    let (meta, status) = (&job.metadata, job.status.clone().unwrap_or_default());
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let annotation = |key| meta.annotations.as_ref().and_then(|annotations| annotations.get(key)).cloned();
    let of = |transition, at| RunJob {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        run_id: label(keys::RUN_ID).unwrap_or_default(),
        correlation_id: annotation(keys::CORRELATION_ID),
        transition,
        at,
    };
    let admitted = status.start_time.map(|time| of(JobTransition::Admitted, time.0));
    let ended = status.conditions.unwrap_or_default().into_iter().find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    });
    let finished = ended.and_then(|condition| {
        let at = condition.last_transition_time?.0;
        let failed = condition.type_ == "Failed";
        let reason = condition.reason.unwrap_or_else(|| condition.type_.clone());
        let error = condition.message.filter(|_| failed);
        Some(of(JobTransition::Finished { reason: Some(reason), error }, at))
    });
    admitted.into_iter().chain(finished).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(status: &serde_json::Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "j", "namespace": "n", "uid": "u", "labels": {keys::RUN_ID: "r1"},
                "annotations": {keys::CORRELATION_ID: "c1"}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_job_is_admitted_once_it_has_started_and_finished_once_it_has_a_final_condition() {
        let start = "2026-02-01T12:00:00Z";
        let condition = |kind: &str, status: &str| {
            json!({"startTime": start, "conditions": [{"type": kind, "status": status, "reason": "Because",
                "message": "it did", "lastTransitionTime": "2026-02-01T12:01:00Z"}]})
        };
        for (status, expected) in [
            (json!({}), vec![]),
            (json!({"startTime": start}), vec![JobTransition::Admitted]),
            (condition("FailureTarget", "True"), vec![JobTransition::Admitted]),
            (condition("Complete", "False"), vec![JobTransition::Admitted]),
            (
                condition("Complete", "True"),
                vec![
                    JobTransition::Admitted,
                    JobTransition::Finished { reason: Some("Because".to_owned()), error: None },
                ],
            ),
            (
                condition("Failed", "True"),
                vec![
                    JobTransition::Admitted,
                    JobTransition::Finished {
                        reason: Some("Because".to_owned()),
                        error: Some("it did".to_owned()),
                    },
                ],
            ),
        ] {
            let found = transitions(&job(&status));
            assert!(
                found.iter().all(|job| job.run_id == "r1" && job.correlation_id.as_deref() == Some("c1"))
            );
            assert_eq!(found.into_iter().map(|job| job.transition).collect::<Vec<_>>(), expected, "{status}");
        }
    }
}
