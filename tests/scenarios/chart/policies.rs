//! The admission policies: what they refuse, whom they never refuse, and their agreement with the policy.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_tests::helm::helm;
use codex_k8s_tests::{Answer, Identity};
use http::Method;
use serde_json::{Value, json};

use crate::rights::installation::{INSTALL_NAMESPACE, Installation};
use crate::values::{SETS, chart, objects, rendered, set};

const RBAC: &str = "rbac.authorization.k8s.io";

/// A cluster in which several identities may do everything, except for changing the admission policies.
struct Wide(Installation);

fn robot() -> Identity {
    Identity::service_account("tools", "robot")
}

/// Deploys all kinds of things, with every right of RBAC.
fn deployer() -> Identity {
    Identity::service_account("argocd", "deployer")
}

fn namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn bound(name: &str, role: &str, subjects: &[Value]) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// A Role for all resources that our objects are of, except for the admission policies.
fn every_right_but_one() -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": "wide"}, "rules": [
            {"apiGroups": ["", "apps", "batch", "policy", "networking.k8s.io", "coordination.k8s.io", "discovery.k8s.io", RBAC],
                "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["admissionregistration.k8s.io"], "verbs": ["*"],
                "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]}]})
}

fn wide() -> &'static Wide {
    static SHARED: OnceLock<Wide> = OnceLock::new();
    SHARED.get_or_init(Wide::new)
}

impl Wide {
    fn new() -> Self {
        let mut all = objects(&rendered(set("default")));
        all.retain(|object| object["kind"] != "Pod" && object["kind"] != "Job");
        let at = Installation::new(&all);
        at.apply(&all);
        let managed = json!({"codex-k8s.dev/managed-by": "codex-k8s-worker"});
        let person = json!({"apiGroup": RBAC, "kind": "User", "name": "oncall"});
        let ours = ["codex-k8s-gc", "codex-k8s-reconcile"].map(|name| account(INSTALL_NAMESPACE, name));
        at.apply(&[
            namespace("codex-issue-1", &managed),
            namespace("codex-issue-2", &json!({"codex-k8s.dev/managed-by": "somebody"})),
            namespace("codex-k8s-prod", &managed),
            namespace("payments", &Value::Null),
            every_right_but_one(),
            bound("wide", "wide", &[person, account("tools", "robot"), ours[0].clone(), ours[1].clone()]),
            bound("deployer", "cluster-admin", &[account("argocd", "deployer")]),
        ]);
        let new = Self(at);
        // The API server loads new policies a moment later.
        for (identity, path) in [
            (Identity::collector(), "/api/v1/namespaces/payments".to_owned()),
            (Identity::reconciler(), "/api/v1/namespaces/payments/serviceaccounts/default".to_owned()),
            (robot(), format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/configmaps/codex-k8s-policy")),
        ] {
            new.0.soon(&format!("{path} is not deleted"), || {
                (new.dry_run(&identity, Method::DELETE, &path, &Value::Null).code == 403).then_some(())
            });
        }
        new
    }

    fn dry_run(&self, identity: &Identity, method: Method, path: &str, body: &Value) -> Answer {
        self.0.send_as(identity, method, &format!("{path}?dryRun=All"), body)
    }

    #[track_caller]
    fn refused(&self, identity: &Identity, method: Method, path: &str, body: &Value, words: &str) {
        let answer = self.dry_run(identity, method, path, body);
        assert!(answer.code == 403 && answer.message().contains(words), "{path}: {answer:?}");
    }

    #[track_caller]
    fn admitted(&self, identity: &Identity, method: Method, path: &str, body: &Value) {
        let answer = self.dry_run(identity, method, path, body);
        assert!(answer.is_ok(), "{identity:?} {path}: {answer:?}");
    }
}

#[test]
fn the_collectors_token_deletes_run_namespaces_that_are_not_protected_and_no_other() {
    let wide = wide();
    let of = |name: &str| format!("/api/v1/namespaces/{name}");
    let collector = Identity::collector();
    let none = Value::Null;
    wide.admitted(&collector, Method::DELETE, &of("codex-issue-1"), &none);
    for (name, words) in [
        ("payments", "namespace payments is no run namespace"),
        ("codex-issue-2", "namespace codex-issue-2 is no run namespace"),
        ("kube-node-lease", "namespace kube-node-lease is no run namespace"),
        (INSTALL_NAMESPACE, "namespace codex-k8s-guard is no run namespace"),
        ("codex-k8s-prod", "namespace codex-k8s-prod is protected: the garbage collector never deletes it"),
    ] {
        wide.refused(&collector, Method::DELETE, &of(name), &none, words);
    }
    for operator in [Identity::Admin, Identity::user("oncall"), robot(), deployer()] {
        wide.admitted(&operator, Method::DELETE, &of("payments"), &none);
    }
}

#[test]
fn the_reconcilers_token_grants_nothing_outside_of_run_namespaces() {
    let wide = wide();
    let reconciler = Identity::reconciler();
    let roles = |name: &str| format!("/apis/{RBAC}/v1/namespaces/{name}/roles");
    let bindings = |name: &str| format!("/apis/{RBAC}/v1/namespaces/{name}/rolebindings");
    let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    wide.admitted(&reconciler, Method::POST, &roles("codex-issue-1"), &role);
    for (name, words) in [
        ("payments", "is no run namespace"),
        ("kube-system", "is no run namespace"),
        ("codex-k8s-prod", "is not protected"),
    ] {
        wide.refused(&reconciler, Method::POST, &roles(name), &role, words);
    }
    let binding = |kind: &str, subject: Value| {
        json!({"apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": "b"},
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": "r"}, "subjects": [subject]})
    };
    let own = || account("codex-issue-1", "codex-runner");
    wide.admitted(&reconciler, Method::POST, &bindings("codex-issue-1"), &binding("Role", own()));
    let person = json!({"apiGroup": RBAC, "kind": "User", "name": "jane"});
    for object in [
        binding("ClusterRole", own()),
        binding("Role", person),
        binding("Role", account(INSTALL_NAMESPACE, "codex-k8s-reconcile")),
    ] {
        let words = "binds Roles of a run namespace to ServiceAccounts of the same";
        wide.refused(&reconciler, Method::POST, &bindings("codex-issue-1"), &object, words);
    }
    let payments = "/api/v1/namespaces/payments";
    wide.refused(
        &reconciler,
        Method::DELETE,
        &format!("{payments}/serviceaccounts/default"),
        &Value::Null,
        "is no run namespace",
    );
    let (note, label) =
        (json!({"metadata": {"annotations": {"a": "b"}}}), json!({"metadata": {"labels": {"a": "b"}}}));
    wide.refused(&reconciler, Method::PATCH, payments, &note, "is no run namespace");
    wide.admitted(&reconciler, Method::PATCH, "/api/v1/namespaces/codex-issue-1", &note);
    wide.refused(
        &reconciler,
        Method::PATCH,
        "/api/v1/namespaces/codex-issue-1",
        &label,
        "does not change the labels",
    );
}

/// A configuration that matches no existing resource.
fn configuration(client_config: &Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "codex-k8s-guard"}, "webhooks": [{"name": "nothing.guard.codex-k8s.dev", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": client_config,
            "rules": [{"apiGroups": ["nothing"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]}]})
}

fn service(namespace: &str) -> Value {
    json!({"service": {"namespace": namespace, "name": "codex-k8s-webhook"}})
}

#[test]
fn the_reconcilers_token_has_no_one_called_but_our_own_service() {
    let wide = wide();
    let reconciler = Identity::reconciler();
    let registered = configuration(&service(INSTALL_NAMESPACE));
    wide.0.apply(std::slice::from_ref(&registered));
    let path = path(&registered);
    let called = |client_config: &Value| json!({"webhooks": configuration(client_config)["webhooks"]});
    let mut ours = called(&service(INSTALL_NAMESPACE));
    ours["webhooks"][0]["timeoutSeconds"] = json!(7);
    wide.admitted(&reconciler, Method::PATCH, &path, &ours);
    for other in [service("payments"), json!({"url": "https://example.org/"})] {
        let words = "call the Service codex-k8s-webhook of its own namespace";
        wide.refused(&reconciler, Method::PATCH, &path, &called(&other), words);
    }
    wide.refused(&robot(), Method::DELETE, &path, &Value::Null, MAY_NOT);
    wide.admitted(&Identity::user("oncall"), Method::DELETE, &path, &Value::Null);
}

/// The path of an object.
fn path(object: &Value) -> String {
    let (version, kind) =
        (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap().to_lowercase());
    let lead = if version.contains('/') { "apis" } else { "api" };
    let plural =
        if kind.ends_with('y') { format!("{}ies", kind.trim_end_matches('y')) } else { format!("{kind}s") };
    let place =
        object["metadata"]["namespace"].as_str().map_or(String::new(), |name| format!("/namespaces/{name}"));
    format!("/{lead}/{version}{place}/{plural}/{}", object["metadata"]["name"].as_str().unwrap())
}

/// All objects of the chart that the API server can match with admission policies.
fn ours() -> Vec<Value> {
    let mut all = objects(&rendered(set("default")));
    let is_left_out = |object: &Value| {
        let kind = object["kind"].as_str().unwrap();
        // The Pods and Jobs of hooks exist only while the hooks run.
        kind.starts_with("ValidatingAdmissionPolicy") || ["Pod", "Job"].contains(&kind)
    };
    all.retain(|object| !is_left_out(object));
    all
}

const MAY_NOT: &str = "system:serviceaccount:tools:robot may not change what belongs to codex-k8s-guard";

#[test]
fn no_other_service_account_changes_what_is_ours() {
    let wide = wide();
    let robot = robot();
    for object in ours() {
        wide.refused(&robot, Method::DELETE, &path(&object), &Value::Null, MAY_NOT);
        if object["kind"] != "PersistentVolumeClaim" {
            let note = json!({"metadata": {"annotations": {"a": "b"}}});
            wide.refused(&robot, Method::PATCH, &path(&object), &note, MAY_NOT);
        }
    }
    let home = format!("/api/v1/namespaces/{INSTALL_NAMESPACE}");
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/leases");
    let named = |kind: &str, version: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    let lease = named("Lease", "coordination.k8s.io/v1", "reservation-cluster-1");
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/endpointslices");
    let mut slice = named("EndpointSlice", "discovery.k8s.io/v1", "mine");
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "codex-k8s-webhook"});
    slice["addressType"] = "IPv4".into();
    slice["endpoints"] = json!([{"addresses": ["192.0.2.7"]}]);
    let scale = json!({"spec": {"replicas": 0}});
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let mut secret = named("Secret", "v1", "codex-k8s-webhook-ca");
    secret["data"] = json!({});
    for (method, path, body) in [
        (Method::DELETE, home.clone(), Value::Null),
        (Method::POST, leases, lease),
        (Method::POST, slices, slice),
        (Method::POST, format!("{home}/secrets"), secret),
        (
            Method::PATCH,
            format!("/apis/apps/v1/namespaces/{INSTALL_NAMESPACE}/deployments/codex-k8s-webhook/scale"),
            scale,
        ),
        (Method::POST, format!("{home}/serviceaccounts/codex-k8s-reconcile/token"), token),
        // A request on a collection does not name the objects that it deletes.
        (Method::DELETE, format!("{home}/configmaps"), Value::Null),
    ] {
        wide.refused(&robot, method, &path, &body, MAY_NOT);
    }
    let elsewhere = "/api/v1/namespaces/payments/configmaps";
    wide.admitted(&robot, Method::POST, &format!("{home}/configmaps"), &named("ConfigMap", "v1", "mine"));
    wide.admitted(&robot, Method::POST, elsewhere, &named("ConfigMap", "v1", "codex-k8s-policy"));
    let mine = named("ClusterRole", &format!("{RBAC}/v1"), "codex-k8s-worker");
    wide.admitted(&robot, Method::POST, &format!("/apis/{RBAC}/v1/clusterroles"), &mine);
}

#[test]
fn people_whoever_installs_and_the_clusters_controllers_are_never_refused() {
    let wide = wide();
    for operator in [Identity::Admin, Identity::user("oncall"), deployer()] {
        for object in ours() {
            wide.admitted(&operator, Method::DELETE, &path(&object), &Value::Null);
        }
    }
    wide.0.soon("the endpoint controller has made its slices", || {
        let slices = wide
            .0
            .find(&format!("/apis/discovery.k8s.io/v1/namespaces/{INSTALL_NAMESPACE}/endpointslices"))?;
        (!slices["items"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn an_operator_installs_upgrades_and_uninstalls_past_the_policies() {
    let at = Installation::new(&[
        bound("deployer", "cluster-admin", &[account("argocd", "deployer")]),
        every_right_but_one(),
        bound("wide", "wide", &[account("tools", "robot")]),
    ]);
    let chart = chart().display().to_string();
    let policy = format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/configmaps/codex-k8s-policy?dryRun=All");
    let refused = |code: u16| {
        at.soon(&format!("the robot is answered {code}"), || {
            (at.send_as(&robot(), Method::DELETE, &policy, &Value::Null).code == code).then_some(())
        });
    };
    for operator in [Identity::Admin, deployer()] {
        let kubeconfig = at.control_plane.kubeconfig(&operator).unwrap();
        let run = |args: &[&str], values: &str| {
            // Hooks need nodes for their Pods.
            let all = [args, &["--namespace", INSTALL_NAMESPACE, "--no-hooks"]].concat();
            let ran = helm(&all, values, Some(&kubeconfig)).unwrap();
            assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        };
        // The cluster has no StorageClass, and the class of a claim cannot change.
        let volume = "auditStore: {volume: {storageClassName: standard}}";
        run(&["install", "guard", &chart], &format!("gc: {{{volume}}}"));
        refused(403);
        let more = "serve: {replicas: 3}\npolicy: {rules: {JOB018: warn}}";
        run(&["upgrade", "guard", &chart], &format!("gc: {{mode: cronjob, {volume}}}\n{more}"));
        run(&["upgrade", "guard", &chart, "--reset-then-reuse-values"], "");
        // The lock itself can be deleted before the objects that it protects.
        let lock = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/codex-k8s-guard";
        at.send_as(&operator, Method::DELETE, lock, &Value::Null).object().unwrap();
        refused(200);
        run(&["uninstall", "guard"], "");
        refused(404);
    }
}

/// The strings of a CEL list.
fn list(text: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once('[').unwrap();
    let (inner, _) = rest.split_once(']').unwrap();
    inner.split(", ").map(|word| word.trim_matches('\'').to_owned()).collect()
}

#[test]
fn the_policies_name_the_namespaces_that_the_policy_protects_and_our_objects() {
    for set in &SETS {
        let objects = objects(&rendered(set));
        let find = |kind: &str, name: &str| {
            objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        };
        let map = find("ConfigMap", "codex-k8s-policy").unwrap();
        let policy = RunPolicy::from_yaml(map["data"]["policy.yaml"].as_str().unwrap()).unwrap();
        let Some(collector) = find("ValidatingAdmissionPolicy", "codex-k8s-gc") else {
            assert_eq!(set.0, "open-network");
            continue;
        };
        let namespaces = &policy.namespaces;
        let mut expected: BTreeSet<_> =
            namespaces.protected.iter().chain(&namespaces.platform).cloned().collect();
        expected.insert(set.1.to_owned());
        let expression = collector["spec"]["validations"][1]["expression"].as_str().unwrap();
        assert_eq!(list(expression), expected, "{}", set.0);
        let guard = find("ValidatingAdmissionPolicy", "codex-k8s-guard").unwrap();
        let of_ours = guard["spec"]["matchConditions"][2]["expression"].as_str().unwrap();
        let names = list(of_ours.rsplit_once(" in ").unwrap().1);
        let unnamed: Vec<_> = objects
            .iter()
            .filter(|object| !object["apiVersion"].as_str().unwrap().starts_with("cert-manager.io/"))
            // Objects of the operator's own are not protected, and a Job does its work once.
            .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/part-of"] == "codex-k8s-guard")
            .map(|object| object["metadata"]["name"].as_str().unwrap())
            .filter(|name| !names.contains(*name) && !name.starts_with("codex-k8s-gc-audit-"))
            .collect();
        assert!(unnamed.is_empty(), "{}: {unnamed:?}", set.0);
    }
}
