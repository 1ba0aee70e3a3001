//! Rules about rights and tokens: Roles, bindings, Secrets and token requests. None of these may grant more than the
//! policy, and bindings elsewhere may not grant rights to the `ServiceAccounts` of a run namespace.

mod binding;
mod elsewhere;
mod everybody;
mod examples;
mod role;
mod secret;
mod token;

pub(crate) use elsewhere::{ANONYMOUS, EVERYBODY, Included, included, namespaces};
pub(crate) use secret::TOKEN as TOKEN_SECRET;

pub(super) use everybody::is_listed as is_bound_to_everybody;

use super::write::Check;

/// The rules in the order of their ids.
pub(super) const CHECKS: [&[Check]; 6] =
    [role::CHECKS, binding::CHECKS, elsewhere::CHECKS, everybody::CHECKS, secret::CHECKS, token::CHECKS];
