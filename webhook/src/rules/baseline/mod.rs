//! Rules about the baseline of a run namespace, and about further quotas and limits.

mod examples;
pub(super) mod objects;
pub(super) mod quota;
mod replaced;
