//! Values of the platform's worker that the policy replaces, such as those of a changed environment variable.
//!
//! The worker writes its values again and again, so that a warning in each answer would only fill its log. The object
//! itself says which values were replaced: only others are warned about.

use codex_k8s_shared::baseline::{BaselineKind, Difference, name_in_profile};
use codex_k8s_shared::keys;
use codex_k8s_shared::run::RuntimeMode;

use crate::rules::report::clean;
use crate::rules::rule::Rule;
use crate::rules::write::{Context, Write};
use crate::rules::{Edits, Meta};

/// The number of values that a warning shows.
const SHOWN: usize = 3;

/// Warns about the values that are replaced, unless the object says that they were before.
pub(super) fn warn(
    rule: &Rule,
    context: &Context<'_>,
    write: &Write<'_>,
    kind: BaselineKind,
    differences: &[Difference],
    edits: &mut Edits<'_>,
) {
    // The policy may also add what the worker did not write, such as the label.
    let replaced: Vec<_> = differences.iter().filter(|one| one.found != "nothing").collect();
    let annotation = |object| Meta::of(object).annotation(keys::REPLACED_VALUES);
    let (stored, sent) = (write.old.and_then(annotation), write.new.and_then(annotation));
    // The annotation stays, because the API server may call again with the object as it was changed here.
    if replaced.is_empty() {
        return;
    }
    let list = |format: fn(&Difference) -> String| {
        let mut shown: Vec<_> = replaced.iter().take(SHOWN).map(|one| format(one)).collect();
        if replaced.len() > SHOWN {
            shown.push(format!("{} more", replaced.len() - SHOWN));
        }
        shown.join(", ")
    };
    let values = list(|one| format!("{}: {}", clean(&one.path), clean(&one.found)));
    if sent != Some(&*values) {
        edits.annotation(&[], keys::REPLACED_VALUES, &values);
    }
    if stored.or(sent) != Some(&*values) {
        let changes = list(|one| {
            format!("{}: {} is replaced by {}", clean(&one.path), clean(&one.found), clean(&one.desired))
        });
        let setting = setting(context, kind);
        edits.warn(format!(
            "{}: {changes}, because of {setting} of the policy; there is no further warning about these values",
            rule.id
        ));
    }
}

/// The setting of the policy that an object is made from.
fn setting(context: &Context<'_>, kind: BaselineKind) -> String {
    let mode = context.namespace().map(|namespace| namespace.mode);
    let set = match mode {
        _ if context.is_in_slot() => "slot",
        Some(RuntimeMode::CodeOnly) => "codeOnly",
        _ => "fullEnv",
    };
    let read_only = || name_in_profile(kind, &context.policy.baseline.read_only) == Some(context.name);
    match kind {
        BaselineKind::ResourceQuota => format!("baseline.{set}.resourceQuota"),
        BaselineKind::LimitRange => format!("baseline.{set}.limitRange"),
        _ if read_only() => "baseline.readOnly".to_owned(),
        _ => "baseline.candidate".to_owned(),
    }
}
