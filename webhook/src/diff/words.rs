//! What a change means, in a sentence.

use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::settings::Words;
use crate::rules::catalogue;

/// What a change means, and at which of the several places that the setting's path stands for.
pub(super) fn sentence(words: Words, at: &[&str], old: &Value, new: &Value) -> String {
    let filled = |sentence: &str| filled(sentence, at, &instead(old, new));
    match words {
        Words::Optional(_, absent) if new.is_null() => filled(absent),
        Words::Value(sentence) | Words::Optional(sentence, _) => filled(sentence),
        Words::List(what) => format!("{}: {}", filled(what), moved(old, new)),
        Words::Ordered(what, first) => {
            let list = format!("{}: {}", filled(what), moved(old, new));
            let (before, after) = (items(old).first(), items(new).first());
            match (before, after) {
                (Some(before), Some(after)) if before != after => {
                    format!("{list}; {}", first.replace("{value}", &instead(before, after)))
                }
                _ => list,
            }
        }
        Words::Mode => {
            let title = at.first().and_then(|id| catalogue::find(id)).map_or("", |rule| rule.title);
            let done = |mode: &Value| {
                serde_json::from_value::<Mode>(mode.clone()).map_or("", catalogue::consequence)
            };
            format!("what breaks it ({title}) is {} instead of {}", done(new), done(old))
        }
    }
}

fn filled(sentence: &str, at: &[&str], value: &str) -> String {
    let named = at.iter().enumerate().fold(sentence.to_owned(), |sentence, (index, key)| {
        sentence.replace(&format!("{{{index}}}"), name(key))
    });
    named.replace("{value}", value)
}

/// What a key of the policy stands for is called elsewhere.
fn name(key: &str) -> &str {
    match key {
        "fullEnv" => "full-env",
        "codeOnly" => "code-only",
        "readOnly" => "read-only",
        "canceled" => "was canceled",
        key => key,
    }
}

/// The new value, and what it is instead of.
pub(super) fn instead(old: &Value, new: &Value) -> String {
    if old.is_null() { shown(new) } else { format!("{} instead of {}", shown(new), shown(old)) }
}

/// A value without the quotes of JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as people write it.
fn shown(value: &Value) -> String {
    match value.as_str().filter(|text| text.parse::<GoDuration>().is_ok()) {
        Some(duration) => shortened(duration).to_owned(),
        None => plain(value),
    }
}

/// Go prints `24h0m0s` for what everybody writes as `24h`.
fn shortened(duration: &str) -> &str {
    let minutes = duration.strip_suffix("0s").filter(|rest| rest.ends_with('m')).unwrap_or(duration);
    minutes.strip_suffix("0m").filter(|rest| rest.ends_with('h')).unwrap_or(minutes)
}

/// The items of a list.
fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// What the second of two lists has and the first has not.
pub(super) fn brought<'v>(old: &Value, new: &'v Value) -> Vec<&'v Value> {
    items(new).iter().filter(|item| !items(old).contains(item)).collect()
}

/// What has come onto a list and what has gone.
fn moved(old: &Value, new: &Value) -> String {
    let listed = |what: &str, items: Vec<&Value>| {
        let items: Vec<_> = items.into_iter().map(item).collect();
        (!items.is_empty()).then(|| format!("{what} {}", items.join(", ")))
    };
    let parts = [listed("now also", brought(old, new)), listed("no longer", brought(new, old))];
    let told: Vec<_> = parts.into_iter().flatten().collect();
    if told.is_empty() { "the same in another order".to_owned() } else { told.join("; ") }
}

/// An item of a list, in a few words.
fn item(value: &Value) -> String {
    let texts = |field: &str| {
        let texts: Vec<_> = items(value.get(field)?).iter().filter_map(Value::as_str).collect();
        Some(texts.join(","))
    };
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    if let (Some(verbs), Some(resources), Some(groups)) =
        (texts("verbs"), texts("resources"), texts("apiGroups"))
    {
        let groups = if groups.is_empty() { String::new() } else { format!(" of {groups}") };
        let names = texts("resourceNames").map_or_else(String::new, |names| format!(" named {names}"));
        return format!("{verbs} on {resources}{groups}{names}");
    }
    match (text("key"), text("effect")) {
        (Some(key), Some(effect)) => format!("{key}:{effect}"),
        _ => plain(value),
    }
}
