//! Connections to Pods, which no rule is about.

use codex_k8s_tests::{Caller, Identity};
use codex_k8s_webhook::check::{CheckRequest, Checker, Document, Evaluation, Requester, Verdict};
use codex_k8s_webhook::review::Operation;
use http::Method;
use serde_json::{Value, json};

use super::Comparison;
use super::corpus::{KINDS, object};
use super::handler::Ask;
use crate::harness::{cluster, unique};

/// Subresources that connect to a Pod, the kind of their options, and the API server's error after admission: there is
/// nothing to connect to.
const CONNECTIONS: [(&str, &str, &str); 4] = [
    ("exec?command=true&stdout=true", "PodExecOptions", NO_NODE),
    ("attach?stdout=true", "PodAttachOptions", NO_NODE),
    ("portforward?ports=80", "PodPortForwardOptions", NO_NODE),
    ("proxy", "PodProxyOptions", "address not allowed"),
];

const NO_NODE: &str = "does not have a host assigned";

/// A Pod that is never run.
pub(super) async fn idle_pod(namespace: &str) -> Value {
    let worker = Caller::new(cluster(), &Identity::worker()).await.unwrap();
    // Without this label, the controller of other Pods would adopt it, and delete it.
    let changes =
        [("/spec/serviceAccountName", "codex-runner".into()), ("/metadata/labels", json!({"app": "idle"}))];
    let pod = object(&KINDS[7], &unique(), &changes);
    let answer = worker.send(Method::POST, &KINDS[7].3.replace("{}", namespace), &pod).await.unwrap();
    answer.object().unwrap()
}

impl Comparison {
    pub(super) async fn connections(&mut self, caller: &Caller, requester: &Requester, pod: &Value) {
        let namespace = self.namespace.name().to_owned();
        let name = pod["metadata"]["name"].as_str().unwrap();
        for (request, kind, through) in CONNECTIONS {
            let subresource = request.split('?').next().unwrap();
            let evaluated = self.evaluate_connection(requester, pod, subresource).await;
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/{request}");
            let answer = caller.send(Method::POST, &path, &Value::Null).await.unwrap();
            let is_through = answer.message().contains(through);
            self.compared += usize::from(is_through);
            if !is_through || evaluated.message.is_some() || evaluated.result != Verdict::NotOurs {
                self.disagreements
                    .push(format!("{subresource}: {:?}\n  server {}", evaluated.message, answer.body));
            }
            let options = json!({"apiVersion": "v1", "kind": kind});
            let subresource = Some(subresource);
            let ask = Ask {
                requester,
                operation: Operation::Connect,
                namespace: &namespace,
                kind,
                name,
                subresource,
                object: Some(&options),
                old: None,
            };
            self.compare_handler(&ask, &evaluated).await;
        }
    }

    async fn evaluate_connection(&self, requester: &Requester, pod: &Value, subresource: &str) -> Evaluation {
        let name = self.namespace.name().to_owned();
        let asked = CheckRequest {
            default_namespace: name,
            operation: Operation::Connect,
            subresource: Some(subresource.to_owned()),
            ..CheckRequest::creation(requester.clone())
        };
        let checker = Checker::new(self.policy.clone(), asked);
        let evaluated = checker.evaluate_all(&[Document::of_nowhere(pod.clone())]).await.unwrap();
        evaluated.into_iter().next().unwrap()
    }
}
