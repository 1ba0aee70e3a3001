//! The platform's worker, modelled on its source: its reads and writes for a run, in its order, retried only by its
//! client library.

use anyhow::Context as _;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::{Profile, RunPolicy};
use codex_k8s_tests::{Answer, Caller, ControlPlane, Guard, Identity};
use http::Method;
use serde_json::{Value, json};

/// Two releases of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// A namespace for each run, and a LimitRange.
    A,
    /// Slots with leases, and no LimitRange.
    B,
}

const NAMESPACE: &str = "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47";
const RUN: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A policy whose baseline is what the worker at B writes.
pub(crate) fn policy_of_b() -> String {
    let baseline = serde_json::to_value(RunPolicy::of(Profile::B).baseline).unwrap();
    // JSON is YAML.
    format!("baseline: {baseline}\n")
}

/// A run, and the namespace that it runs in.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) namespace: String,
    pub(crate) id: String,
}

impl Run {
    /// The run of this number in a namespace of its own, as the worker names it.
    pub(crate) fn of_issue(number: usize) -> Self {
        let id = format!("{number:08x}-9d47-4a06-b5e2-7c81d0f4a913");
        Self { namespace: format!("codex-issue-a74d653cadf0-i42-r{number:08x}9d47"), id }
    }

    /// The run of this number in the slot of that number.
    pub(crate) fn in_slot(number: usize) -> Self {
        Self { namespace: format!("codex-k8s-dev-{number}"), ..Self::of_issue(number) }
    }

    fn read(&self, fixture: &str) -> Value {
        let text = fixture.replace(NAMESPACE, &self.namespace).replace(RUN, &self.id);
        let mut object: Value = serde_saphyr::from_str(&text).unwrap();
        object.as_object_mut().unwrap().remove("status");
        object
    }

    pub(crate) fn job(&self) -> Value {
        self.read(include_str!("../../fixtures/job-full-env.yaml"))
    }

    pub(crate) fn namespace(&self, version: Version) -> Value {
        let mut namespace = self.read(include_str!("../../fixtures/namespace.yaml"));
        if version == Version::B {
            let lease = Lease::grant(jiff::Timestamp::now(), "24h".parse().unwrap()).unwrap();
            namespace["metadata"]["labels"]["codex-k8s.dev/issue-number"] = "42".into();
            namespace["metadata"]["labels"]["codex-k8s.dev/agent-key"] = "dev".into();
            for (key, value) in [
                ("ttl", lease.ttl.to_string()),
                ("expires-at", lease.expires_at.to_string()),
                ("updated-at", lease.updated_at.to_string()),
            ] {
                namespace["metadata"]["annotations"][format!("codex-k8s.dev/namespace-lease-{key}")] =
                    value.into();
            }
        }
        namespace
    }

    /// The paths of the collections and the objects, in the worker's order; without the LimitRange.
    fn objects(&self, version: Version) -> Vec<(String, Value)> {
        let core = format!("/api/v1/namespaces/{}", self.namespace);
        let rbac = format!("{RBAC}/namespaces/{}", self.namespace);
        let mut role = self.read(include_str!("../../fixtures/role.yaml"));
        let mut quota = self.read(include_str!("../../fixtures/resourcequota.yaml"));
        if version == Version::B {
            let rules = RunPolicy::of(Profile::B).baseline.candidate.rules;
            role["rules"] = serde_json::to_value(rules).unwrap();
            quota["spec"]["hard"] = json!({"pods": "20"});
        }
        vec![
            ("/api/v1/namespaces".to_owned(), self.namespace(version)),
            (
                format!("{core}/serviceaccounts"),
                self.read(include_str!("../../fixtures/serviceaccount.yaml")),
            ),
            (format!("{rbac}/roles"), role),
            (format!("{rbac}/rolebindings"), self.read(include_str!("../../fixtures/rolebinding.yaml"))),
            (format!("{core}/resourcequotas"), quota),
        ]
    }

    fn limits(&self) -> (String, Value) {
        let limits = self.read(include_str!("../../fixtures/limitrange.yaml"));
        (format!("/api/v1/namespaces/{}/limitranges", self.namespace), limits)
    }
}

/// The worker.
#[derive(Clone)]
pub(crate) struct Worker {
    caller: Caller,
    version: Version,
}

impl Worker {
    pub(crate) async fn new(guard: &Guard, version: Version) -> Self {
        Self::of(&guard.control_plane, version).await
    }

    /// The worker of a control plane, guarded or not.
    pub(crate) async fn of(control_plane: &ControlPlane, version: Version) -> Self {
        let caller = Caller::new(control_plane, &Identity::worker()).await.unwrap();
        Self { caller, version }
    }

    /// Ensures all objects of a run's namespace, as at its start and, at B, at every tick: a failure fails the run.
    pub(crate) async fn prepare(&self, run: &Run) -> anyhow::Result<()> {
        for (path, object) in run.objects(self.version) {
            self.ensure(&path, &object).await.with_context(|| path.clone())?;
        }
        let (path, limits) = run.limits();
        if self.version == Version::A {
            return self.ensure(&path, &limits).await.with_context(|| path.clone());
        }
        let gone = self.send(Method::DELETE, &format!("{path}/codex-run-limits"), &Value::Null).await?;
        anyhow::ensure!(gone.is_ok() || gone.code == 404, "{gone:?}");
        Ok(())
    }

    /// Ensures all objects but the quota.
    pub(crate) async fn prepare_without_quota(&self, run: &Run) -> anyhow::Result<()> {
        let objects = run.objects(self.version).into_iter().filter(|(path, _)| !path.ends_with("quotas"));
        for (path, object) in objects.chain([run.limits()]) {
            self.ensure(&path, &object).await?;
        }
        Ok(())
    }

    /// Ensures the quota, and creates a bare Pod right after it.
    pub(crate) async fn limit_and_start(&self, run: &Run) -> anyhow::Result<()> {
        let quota = run.objects(self.version).pop().context("the quota comes last")?;
        self.ensure(&quota.0, &quota.1).await?;
        let pod = json!({"metadata": {"name": "bare"}, "spec": {"restartPolicy": "Never", "serviceAccountName": "codex-runner",
            "containers": [{"name": "c", "image": "busybox:1.36"}]}});
        let path = format!("/api/v1/namespaces/{}/pods", run.namespace);
        self.send(Method::POST, &path, &pod).await?.object().map(drop)
    }

    /// Creates the run's Job.
    pub(crate) async fn start(&self, run: &Run) -> anyhow::Result<Answer> {
        self.send(Method::POST, &format!("/apis/batch/v1/namespaces/{}/jobs", run.namespace), &run.job())
            .await
    }

    /// Finds out what works in a run's namespace, and deletes it: at A once its run has ended, at B in a sweep.
    pub(crate) async fn clean_up(&self, run: &Run) -> anyhow::Result<()> {
        let read = async |path: String| self.send(Method::GET, &path, &Value::Null).await?.object().map(drop);
        let of_run = format!("labelSelector=codex-k8s.dev/run-id={}", run.id);
        read(format!("/apis/batch/v1/namespaces/{}/jobs/codex-k8s-run-{}", run.namespace, run.id)).await?;
        read(format!("/apis/batch/v1/jobs?{of_run}")).await?;
        read(format!("/api/v1/pods?{of_run}")).await?;
        if self.version == Version::B {
            read("/api/v1/namespaces?labelSelector=codex-k8s.dev/managed-by=codex-k8s-worker".to_owned())
                .await?;
            let of_apps = ["deployments", "replicasets", "statefulsets", "daemonsets"];
            let of_apps =
                of_apps.map(|resource| format!("/apis/apps/v1/namespaces/{}/{resource}", run.namespace));
            let of_batch = ["jobs", "cronjobs"];
            let of_batch =
                of_batch.map(|resource| format!("/apis/batch/v1/namespaces/{}/{resource}", run.namespace));
            for path in of_apps
                .into_iter()
                .chain(of_batch)
                .chain([format!("/api/v1/namespaces/{}/pods", run.namespace)])
            {
                read(path).await?;
            }
        }
        let path = format!("/api/v1/namespaces/{}", run.namespace);
        read(path.clone()).await?;
        self.send(Method::DELETE, &path, &Value::Null).await?.object().map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.caller.send_like_client_go(method, path, body).await
    }

    /// Reads an object; creates it if it is missing, and accepts that another client was quicker; else puts it back
    /// with its own values, again if it was changed meanwhile: controllers write the status.
    async fn ensure(&self, path: &str, object: &Value) -> anyhow::Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let own = format!("{path}/{name}");
        loop {
            let found = self.send(Method::GET, &own, &Value::Null).await?;
            if found.code == 404 {
                let created = self.send(Method::POST, path, object).await?;
                return if created.code == 409 { Ok(()) } else { created.object().map(drop) };
            }
            let mut whole = found.object()?;
            for (key, value) in object.as_object().into_iter().flatten() {
                if key == "metadata" {
                    put_into(&mut whole["metadata"]["labels"], &value["labels"]);
                    put_into(&mut whole["metadata"]["annotations"], &value["annotations"]);
                } else if object["kind"] != "Namespace" {
                    whole[key.as_str()] = value.clone();
                }
            }
            let updated = self.send(Method::PUT, &own, &whole).await?;
            if updated.code != 409 {
                return updated.object().map(drop);
            }
        }
    }
}

fn put_into(whole: &mut Value, own: &Value) {
    for (key, value) in own.as_object().into_iter().flatten() {
        whole[key.as_str()] = value.clone();
    }
}
