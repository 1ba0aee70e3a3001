//! Rules about a workload's access to Kubernetes: its ServiceAccount and its tokens.

use std::collections::HashSet;

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::run::RuntimeMode;
use serde_json::Value;

use super::examples::service_account as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB004, Validate::State(account_is_listed))
        .about_privileges()
        .with_mutation(Mutate::Creation(add_account)),
    Check::new(&JOB005, Validate::State(code_only_has_no_token))
        .about_privileges()
        .with_mutation(Mutate::Creation(take_token_away)),
    Check::new(&JOB006, Validate::State(tokens_are_plain)).about_privileges(),
];

static JOB004: Rule = Rule {
    id: "JOB004",
    title: "A workload runs as a ServiceAccount of its profile",
    why: "A user who can create Pods can use every ServiceAccount of the namespace. In a slot, these include the \
          platform's own, which have rights in the whole cluster.",
    remedy: "Leave serviceAccountName out, or use one that jobs.serviceAccounts of the policy lists.",
    subject: Subject::Workload,
    reads: &["jobs.serviceAccounts"],
    default_mode: Mode::Enforce,
    examples: examples::JOB004,
};

static JOB005: Rule = Rule {
    id: "JOB005",
    title: "A code-only workload has no Kubernetes token",
    why: "A code-only run works on code. With a token, it could change the cluster.",
    remedy: "Leave automountServiceAccountToken out or set it to false, and do not mount a projected token.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB005,
};

static JOB006: Rule = Rule {
    id: "JOB006",
    title: "Projected tokens are short-lived and for this API server",
    why: "A token for another audience authenticates to another system as the agent; a long-lived one outlives \
          the run.",
    remedy: "Leave audience out, set expirationSeconds to an hour, and do not project a Pod certificate.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB006,
};

/// The lifetime that the API server's own volume requests: an hour, and a little more so that kubelet renews in time.
const LONGEST_TOKEN_SECONDS: i64 = 3607;
/// The name prefix of the volumes that the API server's ServiceAccount plug-in adds to a Pod before any webhook is
/// called.
const INJECTED: &str = "kube-api-access-";

fn allowed<'a>(context: &Context<'a>) -> &'a [String] {
    let accounts = &context.policy.jobs.service_accounts;
    match context.namespace.mode {
        RuntimeMode::FullEnv => &accounts.full_env,
        RuntimeMode::CodeOnly => &accounts.code_only,
    }
}

fn account_is_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec() else { return };
    let mut named = false;
    for field in ["serviceAccountName", "serviceAccount"] {
        let Some(account) = text(spec, field) else { continue };
        named = true;
        check_account(context, workload, field, account, report);
    }
    if !named {
        // Kubernetes then uses "default".
        check_account(context, workload, "serviceAccountName", "default", report);
    }
}

fn check_account(
    context: &Context<'_>,
    workload: &Workload<'_>,
    field: &str,
    account: &str,
    report: &mut Report,
) {
    let allowed = allowed(context);
    if !allowed.iter().any(|listed| listed == account) {
        let remedy = format!("{} workloads run as {}", context.namespace.mode, allowed.join(" or "));
        report.forbid(workload.pod_field(field), quoted(account), remedy);
    }
}

fn add_account(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let (Some(spec), Some(account)) = (workload.pod_spec(), allowed(context).first()) else { return };
    let named = text(spec, "serviceAccountName").or_else(|| text(spec, "serviceAccount")).is_some();
    if context.namespace.mode == RuntimeMode::FullEnv && !named {
        set(workload, edits, "serviceAccountName", account.as_str().into());
    }
}

fn set(workload: &Workload<'_>, edits: &mut Edits<'_>, field: &str, value: Value) {
    let mut path = workload.template_path().to_vec();
    path.extend(["spec", field]);
    edits.set(&path, value);
}

fn code_only_has_no_token(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec().filter(|_| context.namespace.mode == RuntimeMode::CodeOnly) else {
        return;
    };
    if spec.get("automountServiceAccountToken").and_then(Value::as_bool) != Some(false) {
        let found = match at(spec, &["automountServiceAccountToken"]) {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        report.forbid(
            workload.pod_field("automountServiceAccountToken"),
            found,
            "must be false: this run is code-only",
        );
    }
    for (volume, source) in projected(spec) {
        for kind in ["serviceAccountToken", "podCertificate"] {
            if at(source.value, &[kind]).is_some() {
                let path = workload
                    .pod_field(&format!("volumes[{volume}].projected.sources[{}].{kind}", source.index));
                report.forbid(path, "a credential", "a code-only run has none");
            }
        }
    }
}

struct Source<'a> {
    index: usize,
    value: &'a Value,
}

fn projected(spec: &Value) -> impl Iterator<Item = (usize, Source<'_>)> {
    items(spec.get("volumes")).enumerate().flat_map(|(volume, value)| {
        let sources = items(at(value, &["projected", "sources"])).enumerate();
        sources.map(move |(index, value)| (volume, Source { index, value }))
    })
}

fn take_token_away(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let Some(spec) = workload.pod_spec().filter(|_| context.namespace.mode == RuntimeMode::CodeOnly) else {
        return;
    };
    if at(spec, &["automountServiceAccountToken"]).is_none() {
        set(workload, edits, "automountServiceAccountToken", false.into());
        if workload.kind == Kind::Pod {
            remove_injected_token(spec, edits);
        }
    }
}

/// Removes the token volume that the API server's plug-in has already added to a bare Pod that did not set the field.
fn remove_injected_token(spec: &Value, edits: &mut Edits<'_>) {
    let injected: Vec<(usize, &str)> = items(spec.get("volumes"))
        .enumerate()
        .filter_map(|(index, volume)| Some((index, text(volume, "name")?)))
        .filter(|(_, name)| name.starts_with(INJECTED))
        .collect();
    let names: HashSet<&str> = injected.iter().map(|(_, name)| *name).collect();
    for list in ["containers", "initContainers"] {
        for (index, container) in items(spec.get(list)).enumerate() {
            let mounts: Vec<_> = items(container.get("volumeMounts")).collect();
            for (mount, value) in mounts.iter().enumerate().rev() {
                if text(value, "name").is_some_and(|name| names.contains(name)) {
                    edits.remove(&["spec", list, &index.to_string(), "volumeMounts", &mount.to_string()]);
                }
            }
        }
    }
    for (index, _) in injected.iter().rev() {
        edits.remove(&["spec", "volumes", &index.to_string()]);
    }
}

fn tokens_are_plain(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec() else { return };
    for (volume, source) in projected(spec) {
        if at(source.value, &["podCertificate"]).is_some() {
            let path = workload
                .pod_field(&format!("volumes[{volume}].projected.sources[{}].podCertificate", source.index));
            report.forbid(
                path,
                "a credential",
                "its signer may be anybody's: use the ServiceAccount's token",
            );
        }
        let Some(token) = at(source.value, &["serviceAccountToken"]) else { continue };
        let field = |name: &str| {
            workload.pod_field(&format!(
                "volumes[{volume}].projected.sources[{}].serviceAccountToken.{name}",
                source.index
            ))
        };
        if let Some(audience) = text(token, "audience") {
            report.forbid(
                field("audience"),
                quoted(audience),
                "leave it out: tokens are for this API server",
            );
        }
        let seconds = token.get("expirationSeconds").and_then(Value::as_i64);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > LONGEST_TOKEN_SECONDS) {
            let remedy = format!("must be at most {LONGEST_TOKEN_SECONDS}");
            report.forbid(field("expirationSeconds"), seconds.to_string(), remedy);
        }
    }
}
