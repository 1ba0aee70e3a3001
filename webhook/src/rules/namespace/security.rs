//! Rules about the Pod Security levels of a run namespace.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Level, Mode};

use super::defaults;
use super::examples::security as examples;
use super::subject::{Check, Context, Key, Namespace, Validate};
use crate::rules::report::{Report, label_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(
    &NS014,
    &[Validate::State(levels_are_high_enough), Validate::Change(levels_are_not_lowered)],
)
.with_mutation(defaults::pod_security)
.restoring(|_, _, _| vec![Key::Label(keys::POD_SECURITY_ENFORCE), Key::Label(keys::POD_SECURITY_AUDIT)])];

static NS014: Rule = Rule {
    id: "NS014",
    title: "The Pod Security levels of a run namespace are not lowered",
    why: "Pod Security still rejects a privileged Pod when the webhook is not available. Lowering it is the first \
          step out of the namespace.",
    remedy: "Leave the pod-security.kubernetes.io labels unchanged. A stricter level is always accepted.",
    subject: Subject::Namespace,
    reads: &["namespaces.slotProjects", "podSecurity"],
    default_mode: Mode::Enforce,
    examples: examples::NS014,
};

fn levels_are_high_enough(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    let levels = defaults::levels(context);
    for (key, least) in
        [(keys::POD_SECURITY_ENFORCE, levels.enforce), (keys::POD_SECURITY_AUDIT, levels.audit)]
    {
        let found = namespace.meta.label(key);
        let level = found.and_then(Level::parse);
        // The audit level affects only the audit log, not what runs: any known level is enough.
        let enough = level.is_some_and(|level| key != keys::POD_SECURITY_ENFORCE || level >= least);
        if !enough {
            let remedy = format!("must be \"{}\" or stricter", least.as_str());
            report.forbid(label_path("", key), quoted_or_nothing(found), remedy);
        }
    }
    if let Some(version) =
        namespace.meta.label(keys::POD_SECURITY_ENFORCE_VERSION).filter(|version| *version != "latest")
    {
        let remedy = "must be \"latest\" or no label: an old version misses newer checks";
        report.forbid(label_path("", keys::POD_SECURITY_ENFORCE_VERSION), quoted(version), remedy);
    }
}

fn levels_are_not_lowered(_: &Context<'_>, old: &Namespace<'_>, new: &Namespace<'_>, report: &mut Report) {
    if !old.is_managed() {
        return;
    }
    let key = keys::POD_SECURITY_ENFORCE;
    let (before, after) = (old.meta.label(key), new.meta.label(key));
    let level = |value: Option<&str>| value.and_then(Level::parse).unwrap_or(Level::Privileged);
    if before.is_some() && level(after) < level(before) {
        let remedy = format!("it was {} and is never lowered", quoted_or_nothing(before));
        report.forbid(label_path("", key), quoted_or_nothing(after), remedy);
    }
}
