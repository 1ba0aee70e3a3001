//! The ways in which people and `GitOps` tools write objects: a write that changes nothing is admitted, a second run
//! changes nothing, and `kubectl diff` is empty.

use std::time::Duration;

use codex_k8s_tests::{Identity, Kubectl, Ran, eventually};
use serde_json::{Value, json};

use crate::harness::*;

/// An object, written again and again.
struct Written {
    kubectl: Kubectl,
    path: String,
    manifest: Value,
}

impl Written {
    fn new(path: String, manifest: Value) -> Self {
        let kubectl = guard().control_plane.kubectl(&Identity::developer()).unwrap();
        Self { kubectl, path, manifest }
    }

    /// Returns the fields that clients have written, without the status and the records of the API server.
    fn stored(&self) -> Value {
        let get =
            Send { identity: &Identity::Admin, method: "GET", path: self.path.clone(), content_type: JSON };
        let mut object = get.body(&Value::Null).admitted();
        object["status"] = Value::Null;
        for field in ["resourceVersion", "managedFields"] {
            object["metadata"][field] = Value::Null;
        }
        object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = Value::Null;
        object
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        // `kubectl replace` is refused while the Deployment controller writes the status.
        let what = format!("kubectl {} meets no other writer", args.join(" "));
        let ran = eventually(&what, Duration::from_mins(1), || {
            let ran = self.kubectl.run_with_input(args, &self.manifest.to_string()).unwrap();
            (!ran.stderr.contains("the object has been modified")).then_some(ran)
        });
        let ran = ran.unwrap();
        assert!(ran.succeeded(), "kubectl {}: {ran}", args.join(" "));
        ran
    }

    /// Runs a command twice. The second run changes nothing.
    #[track_caller]
    fn twice(&self, args: &[&str]) {
        self.run(args);
        let stored = self.stored();
        let again = self.run(args);
        assert_eq!(self.stored(), stored, "kubectl {}: {again}", args.join(" "));
    }
}

const APPLY_ON_CLIENT: &[&str] = &["apply", "-f", "-"];
const APPLY_ON_SERVER: &[&str] = &["apply", "--server-side", "-f", "-"];

/// Writes an object as people and tools do, from its creation on.
fn write_in_every_way(written: &Written) {
    let Written { manifest, .. } = written;
    let (kind, name) = (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap());
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
    written.twice(APPLY_ON_CLIENT);
    written.run(&["diff", "-f", "-"]);
    let named = |args: &[&'static str]| [args, &["-n", namespace, kind, name][..]].concat();
    let mut label = named(&["label", "--overwrite"]);
    label.push("team=shop");
    written.twice(&label);
    let mut annotate = named(&["annotate", "--overwrite"]);
    annotate.push("example.com/note=seen");
    written.twice(&annotate);
    for editor in ["true", "sed -i s/seen/read/"] {
        let edit = named(&["edit"]);
        let edited = written.kubectl.run_with_editor(editor, &edit, "").unwrap();
        assert!(edited.succeeded(), "{editor}: {edited}");
    }
    written.twice(APPLY_ON_CLIENT);
    // Argo CD.
    written.twice(&["apply", "--field-manager=argocd-controller", "-f", "-"]);
    // The step from client-side to server-side apply.
    written.twice(APPLY_ON_SERVER);
    written.run(&["diff", "--server-side", "-f", "-"]);
    // Flux.
    written.twice(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=kustomize-controller",
        "-f",
        "-",
    ]);
}

#[test]
fn a_namespace_is_written_in_every_way() {
    let name = format!("codex-issue-{}", unique());
    let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let written = Written::new(format!("/api/v1/namespaces/{name}"), manifest);
    written.run(APPLY_ON_CLIENT);
    await_baseline(&name);
    write_in_every_way(&written);
    // Argo CD with `Replace=true`.
    written.run(&["replace", "-f", "-"]);
    let before = read_namespace(&name);
    written.run(&["replace", "-f", "-"]);
    assert_eq!(read_namespace(&name)["metadata"]["labels"], before["metadata"]["labels"]);
    let warned = written.run(&["label", "namespace", &name, "codex-k8s.dev/managed-by-"]);
    assert!(
        warned.stderr.contains("restored") && warned.stderr.contains("codex-k8s.dev/managed-by"),
        "{warned}"
    );
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "a", "image": "busybox:1.36", "env": [{"name": "A", "value": "1"}]}]}})
}

#[test]
fn a_job_is_written_in_every_way() {
    let namespace = managed();
    let mut manifest = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "a", "namespace": namespace}, "spec": {"template": template()}});
    manifest["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    write_in_every_way(&Written::new(format!("/apis/batch/v1/namespaces/{namespace}/jobs/a"), manifest));
}

#[test]
fn a_deployment_is_written_in_every_way() {
    let namespace = managed();
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": template()}});
    let written = Written::new(format!("/apis/apps/v1/namespaces/{namespace}/deployments/a"), manifest);
    write_in_every_way(&written);
    let account = |object: Value| object["spec"]["template"]["spec"]["serviceAccountName"].clone();
    for _ in 0..2 {
        written.run(&["replace", "-f", "-"]);
        assert_eq!(account(written.stored()), "codex-runner");
    }
}

#[test]
fn a_cron_job_is_written_in_every_way() {
    let namespace = managed();
    let mut manifest = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template()}}}});
    manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    let written = Written::new(format!("/apis/batch/v1/namespaces/{namespace}/cronjobs/a"), manifest);
    written.run(APPLY_ON_CLIENT);
    let created = written.stored()["spec"].clone();
    write_in_every_way(&written);
    for _ in 0..2 {
        written.run(&["replace", "-f", "-"]);
        assert_eq!(written.stored()["spec"], created);
    }
}
