//! Rules about the labels that identify the run of a namespace.

use codex_k8s_shared::names::{ParsedName, parse_run_namespace};
use codex_k8s_shared::policy::{Creation, Mode};
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_shared::{keys, sanitize};

use super::defaults;
use super::examples::identity as examples;
use super::subject::{Check, Context, Key, Namespace, Validate};
use crate::rules::ManagedNamespace;
use crate::rules::report::{Report, label_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&NS001, &[Validate::Creation(identity_is_whole), Validate::Change(given_identity_is_whole)])
        .with_mutation(defaults::identity),
    Check::new(&NS002, &[Validate::Creation(name_agrees)]),
    Check::new(&NS003, &[Validate::Change(identity_is_immutable)]).restoring(optional_identity),
    Check::new(&NS004, &[Validate::Creation(run_id_is_unique), Validate::Change(new_run_id_is_unique)]),
    Check::new(&NS005, &[Validate::Creation(creator_is_allowed)]),
];

static NS001: Rule = Rule {
    id: "NS001",
    title: "A run namespace has all identity labels",
    why: "Reuse, cleanup and quotas select namespaces by these labels. A namespace without one of them is never \
          reused, counted or deleted.",
    remedy: "Leave the labels out: they are added. Or set managed-by=codex-k8s-worker, namespace-purpose=run, \
             runtime-mode=full-env or code-only, run-id and project-id.",
    subject: Subject::Namespace,
    reads: &["identities.managers"],
    default_mode: Mode::Enforce,
    examples: examples::NS001,
};

static NS002: Rule = Rule {
    id: "NS002",
    title: "The name of a new run namespace agrees with its labels",
    why: "The platform builds the name from project, issue and run. If the name and the labels identify \
          different runs, people and programs act on the wrong one.",
    remedy: "Leave out the labels that the name already contains, or correct the wrong one.",
    subject: Subject::Namespace,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::NS002,
};

static NS003: Rule = Rule {
    id: "NS003",
    title: "Identity labels change only when a manager rebinds the namespace to another run",
    why: "A user who can give a namespace the id of a finished run gets it deleted; with the id of another \
          user's run, its workloads are mistaken for that run's.",
    remedy: "Leave the identity labels unchanged. A manager rebinds run-id together with a renewed lease.",
    subject: Subject::Namespace,
    reads: &["identities.managers"],
    default_mode: Mode::Enforce,
    examples: examples::NS003,
};

static NS004: Rule = Rule {
    id: "NS004",
    title: "Only one live namespace has a run id",
    why: "The platform looks up a run's namespace by its run id and takes the first one. A second namespace \
          could take over the run. A manager may use a run id unless the platform itself created the other \
          namespace.",
    remedy: "Use the existing namespace of the run, or delete it first.",
    subject: Subject::Namespace,
    reads: &["identities.managers"],
    default_mode: Mode::Enforce,
    examples: examples::NS004,
};

static NS005: Rule = Rule {
    id: "NS005",
    title: "If the policy says so, only managers create run namespaces",
    why: "Some clusters require that every run comes from the platform.",
    remedy: "Request a run from the platform, or set namespaces.creation to anyone.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "namespaces.creation"],
    default_mode: Mode::Enforce,
    examples: examples::NS005,
};

/// The labels that identify the run of a namespace. The first two have the same value on all.
const IDENTITY: [&str; 7] = [
    keys::MANAGED_BY,
    keys::NAMESPACE_PURPOSE,
    keys::RUNTIME_MODE,
    keys::RUN_ID,
    keys::PROJECT_ID,
    keys::ISSUE_NUMBER,
    keys::AGENT_KEY,
];

fn identity_is_whole(_: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let meta = namespace.meta;
    for (key, expected) in
        [(keys::MANAGED_BY, keys::MANAGED_BY_VALUE), (keys::NAMESPACE_PURPOSE, keys::NAMESPACE_PURPOSE_VALUE)]
    {
        let found = meta.label(key);
        if found != Some(expected) {
            report.forbid(label_path("", key), quoted_or_nothing(found), format!("must be \"{expected}\""));
        }
    }
    let mode = meta.label(keys::RUNTIME_MODE);
    if mode.is_none_or(|mode| mode.parse::<RuntimeMode>().is_err()) {
        let remedy = "must be \"full-env\" or \"code-only\"";
        report.invalid(label_path("", keys::RUNTIME_MODE), quoted_or_nothing(mode), remedy);
    }
    for key in [keys::RUN_ID, keys::PROJECT_ID] {
        let found = meta.label(key);
        if !found.is_some_and(is_sanitized) {
            let remedy = "must be lower-case letters, digits and '-' (\"unknown\" if there is none)";
            report.invalid(label_path("", key), quoted_or_nothing(found), remedy);
        }
    }
    if let Some(agent) = meta.label(keys::AGENT_KEY).filter(|agent| !is_sanitized(agent)) {
        let remedy = "must be lower-case letters, digits and '-', such as \"dev\"";
        report.invalid(label_path("", keys::AGENT_KEY), quoted(agent), remedy);
    }
    let issue = meta.label(keys::ISSUE_NUMBER);
    if let Some(issue) =
        issue.filter(|issue| issue.parse::<codex_k8s_shared::identity::IssueNumber>().is_err())
    {
        let remedy = "must be a decimal number above 0 without leading zeros, such as \"42\"";
        report.invalid(label_path("", keys::ISSUE_NUMBER), quoted(issue), remedy);
    }
}

/// Requires the whole identity from a manager that labels a slot or rebinds a namespace. Changes by other users have
/// their own rules.
fn given_identity_is_whole(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    let given = |key: &&str| new.meta.label(key).is_some_and(|after| old.meta.label(key) != Some(after));
    if context.requester.is_manager() && new.is_managed() && IDENTITY.iter().any(given) {
        identity_is_whole(context, new, report);
    }
}

fn is_sanitized(value: &str) -> bool {
    !value.is_empty() && sanitize::label_equals(value, value)
}

fn name_agrees(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(parsed) = parse_run_namespace(context.name, &context.policy.namespaces.prefixes) else {
        return;
    };
    let meta = namespace.meta;
    if let Some(run_id) = meta.label(keys::RUN_ID).filter(|run_id| !parsed.agrees_with_run(run_id)) {
        report.forbid(label_path("", keys::RUN_ID), quoted(run_id), in_the_name(parsed.run, "run"));
    }
    if let Some(project) =
        meta.label(keys::PROJECT_ID).filter(|project| !agrees_with_project(&parsed, project))
    {
        report.forbid(
            label_path("", keys::PROJECT_ID),
            quoted(project),
            in_the_name(parsed.project, "project"),
        );
    }
    let issue = meta.label(keys::ISSUE_NUMBER);
    if let (Some(issue), Some(named)) = (issue, parsed.issue)
        && issue != named.to_string()
    {
        report.forbid(
            label_path("", keys::ISSUE_NUMBER),
            quoted(issue),
            format!("the name says issue {named}"),
        );
    }
}

fn agrees_with_project(parsed: &ParsedName<'_>, project: &str) -> bool {
    parsed.project.is_none() || parsed.agrees_with_project(project)
}

fn in_the_name(part: Option<&str>, what: &str) -> String {
    format!("the name says {what} {}", quoted_or_nothing(part))
}

fn identity_is_immutable(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if !old.is_managed() || !new.is_managed() {
        return;
    }
    let rebinding = context.requester.is_manager() && super::lease::is_renewed(old, new);
    for key in IDENTITY {
        let (before, after) = (old.meta.label(key), new.meta.label(key));
        if before == after || (rebinding && may_be_rebound(context, key, before)) {
            continue;
        }
        let remedy = match (context.requester.is_manager(), before) {
            (true, _) => {
                "a manager changes it together with a renewed lease (namespace-lease-updated-at)".to_owned()
            }
            (false, Some(before)) => format!("must stay {} for the life of the run", quoted(before)),
            (false, None) => "only a manager adds it".to_owned(),
        };
        report.forbid(label_path("", key), quoted_or_nothing(after), remedy);
    }
}

/// The labels of the identity that a namespace need not have. NS007 keeps the others.
fn optional_identity(context: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>) -> Vec<Key> {
    let rebinding = context.requester.is_manager() && super::lease::is_renewed(old, new);
    let keys = [keys::ISSUE_NUMBER, keys::AGENT_KEY].into_iter();
    keys.filter(|key| !(rebinding && may_be_rebound(context, key, old.meta.label(key))))
        .map(Key::Label)
        .collect()
}

/// A slot is handed from run to run with all its labels. Any other namespace is reused only for the same project, issue
/// and agent: only its run changes, and labels that an older platform did not set may be added.
fn may_be_rebound(context: &Context<'_>, key: &str, before: Option<&str>) -> bool {
    match key {
        keys::MANAGED_BY | keys::NAMESPACE_PURPOSE => before.is_none(),
        keys::RUN_ID => true,
        _ => before.is_none() || context.is_slot(),
    }
}

fn run_id_is_unique(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let Some(run_id) = namespace.meta.label(keys::RUN_ID).filter(|run_id| *run_id != sanitize::UNKNOWN)
    else {
        return;
    };
    let living = context.facts.run_holders.iter().find(|holder| {
        &*holder.name != context.name
            && !holder.terminating
            && holder.expires_at.is_none_or(|expires_at| expires_at > context.facts.now)
            && !(context.requester.is_manager() && is_of_another_user(context, holder))
    });
    if let Some(holder) = living {
        let remedy = format!("namespace {} already belongs to this run", quoted(&holder.name));
        report.forbid(label_path("", keys::RUN_ID), quoted(run_id), remedy);
    }
}

/// Returns true if another user is known to have created a namespace: a manager may then use its run id. A namespace
/// without the annotation is older than the webhook and may be the platform's. If managers are listed by group, so may
/// any other, because the creator's groups are not recorded.
fn is_of_another_user(context: &Context<'_>, holder: &ManagedNamespace) -> bool {
    let managers = &context.policy.identities.managers;
    let user = holder.requested_by.as_deref();
    managers.groups.is_empty() && user.is_some_and(|user| !managers.contains(user, []))
}

fn new_run_id_is_unique(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if old.meta.label(keys::RUN_ID) != new.meta.label(keys::RUN_ID) {
        run_id_is_unique(context, new, report);
    }
}

fn creator_is_allowed(context: &Context<'_>, _: &Namespace<'_>, report: &mut Report) {
    if context.policy.namespaces.creation == Creation::Managers && !context.requester.is_manager() {
        let remedy = "this cluster's policy lets only managers create run namespaces";
        report.forbid("metadata.name", quoted(context.name), remedy);
    }
}
