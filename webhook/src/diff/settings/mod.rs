//! Every setting of a policy: what it means, which way it is wider, and which rules it concerns.

mod content;
mod identities;
mod lifetime;

/// A setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// The keys from the top; `a|b` stands for either, `*` for any key of a map.
    pub(super) path: &'static str,
    /// How a change of it is told.
    pub(super) words: Words,
    /// Which way it is wider.
    pub(super) wider: Wider,
    /// The ids of the rules that it concerns, or how such ids begin, as `JOB*`; none where it is the garbage collector's
    /// alone. A mode is its rule's.
    pub(super) rules: &'static [&'static str],
}

/// How a change is told. In the sentences, `{value}` is the new value with the old one, and `{0}` and `{1}` are what
/// stands at the first and the second place of the path that stands for several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    /// What the value means.
    Value(&'static str),
    /// What the value means, and what its absence does. A section that may be absent is one setting while it is, and
    /// several otherwise.
    Optional(&'static str, &'static str),
    /// What is listed.
    List(&'static str),
    /// What is listed, and what the first of them is for.
    Ordered(&'static str, &'static str),
    /// A rule's mode.
    Mode,
}

/// Which way a setting is wider: more passes, or for longer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wider {
    /// Neither way for certain.
    Unclear,
    /// The greater number.
    More,
    /// The greater quantity; there is no bound without one.
    Greater,
    /// The longer time.
    Longer,
    /// The shorter time.
    Shorter,
    /// The longer list.
    Listed,
    /// The shorter list.
    Unlisted,
    /// The rules of a Role that allow more.
    Granted,
    /// Its absence.
    Absent,
    /// The value of a later group.
    Later(&'static [&'static [&'static str]]),
}

/// Every rule.
pub(super) const EVERY: &[&str] = &["*"];

const fn setting(path: &'static str, words: Words, wider: Wider, rules: &'static [&'static str]) -> Setting {
    Setting { path, words, wider, rules }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    [identities::SETTINGS, lifetime::SETTINGS, content::SETTINGS].into_iter().flatten()
}

/// The setting at a path, and what stands where its path stands for several.
pub(super) fn find<'p>(path: &[&'p str]) -> Option<(&'static Setting, Vec<&'p str>)> {
    all().find_map(|setting| Some((setting, setting.matches(path)?)))
}

impl Setting {
    /// Whether it concerns a rule; `at` is what its path stands for.
    pub(super) fn concerns(&self, id: &str, at: &[&str]) -> bool {
        match self.words {
            Words::Mode => at.contains(&id),
            _ => self.rules.iter().any(|rule| match rule.strip_suffix('*') {
                Some(beginning) => id.starts_with(beginning),
                None => id == *rule,
            }),
        }
    }

    fn matches<'p>(&self, path: &[&'p str]) -> Option<Vec<&'p str>> {
        let steps: Vec<_> = self.path.split('.').collect();
        if steps.len() != path.len() {
            return None;
        }
        let mut chosen = Vec::new();
        for (step, key) in steps.into_iter().zip(path) {
            match step {
                step if step == *key => {}
                "*" => chosen.push(*key),
                step if step.split('|').any(|one| one == *key) => chosen.push(*key),
                _ => return None,
            }
        }
        Some(chosen)
    }
}
