//! Evaluates a live cluster: each object as if it were created now, and the baseline of each namespace as the
//! reconciler would compare it. Never writes.
//!
//! [`LiveCheck`] evaluates the objects that [`read`] reads.

mod change;
mod contents;
mod created;
mod drift;
pub mod kinds;
mod live_check;
pub mod read;

#[cfg(test)]
mod tests;

pub use change::{Change, Effect, RolloutReport};
pub use contents::Live;
pub use drift::{REMEDY, RULE, TITLE, WHY};
pub use live_check::{LiveCheck, Outcome};

/// The sort key of an object.
type SortKey<'a> = (bool, &'a str, bool, &'a str, &'a str);

/// Returns a key that sorts by namespace, a Namespace before its objects, and other cluster-scoped objects last.
fn sort_key<'a>(kind: &'a str, namespace: Option<&'a str>, name: &'a str) -> SortKey<'a> {
    let is_namespace = kind == "Namespace";
    let own_namespace = if is_namespace { Some(name) } else { namespace };
    (own_namespace.is_none(), own_namespace.unwrap_or_default(), !is_namespace, kind, name)
}
