//! Pods are admitted with the fields that plug-ins of the API server and a cloud's webhook have added.

use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::{Value, json};

use crate::harness::{APPLY, Answer, JSON, Send, annotation, namespace, playground, send, unique};

/// It lists the runtime class and the cloud's audience, but not the cluster's default priority class.
const POLICY: &str = "\
jobs: {runtimeClasses: [sandboxed], serviceAccounts: {fullEnv: [codex-runner], codeOnly: [default]}}
tokens: {audiences: {sts.amazonaws.com: 86400}}
";

fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| {
        let guard = Guard::start_with_policy(playground(), POLICY).unwrap();
        let post = |path: &str, object: Value| request(&guard, &Identity::Admin, "POST", path, &object).admitted();
        let priority = |name: &str, is_default: bool| {
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": 1000, "globalDefault": is_default})
        };
        post("/apis/scheduling.k8s.io/v1/priorityclasses", priority("usual", true));
        post("/apis/scheduling.k8s.io/v1/priorityclasses", priority("urgent", false));
        let tolerations = json!([{"key": "sandboxed", "operator": "Exists", "effect": "NoSchedule"}]);
        let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "sandboxed"},
            "handler": "runsc", "overhead": {"podFixed": {"cpu": "50m", "memory": "32Mi"}},
            "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": tolerations}});
        post("/apis/node.k8s.io/v1/runtimeclasses", class);
        guard
    })
}

#[track_caller]
fn request(guard: &Guard, identity: &Identity, method: &'static str, path: &str, body: &Value) -> Answer {
    let content_type = if method == "PATCH" { APPLY } else { JSON };
    send(&guard.control_plane, &Send { identity, method, path: path.to_owned(), content_type }, body)
}

#[track_caller]
fn ask(identity: &Identity, method: &'static str, path: &str, body: &Value) -> Answer {
    request(guard(), identity, method, path, body)
}

/// A run namespace whose gate is open and that has its default ServiceAccount.
#[track_caller]
fn managed() -> String {
    let name = format!("codex-issue-{}", unique());
    ask(&Identity::developer(), "POST", "/api/v1/namespaces", &namespace(&name)).admitted();
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    let get = |path: &str| ask(&Identity::Admin, "GET", path, &Value::Null);
    eventually("the namespace is ready", Duration::from_secs(30), || {
        let stored = get(&format!("/api/v1/namespaces/{name}")).body;
        (!annotation(&stored, "baseline-ready-at").is_empty() && get(&account).code == 200).then_some(())
    })
    .unwrap();
    name
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// A Pod, with other fields in its spec.
fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "agent", "image": "busybox:1.36"}]}});
    json_patch::merge(&mut pod["spec"], spec);
    pod
}

/// A container that requests a device.
fn with_device() -> Value {
    let resources = json!({"limits": {"example.com/device": "1"}});
    json!([{"name": "agent", "image": "busybox:1.36", "resources": resources}])
}

fn taints(pod: &Value) -> Vec<&str> {
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    tolerations.iter().map(|toleration| toleration["key"].as_str().unwrap()).collect()
}

#[test]
fn a_pod_of_a_user_passes_with_what_the_plug_ins_add() {
    let namespace = managed();
    let developer = Identity::developer();
    let spec = json!({"runtimeClassName": "sandboxed", "containers": with_device()});
    for (method, path) in
        [("POST", pods(&namespace)), ("PATCH", format!("{}/p?fieldManager=me", pods(&namespace)))]
    {
        let stored =
            ask(&developer, method, &path, &pod(if method == "POST" { "posted" } else { "p" }, &spec))
                .admitted();
        assert_eq!(
            (&stored["spec"]["priorityClassName"], &stored["spec"]["priority"]),
            (&json!("usual"), &json!(1000))
        );
        assert_eq!(stored["spec"]["nodeSelector"]["sandbox"], "yes");
        assert_eq!(stored["spec"]["overhead"]["cpu"], "50m");
        let added = ["node.kubernetes.io/memory-pressure", "example.com/device", "sandboxed"];
        assert!(added.iter().all(|key| taints(&stored).contains(key)), "{stored}");
        // The policy does not list the account that the API server has chosen.
        assert_eq!(stored["spec"]["serviceAccountName"], "codex-runner");
        // A later change finds nothing new.
        let noted = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": stored["metadata"]["name"],
            "labels": {"team": "a"}}});
        let path = format!(
            "{}/{}?fieldManager=other",
            pods(&namespace),
            stored["metadata"]["name"].as_str().unwrap()
        );
        ask(&developer, "PATCH", &path, &noted).admitted();
        let mut whole = ask(&developer, "GET", &path, &Value::Null).admitted();
        whole["metadata"]["managedFields"] = json!([{}]);
        ask(&developer, "PUT", &path, &whole).admitted();
    }
}

#[test]
fn a_pod_of_a_user_passes_with_tolerations_of_its_own_and_one_for_its_device() {
    let namespace = managed();
    let own = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 30});
    let spec = json!({"containers": with_device(), "tolerations": [own]});
    let stored = ask(&Identity::developer(), "POST", &pods(&namespace), &pod("p", &spec)).admitted();
    assert!(taints(&stored).contains(&"example.com/device"), "{stored}");
}

#[test]
fn what_a_user_writes_into_a_pod_is_refused_however_it_is_sent() {
    let namespace = managed();
    let toleration = json!([{"key": "sandboxed", "operator": "Exists", "effect": "NoSchedule"}]);
    for (spec, rule, field) in [
        (json!({"priorityClassName": "urgent"}), "JOB013", "spec.priorityClassName"),
        (json!({"priorityClassName": "usual"}), "JOB013", "spec.priorityClassName"),
        (json!({"tolerations": toleration}), "JOB016", "spec.tolerations[0]"),
        (json!({"serviceAccountName": "default"}), "JOB004", "spec.serviceAccountName"),
    ] {
        let developer = Identity::developer();
        let applied = format!("{}/p?fieldManager=me", pods(&namespace));
        ask(&developer, "POST", &pods(&namespace), &pod("p", &spec)).refused(403, rule, field, "");
        ask(&developer, "PATCH", &applied, &pod("p", &spec)).refused(403, rule, field, "");
        let other = json!({"manager": "other", "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {}}}});
        for forged in [json!([]), json!([{}]), json!([other]), json!([{"manager": "x", "operation": "Sing"}])]
        {
            let mut pod = pod("p", &spec);
            pod["metadata"]["managedFields"] = forged;
            let answer = ask(&developer, "POST", &pods(&namespace), &pod);
            answer.refused(403, rule, field, "");
        }
    }
}

#[test]
fn a_job_of_a_user_gets_its_pod_with_what_the_plug_ins_add() {
    let namespace = managed();
    let spec =
        json!({"restartPolicy": "Never", "runtimeClassName": "sandboxed", "containers": with_device()});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "agent"},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}}});
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    ask(&Identity::developer(), "POST", &jobs, &job).admitted();
    let made = || {
        let pods = ask(&Identity::Admin, "GET", &pods(&namespace), &Value::Null).admitted();
        pods["items"].as_array().unwrap().first().cloned()
    };
    let pod = eventually("the Job has its Pod", Duration::from_secs(30), made).unwrap();
    assert_eq!(pod["spec"]["priorityClassName"], "usual");
    assert!(taints(&pod).contains(&"sandboxed"), "{pod}");
    let mut urgent = job;
    urgent["spec"]["template"]["spec"]["priorityClassName"] = "usual".into();
    let field = "spec.template.spec.priorityClassName";
    ask(&Identity::developer(), "POST", &jobs, &urgent).refused(403, "JOB013", field, "leave it out");
}

#[test]
fn tokens_that_a_clouds_identity_webhook_injects_pass_if_the_policy_lists_their_audience() {
    let namespace = managed();
    let token = |audience: &str, seconds: u32| {
        let token = json!({"audience": audience, "expirationSeconds": seconds, "path": "token"});
        json!({"serviceAccountName": "codex-runner", "volumes": [
            {"name": "iam-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]})
    };
    let controller = Identity::service_account("kube-system", "job-controller");
    let source = "spec.volumes[0].projected.sources[0].serviceAccountToken";
    for identity in [controller, Identity::developer()] {
        let send = |spec: &Value| {
            ask(&identity, "POST", &format!("{}?dryRun=All", pods(&namespace)), &pod("p", spec))
        };
        send(&token("sts.amazonaws.com", 86_400)).admitted();
        let audience = format!("{source}.audience");
        send(&token("istio-ca", 43_200)).refused(403, "JOB006", &audience, "list it in tokens.audiences");
        let age = format!("{source}.expirationSeconds");
        send(&token("sts.amazonaws.com", 86_401)).refused(403, "JOB006", &age, "must be at most 86400");
    }
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts/codex-runner/token");
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": ["sts.amazonaws.com"], "expirationSeconds": 86_400}});
    ask(&Identity::agent(&namespace), "POST", &accounts, &asked).admitted();
}
