//! Run namespaces of a guarded cluster: created at once, read, deleted.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::{Guard, Identity, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
const INSTALL_NAMESPACE: &str = "codex-k8s-guard";

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// A suffix that no other test uses.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("p{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A person with every right of RBAC.
pub(crate) fn person(name: &str) -> Identity {
    Identity::user(name).in_group(EVERY_RIGHT)
}

/// A guarded cluster and a runtime for requests to it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) guard: Guard,
    pub(crate) runtime: Runtime,
}

/// The result of a creation: the namespace, or the status of the refusal.
pub(crate) type Created = Result<Namespace, Box<kube::core::Status>>;

impl Cluster {
    pub(crate) fn with_policy(policy: &str) -> Self {
        let guard = Guard::start_with_policy(playground(), policy).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { guard, runtime }
    }

    pub(crate) fn client(&self, identity: &Identity) -> Client {
        self.runtime.block_on(self.guard.control_plane.client(identity)).unwrap()
    }

    /// A client that takes the first answer: no retries after 429.
    pub(crate) fn impatient(&self, identity: &Identity) -> Client {
        let kubeconfig =
            Kubeconfig::read_from(self.guard.control_plane.kubeconfig(identity).unwrap()).unwrap();
        self.runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            config.default_retry = false;
            Client::try_from(config).unwrap()
        })
    }

    /// Creates a run namespace of a project.
    pub(crate) fn create(&self, identity: &Identity, name: &str, project: &str) -> Created {
        self.create_with(identity, name, project, false)
    }

    pub(crate) fn create_with(
        &self,
        identity: &Identity,
        name: &str,
        project: &str,
        dry_run: bool,
    ) -> Created {
        let client = self.client(identity);
        self.runtime.block_on(create(client, name.to_owned(), project.to_owned(), dry_run))
    }

    /// Creates namespaces all at once; a request that fails because a webhook was killed is retried.
    pub(crate) fn create_all(
        &self,
        identity: &Identity,
        names: &[String],
        project: &str,
    ) -> Vec<(String, Created)> {
        let client = self.client(identity);
        self.runtime.block_on(async {
            let mut creations = JoinSet::new();
            for name in names.iter().cloned() {
                let (client, project) = (client.clone(), project.to_owned());
                creations.spawn(async move {
                    let created = create(client, name.clone(), project, false).await;
                    (name, created)
                });
            }
            creations.join_all().await
        })
    }

    pub(crate) fn read(&self, name: &str) -> Option<Namespace> {
        let api = Api::<Namespace>::all(self.client(&Identity::Admin));
        self.runtime.block_on(api.get_opt(name)).unwrap()
    }

    pub(crate) fn all(&self) -> Vec<Namespace> {
        let api = Api::<Namespace>::all(self.client(&Identity::Admin));
        let managed = ListParams::default().labels("codex-k8s.dev/managed-by");
        self.runtime.block_on(api.list(&managed)).unwrap().items
    }

    pub(crate) fn delete(&self, names: &[String]) {
        let api = Api::<Namespace>::all(self.client(&Identity::worker()));
        for name in names {
            self.runtime.block_on(api.delete(name, &DeleteParams::default())).unwrap();
        }
    }

    /// Writes annotations of the domain.
    pub(crate) fn annotate(
        &self,
        identity: &Identity,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Namespace, kube::Error> {
        let api = Api::<Namespace>::all(self.client(identity));
        let annotations: serde_json::Map<_, _> = annotations
            .iter()
            .map(|(key, value)| (format!("codex-k8s.dev/{key}"), Value::from(*value)))
            .collect();
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.runtime.block_on(api.patch(name, &PatchParams::default(), &patch))
    }

    /// The Leases that are reservations.
    pub(crate) fn reservations(&self) -> Vec<Lease> {
        let api = Api::<Lease>::namespaced(self.client(&Identity::Admin), INSTALL_NAMESPACE);
        let reservations = ListParams::default().labels("guard.codex-k8s.dev/reservation");
        self.runtime.block_on(api.list(&reservations)).unwrap().items
    }

    /// The holders of the reservations in a kind of scope, each as often as it holds one.
    pub(crate) fn holders(&self, kind: &str) -> Vec<String> {
        let of_kind = |lease: &Lease| {
            lease
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels["guard.codex-k8s.dev/reservation"] == kind)
        };
        let reservations = self.reservations().into_iter().filter(of_kind);
        let mut holders: Vec<_> =
            reservations.map(|lease| lease.spec.unwrap().holder_identity.unwrap()).collect();
        holders.sort();
        holders
    }

    /// The reasons of a namespace's Events.
    pub(crate) fn events(&self, namespace: &str) -> Vec<String> {
        let api = Api::<Event>::namespaced(self.client(&Identity::Admin), namespace);
        let events = self.runtime.block_on(api.list(&ListParams::default())).unwrap();
        events.items.into_iter().filter_map(|event| event.reason).collect()
    }

    #[track_caller]
    pub(crate) fn eventually<T>(&self, what: &str, answer: impl FnMut() -> Option<T>) -> T {
        let waited = eventually(what, TIMEOUT, answer);
        waited.unwrap_or_else(|error| panic!("{error}\n{}", self.guard.control_plane.log_tail("reconcile")))
    }

    #[track_caller]
    pub(crate) fn await_ready(&self, name: &str) -> Namespace {
        self.eventually(&format!("{name} is ready"), || self.read(name).filter(is_ready))
    }
}

async fn create(client: Client, name: String, project: String, dry_run: bool) -> Created {
    let object = json!({"metadata": {"name": name, "labels": {"codex-k8s.dev/project-id": project}}});
    let namespace: Namespace = serde_json::from_value(object).unwrap();
    let api = Api::<Namespace>::all(client);
    loop {
        match api.create(&PostParams { dry_run, field_manager: None }, &namespace).await {
            Ok(created) => return Ok(created),
            // The server that would have mutated it was killed: the client retries.
            Err(kube::Error::Api(status)) if status.message.contains("NS001: ") => {}
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => return Err(status),
            Err(kube::Error::Api(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Asserts that QUOTA003 refused it, with these words.
#[track_caller]
pub(crate) fn is_refused(created: &Created, words: &[&str]) {
    let status = created.as_ref().expect_err("it was to be refused");
    assert_eq!(status.code, 403, "{status:?}");
    assert!(status.message.contains("QUOTA003: "), "{}", status.message);
    for word in words {
        assert!(status.message.contains(word), "no {word:?} in {}", status.message);
    }
}

pub(crate) fn annotation<'a>(namespace: &'a Namespace, key: &str) -> &'a str {
    let annotations = namespace.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(&format!("codex-k8s.dev/{key}")))
        .map_or("", String::as_str)
}

pub(crate) fn is_ready(namespace: &Namespace) -> bool {
    !annotation(namespace, "baseline-ready-at").is_empty()
}

pub(crate) fn name(namespace: &Namespace) -> String {
    namespace.metadata.name.clone().unwrap()
}

/// The names of those that pass a filter.
pub(crate) fn names(namespaces: &[Namespace], passes: impl Fn(&Namespace) -> bool) -> BTreeSet<String> {
    namespaces.iter().filter(|namespace| passes(namespace)).map(name).collect()
}

pub(crate) fn lives(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
}
