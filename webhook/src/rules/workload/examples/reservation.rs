//! Examples of the rule about the reservations of agent Jobs.

use crate::rules::example::User::{Agent, Reconciler, Worker};
use crate::rules::example::{Example, Object};

const LIMIT: &str = "quotas: {agentJobsPerProject: {max: 5}}";
const WAITING: &str = "
    metadata: {labels: {codex-k8s.dev/run-id: r1}, annotations: {codex-k8s.dev/job-pending-reason: five other Jobs}}
    spec: {suspend: true}";

pub(in crate::rules::workload) const QUOTA004: &[Example] = &[
    Example::new("a person creates a Job, which is suspended until it has a reservation")
        .under(LIMIT)
        .creates(Object::Job, "")
        .mutated(&[
            ("/spec/suspend", "true"),
            (
                "/metadata/annotations/codex-k8s.dev~1job-pending-reason",
                "a quota reservation among the agent Jobs of its project",
            ),
        ]),
    Example::new("the platform creates a Job that claims to be admitted")
        .under(LIMIT)
        .by(Worker)
        .creates(
            Object::Job,
            "metadata: {annotations: {codex-k8s.dev/job-admitted-at: 2026-02-01T12:00:00Z}}",
        )
        .denied_at(r#"metadata.annotations["codex-k8s.dev/job-admitted-at"]"#),
    Example::new("an agent resumes its pending Job")
        .under(LIMIT)
        .by(Agent)
        .updates(Object::Job, WAITING, "spec: {suspend: false}")
        .denied_at("spec.suspend"),
    Example::new("the reconciler resumes a Job with a reservation").under(LIMIT).by(Reconciler).updates(
        Object::Job,
        WAITING,
        "
        metadata: {annotations: {
            codex-k8s.dev/job-pending-reason: null, codex-k8s.dev/job-admitted-at: 2026-02-01T12:00:00Z}}
        spec: {suspend: false}",
    ),
];
