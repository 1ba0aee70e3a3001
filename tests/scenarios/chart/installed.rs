//! The rendered chart on a real API server.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use codex_k8s_tests::{ControlPlane, Guard, Identity, Kubectl, binaries, eventually};
use serde_json::{Value, json};

use crate::base::base;
use crate::schemas::Schemas;
use crate::values::{HOST_NETWORK, SETS, Set, objects, pod, rendered, set};

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// Creates a namespace that admits Pods of a level only.
fn namespace(kubectl: &Kubectl, name: &str, level: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/warn": level}}});
    kubectl.succeed(&["create", "-f", "-"], &namespace.to_string()).unwrap();
}

/// Registers the CRDs of cert-manager and the Prometheus operator that `objects` are of.
pub(crate) fn define(kubectl: &Kubectl, objects: &[Value]) {
    for file in binaries::definitions().unwrap() {
        let ran = kubectl.run(&["apply", "--server-side", "-f", &file.display().to_string()]).unwrap();
        assert!(ran.succeeded(), "{ran}");
    }
    let versions: BTreeSet<_> = objects.iter().map(|object| object["apiVersion"].as_str().unwrap()).collect();
    for version in versions.into_iter().filter(|version| version.contains('.')) {
        eventually(&format!("{version} is published"), Duration::from_mins(1), || {
            let published = kubectl.run(&["get", "--raw", &format!("/openapi/v3/apis/{version}")]).unwrap();
            published.succeeded().then_some(())
        })
        .unwrap();
    }
}

/// The output of kustomize for a folder.
fn kustomized(kubectl: &Kubectl, folder: &str) -> Vec<Value> {
    let ran = kubectl.run(&["kustomize", &base().join(folder).display().to_string()]).unwrap();
    assert!(ran.succeeded() && ran.stderr.is_empty(), "{ran}");
    objects(&ran.stdout)
}

#[test]
fn the_kustomize_base_is_taken_by_a_real_api_server_and_then_its_registration() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    for (folder, count) in [("", 20), ("registration", 4)] {
        assert!(kustomized(&kubectl, folder).len() >= count, "{folder}");
        let folder = base().join(folder).display().to_string();
        let ran = kubectl.run(&["apply", "--server-side", "--validate=strict", "-k", &folder]).unwrap();
        assert!(ran.succeeded() && !ran.to_string().contains("Warning"), "{ran}");
    }
    for file in ["check.yaml", "webhook-configurations.yaml"] {
        let file = base().join(file).display().to_string();
        let ran = kubectl.run(&["apply", "--server-side", "--validate=strict", "-f", &file]).unwrap();
        assert!(ran.succeeded() && !ran.to_string().contains("Warning"), "{ran}");
    }
}

#[test]
fn all_of_it_is_as_the_schemas_say_that_the_api_server_publishes() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    let mut all = kustomized(&kubectl, "");
    all.extend(SETS.iter().flat_map(|set| objects(&rendered(set))));
    define(&kubectl, &all);
    let schemas = Schemas::read(&kubectl, &all);
    let (wrong, valid) = schemas.findings(&all);
    assert!(wrong.is_empty() && valid == all.len(), "{valid} of {}: {wrong:#?}", all.len());
    // It does detect errors.
    for kind in ["Deployment", "Certificate", "PodMonitor"] {
        let mut mistaken = all.iter().find(|object| object["kind"] == kind).unwrap().clone();
        mistaken["spec"]["replica"] = json!(2);
        let (wrong, valid) = schemas.findings(&[mistaken]);
        assert!(valid == 0 && wrong.len() == 1 && wrong[0].contains("replica"), "{kind}: {wrong:?}");
    }
}

#[test]
fn a_real_api_server_takes_all_of_it_without_a_warning() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    for (name, level) in
        [("codex-k8s-guard", "restricted"), ("agents-guard", "restricted"), (HOST_NETWORK, "privileged")]
    {
        namespace(&kubectl, name, level);
    }
    define(&kubectl, &SETS.iter().flat_map(|set| objects(&rendered(set))).collect::<Vec<_>>());
    // The first one last: it is created, and a Pod can be tried only in a namespace with its ServiceAccount.
    for set in SETS.iter().rev() {
        let (dry_run, skipped) = if set.0 == "default" { ("none", "") } else { ("server", "Pod") };
        let taken: Vec<_> =
            objects(&rendered(set)).into_iter().filter(|object| object["kind"] != skipped).collect();
        assert!(taken.len() > 20, "{}", set.0);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": taken}).to_string();
        let dry_run = format!("--dry-run={dry_run}");
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=strict", &dry_run, "-f", "-"];
        let ran = kubectl.run_with_input(&args, &list).unwrap();
        assert!(ran.succeeded() && !ran.to_string().contains("Warning"), "{}: {ran}", set.0);
    }
}

/// A policy such as that of `OpenShift`: ids are the platform's own, and a Pod must not name any.
fn refuse_ids(kubectl: &Kubectl) {
    let is_free = |context: &str| {
        format!(
            "!has({context}) || !(has({context}.runAsUser) || has({context}.runAsGroup) || has({context}.fsGroup) || \
             has({context}.supplementalGroups))"
        )
    };
    let container =
        "!has(c.securityContext) || !(has(c.securityContext.runAsUser) || has(c.securityContext.runAsGroup))";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-ids"}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": is_free("object.spec.securityContext")},
                {"expression": format!("object.spec.containers.all(c, {container})")}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-ids"}, "spec": {"policyName": "no-ids", "validationActions": ["Deny"]}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}).to_string();
    kubectl.succeed(&["create", "-f", "-"], &list).unwrap();
}

/// A Pod for each template of a set, with a name of its own.
fn pods(set: &Set) -> Vec<Value> {
    let all = objects(&rendered(set));
    let mut pods: Vec<Value> = all.iter().filter_map(pod).cloned().collect();
    for (number, pod) in pods.iter_mut().enumerate() {
        (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
        pod["metadata"]["name"] = format!("{}-{number}", set.0).into();
        pod["metadata"]["namespace"] = set.1.into();
    }
    pods
}

#[test]
fn every_pod_is_admitted_at_the_restricted_level_and_where_ids_are_the_platforms_own() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    for name in ["codex-k8s-guard", "agents-guard"] {
        namespace(&kubectl, name, "restricted");
    }
    let tried = |pods: Vec<Value>| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string();
        kubectl
            .run_with_input(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &list)
            .unwrap()
    };
    for set in SETS.iter().filter(|set| set.1 != HOST_NETWORK) {
        let accounts: Vec<_> = objects(&rendered(set))
            .into_iter()
            .filter(|object| object["kind"] == "ServiceAccount" || object["kind"] == "ResourceQuota")
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": accounts}).to_string();
        let ran = kubectl.run_with_input(&["apply", "-f", "-"], &list).unwrap();
        assert!(ran.succeeded(), "{}: {ran}", set.0);
        let pods = pods(set);
        assert!(pods.len() >= 6, "{}: {}", set.0, pods.len());
        let ran = tried(pods);
        assert!(ran.succeeded() && !ran.to_string().contains("Warning"), "{}: {ran}", set.0);
    }
    refuse_ids(&kubectl);
    eventually("the ids of the defaults are refused", Duration::from_secs(30), || {
        let ran = tried(pods(set("default")));
        (!ran.succeeded() && ran.stderr.contains("no-ids")).then_some(())
    })
    .unwrap();
    let ran = tried(pods(set("openshift")));
    assert!(ran.succeeded(), "{ran}");
}

fn ran(guard: &Guard, args: &[&str]) -> Output {
    Command::new(playground())
        .arg("guard")
        .args(args)
        .env("KUBECONFIG", guard.control_plane.kubeconfig(&Identity::Admin).unwrap())
        .output()
        .unwrap()
}

/// A cluster in which the webhook configurations are applied and deleted.
struct Registered {
    guard: Guard,
    kubectl: Kubectl,
}

const KINDS: [&str; 2] = ["validatingwebhookconfiguration", "mutatingwebhookconfiguration"];

impl Registered {
    #[track_caller]
    fn told(&self, args: &[&str], code: i32, words: &str) {
        let ran = ran(&self.guard, args);
        let told =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(words), "{args:?}: {told}");
    }

    fn read(&self, kind: &str) -> Value {
        let ran = self.kubectl.run(&["get", kind, "codex-k8s-guard", "-o", "json"]).unwrap();
        assert!(ran.succeeded(), "{ran}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn bundles(&self) -> Vec<Value> {
        let all = KINDS.map(|kind| self.read(kind)["webhooks"].as_array().unwrap().clone()).concat();
        all.iter().map(|webhook| webhook["clientConfig"]["caBundle"].clone()).collect()
    }

    /// Fills in the caBundle, as `reconcile --certificates` and cert-manager do: under another field manager.
    fn trust(&self, bundle: &Value) {
        for kind in KINDS {
            let mut configuration = self.read(kind);
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                webhook["clientConfig"]["caBundle"] = bundle.clone();
            }
            let args = ["replace", "--field-manager=keeper", "-f", "-"];
            self.kubectl.succeed(&args, &configuration.to_string()).unwrap();
        }
    }
}

#[test]
fn registrations_are_probed_renewed_and_taken_away() {
    let guard = Guard::start(playground()).unwrap();
    let kubectl = guard.kubectl(&Identity::Admin).unwrap();
    let cluster = Registered { guard, kubectl };
    cluster.told(&["verify"], 0, "enforced");
    let trusted = cluster.bundles().remove(0);
    cluster.told(&["unregister", "--only=validating"], 0, "note: using context c (https://127.0.0.1:");
    cluster.told(&["unregister"], 0, "ValidatingWebhookConfiguration/codex-k8s-guard not found");
    cluster.told(&["unregister"], 0, "MutatingWebhookConfiguration/codex-k8s-guard not found");
    cluster.told(&["verify", "--wait=1s"], 1, "does not enforce the rules after 1s");

    let url = format!("https://{}", cluster.guard.webhook.address);
    // Registered without an authority, the webhook is not trusted until the caBundle is filled in.
    cluster.told(
        &["register", "--url", &url, "--wait=1s"],
        1,
        "caBundle of the webhook configurations verifies its certificate",
    );
    cluster.trust(&trusted);
    cluster.told(&["verify"], 0, "enforced");
    // The next upgrade leaves it unchanged.
    cluster.told(&["register", "--url", &url], 0, "enforced");
    assert!(cluster.bundles().iter().all(|bundle| *bundle == trusted));
    let from = ["register", "--print", "--inject-ca-from=guard/tls", "--url", &url];
    cluster.told(&from, 0, "cert-manager.io/inject-ca-from: guard/tls");
}
