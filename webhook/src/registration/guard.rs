//! The webhooks for the other objects in run namespaces, and for bindings elsewhere.
//!
//! They include deletions, which must never keep a namespace from ending: deletions by the cluster's controllers are
//! not sent to the webhook at all, and others only for objects of the baseline.

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{RunPolicy, Subjects};
use serde_json::{Value, json};

use super::{cel, cel_list, managed_selector, rule, webhook};
use crate::rules::rbac::{ANONYMOUS, EVERYBODY, TOKEN_SECRET};
use crate::rules::requester::{API_SERVER, KUBELETS};

const RBAC: &str = "rbac.authorization.k8s.io";
const WRITES: [&str; 2] = ["CREATE", "UPDATE"];

/// Returns the webhook for objects with a baseline name that a manager writes.
pub(super) fn mutating(policy: &RunPolicy, client_config: &Value) -> Vec<Value> {
    let rules = json!([
        rule("", &["serviceaccounts", "resourcequotas", "limitranges"], &WRITES, "Namespaced"),
        rule(RBAC, &["roles", "rolebindings"], &WRITES, "Namespaced"),
    ]);
    let by_a_manager = is_one_of(&policy.identities.managers);
    let named = format!("object != null && {}", has_baseline_name(policy, "object"));
    let conditions = conditions(&[("by-a-manager", &by_a_manager), ("the-baseline", &named)]);
    vec![webhook("baseline", "Ignore", client_config, &rules, &conditions, Some(managed_selector()))]
}

/// Returns one webhook per concern, each as narrow as possible.
pub(super) fn validating(policy: &RunPolicy, client_config: &Value) -> Vec<Value> {
    let within = |subject, rules: &Value, conditions: &Value| {
        webhook(subject, "Fail", client_config, rules, conditions, Some(managed_selector()))
    };
    let bookkeeping = format!("!{}", is_one_of(&cluster_controllers(policy)));
    let not_bookkeeping = ("not-bookkeeping", bookkeeping.as_str());
    let cluster = format!("!{}", is_one_of(&policy.identities.quota_controllers));
    let kubelet = format!("!(has(request.userInfo.groups) && {} in request.userInfo.groups)", cel(KUBELETS));
    let token = format!("object != null && has(object.type) && object.type == {}", cel(TOKEN_SECRET));
    let mut all = vec![
        within(
            "baseline",
            &baseline_rules(),
            &conditions(&[not_bookkeeping, ("the-baseline", &is_baseline(policy))]),
        ),
        within(
            "roles",
            &json!([rule(RBAC, &["roles", "rolebindings"], &WRITES, "Namespaced")]),
            &conditions(&[not_bookkeeping]),
        ),
        within(
            "quotas",
            &json!([rule("", &["resourcequotas", "limitranges"], &WRITES, "Namespaced")]),
            &conditions(&[not_bookkeeping]),
        ),
        within(
            "quota-status",
            &json!([rule("", &["resourcequotas/status"], &["UPDATE"], "Namespaced")]),
            &conditions(&[("not-the-clusters-own", &cluster)]),
        ),
        within(
            "token-secrets",
            &json!([rule("", &["secrets"], &["CREATE"], "Namespaced")]),
            &conditions(&[("token-secrets", &token)]),
        ),
        within(
            "tokens",
            &json!([rule("", &["serviceaccounts/token"], &["CREATE"], "Namespaced")]),
            &conditions(&[("not-a-kubelets", &kubelet)]),
        ),
    ];
    all.extend(bindings_elsewhere(policy, client_config));
    all.extend(everybodys_roles(policy, client_config));
    all.extend(bare_slots(policy, client_config));
    all
}

/// Matches writes of `ServiceAccounts` and all deletions. Other writes have their own webhook.
fn baseline_rules() -> Value {
    json!([
        rule("", &["serviceaccounts"], &["CREATE", "UPDATE", "DELETE"], "Namespaced"),
        rule("", &["resourcequotas", "limitranges"], &["DELETE"], "Namespaced"),
        rule(RBAC, &["roles", "rolebindings"], &["DELETE"], "Namespaced"),
    ])
}

/// Returns the webhooks for bindings outside managed namespaces. While the webhook is down, a binding is denied if it
/// names a namespace that can be a run namespace, or all users or `ServiceAccounts`. Any other binding is allowed then,
/// even if its namespace happens to be managed, because requests that are out of scope must not be denied.
fn bindings_elsewhere(policy: &RunPolicy, client_config: &Value) -> [Value; 2] {
    let rules = json!([
        rule(RBAC, &["rolebindings"], &WRITES, "Namespaced"),
        rule(RBAC, &["clusterrolebindings"], &WRITES, "Cluster"),
    ]);
    let unmanaged = json!({"matchExpressions": [{"key": keys::MANAGED_BY, "operator": "DoesNotExist"}]});
    let not_the_api_server = format!("request.userInfo.username != {}", cel(API_SERVER));
    let into_runs = names_newly(&reaches_into_a_run(policy));
    // Not restricted to new subjects: in a binding of thousands, a search for each among thousands would exceed the
    // cost limit of a condition, and with `Ignore` the binding would then pass without a review.
    let others = format!(
        "object != null && has(object.subjects) && object.subjects.exists(s, {})",
        names_an_account(policy)
    );
    let entry = |subject, failure_policy, name, expression: &str| {
        let conditions = conditions(&[("not-the-api-server", &not_the_api_server), (name, expression)]);
        webhook(subject, failure_policy, client_config, &rules, &conditions, Some(unmanaged.clone()))
    };
    [
        entry("bindings-into-runs", "Fail", "into-runs", &into_runs),
        entry("other-bindings", "Ignore", "other-accounts", &others),
    ]
}

/// Returns the webhook for `ClusterRoles` that are bound to all users, by their names.
fn everybodys_roles(policy: &RunPolicy, client_config: &Value) -> Option<Value> {
    if policy.rbac.everybody.is_empty() {
        return None;
    }
    let rules = json!([rule(RBAC, &["clusterroles"], &WRITES, "Cluster")]);
    let not_the_api_server = format!("request.userInfo.username != {}", cel(API_SERVER));
    let listed = format!(
        "object != null && has(object.metadata.name) && object.metadata.name in {}",
        cel_list(&policy.rbac.everybody)
    );
    let conditions =
        conditions(&[("not-the-api-server", &not_the_api_server), ("bound-to-all-users", &listed)]);
    Some(webhook("cluster-roles", "Fail", client_config, &rules, &conditions, None))
}

/// Returns the webhook for objects in namespaces with the name of a slot, before they are managed. It is a single one,
/// because there is hardly ever such a namespace, and every workload of the cluster pays for the condition.
fn bare_slots(policy: &RunPolicy, client_config: &Value) -> Option<Value> {
    let in_a_slot: Vec<_> = policy
        .namespaces
        .slot_projects
        .iter()
        .map(|project| {
            let stem = format!("{project}-dev-");
            let number = stem.len();
            format!(
                "(request.namespace.startsWith({}) && request.namespace.substring({number}).matches('^[1-9][0-9]*$'))",
                cel(&stem)
            )
        })
        .collect();
    if in_a_slot.is_empty() {
        return None;
    }
    let apps = ["deployments", "statefulsets", "daemonsets", "replicasets", "controllerrevisions"];
    let rules = json!([
        rule("batch", &["jobs", "cronjobs"], &WRITES, "Namespaced"),
        rule("", &["pods", "replicationcontrollers", "serviceaccounts"], &WRITES, "Namespaced"),
        rule("", &["pods/ephemeralcontainers"], &["UPDATE"], "Namespaced"),
        rule("apps", &apps, &WRITES, "Namespaced"),
        rule(RBAC, &["roles", "rolebindings"], &WRITES, "Namespaced"),
        rule(
            "",
            &["secrets", "serviceaccounts/token", "bindings", "pods/binding"],
            &["CREATE"],
            "Namespaced"
        ),
    ]);
    let bookkeeping = format!(
        "!((request.operation == 'UPDATE' || request.kind.kind in ['Binding', 'ControllerRevision', 'ServiceAccount']) \
         && request.userInfo.username in {})",
        cel_list(&cluster_controllers(policy).users)
    );
    let kubelet = format!("!(has(request.userInfo.groups) && {} in request.userInfo.groups)", cel(KUBELETS));
    let token = format!(
        "request.kind.kind != 'Secret' || (object != null && has(object.type) && object.type == {})",
        cel(TOKEN_SECRET)
    );
    let accounts = format!("request.kind.kind != 'ServiceAccount' || {}", is_baseline(policy));
    let conditions = conditions(&[
        ("in-a-slot", &in_a_slot.join(" || ")),
        ("not-bookkeeping", &bookkeeping),
        ("accounts-of-the-baseline", &accounts),
        ("not-a-kubelets", &kubelet),
        ("token-secrets", &token),
    ]);
    let unmanaged = json!({"matchExpressions": [{"key": keys::MANAGED_BY, "operator": "DoesNotExist"}]});
    Some(webhook("bare-slots", "Fail", client_config, &rules, &conditions, Some(unmanaged)))
}

fn conditions(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
}

fn cluster_controllers(policy: &RunPolicy) -> Subjects {
    let mut all = policy.identities.namespace_controllers.clone();
    for user in &policy.identities.workload_controllers.users {
        if !all.users.contains(user) {
            all.users.push(user.clone());
        }
    }
    all.groups.clear();
    all
}

/// Returns the expression that the user, or one of its groups, is listed.
fn is_one_of(subjects: &Subjects) -> String {
    let user = format!("request.userInfo.username in {}", cel_list(&subjects.users));
    if subjects.groups.is_empty() {
        return format!("({user})");
    }
    let groups = cel_list(&subjects.groups);
    format!("({user} || (has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in {groups})))")
}

fn has_baseline_name(policy: &RunPolicy, object: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    for name in BaselineKind::ALL.into_iter().flat_map(|kind| names(policy, kind)) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    format!("(has({object}.metadata.name) && {object}.metadata.name in {})", cel_list(&all))
}

/// Returns the expression that an object is part of the baseline by its name or its label, before or after. On a
/// deletion, only the old object has the name.
fn is_baseline(policy: &RunPolicy) -> String {
    let labelled = format!("(has(o.metadata.labels) && {} in o.metadata.labels)", cel(keys::MANAGED_BY));
    format!("[object, oldObject].exists(o, o != null && ({} || {labelled}))", has_baseline_name(policy, "o"))
}

/// Returns the expression that a condition on `s` is true for a new subject of a binding.
fn names_newly(expression: &str) -> String {
    let known = "oldObject != null && has(oldObject.subjects) && s in oldObject.subjects";
    format!(
        "object != null && has(object.subjects) && object.subjects.exists(s, ({expression}) && !({known}))"
    )
}

/// Returns the prefixes of the names that a run namespace can have: for a slot, its project and `-dev-`.
fn run_name_stems(policy: &RunPolicy) -> impl Iterator<Item = String> {
    let namespaces = &policy.namespaces;
    let reserved = namespaces.prefixes.iter().map(|prefix| format!("{prefix}-"));
    reserved.chain(namespaces.slot_projects.iter().map(|project| format!("{project}-dev-")))
}

fn reaches_into_a_run(policy: &RunPolicy) -> String {
    let starts = |field: &str, lead: &str| {
        run_name_stems(policy)
            .map(|stem| format!("{field}.startsWith({})", cel(&format!("{lead}{stem}"))))
            .collect::<Vec<_>>()
    };
    let mut namespaces = starts("s.namespace", "");
    let everybody: Vec<_> = EVERYBODY.into_iter().chain([ANONYMOUS]).map(str::to_owned).collect();
    let mut names = vec![format!("s.name in {}", cel_list(&everybody))];
    names.extend(starts("s.name", "system:serviceaccounts:"));
    names.extend(starts("s.name", "system:serviceaccount:"));
    if namespaces.is_empty() {
        // Without prefixes and slots, no name shows a run namespace.
        namespaces.push("false".to_owned());
    }
    // Most subjects are people, whose names fail the first comparison.
    format!(
        "(has(s.namespace) && ({})) || (has(s.name) && s.name.startsWith('system:') && ({}))",
        namespaces.join(" || "),
        names.join(" || ")
    )
}

/// Returns the expression for a ServiceAccount of another namespace, unless that can never be managed.
fn names_an_account(policy: &RunPolicy) -> String {
    let never: Vec<_> =
        policy.namespaces.protected.iter().chain(&policy.namespaces.platform).cloned().collect();
    format!(
        "(has(s.namespace) && !(s.namespace in {}) && !(has(request.namespace) && s.namespace == request.namespace)) \
         || (has(s.name) && (s.name.startsWith('system:serviceaccount:') || s.name.startsWith('system:serviceaccounts:')))",
        cel_list(&never)
    )
}
