//! Whether a change lets more pass or less.

use std::time::Duration;

use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::permissions::covers;
use codex_k8s_shared::policy::PolicyRule;
use codex_k8s_shared::quantity::Quantity;
use serde_json::Value;

use super::Effect;
use super::settings::Wider;
use super::words::brought;

/// Which way a setting goes from one value to another, where that is certain.
pub(super) fn effect(wider: Wider, old: &Value, new: &Value) -> Option<Effect> {
    match wider {
        Wider::Unclear => None,
        Wider::More => ordered(old.as_i64()?, new.as_i64()?),
        Wider::Greater => match (quantity(old), quantity(new)) {
            (Some(old), Some(new)) => ordered(old, new),
            _ => ordered(old.is_null(), new.is_null()),
        },
        Wider::Longer => ordered(duration(old)?, duration(new)?),
        Wider::Shorter => ordered(duration(new)?, duration(old)?),
        Wider::Listed => ordered_sets(brought(old, new).is_empty(), brought(new, old).is_empty()),
        Wider::Unlisted => effect(Wider::Listed, new, old),
        Wider::Granted => ordered_sets(allows(old, new)?, allows(new, old)?),
        Wider::Absent => ordered(old.is_null(), new.is_null()),
        Wider::Later(groups) => {
            let rank = |value: &Value| {
                let value = value.as_str()?;
                groups.iter().position(|group| group.contains(&value))
            };
            ordered(rank(old)?, rank(new)?)
        }
    }
}

fn ordered<T: Ord + Copy>(old: T, new: T) -> Option<Effect> {
    match new.cmp(&old) {
        std::cmp::Ordering::Greater => Some(Effect::Widens),
        std::cmp::Ordering::Less => Some(Effect::Narrows),
        std::cmp::Ordering::Equal => None,
    }
}

/// Of two sets, by whether the old one has all of the new one, and the new one all of the old one.
fn ordered_sets(old_has_new: bool, new_has_old: bool) -> Option<Effect> {
    ordered(old_has_new, new_has_old)
}

/// Whether rules of a Role allow all that others do.
fn allows(maximum: &Value, asked: &Value) -> Option<bool> {
    let rules = |value: &Value| serde_json::from_value::<Vec<PolicyRule>>(value.clone()).ok();
    let (maximum, asked) = (rules(maximum)?, rules(asked)?);
    let maximum: Vec<_> = maximum.iter().collect();
    Some(asked.iter().all(|rule| covers(&maximum, rule).is_ok()))
}

fn duration(value: &Value) -> Option<Duration> {
    value.as_str()?.parse::<GoDuration>().ok().map(Duration::from)
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}
