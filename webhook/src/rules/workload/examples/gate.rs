//! Examples of the rule that no workload starts before the baseline is ready.

use crate::rules::example::Setting::NotReady;
use crate::rules::example::User::{JobController, Worker};
use crate::rules::example::{Example, Object};

const READY_AT: &str = r#"namespace codex-issue-7: metadata.annotations["codex-k8s.dev/baseline-ready-at"]"#;

pub(in crate::rules::workload) const GATE001: &[Example] = &[
    Example::new("the platform creates a Job after the baseline is ready")
        .by(Worker)
        .creates(Object::Job, ""),
    Example::new("the platform creates a Job before the quota is counted")
        .within(NotReady)
        .by(Worker)
        .creates(Object::Job, "")
        .denied_at(READY_AT),
    Example::new("a controller creates a Pod too early")
        .within(NotReady)
        .by(JobController)
        .creates(Object::Pod, "")
        .denied_at(READY_AT),
    Example::new("a person creates a Deployment, which starts nothing by itself")
        .within(NotReady)
        .creates(Object::Deployment, ""),
];
