//! The audit rows of a sweep, and the ids that connect them. Pure.
//!
//! A deletion is one decision with several rows: the intention, written before the request is sent, and one outcome.
//! The id is derived from the uid and the version of the namespace, so that two sweeps that make the same decision at
//! the same time write the same rows, and a store that accepts each stage of a decision once has them once. If the
//! same decision is made again after the previous one has ended, it is another attempt, with another id.

use codex_k8s_shared::audit::decision::{Origin, decision_id as id};
use codex_k8s_shared::audit::{Actor, Event, EventType, Payload, Row};
use codex_k8s_shared::cleanup::{Candidate, Reason, Verdict, Work};
use codex_k8s_shared::keys;
use jiff::Timestamp;

use crate::breaker::Trip;

/// A sweep ended before it had sent the deletion that it intended, and later sweeps decided otherwise.
pub(crate) const INTERRUPTED: &str = "interrupted";
/// The namespace was changed between the decision and the deletion.
pub(crate) const CHANGED: &str = "changed_since_decision";
/// The audit store took so long to accept the intention that the decision was made again.
pub(crate) const LATE: &str = "decision_outdated";
/// The namespace was gone before the intention was written.
pub(crate) const ALREADY_DELETED: &str = "already_deleted";
/// The deletion was rejected, or failed.
pub(crate) const DELETE_FAILED: &str = "delete_failed";
/// The namespace is still terminating at the timeout.
pub(crate) const DELETION_STUCK: &str = "deletion_stuck";

/// The builder of the rows of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct AuditEvents(pub(crate) Origin);

/// A decision to delete a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The id.
    pub id: String,
    /// The namespace.
    pub candidate: Candidate,
    /// The reason, as a code.
    pub reason: String,
}

/// The number of earlier decisions to delete the namespace that were not carried out, from its rows.
pub(crate) fn attempts(rows: &[Row], uid: &str) -> usize {
    let of_uid = rows.iter().filter(|row| row.event.payload.uid.as_deref() == Some(uid));
    let mut intended = std::collections::BTreeSet::new();
    let mut given_up = std::collections::BTreeSet::new();
    for row in of_uid {
        let decision = row.event.payload.decision_id.as_deref();
        match row.event.event_type {
            EventType::CleanupIntended => drop(intended.insert(decision)),
            EventType::CleanupFailed | EventType::CleanupSkipped => drop(given_up.insert(decision)),
            _ => {}
        }
    }
    intended.intersection(&given_up).count()
}

impl Decision {
    /// The decision to delete a namespace after this number of attempts.
    pub(crate) fn new(candidate: Candidate, reason: &Reason, attempts: usize) -> Self {
        let id = id(&["delete", &candidate.uid, &candidate.resource_version, &attempts.to_string()]);
        Self { id, candidate, reason: reason.code().to_owned() }
    }

    /// The decision of another sweep's intention; `None` if the row does not name the namespace.
    pub(crate) fn of_row(row: &Row) -> Option<Self> {
        let payload = row.event.payload.clone();
        let labels = [
            (keys::RUN_ID, payload.run_id),
            (keys::PROJECT_ID, payload.project_id),
            (keys::RUNTIME_MODE, payload.runtime_mode),
        ];
        let annotations = [
            (keys::CORRELATION_ID, Some(row.event.correlation_id.clone())),
            (keys::NAMESPACE_LEASE_TTL, payload.namespace_lease_ttl),
            (keys::NAMESPACE_LEASE_EXPIRES_AT, payload.namespace_lease_expires_at),
        ];
        let candidate = Candidate {
            name: payload.namespace,
            uid: payload.uid?,
            resource_version: payload.resource_version.unwrap_or_default(),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            annotations: annotations
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect(),
            ..Candidate::default()
        };
        Some(Self { id: payload.decision_id?, candidate, reason: payload.reason.unwrap_or_default() })
    }
}

impl AuditEvents {
    fn of_decision(&self, event_type: EventType, decision: &Decision, now: Timestamp) -> Event {
        let mut event = self.0.event(event_type, &decision.candidate, decision.id.clone(), now);
        event.payload.reason = Some(decision.reason.clone());
        event
    }

    /// The intention, before a deletion is sent.
    pub(crate) fn intended(&self, decision: &Decision, now: Timestamp) -> Event {
        self.of_decision(EventType::CleanupIntended, decision, now)
    }

    /// The namespace is gone.
    pub(crate) fn cleaned(&self, decision: &Decision, now: Timestamp) -> Event {
        self.of_decision(EventType::Cleaned, decision, now)
    }

    /// The deletion failed.
    pub(crate) fn failed(&self, decision: &Decision, error: String, now: Timestamp) -> Event {
        let mut event = self.of_decision(EventType::CleanupFailed, decision, now);
        event.payload.reason = Some(DELETE_FAILED.to_owned());
        event.payload.error = Some(error);
        event
    }

    /// The deletion takes too long. Its intention stays open; the row is written once for the same blockers.
    pub(crate) fn stuck(&self, decision: &Decision, blockers: &[String], now: Timestamp) -> Event {
        let mut event = self.of_decision(EventType::CleanupFailed, decision, now);
        let of = [&decision.id, DELETION_STUCK].into_iter().map(AsRef::as_ref);
        let parts: Vec<&str> = of.chain(blockers.iter().map(String::as_str)).collect();
        event.payload.decision_id = Some(id(&parts));
        event.payload.reason = Some(DELETION_STUCK.to_owned());
        event.payload.error = Some("the namespace is still being deleted".to_owned());
        event.payload.guardrail_details = blockers.to_vec();
        event
    }

    /// The intended deletion is abandoned.
    pub(crate) fn given_up(&self, decision: &Decision, reason: &str, now: Timestamp) -> Event {
        let mut event = self.of_decision(EventType::CleanupSkipped, decision, now);
        event.payload.reason = Some(reason.to_owned());
        event
    }

    /// The namespace is retained, or is already gone: written once for the same version of it and the same reason.
    pub(crate) fn skipped(&self, candidate: &Candidate, reason: &str, now: Timestamp) -> Event {
        let id = id(&["skip", &candidate.uid, &candidate.resource_version, reason]);
        let mut event = self.0.event(EventType::CleanupSkipped, candidate, id, now);
        event.payload.reason = Some(reason.to_owned());
        event
    }

    /// The namespace is retained for the reason of a verdict, with the blocking objects and the command that would
    /// delete it manually.
    pub(crate) fn retained(&self, candidate: &Candidate, verdict: &Verdict, now: Timestamp) -> Event {
        let reason = verdict.reason();
        let mut event = self.skipped(candidate, reason.code(), now);
        event.payload.guardrail_details = details(candidate, reason);
        event.payload.cleanup_command = Some(format!("kubectl delete namespace {}", candidate.name));
        event
    }

    /// The circuit breaker of a sweep tripped: written once for the same limits in the same hour.
    pub(crate) fn refused(&self, trips: &[Trip], now: Timestamp) -> Event {
        let codes: Vec<_> = trips.iter().map(Trip::code).collect();
        let hour = now.as_second().div_euclid(3600).to_string();
        let payload = Payload {
            reason: codes.first().map(|code| (*code).to_owned()),
            guardrail_details: trips.iter().map(ToString::to_string).collect(),
            decision_id: Some(id(&["refused", &codes.join(","), &hour])),
            policy_hash: Some(self.0.policy_hash.clone()),
            ..Payload::default()
        };
        let actor = Actor::system(&self.0.actor);
        let correlation_id = self.0.actor.clone();
        Event { correlation_id, actor, event_type: EventType::CleanupRefused, payload, created_at: now }
    }
}

/// The blocking objects, in the platform's form.
fn details(candidate: &Candidate, reason: &Reason) -> Vec<String> {
    match reason {
        Reason::ActiveRun { status } => vec![format!("run_status={status}")],
        Reason::Held { why } => vec![format!("hold={why}")],
        Reason::ActiveWorkloads { work } => work.clone(),
        Reason::NotInspected => Vec::new(),
        other => match &candidate.work {
            Work::Active { found, .. } => found.clone(),
            _ => vec![other.to_string()],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit_events() -> AuditEvents {
        AuditEvents(Origin { actor: "codex-k8s-gc".to_owned(), policy_hash: "p".to_owned() })
    }

    fn candidate() -> Candidate {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Candidate {
            name: "codex-issue-1".to_owned(),
            uid: "u1".to_owned(),
            resource_version: "7".to_owned(),
            labels: pairs(&[
                (keys::RUN_ID, "r1"),
                (keys::PROJECT_ID, "p1"),
                (keys::RUNTIME_MODE, "full-env"),
            ]),
            annotations: pairs(&[
                (keys::CORRELATION_ID, "c1"),
                (keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-02-01T12:00:00Z"),
            ]),
            ..Candidate::default()
        }
    }

    fn row(event: Event) -> Row {
        Row { id: 1, event }
    }

    #[test]
    fn all_rows_of_a_decision_carry_its_id_and_those_of_the_next_attempt_another() {
        let now = Timestamp::UNIX_EPOCH;
        let first = Decision::new(candidate(), &Reason::TtlExpired, 0);
        let rows =
            [audit_events().intended(&first, now), audit_events().failed(&first, "no".to_owned(), now)];
        for event in &rows {
            assert_eq!(event.payload.decision_id.as_deref(), Some(&*first.id));
            assert_eq!((event.correlation_id.as_str(), event.payload.run_id.as_str()), ("c1", "r1"));
        }
        assert_eq!(Decision::new(candidate(), &Reason::TtlExpired, 0), first, "decided twice, told once");
        let rows: Vec<_> = rows.into_iter().map(row).collect();
        assert_eq!((attempts(&rows, "u1"), attempts(&rows, "u2")), (1, 0));
        assert_ne!(Decision::new(candidate(), &Reason::TtlExpired, 1).id, first.id);
    }

    #[test]
    fn an_intention_reports_the_next_sweep_all_that_its_end_says() {
        let decision = Decision::new(candidate(), &Reason::TtlExpired, 0);
        let intended = audit_events().intended(&decision, Timestamp::UNIX_EPOCH);
        let read = Decision::of_row(&row(intended)).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(audit_events().cleaned(&read, now), audit_events().cleaned(&decision, now));
    }

    #[test]
    fn what_is_stuck_is_reported_again_only_when_something_else_blocks_and_ends_nothing() {
        let decision = Decision::new(candidate(), &Reason::TtlExpired, 0);
        let stuck =
            |blocker: &str| audit_events().stuck(&decision, &[blocker.to_owned()], Timestamp::UNIX_EPOCH);
        let id = |event: Event| event.payload.decision_id.unwrap();
        assert_eq!(id(stuck("a")), id(stuck("a")));
        assert_ne!(id(stuck("a")), id(stuck("b")));
        assert_ne!(id(stuck("a")), decision.id);
    }

    #[test]
    fn a_skip_is_reported_once_for_a_version_and_a_reason() {
        let verdict = |status: &str| Verdict::Retain(Reason::ActiveRun { status: status.to_owned() });
        let id = |candidate: &Candidate, verdict| {
            audit_events().retained(candidate, &verdict, Timestamp::UNIX_EPOCH).payload.decision_id
        };
        let renewed = Candidate { resource_version: "8".to_owned(), ..candidate() };
        assert_eq!(id(&candidate(), verdict("running")), id(&candidate(), verdict("running")));
        assert_ne!(id(&candidate(), verdict("running")), id(&renewed, verdict("running")));
        assert_ne!(
            id(&candidate(), verdict("running")),
            id(&candidate(), Verdict::Retain(Reason::MissingRunId))
        );
    }

    #[test]
    fn a_skip_says_what_stands_in_the_way_and_how_it_would_go_by_hand() {
        let work = vec!["pods=a,b".to_owned()];
        let event = audit_events().retained(
            &candidate(),
            &Verdict::Retain(Reason::ActiveWorkloads { work: work.clone() }),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(event.payload.reason.as_deref(), Some("active_workloads_present"));
        assert_eq!(event.payload.guardrail_details, work);
        assert_eq!(event.payload.cleanup_command.as_deref(), Some("kubectl delete namespace codex-issue-1"));
    }

    #[test]
    fn a_refusal_is_reported_once_an_hour() {
        let at = |second| {
            let now = Timestamp::from_second(second).unwrap();
            audit_events().refused(&[Trip::NoClock], now).payload.decision_id
        };
        assert_eq!(at(7200), at(10_799));
        assert_ne!(at(7200), at(10_800));
    }
}
