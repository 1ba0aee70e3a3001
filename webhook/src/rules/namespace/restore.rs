//! Restores what an update leaves out although it cannot be removed.
//!
//! A client that sends the whole object, such as `kubectl replace` or a controller that writes what it once read, leaves
//! out what the webhook, the reconciler and the platform have added. So does the step from client-side to server-side
//! apply. None of them asked to remove it.

use codex_k8s_shared::policy::Mode;

use super::subject::{Check, Context, Key, Namespace};
use crate::rules::{Edits, Meta, Verdict};

impl Key {
    fn value(self, meta: Meta<'_>) -> Option<&str> {
        match self {
            Self::Label(key) => meta.label(key),
            Self::Annotation(key) => meta.annotation(key),
        }
    }

    fn restore(self, value: &str, edits: &mut Edits<'_>) {
        match self {
            Self::Label(key) => edits.label(&[], key, value),
            Self::Annotation(key) => edits.annotation(&[], key, value),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Label(key) | Self::Annotation(key) => key,
        }
    }
}

/// Restores what an update of a managed namespace leaves out, by the rules that would deny it. A warning names the keys.
pub(super) fn restore<'c>(
    context: &Context<'_>,
    checks: impl Iterator<Item = &'c Check>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    verdict: &mut Verdict,
) {
    let mut edits = Edits::new(new.object);
    let mut restored = Vec::new();
    for check in checks.filter(|check| check.rule.mode(context.policy) == Mode::Enforce) {
        let Some(keys) = check.restore else { continue };
        verdict.evaluated.push(check.rule);
        for key in keys(context, old, new) {
            if let (Some(value), None) = (key.value(old.meta), key.value(new.meta))
                && !restored.contains(&key)
            {
                key.restore(value, &mut edits);
                restored.push(key);
            }
        }
    }
    if !restored.is_empty() {
        let keys = restored.iter().map(|key| key.name()).collect::<Vec<_>>().join(", ");
        edits.warn(format!("restored, because they cannot be removed from a run namespace: {keys}"));
    }
    (verdict.patch, verdict.warnings) = edits.finish();
}
