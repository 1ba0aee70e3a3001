use codex_k8s_shared::policy::RunPolicy;

use super::*;

const JOB: &str = "\
apiVersion: batch/v1
kind: Job
metadata: {name: tests, namespace: codex-issue-demo}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox}]
";

fn documents(text: &str) -> Vec<Document> {
    read("f.yaml", text.as_bytes(), Origin::Named).unwrap().documents
}

async fn evaluated(user: &str, text: &str) -> Vec<Evaluation> {
    let requester = Requester { user: user.to_owned(), groups: Vec::new() };
    let checker = Checker::new(RunPolicy::default(), CheckRequest::creation(requester));
    checker.evaluate_all(&documents(text)).await.unwrap()
}

fn results(evaluated: &[Evaluation]) -> Vec<Verdict> {
    evaluated.iter().map(|evaluation| evaluation.result).collect()
}

#[tokio::test]
async fn a_namespace_of_the_set_is_mutated_first_and_is_the_fact_for_what_lies_in_it() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n";
    let all = evaluated("jane", &format!("{JOB}---\n{namespace}")).await;
    assert_eq!(results(&all), [Verdict::Mutated, Verdict::Mutated]);
    let sets = |evaluation: &Evaluation, path: &str, value: &str| {
        let patch = serde_json::to_value(&evaluation.patch).unwrap();
        let patch = patch.as_array().unwrap();
        assert!(patch.iter().any(|one| one["path"] == path && one["value"] == value), "{patch:?}");
    };
    sets(&all[0], "/spec/template/spec/serviceAccountName", "codex-runner");
    sets(&all[1], "/metadata/annotations/codex-k8s.dev~1requested-by", "jane");
}

#[tokio::test]
async fn a_namespace_that_is_not_in_the_set_is_what_the_webhook_makes_of_its_name() {
    assert_eq!(results(&evaluated("jane", JOB).await), [Verdict::Mutated]);
    let elsewhere = JOB.replace("codex-issue-demo", "payments");
    assert_eq!(results(&evaluated("jane", &elsewhere).await), [Verdict::NotOurs]);
}

#[tokio::test]
async fn a_refusal_is_reported_with_its_rules_as_the_api_server_would() {
    let escape = JOB.replace("restartPolicy", "hostNetwork: true\n      restartPolicy");
    let all = evaluated("agent", &escape).await;
    assert_eq!((results(&all), all[0].rules()), (vec![Verdict::Denied], vec!["JOB018"]));
    let message = all[0].message.as_deref().unwrap();
    assert!(message.starts_with("JOB018: spec.template.spec.hostNetwork: Invalid value: true"), "{message}");
    assert!(message.ends_with("run kubectl guard explain JOB018)"), "{message}");
}

#[tokio::test]
async fn a_job_is_evaluated_by_the_pod_security_level_of_its_namespace_in_the_set() {
    let namespace = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: codex-issue-demo, labels: {{{labels}}}}}\n"
        )
    };
    let restricted = namespace("pod-security.kubernetes.io/enforce: restricted");
    let all = evaluated("jane", &format!("{JOB}---\n{restricted}")).await;
    let rules = vec!["PSS014", "PSS015", "PSS017", "PSS018"];
    assert_eq!((all[0].result, all[0].rules()), (Verdict::Denied, rules));
    let all = evaluated("jane", &format!("{JOB}---\n{}", namespace(""))).await;
    assert_eq!(results(&all), [Verdict::Mutated, Verdict::Mutated]);
}

#[tokio::test]
async fn what_the_webhook_does_not_know_is_not_its_business() {
    let other =
        "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w, namespace: codex-issue-demo}\n";
    assert_eq!(results(&evaluated("jane", other).await), [Verdict::NotOurs]);
}

#[tokio::test]
async fn namespaces_that_exist_already_are_taken_unchanged() {
    let requester = Requester { user: "agent".to_owned(), groups: Vec::new() };
    let mut checker = Checker::new(RunPolicy::default(), CheckRequest::creation(requester));
    let bare = "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments}\n";
    checker.assume(&documents(bare)).unwrap();
    let job = JOB.replace("codex-issue-demo", "payments");
    let all = checker.evaluate_all(&documents(&job)).await.unwrap();
    assert_eq!(results(&all), [Verdict::NotOurs], "it is not managed");
}
