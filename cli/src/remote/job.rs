//! The Job of a command. Pure.

use std::collections::BTreeMap;

use anyhow::Context as _;
use codex_k8s_shared::keys;
use codex_k8s_shared::marked;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::EnvVar;
use kube::api::ObjectMeta;

/// The label that tells Jobs of people from those of the CronJob.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of that label.
const MANAGER: &str = "kubectl-guard";
/// The annotation with the command.
const COMMAND: &str = "command";
/// The time after which the cluster deletes a Job whose command was killed, in seconds.
const TTL: i32 = 3600;
/// The longest time that a command may run, in seconds, because the command that follows its log may be killed.
const LONGEST: i64 = 6 * 3600;

/// Returns the Job that runs the program with `args` as a Pod of the CronJob would, and the name of its container.
pub(super) fn job(template: &CronJob, args: &[String]) -> anyhow::Result<(Job, String)> {
    let path = "spec.jobTemplate.spec.template.spec";
    let spec = template.spec.clone();
    let mut spec = spec.job_template.spec.context("spec.jobTemplate.spec: Required value")?;
    let pod = spec.template.spec.as_mut().with_context(|| format!("{path}: Required value"))?;
    pod.restart_policy = Some("Never".to_owned());
    let container =
        pod.containers.first_mut().with_context(|| format!("{path}.containers: Required value"))?;
    container.args = Some(args.to_vec());
    let env = container.env.get_or_insert_default();
    for (name, value) in [("CODEX_K8S_GUARD_LOCAL", "true"), (marked::VARIABLE, "true")] {
        env.retain(|variable| variable.name != name);
        env.push(EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None });
    }
    let name = container.name.clone();
    spec.backoff_limit = Some(0);
    spec.active_deadline_seconds = Some(LONGEST);
    spec.ttl_seconds_after_finished = Some(TTL);
    let command = (format!("{}{COMMAND}", keys::DOMAIN), args.join(" "));
    let metadata = ObjectMeta {
        generate_name: template.metadata.name.as_ref().map(|name| format!("{name}-by-hand-")),
        namespace: template.metadata.namespace.clone(),
        labels: Some(labels(template)),
        annotations: Some(BTreeMap::from([command])),
        ..ObjectMeta::default()
    };
    Ok((Job { metadata, spec: Some(spec), status: None }, name))
}

/// The labels of the CronJob, without those that only the objects of a release have.
fn labels(template: &CronJob) -> BTreeMap<String, String> {
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| key != "helm.sh/chart");
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> CronJob {
        let container = json!({"name": "gc", "image": "guard:1", "args": ["sweep", "--log=json"], "env": [
            {"name": "CODEX_K8S_GUARD_POLICY", "value": "/policy/policy.yaml"},
            {"name": "CODEX_K8S_GUARD_LOCAL", "value": "false"}],
            "volumeMounts": [{"name": "audit", "mountPath": "/var/lib/codex-k8s-gc"}]});
        let pod = json!({"serviceAccountName": "codex-k8s-gc", "restartPolicy": "OnFailure", "containers": [container]});
        serde_json::from_value(json!({"metadata": {"name": "codex-k8s-gc", "namespace": "agents-guard", "labels": {
            "app.kubernetes.io/name": "codex-k8s-gc", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "x"}},
            "spec": {"schedule": "@daily", "suspend": true, "jobTemplate": {"spec": {"backoffLimit": 3,
            "activeDeadlineSeconds": 900, "template": {"spec": pod}}}}}))
        .unwrap()
    }

    #[test]
    fn a_command_runs_with_the_image_the_policy_the_store_and_the_identity_of_the_cron_job() {
        let args = ["audit".to_owned(), "list".to_owned()];
        let (job, container) = job(&template(), &args).unwrap();
        let job = serde_json::to_value(job).unwrap();
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!((container.as_str(), &pod["containers"][0]["args"]), ("gc", &json!(["audit", "list"])));
        assert_eq!(pod["containers"][0]["image"], "guard:1");
        assert_eq!(pod["containers"][0]["volumeMounts"][0]["name"], "audit");
        assert_eq!(
            (&pod["serviceAccountName"], &pod["restartPolicy"]),
            (&json!("codex-k8s-gc"), &json!("Never"))
        );
        let env = [
            ("CODEX_K8S_GUARD_POLICY", "/policy/policy.yaml"),
            ("CODEX_K8S_GUARD_LOCAL", "true"),
            ("CODEX_K8S_GUARD_MARK_STDERR", "true"),
        ]
        .map(|(name, value)| json!({"name": name, "value": value}));
        assert_eq!(pod["containers"][0]["env"], json!(env));
    }

    #[test]
    fn the_job_has_a_name_of_its_own_is_never_repeated_and_goes_by_itself() {
        let (job, _) = job(&template(), &["sweep".to_owned(), "--no-lease".to_owned()]).unwrap();
        let job = serde_json::to_value(job).unwrap();
        assert_eq!(job["metadata"]["generateName"], "codex-k8s-gc-by-hand-");
        assert_eq!(job["metadata"]["annotations"], json!({"codex-k8s.dev/command": "sweep --no-lease"}));
        let labels = json!({"app.kubernetes.io/name": "codex-k8s-gc", "app.kubernetes.io/managed-by": "kubectl-guard"});
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(
            (&job["spec"]["backoffLimit"], &job["spec"]["ttlSecondsAfterFinished"]),
            (&json!(0), &json!(3600))
        );
    }
}
