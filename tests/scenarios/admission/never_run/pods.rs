//! The objects that controllers create from a workload, sent as those controllers would, without creating anything.

use std::collections::HashMap;

use codex_k8s_tests::{Answer, Caller, ControlPlane, Identity};
use http::Method;
use serde_json::{Value, json};

/// Clients of one user and of the controllers, for one namespace.
pub(super) struct Senders {
    namespace: String,
    user: Caller,
    controllers: HashMap<&'static str, Caller>,
}

/// The answer to a workload.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The workload is refused.
    Refused(Answer),
    /// All that controllers create from it, down to the Pod, is admitted.
    Runs,
    /// It is admitted, but the cluster refuses what a controller creates from it.
    NeverRuns(Answer),
}

/// The controller of each kind, and the kind that it creates.
const CONTROLLERS: [(&str, &str, &str); 7] = [
    ("Job", "job-controller", "Pod"),
    ("CronJob", "cronjob-controller", "Job"),
    ("Deployment", "deployment-controller", "ReplicaSet"),
    ("ReplicaSet", "replicaset-controller", "Pod"),
    ("StatefulSet", "statefulset-controller", "Pod"),
    ("DaemonSet", "daemon-set-controller", "Pod"),
    ("ReplicationController", "replication-controller", "Pod"),
];

impl Senders {
    pub(super) async fn new(cluster: &ControlPlane, namespace: &str, user: &Identity) -> Self {
        let mut controllers = HashMap::new();
        for (kind, name, _) in CONTROLLERS {
            let identity = Identity::service_account("kube-system", name);
            controllers.insert(kind, Caller::new(cluster, &identity).await.unwrap());
        }
        let user = Caller::new(cluster, user).await.unwrap();
        Self { namespace: namespace.to_owned(), user, controllers }
    }

    /// Sends a workload as the user, and all that follows from it as the controllers.
    pub(super) async fn send(&self, workload: &Value) -> Outcome {
        let mut answer = self.create(&self.user, workload).await;
        if !answer.is_ok() {
            return Outcome::Refused(answer);
        }
        while let Some((kind, _, created)) =
            CONTROLLERS.iter().find(|(kind, ..)| answer.body["kind"] == *kind)
        {
            answer = self.create(&self.controllers[kind], &created_by(&answer.body, created)).await;
            if !answer.is_ok() {
                return Outcome::NeverRuns(answer);
            }
        }
        Outcome::Runs
    }

    async fn create(&self, caller: &Caller, object: &Value) -> Answer {
        let (group, plural) = match object["kind"].as_str().unwrap() {
            "Pod" => ("/api/v1", "pods"),
            "ReplicationController" => ("/api/v1", "replicationcontrollers"),
            "Job" => ("/apis/batch/v1", "jobs"),
            "CronJob" => ("/apis/batch/v1", "cronjobs"),
            "Deployment" => ("/apis/apps/v1", "deployments"),
            "ReplicaSet" => ("/apis/apps/v1", "replicasets"),
            "StatefulSet" => ("/apis/apps/v1", "statefulsets"),
            _ => ("/apis/apps/v1", "daemonsets"),
        };
        let path = format!("{group}/namespaces/{}/{plural}?dryRun=All", self.namespace);
        caller.send(Method::POST, &path, object).await.unwrap()
    }
}

/// The object of the kind `created` that a controller makes from its `owner`.
fn created_by(owner: &Value, created: &str) -> Value {
    let meta = &owner["metadata"];
    let reference = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"],
        "uid": meta["uid"], "controller": true, "blockOwnerDeletion": true});
    let template = match created {
        "Job" => &owner["spec"]["jobTemplate"],
        _ => &owner["spec"]["template"],
    };
    let (version, spec) = match created {
        "Pod" => ("v1", template["spec"].clone()),
        "Job" => ("batch/v1", template["spec"].clone()),
        _ => ("apps/v1", json!({"selector": owner["spec"]["selector"], "template": template})),
    };
    let mut object = json!({"apiVersion": version, "kind": created, "spec": spec, "metadata": {
        "generateName": format!("{}-", meta["name"].as_str().unwrap()),
        "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
        "ownerReferences": [reference]}});
    if owner["kind"] == "Job" {
        object["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    }
    object
}
