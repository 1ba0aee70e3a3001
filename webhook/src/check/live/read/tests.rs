use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use codex_k8s_shared::policy::RunPolicy;
use http::{Request, Response};
use http_body_util::Full;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::check::live::Outcome;

type Answer = (u16, Value);

/// An API server with these answers to lists of Jobs, in this order, and no other objects.
struct Server {
    jobs: Mutex<VecDeque<Answer>>,
    request: Mutex<Vec<String>>,
}

impl Server {
    fn with(jobs: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::new(jobs.into_iter().collect()), request: Mutex::default() })
    }

    fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let (code, body) = server.answer(&request);
            let response = Response::builder().status(code).body(Full::from(body.to_string()));
            std::future::ready(
                response.map_err(|error| Box::new(error) as Box<dyn std::error::Error + Send + Sync>),
            )
        });
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<Body>) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        assert!(query.contains("limit=500") && !query.contains("resourceVersion"), "{path}?{query}");
        self.request.lock().unwrap().push(format!("{path}?{query}"));
        match path {
            "/apis/batch/v1/jobs" => self.jobs.lock().unwrap().pop_front().unwrap(),
            "/api/v1/namespaces" => (200, list(&[namespace()], "")),
            _ => (200, list(&[], "")),
        }
    }

    async fn read(self: &Arc<Self>) -> Result<(LiveCheck, usize), ReadError> {
        let mut live_check = LiveCheck::new(RunPolicy::default(), None, None, Timestamp::UNIX_EPOCH, true);
        let reader = Reader::new(self.client(), None, &[], &|_| {});
        reader.read(&mut live_check).await.map(|()| (live_check, reader.requests()))
    }
}

fn list(items: &[Value], token: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": token}, "items": items})
}

fn namespace() -> Value {
    json!({"metadata": {"name": "codex-issue-a", "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}}})
}

fn job(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "codex-issue-a"}, "spec": {"template": {"spec": {}}}})
}

fn status(code: u16, message: &str) -> Answer {
    (code, json!({"kind": "Status", "status": "Failure", "message": message, "reason": "Any", "code": code}))
}

#[tokio::test]
async fn a_list_that_expires_half_way_is_begun_again_and_nothing_is_counted_twice() {
    let server = Server::with([
        (200, list(&[job("a"), job("b")], "next")),
        status(410, "the list has expired"),
        (200, list(&[job("a"), job("b")], "again")),
        (200, list(&[job("c")], "")),
    ]);
    let (live_check, requests) = server.read().await.unwrap();
    let request = server.request.lock().unwrap().clone();
    assert_eq!(requests, request.len());
    let tokens: Vec<_> = request
        .iter()
        .filter(|request| request.contains("/jobs?"))
        .map(|request| request.split("continue=").nth(1))
        .collect();
    assert_eq!(tokens, [None, Some("next"), None, Some("again")]);
    let secrets = request.iter().find(|request| request.contains("/secrets?")).unwrap();
    assert!(secrets.contains("type%3Dkubernetes.io%2Fservice-account-token"), "{secrets}");
    let Outcome::Verdicts(report) = live_check.finish(requests, Vec::new()) else { panic!() };
    let jobs: Vec<_> =
        report.objects.iter().filter(|object| object.kind == "Job").map(|object| &*object.name).collect();
    assert_eq!(jobs, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_cannot_be_listed_is_an_error_and_never_nothing() {
    let forever = Server::with((0..=RESTARTS).map(|_| status(410, "the list has expired")));
    assert!(matches!(forever.read().await, Err(ReadError::Failed { resource: "jobs", .. })));
    let forbidden = Server::with([status(403, "jobs.batch is forbidden")]);
    let error = forbidden.read().await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to list jobs: jobs.batch is forbidden; grant it (deploy/base/check.yaml has a ClusterRole), or leave \
         them out by --without jobs, or look at one namespace by --namespace"
    );
}
