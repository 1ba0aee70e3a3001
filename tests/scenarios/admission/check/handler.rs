//! The serving webhook, called as the API server calls it: over HTTPS, with the object as the API server defaults it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use codex_k8s_tests::load::{Connection, Dialer};
use codex_k8s_tests::{Caller, Identity};
use codex_k8s_webhook::check::Requester;
use codex_k8s_webhook::review::Operation;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{create, guard, unmanaged};

/// Metadata that only the API server's storage sets.
const STORED: [&str; 5] = ["uid", "creationTimestamp", "managedFields", "resourceVersion", "generation"];

/// Attempts at a request that has to be retried.
const ATTEMPTS: u32 = 10;

/// A connection to the webhook, and a namespace that the webhook does not guard.
pub(super) struct Handler {
    connection: Connection,
    admin: Caller,
    unguarded: String,
    made: HashMap<String, Option<Value>>,
}

/// One request, without what the API server fills in.
pub(super) struct Ask<'a> {
    pub(super) requester: &'a Requester,
    pub(super) operation: Operation,
    pub(super) namespace: &'a str,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) subresource: Option<&'a str>,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
}

/// The result of both calls.
pub(super) struct Said {
    pub(super) message: Option<String>,
    pub(super) rules: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) object: Value,
}

impl Handler {
    pub(super) async fn connect(unguarded: String) -> Self {
        let authority = std::fs::read(guard().file("webhook-ca.crt")).unwrap();
        let connection =
            Dialer::trusting(&authority).unwrap().connect(guard().webhook.address).await.unwrap();
        let admin = Caller::new(&guard().control_plane, &Identity::Admin).await.unwrap();
        Self { connection, admin, unguarded, made: HashMap::new() }
    }

    /// Creates a namespace that the webhook does not guard, with the account that Pods of a run name.
    pub(super) fn unguarded() -> String {
        let namespace = unmanaged();
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        for name in ["codex-runner", "default"] {
            let answer = create(&Identity::Admin, &path, &json!({"metadata": {"name": name}}));
            // The controller manager may have created it first.
            assert!(answer.code < 300 || answer.code == 409, "{}", answer.body);
        }
        namespace
    }

    /// The object as the API server defaults it before any webhook sees it; `None` if the API server itself refuses it.
    pub(super) async fn made_of(&mut self, object: &Value, path: &str, namespace: &str) -> Option<Value> {
        if object["kind"] == "Namespace" {
            let mut object = object.clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            return Some(object);
        }
        let key = object.to_string();
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let path = format!("{}?dryRun=All", path.replace(namespace, &self.unguarded));
        let answer = self.admin.send(Method::POST, &path, object).await.unwrap();
        let made = answer.is_ok().then(|| {
            let mut object = answer.body;
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.retain(|key, _| !STORED.contains(&key.as_str()));
            metadata.insert("namespace".to_owned(), namespace.into());
            object
        });
        self.made.insert(key, made.clone());
        made
    }

    /// Makes both calls; the second one is skipped if the first one refuses.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> Said {
        let mut object = ask.object.cloned().unwrap_or_default();
        let mutated = self.call("/mutate", &ask.review(&object)).await;
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut warnings = texts(&mutated["warnings"]);
        if let Some(patch) = mutated["patch"].as_str() {
            let patch: json_patch::Patch =
                serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
        }
        let response = match &mutated["allowed"] {
            Value::Bool(true) => {
                let validated = self.call("/validate", &ask.review(&object)).await;
                warnings.extend(texts(&validated["warnings"]));
                validated
            }
            _ => mutated,
        };
        let causes = response["status"]["details"]["causes"].as_array().into_iter().flatten();
        let mut rules: Vec<_> = causes.map(|cause| cause["reason"].as_str().unwrap().to_owned()).collect();
        rules.dedup();
        let message = response["status"]["message"].as_str().map(str::to_owned);
        assert_eq!(response["allowed"] == true, message.is_none(), "{response}");
        Said { message, rules, warnings, object }
    }

    /// Calls until there is a decision: a fact that could not be read in time is requested once more, as clients do.
    async fn call(&mut self, path: &str, review: &Value) -> Value {
        let body = serde_json::to_vec(review).unwrap();
        for _ in 0..ATTEMPTS {
            let reply = self.connection.post(path, body.clone().into()).await.unwrap();
            assert_eq!(reply.status, 200, "{path} {review}");
            let mut answer: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
            if answer["response"]["status"]["details"]["retryAfterSeconds"].is_null() {
                return answer["response"].take();
            }
        }
        panic!("not decided in {ATTEMPTS} attempts: {path} {review}")
    }
}

impl Ask<'_> {
    fn review(&self, object: &Value) -> Value {
        let named = self.object.or(self.old).unwrap();
        let (group, version) = match named["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", named["apiVersion"].as_str().unwrap()),
        };
        let kind = json!({"group": group, "version": version, "kind": self.kind});
        let namespace = if self.kind == "Namespace" { self.name } else { self.namespace };
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "3c5a1f6e-0f5e-4b0b-9a53-5d7c7d1b2f10",
            "kind": kind, "requestKind": kind, "subResource": self.subresource,
            "name": self.name, "namespace": namespace, "operation": self.operation.as_str(),
            "userInfo": self.user(), "object": object, "oldObject": self.old, "dryRun": true, "options": null,
        }})
    }

    /// The requester, as the API server has authenticated it.
    fn user(&self) -> Value {
        let account = |namespace: &str, name: &str| {
            let user = format!("system:serviceaccount:{namespace}:{name}");
            let of_namespace = format!("system:serviceaccounts:{namespace}");
            json!({"username": user, "groups": ["system:serviceaccounts", of_namespace, "system:authenticated"]})
        };
        let user = self.requester.user.as_str();
        if user == "agent" {
            return account(self.namespace, "codex-runner");
        }
        if let ["system", "serviceaccount", namespace, name] = user.split(':').collect::<Vec<_>>()[..] {
            return account(namespace, name);
        }
        let mut groups = self.requester.groups.clone();
        groups.push("system:authenticated".to_owned());
        json!({"username": user, "groups": groups})
    }
}
