//! The decision for namespaces in every known state, and properties of all decisions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use codex_k8s_shared::cleanup::{
    Candidate, Outcome, Run, Verdict, Work, decide, is_due_by_lease, is_overdue, overdue_since,
};
use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::RunPolicy;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const NOW: &str = "2026-02-01T12:00:00Z";

fn at(hours: i64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

fn policy(text: &str) -> RunPolicy {
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    RunPolicy::from_yaml(&format!("{head}{text}")).unwrap()
}

/// A namespace whose lease ended an hour ago, and that is due in every respect.
fn expired() -> Candidate {
    let mut candidate = Candidate {
        name: "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47".to_owned(),
        uid: "u1".to_owned(),
        resource_version: "1".to_owned(),
        created_at: Some(at(-25)),
        work: Work::Idle,
        ..Candidate::default()
    };
    for (key, value) in [
        (keys::MANAGED_BY, keys::MANAGED_BY_VALUE),
        (keys::NAMESPACE_PURPOSE, keys::NAMESPACE_PURPOSE_VALUE),
        (keys::RUNTIME_MODE, "full-env"),
        (keys::RUN_ID, "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"),
        (keys::PROJECT_ID, "p1"),
    ] {
        candidate.labels.insert(key.to_owned(), value.to_owned());
    }
    annotate(&mut candidate, keys::REQUESTED_BY, "jane");
    renew(&mut candidate, at(-25));
    candidate
}

fn annotate(candidate: &mut Candidate, key: &str, value: &str) {
    candidate.annotations.insert(key.to_owned(), value.to_owned());
}

/// A lease of a day.
fn renew(candidate: &mut Candidate, from: Timestamp) {
    let lease = Lease::grant(from, "24h".parse().unwrap()).unwrap();
    annotate(candidate, keys::NAMESPACE_LEASE_TTL, &lease.ttl.to_string());
    annotate(candidate, keys::NAMESPACE_LEASE_EXPIRES_AT, &lease.expires_at.to_string());
    annotate(candidate, keys::NAMESPACE_LEASE_UPDATED_AT, &lease.updated_at.to_string());
}

/// The verdict and its reason: `retain held`, `wait lease_lives`, `delete ttl_expired`.
fn verdict_under(policy: &RunPolicy, change: impl FnOnce(&mut Candidate)) -> String {
    let mut candidate = expired();
    change(&mut candidate);
    let verdict = decide(policy, at(0), &candidate);
    format!("{} {}", verdict.as_str(), verdict.reason().code())
}

fn decided(change: impl FnOnce(&mut Candidate)) -> String {
    verdict_under(&RunPolicy::default(), change)
}

#[test]
fn an_expired_namespace_in_which_nothing_works_goes() {
    assert_eq!(decided(|_| {}), "delete ttl_expired");
    assert_eq!(decided(|it| it.name = "codex-k8s-dev-1".to_owned()), "delete ttl_expired");
    let code_only =
        |it: &mut Candidate| it.labels.insert(keys::RUNTIME_MODE.to_owned(), "code-only".to_owned());
    assert_eq!(decided(|it| drop(code_only(it))), "delete ttl_expired");
}

#[test]
fn what_is_not_provably_ours_stays() {
    let label = |key: &'static str, value: &'static str| {
        move |it: &mut Candidate| {
            it.labels.insert(key.to_owned(), value.to_owned());
        }
    };
    let without = |key: &'static str| move |it: &mut Candidate| drop(it.labels.remove(key));
    let named = |name: &'static str| move |it: &mut Candidate| it.name = name.to_owned();
    assert_eq!(decided(without(keys::MANAGED_BY)), "retain not_managed");
    assert_eq!(decided(label(keys::MANAGED_BY, "somebody")), "retain foreign_label");
    assert_eq!(decided(label(keys::NAMESPACE_PURPOSE, "build")), "retain foreign_label");
    assert_eq!(decided(without(keys::NAMESPACE_PURPOSE)), "retain foreign_label");
    assert_eq!(decided(label(keys::RUNTIME_MODE, "full")), "retain foreign_label");
    assert_eq!(decided(without(keys::RUNTIME_MODE)), "retain foreign_label");
    assert_eq!(decided(label(keys::RUN_ID, "")), "retain missing_run_id_label");
    for name in [
        "codex-issues-x",
        "codex-issue",
        "codex-issue-",
        "xcodex-issue-1",
        "codex-k8s-dev-0",
        "dev-1",
        "payments",
    ] {
        assert_eq!(decided(named(name)), "retain name_out_of_scope", "{name}");
    }
    for name in [
        "kube-system",
        "default",
        "codex-k8s-prod",
        "codex-k8s-ai-staging",
        "codex-k8s-guard",
        "codex-k8s-system",
    ] {
        assert_eq!(decided(named(name)), "retain protected_namespace", "{name}");
    }
    let without_origin = |it: &mut Candidate| drop(it.annotations.remove(keys::REQUESTED_BY));
    assert_eq!(decided(without_origin), "retain not_created_by_webhook");
    assert_eq!(
        verdict_under(&policy("cleanup: {unverifiedOrigin: trustLabels}"), without_origin),
        "delete ttl_expired"
    );
    assert_eq!(decided(|it| it.terminating_since = Some(at(-1))), "retain terminating");
}

#[test]
fn a_lease_that_lives_or_cannot_be_believed_keeps_its_namespace() {
    let written = |key: &'static str, value: &'static str| move |it: &mut Candidate| annotate(it, key, value);
    assert_eq!(decided(|it| renew(it, at(-1))), "wait lease_lives");
    assert_eq!(decided(|it| renew(it, at(-24))), "wait grace_period");
    for value in
        ["garbage", "", "2026-02-01", "2026-01-01T00:00:00+14:00", "2026-01-01T00:00:60Z", "1769950800"]
    {
        assert_eq!(
            decided(written(keys::NAMESPACE_LEASE_EXPIRES_AT, value)),
            "retain unreadable_lease",
            "{value}"
        );
    }
    for value in ["10ay", "-1h", "0s", "1e99h", "99999999999h"] {
        assert_eq!(decided(written(keys::NAMESPACE_LEASE_TTL, value)), "retain unreadable_lease", "{value}");
    }
    let past = written(keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-01-01T00:00:00Z");
    assert_eq!(decided(past), "retain contradictory_lease");
    assert_eq!(
        decided(written(keys::NAMESPACE_LEASE_EXPIRES_AT, "9999-01-01T00:00:00Z")),
        "retain unreadable_lease"
    );
    assert_eq!(
        decided(written(keys::NAMESPACE_LEASE_EXPIRES_AT, "2999-01-01T00:00:00Z")),
        "retain contradictory_lease"
    );
    assert_eq!(
        decided(|it| drop(it.annotations.remove(keys::NAMESPACE_LEASE_TTL))),
        "retain unreadable_lease"
    );
    let bare = |it: &mut Candidate| it.annotations.retain(|key, _| key == keys::REQUESTED_BY);
    assert_eq!(decided(bare), "retain missing_effective_lease");
    let by_age = policy("cleanup: {missingLease: useAge}");
    assert_eq!(verdict_under(&by_age, bare), "delete ttl_expired");
    assert_eq!(
        verdict_under(&by_age, |it| {
            bare(it);
            it.created_at = Some(at(-23));
        }),
        "wait lease_lives"
    );
    let contradicts =
        |it: &mut Candidate| annotate(it, keys::NAMESPACE_LEASE_EXPIRES_AT, "2026-01-01T00:00:00Z");
    assert_eq!(
        verdict_under(&by_age, contradicts),
        "retain contradictory_lease",
        "age is for what is missing"
    );
}

#[test]
fn a_clock_that_cannot_be_right_keeps_everything() {
    assert_eq!(decided(|it| it.created_at = Some(at(1))), "retain created_in_the_future");
    assert_eq!(decided(|it| it.created_at = None), "retain missing_creation_time");
}

#[test]
fn a_hold_keeps_its_namespace_until_it_ends() {
    let held = |value: &'static str| move |it: &mut Candidate| annotate(it, keys::HOLD, value);
    assert_eq!(decided(held("2026-02-02T12:00:00Z looking into it")), "wait held");
    assert_eq!(decided(held("2026-02-01T12:00:00Z looked into it")), "delete ttl_expired");
    for text in ["please", "", "2026-02-02T12:00:00Z"] {
        assert_eq!(decided(held(text)), "retain unreadable_hold", "{text}");
    }
}

#[test]
fn a_run_that_has_not_ended_or_is_unknown_keeps_its_namespace() {
    let run = |run: Run| move |it: &mut Candidate| it.run = run;
    for status in ["pending", "running", "waiting_backpressure", "a new one"] {
        assert_eq!(
            decided(run(Run::Active { status: status.to_owned() })),
            "retain active_run_in_db",
            "{status}"
        );
    }
    assert_eq!(decided(run(Run::Unknown)), "retain run_unknown_in_db");
    let like_the_platform = policy("cleanup: {unknownRun: finished}");
    assert_eq!(verdict_under(&like_the_platform, run(Run::Unknown)), "delete ttl_expired");
    for status in ["succeeded", "failed", "canceled"] {
        let outcome = Outcome::of_status(status).unwrap();
        assert_eq!(decided(run(Run::Ended { outcome, at: None })), "delete ttl_expired", "{status}");
    }
}

#[test]
fn retention_keeps_a_failed_run_longer_and_lets_a_finished_one_go_before_its_lease_ends() {
    let policy =
        policy("cleanup: {retention: {fullEnv: {failed: {afterLease: 48h}, succeeded: {afterFinish: 1s}}}}");
    let ended = |outcome, hours, leased_from| {
        move |it: &mut Candidate| {
            it.run = Run::Ended { outcome, at: Some(at(hours)) };
            renew(it, at(leased_from));
        }
    };
    assert_eq!(verdict_under(&policy, ended(Outcome::Failed, -30, -25)), "wait retained");
    assert_eq!(verdict_under(&policy, ended(Outcome::Failed, -90, -73)), "delete ttl_expired");
    assert_eq!(verdict_under(&policy, ended(Outcome::Succeeded, -1, -2)), "delete run_finished");
    assert_eq!(verdict_under(&policy, ended(Outcome::Canceled, -1, -2)), "wait lease_lives");
    assert_eq!(
        verdict_under(&policy, |it| {
            it.run = Run::Ended { outcome: Outcome::Succeeded, at: None };
            renew(it, at(-2));
        }),
        "wait lease_lives",
        "nobody noted when it ended"
    );
}

#[test]
fn what_works_or_could_not_be_seen_keeps_its_namespace() {
    let active = Work::Active { found: vec!["jobs=a".to_owned()], scheduled: Vec::new() };
    assert_eq!(decided(|it| it.work = active), "retain active_workloads_present");
    assert_eq!(decided(|it| it.work = Work::NotInspected), "retain workload_inspection_failed");
}

fn work(scheduled: &[&str]) -> Work {
    let scheduled = scheduled.iter().map(|it| (*it).to_owned()).collect();
    Work::Active { found: vec!["jobs=a".to_owned()], scheduled }
}

#[test]
fn beyond_its_grace_only_a_scheduled_pod_counts_as_work() {
    // The lease ended 24 h after its renewal, followed by 5 min of grace and 24 h of grace for work.
    let leased = |hours, scheduled: &'static [&str]| {
        move |it: &mut Candidate| {
            renew(it, at(hours));
            it.work = work(scheduled);
        }
    };
    assert_eq!(decided(leased(-48, &[])), "retain active_workloads_present");
    assert_eq!(decided(leased(-49, &[])), "delete ttl_expired");
    assert_eq!(decided(leased(-1000, &["pods=a"])), "retain active_workloads_present");
    let short = policy("cleanup: {workGrace: 1h}");
    assert_eq!(verdict_under(&short, leased(-26, &[])), "delete ttl_expired");
    assert_eq!(verdict_under(&short, leased(-25, &[])), "retain active_workloads_present");
    let held = |it: &mut Candidate| {
        leased(-49, &[])(it);
        annotate(it, keys::HOLD, "2026-02-01T11:00:00Z jane is still reading the logs");
    };
    assert_eq!(decided(held), "retain active_workloads_present", "the hold has ended an hour ago");
    assert_eq!(verdict_under(&short, held), "delete ttl_expired");
    let retained = policy("cleanup: {retention: {fullEnv: {failed: {afterLease: 48h}}}}");
    let failed = |it: &mut Candidate| {
        leased(-90, &[])(it);
        it.run = Run::Ended { outcome: Outcome::Failed, at: None };
    };
    assert_eq!(verdict_under(&retained, failed), "retain active_workloads_present");
    let running = |it: &mut Candidate| {
        leased(-49, &[])(it);
        it.run = Run::Active { status: "running".to_owned() };
    };
    assert_eq!(decided(running), "retain active_run_in_db", "the platform says that it is not over");
}

#[test]
fn what_is_retained_beyond_every_grace_period_is_overdue_for_any_reason() {
    let overdue = |change: &dyn Fn(&mut Candidate)| {
        let (policy, mut candidate) = (RunPolicy::default(), expired());
        renew(&mut candidate, at(-49));
        change(&mut candidate);
        let verdict = decide(&policy, at(0), &candidate);
        is_overdue(&policy, at(0), &candidate, &verdict)
    };
    assert!(overdue(&|it| it.work = work(&["pods=a"])));
    assert!(overdue(&|it| it.run = Run::Unknown));
    assert!(overdue(&|it| it.name = "payroll-x".to_owned()));
    assert!(!overdue(&|_| {}), "it is deleted");
    assert!(!overdue(&|it| renew(it, at(-48))), "its grace is not over");
    assert!(!overdue(&|it| it.terminating_since = Some(at(-9))), "that has a metric of its own");
    assert!(!overdue(&|it| annotate(it, keys::HOLD, "2026-02-01T13:00:00Z jane looks into it")));
    let mut broken = expired();
    annotate(&mut broken, keys::HOLD, "for ever");
    assert_eq!(overdue_since(&RunPolicy::default(), &broken), None, "nothing says until when it is held");
}

#[test]
fn only_a_lease_that_was_promised_makes_a_namespace_due_by_itself() {
    let by_lease = |policy: &RunPolicy, change: &dyn Fn(&mut Candidate)| {
        let mut candidate = expired();
        renew(&mut candidate, at(-30));
        candidate.created_at = Some(at(-30));
        change(&mut candidate);
        let deleted = matches!(decide(policy, at(0), &candidate), Verdict::Delete(_));
        (deleted, is_due_by_lease(policy, at(0), &candidate))
    };
    let default = RunPolicy::default();
    assert_eq!(by_lease(&default, &|_| {}), (true, true));
    let without = |it: &mut Candidate| {
        it.annotations.retain(|key, _| !key.contains("lease"));
    };
    assert_eq!(by_lease(&policy("cleanup: {missingLease: useAge}"), &without), (true, false));
    let broken = |it: &mut Candidate| annotate(it, keys::NAMESPACE_LEASE_TTL, "soon");
    assert_eq!(by_lease(&policy("cleanup: {missingLease: useAge}"), &broken), (true, false));
    let without_origin = |it: &mut Candidate| drop(it.annotations.remove(keys::REQUESTED_BY));
    assert_eq!(by_lease(&policy("cleanup: {unverifiedOrigin: trustLabels}"), &without_origin), (true, false));
    let restored = |it: &mut Candidate| it.created_at = Some(at(-1));
    assert_eq!(by_lease(&default, &restored), (true, false), "over before the namespace existed");
    let finish = policy("cleanup: {retention: {fullEnv: {succeeded: {afterFinish: 1s}}}}");
    let finished = |hours| {
        move |it: &mut Candidate| {
            renew(it, at(hours));
            it.run = Run::Ended { outcome: Outcome::Succeeded, at: Some(at(-2)) };
        }
    };
    assert_eq!(by_lease(&finish, &finished(-3)), (true, false), "its lease lives");
    assert_eq!(by_lease(&finish, &finished(-30)), (true, true), "its lease is over as well");
}

#[test]
fn the_off_switch_keeps_everything() {
    assert_eq!(
        verdict_under(&policy("cleanup: {enabled: false}"), |_| {}),
        "retain cleanup_disabled_by_config"
    );
}

#[test]
fn a_verdict_reports_the_time_of_the_next_check() {
    let mut candidate = expired();
    renew(&mut candidate, at(-1));
    let Verdict::Wait { until, reason } = decide(&RunPolicy::default(), at(0), &candidate) else { panic!() };
    assert_eq!(until.to_string(), "2026-02-02T11:05:00Z", "the end of the lease and five minutes of grace");
    assert_eq!(reason.to_string(), "its lease lives until 2026-02-02T11:00:00Z");
}

/// A namespace with some of its parts replaced by others.
fn any_candidate() -> impl Strategy<Value = Candidate> {
    let text =
        || prop_oneof![Just(String::new()), Just("full-env".to_owned()), ".{0,20}", Just(NOW.to_owned())];
    let key = proptest::sample::select(vec![
        keys::MANAGED_BY,
        keys::NAMESPACE_PURPOSE,
        keys::RUNTIME_MODE,
        keys::RUN_ID,
        keys::REQUESTED_BY,
        keys::NAMESPACE_LEASE_TTL,
        keys::NAMESPACE_LEASE_EXPIRES_AT,
        keys::NAMESPACE_LEASE_UPDATED_AT,
        keys::HOLD,
    ]);
    let change = (key, proptest::option::of(text()));
    let name =
        prop_oneof![4 => Just(expired().name), 1 => "[a-z-]{1,20}", 1 => Just("kube-system".to_owned())];
    let run = prop_oneof![
        Just(Run::NotRequested),
        Just(Run::Unknown),
        Just(Run::Active { status: "running".to_owned() }),
        (-50_i64..50).prop_map(|hours| Run::Ended { outcome: Outcome::Failed, at: Some(at(hours)) }),
    ];
    let work = prop_oneof![3 => Just(Work::Idle), 1 => Just(Work::NotInspected), 1 => Just(Work::Active { found: vec![], scheduled: vec![] })];
    let times = (-60_i64..3, -60_i64..3, proptest::option::weighted(0.1, Just(at(-1))));
    (proptest::collection::vec(change, 0..3), name, run, work, times).prop_map(
        |(changes, name, run, work, (created, renewed, terminating_since))| {
            let mut candidate =
                Candidate { name, run, work, terminating_since, created_at: Some(at(created)), ..expired() };
            renew(&mut candidate, at(renewed));
            for (key, value) in changes {
                let label = candidate.labels.contains_key(key);
                let map = if label { &mut candidate.labels } else { &mut candidate.annotations };
                match value {
                    Some(value) => drop(map.insert(key.to_owned(), value)),
                    None => drop(map.remove(key)),
                }
            }
            candidate
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_what_meets_every_condition_is_deleted(candidate in any_candidate()) {
        let verdict = decide(&RunPolicy::default(), at(0), &candidate);
        let lease = candidate.lease();
        let meets = candidate.label(keys::MANAGED_BY) == Some("codex-k8s-worker")
            && candidate.label(keys::NAMESPACE_PURPOSE) == Some("run")
            && matches!(candidate.label(keys::RUNTIME_MODE), Some("full-env" | "code-only"))
            && candidate.label(keys::RUN_ID).is_some()
            && candidate.annotation(keys::REQUESTED_BY).is_some_and(|by| !by.is_empty())
            && candidate.name.starts_with("codex-issue-")
            && candidate.terminating_since.is_none()
            && candidate.created_at <= Some(at(0))
            && candidate.annotation(keys::HOLD).is_none()
            && lease.is_some_and(|lease| lease.expires_at.timestamp() < at(0))
            && matches!(candidate.run, Run::NotRequested | Run::Ended { .. })
            && match &candidate.work {
                Work::Idle => true,
                // After a day, Pods without a node do not count.
                Work::Active { scheduled, .. } => {
                    scheduled.is_empty() && lease.is_some_and(|lease| lease.expires_at.timestamp() < at(-24))
                }
                Work::NotInspected => false,
            };
        prop_assert!(!matches!(verdict, Verdict::Delete(_)) || meets, "{:?} for {:?}", verdict, candidate);
    }

    #[test]
    fn what_waits_is_looked_at_again_and_what_goes_never_comes_back(candidate in any_candidate(), hours in 0_i64..100) {
        let policy = RunPolicy::default();
        match decide(&policy, at(0), &candidate) {
            Verdict::Wait { until, .. } => {
                prop_assert!(until > at(0));
                let then = decide(&policy, until, &candidate);
                prop_assert!(!matches!(then, Verdict::Wait { until: again, .. } if again <= until), "{:?}", then);
            }
            Verdict::Delete(_) => prop_assert!(matches!(decide(&policy, at(hours), &candidate), Verdict::Delete(_))),
            Verdict::Retain(_) => {}
        }
    }
}
