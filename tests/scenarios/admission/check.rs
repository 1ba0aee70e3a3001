//! The offline check gives the verdict of the webhook behind a real API server, word for word; so does the webhook when
//! a review is sent to it directly.

mod connections;
mod corpus;
mod handler;
mod malformed;
mod reading;

use codex_k8s_shared::policy::{API_VERSION, KIND, RunPolicy};
use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Answer, Caller, Identity};
use codex_k8s_webhook::check::{CheckRequest, Checker, Document, Evaluation, Requester, Verdict};
use codex_k8s_webhook::review::Operation;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{cluster, managed, read_namespace, unique};
use connections::idle_pod;
use corpus::{KINDS, changes, changes_of_namespaces, key_of, namespaces, object, set, sets_of_changes};
use handler::{Ask, Handler};

/// An identity, and its name in a review.
fn identities(namespace: &str) -> [(Identity, Requester); 3] {
    let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let requester = |user: String, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Requester { user, groups }
    };
    [
        (Identity::developer(), requester("jane".to_owned(), &["every-right"])),
        (Identity::agent(namespace), requester("agent".to_owned(), &[])),
        (Identity::worker(), requester(account("codex-k8s-ai-staging", "codex-k8s-worker"), &[])),
    ]
}

/// The policy of the webhook that the scenarios call.
fn policy_of_tests() -> RunPolicy {
    RunPolicy::from_yaml(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{WITHOUT_QUOTAS}")).unwrap()
}

/// An existing namespace, as in a file.
fn document_of(namespace: &str) -> Document {
    let mut namespace = read_namespace(namespace);
    (namespace["apiVersion"], namespace["kind"]) = ("v1".into(), "Namespace".into());
    Document::of_nowhere(namespace)
}

struct Comparison {
    policy: RunPolicy,
    namespace: Document,
    handler: Handler,
    compared: usize,
    /// Reviews that the webhook itself answered.
    handled: usize,
    refused: usize,
    /// Requests that the API server itself refuses, before our webhook or independently of it.
    elsewhere: usize,
    disagreements: Vec<String>,
}

impl Comparison {
    fn new(namespace: &str, handler: Handler) -> Self {
        Self {
            policy: policy_of_tests(),
            namespace: document_of(namespace),
            handler,
            compared: 0,
            handled: 0,
            refused: 0,
            elsewhere: 0,
            disagreements: Vec::new(),
        }
    }

    async fn evaluate(
        &self,
        requester: &Requester,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
    ) -> Evaluation {
        let name = self.namespace.name().to_owned();
        let asked =
            CheckRequest { default_namespace: name, operation, ..CheckRequest::creation(requester.clone()) };
        let mut checker = Checker::new(self.policy.clone(), asked);
        checker.assume(std::slice::from_ref(&self.namespace)).unwrap();
        let old: Vec<_> = old.map(|old| Document::of_nowhere(old.clone())).into_iter().collect();
        checker.assume(&old).unwrap();
        let evaluated = checker.evaluate_all(&[Document::of_nowhere(object.clone())]).await.unwrap();
        evaluated.into_iter().next().unwrap()
    }

    fn compare(&mut self, object: &Value, evaluated: &Evaluation, answer: &Answer) {
        let denial = answer.message().split_once("denied the request: ").map(|(_, message)| message);
        if !answer.is_ok() && denial.is_none() {
            self.elsewhere += 1;
            return;
        }
        self.compared += 1;
        self.refused += usize::from(denial.is_some());
        let mut wrong = Vec::new();
        let same = |told: Option<&str>| told.map(|told| without_times(told, object));
        if same(evaluated.message.as_deref()) != same(denial) {
            wrong.push(format!("  offline {:?}\n  server  {denial:?}", evaluated.message));
        }
        let told = |warning: &String| answer.warnings.iter().any(|header| header.contains(&quoted(warning)));
        if !evaluated.warnings.iter().all(told) {
            wrong.push(format!(
                "  offline warns {:?}\n  server  warns {:?}",
                evaluated.warnings, answer.warnings
            ));
        }
        if evaluated.result != Verdict::Denied {
            wrong.extend(evaluated.patch.0.iter().filter_map(|operation| differs(operation, &answer.body)));
        }
        self.disagreements.extend(wrong.into_iter().map(|wrong| format!("{object}\n{wrong}")));
    }

    /// Sends the request to the webhook directly, and compares the whole response.
    async fn compare_handler(&mut self, ask: &Ask<'_>, evaluated: &Evaluation) {
        let said = self.handler.ask(ask).await;
        self.handled += 1;
        let named = ask.object.or(ask.old).unwrap();
        let same = |told: &Option<String>| told.as_deref().map(|told| without_times(told, named));
        let offline = (same(&evaluated.message), evaluated.rules().join(" "), &evaluated.warnings);
        let handler = (same(&said.message), said.rules.join(" "), &said.warnings);
        let mut wrong = Vec::new();
        if offline != handler {
            wrong.push(format!("  offline {offline:?}\n  handler {handler:?}"));
        }
        if evaluated.result != Verdict::Denied {
            wrong.extend(evaluated.patch.0.iter().filter_map(|operation| differs(operation, &said.object)));
        }
        let about = |wrong| format!("{:?} {named}\n{wrong}", ask.operation);
        self.disagreements.extend(wrong.into_iter().map(about));
    }
}

/// A request of the corpus, as the API server would send it.
fn ask<'a>(
    namespace: &'a str,
    requester: &'a Requester,
    operation: Operation,
    object: Option<&'a Value>,
    old: Option<&'a Value>,
) -> Ask<'a> {
    let named = object.or(old).unwrap();
    let (kind, name) = (named["kind"].as_str().unwrap(), named["metadata"]["name"].as_str().unwrap());
    Ask { requester, operation, namespace, kind, name, subresource: None, object, old }
}

/// The two names of an account, as the API server reads them.
fn with_both_names(mut object: Value) -> Value {
    let spec = &mut template(&mut object)["spec"];
    let account = ["serviceAccountName", "serviceAccount"].iter().find_map(|name| spec.get(*name).cloned());
    if let Some(account) = account {
        (spec["serviceAccountName"], spec["serviceAccount"]) = (account.clone(), account);
    }
    object
}

/// The messages without the times that are not the object's own, because each verdict is given at a different time.
fn without_times(told: &str, object: &Value) -> String {
    let own = object.to_string();
    // The time to live of a lease that ends at a given time is computed from now, and may be too long for a duration.
    let is_duration = |word: &str| {
        word.ends_with('s') && word.chars().all(|part| part.is_ascii_digit() || "hms".contains(part))
    };
    let is_time = |word: &str| word.parse::<jiff::Timestamp>().is_ok() || is_duration(word);
    let is_other = |word: &str| is_time(word) && !own.contains(word);
    told.split('"').map(|word| if is_other(word) { "(a time)" } else { word }).collect::<Vec<_>>().join("\"")
}

/// The warning, escaped as in its HTTP header.
fn quoted(warning: &str) -> String {
    warning.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Compares a value set offline with the stored one, except for the times of the lease, which move on.
fn differs(operation: &json_patch::PatchOperation, stored: &Value) -> Option<String> {
    let operation = serde_json::to_value(operation).unwrap();
    let path = operation["path"].as_str()?;
    let wanted = operation.get("value").filter(|_| operation["op"] != "test" && !path.contains("-at"))?;
    let found = stored.pointer(path)?;
    let is_list_or_map = wanted.is_object() || wanted.is_array();
    (!is_list_or_map && found != wanted).then(|| format!("  offline {path}: {wanted}\n  server  {found}"))
}

/// Existing objects of the namespace, with their paths.
async fn there(namespace: &str) -> Vec<(Value, String)> {
    let worker = Caller::new(cluster(), &Identity::worker()).await.unwrap();
    let mut there = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.1 != "Pod") {
        let (path, mut object) = (kind.3.replace("{}", namespace), object(kind, &unique(), &[]));
        match kind.1 {
            "Job" | "CronJob" => object["spec"]["suspend"] = true.into(),
            "DaemonSet" => {}
            _ => object["spec"]["replicas"] = 0.into(),
        }
        let answer = worker.send(Method::POST, &path, &object).await.unwrap();
        assert!(answer.is_ok(), "{}", answer.message());
        let name = answer.body["metadata"]["name"].as_str().unwrap();
        there.push((answer.body.clone(), format!("{path}/{name}")));
    }
    there
}

/// The Pod template of an object.
fn template(object: &mut Value) -> &mut Value {
    let kind = KINDS.iter().find(|kind| object["kind"] == kind.1).unwrap();
    object.pointer_mut(kind.2).unwrap()
}

impl Comparison {
    async fn creations(&mut self, caller: &Caller, requester: &Requester) {
        let namespace = self.namespace.name().to_owned();
        let workloads = KINDS.iter().flat_map(|kind| {
            let all = sets_of_changes().into_iter();
            let path = kind.3.replace("{}", &namespace);
            all.map(move |changes| (object(kind, "j", &changes), path.clone()))
        });
        let namespaces = namespaces().into_iter().map(|object| (object, "/api/v1/namespaces".to_owned()));
        for (object, path) in workloads.chain(namespaces) {
            let evaluated = self.evaluate(requester, Operation::Create, &object, None).await;
            let answer = caller.send(Method::POST, &format!("{path}?dryRun=All"), &object).await.unwrap();
            self.compare(&object, &evaluated, &answer);
            if let Some(made) = self.handler.made_of(&object, &path, &namespace).await {
                let ask = ask(&namespace, requester, Operation::Create, Some(&made), None);
                self.compare_handler(&ask, &evaluated).await;
            }
        }
    }

    async fn updates(&mut self, caller: &Caller, requester: &Requester, there: &[(Value, String)]) {
        for (old, path) in there {
            for change in changes() {
                let mut object = old.clone();
                set(template(&mut object), std::slice::from_ref(&change));
                self.update(caller, requester, &object, old, path).await;
            }
        }
        let old = self.namespace.object.clone();
        let path = format!("/api/v1/namespaces/{}", self.namespace.name());
        for (pointer, value) in changes_of_namespaces() {
            let (mut object, (parent, key)) = (old.clone(), key_of(pointer));
            object.pointer_mut(parent).unwrap()[key] = value;
            self.update(caller, requester, &object, &old, &path).await;
        }
    }

    async fn update(
        &mut self,
        caller: &Caller,
        requester: &Requester,
        object: &Value,
        old: &Value,
        path: &str,
    ) {
        let evaluated = self.evaluate(requester, Operation::Update, object, Some(old)).await;
        // Controllers write as well: the resource version is not compared.
        let mut sent = object.clone();
        sent["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let answer = caller.send(Method::PUT, &format!("{path}?dryRun=All"), &sent).await.unwrap();
        self.compare(object, &evaluated, &answer);
        let namespace = self.namespace.name().to_owned();
        let object =
            if object["kind"] == "Namespace" { object.clone() } else { with_both_names(object.clone()) };
        let ask = ask(&namespace, requester, Operation::Update, Some(&object), Some(old));
        self.compare_handler(&ask, &evaluated).await;
    }

    async fn deletions(&mut self, caller: &Caller, requester: &Requester, there: &[(Value, String)]) {
        let namespace = self.namespace.object.clone();
        let path = format!("/api/v1/namespaces/{}", self.namespace.name());
        for (object, path) in there.iter().chain([&(namespace, path)]) {
            let evaluated = self.evaluate(requester, Operation::Delete, object, Some(object)).await;
            let options = json!({"dryRun": ["All"], "propagationPolicy": "Background"});
            let answer = caller.send(Method::DELETE, path, &options).await.unwrap();
            self.compare(object, &evaluated, &answer);
            let home = self.namespace.name().to_owned();
            let ask = ask(&home, requester, Operation::Delete, None, Some(object));
            self.compare_handler(&ask, &evaluated).await;
        }
    }
}

#[test]
fn files_are_evaluated_as_the_api_server_would_have_it_word_for_word() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let namespace = managed();
    let unguarded = Handler::unguarded();
    let handler = runtime.block_on(Handler::connect(unguarded));
    let mut comparison = Comparison::new(&namespace, handler);
    runtime.block_on(async {
        let (there, pod) = (there(&namespace).await, idle_pod(&namespace).await);
        for (identity, requester) in identities(&namespace) {
            let caller = Caller::new(cluster(), &identity).await.unwrap();
            comparison.creations(&caller, &requester).await;
            comparison.updates(&caller, &requester, &there).await;
            comparison.deletions(&caller, &requester, &there).await;
            comparison.connections(&caller, &requester, &pod).await;
        }
    });
    let Comparison { compared, handled, refused, elsewhere, disagreements, .. } = comparison;
    let told = format!(
        "{compared} compared, {refused} refused, {elsewhere} refused elsewhere, {handled} compared with the handler"
    );
    println!("{told}, {} disagree", disagreements.len());
    assert!(
        disagreements.is_empty(),
        "{told}; {} disagree:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );
    assert!(compared > 1500 && refused > 500 && elsewhere < compared / 4 && handled > 1500, "{told}");
}
