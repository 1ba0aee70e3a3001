//! Traces, as a collector receives them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::{Caller, Guard, Identity, eventually};
use http::Method;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::cluster::{TIMEOUT, playground};

/// A span as it was received: its service, its name, its attributes.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    service: String,
    name: String,
    attributes: BTreeMap<String, String>,
}

impl Span {
    fn is(&self, service: &str, name: &str, attributes: &[(&str, &str)]) -> bool {
        let has = |(key, value): &(&str, &str)| self.attributes.get(*key).is_some_and(|found| found == value);
        self.service == service && self.name == name && attributes.iter().all(has)
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::BoolValue(holds)) => holds.to_string(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let of_process = |process: &opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let of =
            process.resource.as_ref().map(|resource| attributes(&resource.attributes)).unwrap_or_default();
        let service = of.get("service.name").cloned().unwrap_or_default();
        let spans = process.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans
            .map(|span| Span {
                service: service.clone(),
                name: span.name.clone(),
                attributes: attributes(&span.attributes),
            })
            .collect::<Vec<_>>()
    };
    request.resource_spans.iter().flat_map(of_process).collect()
}

/// A collector on loopback.
struct Collector {
    runtime: Runtime,
    address: SocketAddr,
    received: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let received = Arc::<Mutex<Vec<Span>>>::default();
        let store = Arc::clone(&received);
        let take = move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            store.lock().unwrap().extend(spans(&request));
            std::future::ready(Vec::<u8>::new())
        };
        let app = Router::new().route("/v1/traces", post(take));
        let bound = (Ipv4Addr::LOCALHOST, 0);
        let listener = runtime.block_on(tokio::net::TcpListener::bind(bound)).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { runtime, address, received }
    }

    fn argument(&self) -> String {
        format!("--otlp-endpoint=http://{}", self.address)
    }

    /// Waits for a span, and returns all spans received until then.
    #[track_caller]
    fn await_spans(&self, service: &str, name: &str, attributes: &[(&str, &str)]) -> Vec<Span> {
        let what = format!("a span {name} of {service} with {attributes:?}");
        let found = eventually(&what, TIMEOUT, || {
            let all = self.received.lock().unwrap();
            let found: Vec<_> =
                all.iter().filter(|span| span.is(service, name, attributes)).cloned().collect();
            (!found.is_empty()).then_some(found)
        });
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.received.lock().unwrap()))
    }
}

/// A policy without any setting.
const POLICY: &str = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
const NAME: &str = "codex-issue-traced";

/// Sends a request that is refused, and returns the decision's id.
fn refusal(collector: &Collector, guard: &Guard) -> String {
    let answer = collector.runtime.block_on(async {
        let developer = Caller::new(&guard.control_plane, &Identity::developer()).await.unwrap();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}});
        developer.send(Method::POST, "/api/v1/namespaces", &namespace).await.unwrap().object().unwrap();
        let labels = json!({"metadata": {"labels": {"codex-k8s.dev/run-id": "other"}}});
        developer.send(Method::PATCH, &format!("/api/v1/namespaces/{NAME}"), &labels).await.unwrap()
    });
    assert_eq!(answer.code, 403, "{answer:?}");
    answer.body["details"]["uid"].as_str().unwrap().to_owned()
}

#[test]
fn a_collector_is_sent_a_span_of_each_review_each_look_and_each_sweep() {
    let (collector, guard) = (Collector::start(), Guard::start(playground()).unwrap());
    let traced = guard.one_more("traced", &[collector.argument()]).unwrap();
    guard.register_at(traced.address).unwrap();
    let args = [collector.argument(), "--no-leader-election".to_owned()];
    guard.one_more_reconciler("traced-reconcile", &args).unwrap();

    let decision = refusal(&collector, &guard);
    let evaluated = [("decision_id", &*decision), ("entry", "validate")];
    let told = collector.await_spans("codex-k8s-webhook", "review", &evaluated);
    assert_eq!(told.len(), 1, "{told:?}");
    let expected = [
        ("verdict", "denied"),
        ("rules", "NS003"),
        ("operation", "UPDATE"),
        ("kind", "Namespace"),
        ("name", NAME),
        ("dry_run", "false"),
    ];
    assert!(told[0].is("codex-k8s-webhook", "review", &expected), "{told:?}");
    collector.await_spans("codex-k8s-webhook", "review", &[("entry", "mutate"), ("verdict", "mutated")]);
    collector.await_spans("codex-k8s-reconcile", "reconcile", &[("namespace", NAME), ("missing", "")]);

    let policy = guard.file("collectors-policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let swept = Command::new(playground())
        .args(["guard", "sweep", "--local", "--dry-run", "--policy"])
        .arg(&policy)
        .env("KUBECONFIG", guard.control_plane.kubeconfig(&Identity::Admin).unwrap())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address))
        .output()
        .unwrap();
    assert!(swept.status.success(), "{swept:?}");
    // It has exited, so all its spans have been sent.
    let sweeps = collector.received.lock().unwrap().clone();
    let expected = [("dry_run", "true"), ("managed", "1"), ("due", "0"), ("result", "succeeded")];
    assert!(sweeps.iter().any(|span| span.is("codex-k8s-gc", "sweep", &expected)), "{sweeps:?}");
}

#[test]
fn without_its_collector_a_webhook_says_so_and_decides_as_before() {
    let (collector, guard) = (Collector::start(), Guard::start(playground()).unwrap());
    let nowhere = format!("--otlp-endpoint=http://127.0.0.1:{}", free_port().unwrap());
    let traced = guard.one_more("traced", &[nowhere]).unwrap();
    guard.register_at(traced.address).unwrap();
    refusal(&collector, &guard);
    let told =
        || guard.control_plane.log_tail("traced").contains("the collector takes no traces").then_some(());
    eventually("it is told", TIMEOUT, told).unwrap();
    let ran = guard.kubectl(&Identity::developer()).unwrap().run(&["get", "namespace", NAME]).unwrap();
    assert!(ran.succeeded() && traced.health.is_ready(), "{ran}");
    assert!(collector.received.lock().unwrap().is_empty());
}

#[test]
fn an_address_that_is_no_collectors_is_refused_and_an_empty_one_is_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), POLICY).unwrap();
    for (endpoint, code, words) in [
        ("collector:4318", 2, "--otlp-endpoint names no collector: found \"collector:4318\"; expected"),
        // It gets as far as connecting to a cluster.
        ("", 4, "/nowhere"),
    ] {
        let ran = Command::new(playground())
            .args(["guard", "sweep", "--local", "--dry-run", "--policy"])
            .arg(file.path())
            .env("KUBECONFIG", "/nowhere")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.code() == Some(code) && told.contains(words),
            "{endpoint:?}: {:?} {told}",
            ran.status
        );
    }
}
