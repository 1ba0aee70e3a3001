//! Tokens that never end.

use codex_k8s_shared::policy::Mode;

use super::examples::secret as examples;
use super::{Context, Write};
use crate::rules::Kind;
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::text;
use crate::rules::report::{Report, quoted};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "SECRET001",
    title: "No Secret holds a ServiceAccount's token",
    why: "Kubernetes writes a token without an end into such a Secret, for whoever can read it or mount it: it outlives \
          the run and is bound to no Pod.",
    remedy: "Let Pods use the token that kubelet mounts for them. No other Secret is ever sent to this webhook.",
    reads: &[],
    default_mode: Mode::Enforce,
    check: Check::Guard { validate: holds_no_token, mutate: None },
    examples: examples::SECRET001,
}];

/// The type of a Secret into which Kubernetes writes a token.
pub const TOKEN: &str = "kubernetes.io/service-account-token";

fn holds_no_token(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    // The type of a Secret that exists cannot be changed.
    let (Kind::Secret, Some(_), None, Some(new)) = (context.kind, context.namespace(), write.old, write.new)
    else {
        return;
    };
    if text(new, "type") == Some(TOKEN) {
        report.forbid("type", quoted(TOKEN), "a token that never ends is not kept in a run namespace");
    }
}
