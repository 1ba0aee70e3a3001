use codex_k8s_shared::policy::Mode;
use tokio::sync::watch;

use super::*;
use crate::rules::tests::run_namespace;
use crate::rules::{Code, Finding, Holders, ManagedNamespace};

/// A cache that does not contain any namespace yet, for an API server that has one.
struct Behind;

impl Lookup for Behind {
    async fn get(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        self.get_fresh(name).await
    }

    async fn get_fresh(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        let young = run_namespace("codex-issue-young");
        Ok((name == "codex-issue-young").then(|| Arc::new(young)))
    }

    fn holders(&self, _: &str) -> Vec<Arc<ManagedNamespace>> {
        Vec::new()
    }

    fn holders_in(&self, _: &Scope, _: &str, _: u32) -> Holders {
        Holders::default()
    }

    fn cached(&self, _: &str) -> Option<Arc<ManagedNamespace>> {
        None
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

async fn hold_by(user: &str) -> Outcome {
    let namespace = |annotations: &str| {
        format!(
            r#"{{"metadata": {{"name": "codex-issue-young", "labels": {{"codex-k8s.dev/managed-by":
            "codex-k8s-worker"}}, "annotations": {annotations}}}}}"#
        )
    };
    let until = (Timestamp::now() + jiff::SignedDuration::from_hours(1)).strftime("%Y-%m-%dT%H:%M:%SZ");
    let body = format!(
        r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{"uid": "u",
        "kind": {{"group": "", "version": "v1", "kind": "Namespace"}}, "name": "codex-issue-young",
        "operation": "UPDATE", "userInfo": {{"username": "{user}"}}, "object": {}, "oldObject": {}}}}}"#,
        namespace(&format!(r#"{{"codex-k8s.dev/hold": "{until} looking into it"}}"#)),
        namespace("{}"),
    );
    let engine = Engine::new(RunPolicy::default(), Behind, Arc::default());
    engine.review(Entry::Validate, &crate::review::parse(body.as_bytes()).unwrap(), Instant::now()).await
}

#[tokio::test]
async fn an_agent_of_a_namespace_younger_than_the_cache_is_still_an_agent() {
    let agent = hold_by("system:serviceaccount:codex-issue-young:codex-runner").await;
    assert!(agent.denial.is_some_and(|denial| denial.message.starts_with("LEASE005: ")));
    assert!(hold_by("system:serviceaccount:ci:deployer").await.denial.is_none());
    assert!(hold_by("jane").await.denial.is_none());
}

#[test]
fn a_denial_ends_with_its_help_also_where_kubectl_prints_only_the_causes() {
    let denied = |code| {
        let rule = rules::catalogue::find("JOB024").unwrap();
        let (path, found, remedy) = ("spec".to_owned(), "101".to_owned(), "must be at most 100".to_owned());
        let finding = Finding { rule, mode: Mode::Enforce, code, path, found, remedy };
        let verdict = Verdict { findings: vec![finding], in_scope: true, ..Verdict::default() };
        let denial = outcome(&verdict, &RunPolicy::default(), "hash").denial.unwrap();
        (denial.message, denial.causes.into_iter().map(|cause| cause.message).collect::<Vec<_>>())
    };
    let help = RunPolicy::default().denials.help("JOB024");
    let (path, problem) = ("JOB024: spec: Invalid value", "Invalid value: 101: must be at most 100");
    let (message, causes) = denied(Code::Invalid);
    assert_eq!(message, format!("{path}: 101: must be at most 100 {help}"));
    assert_eq!(causes, [format!("JOB024: {problem} {help}")]);
    let (message, causes) = denied(Code::Forbidden);
    assert_eq!(message, format!("{path}: 101: must be at most 100 {help}"));
    assert_eq!(causes, [format!("JOB024: {problem}")]);
}
