//! Rules about tokens without an expiry.

use codex_k8s_shared::policy::Mode;

use super::examples::secret as examples;
use crate::rules::Kind;
use crate::rules::object::text;
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};

pub(super) const CHECKS: &[Check] = &[Check::new(&SECRET001, holds_no_token)];

static SECRET001: Rule = Rule {
    id: "SECRET001",
    title: "A Secret does not hold a ServiceAccount's token",
    why: "Kubernetes writes a token without an expiry to such a Secret, for every user who can read or mount it. The \
          token outlives the run and is not bound to a Pod.",
    remedy: "Let Pods use the token that kubelet mounts. No other Secret is ever sent to this webhook.",
    subject: Subject::Contents,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::SECRET001,
};

/// The type of the Secrets that Kubernetes writes tokens to.
pub(crate) const TOKEN: &str = "kubernetes.io/service-account-token";

fn holds_no_token(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    // The type of a Secret is immutable.
    let (Kind::Secret, Some(_), None, Some(new)) = (context.kind, context.namespace(), write.old, write.new)
    else {
        return;
    };
    if text(new, "type") == Some(TOKEN) {
        report.forbid("type", quoted(TOKEN), "a token that never ends is not kept in a run namespace");
    }
}
