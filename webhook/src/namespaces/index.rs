//! An index of managed namespaces.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use codex_k8s_shared::quota::Scope;
use codex_k8s_shared::sanitize::UNKNOWN;
use jiff::Timestamp;

use super::Found;
use crate::rules::{Holders, ManagedNamespace};

/// The managed namespaces by name, by run id, and by the scopes that the policy may limit.
#[derive(Debug, Default)]
pub(crate) struct Index {
    all: HashMap<Box<str>, Found>,
    by_run: HashMap<Box<str>, Vec<Found>>,
    by_project: Groups,
    by_requester: Groups,
}

/// Namespaces that are counted together. A namespace is looked up in its group by name, because groups may be large.
#[derive(Debug, Default)]
struct Groups(HashMap<Box<str>, HashSet<Named>>);

/// A namespace that equals any other with the same name.
#[derive(Debug)]
struct Named(Found);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Groups {
    fn insert(&mut self, key: &str, namespace: &Found) {
        let group = match self.0.get_mut(key) {
            Some(group) => group,
            None => self.0.entry(key.into()).or_default(),
        };
        group.replace(Named(Arc::clone(namespace)));
    }

    fn remove(&mut self, key: &str, name: &str) {
        if let Some(group) = self.0.get_mut(key) {
            group.remove(name);
            if group.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn holders(&self, key: &str, but: &str, max: u32) -> Holders {
        let Some(group) = self.0.get(key) else { return Holders::default() };
        let held = group.len() - usize::from(group.contains(but));
        holders(held, group.iter().map(|named| &named.0), but, max)
    }
}

/// Returns the holders of the reservations of a scope. Their names are collected only if no reservation is left.
fn holders<'a>(held: usize, all: impl Iterator<Item = &'a Found>, but: &str, max: u32) -> Holders {
    const SOME: usize = 3;
    if usize::try_from(max).is_ok_and(|max| held < max) {
        return Holders { held, ..Holders::default() };
    }
    // A namespace without a readable lease comes last.
    let end = |namespace: &Found| namespace.expires_at.unwrap_or(Timestamp::MAX);
    let mut first: Vec<&Found> = Vec::with_capacity(SOME + 1);
    for namespace in all.filter(|namespace| &*namespace.name != but) {
        let reservation =
            first.partition_point(|other| (end(other), &other.name) < (end(namespace), &namespace.name));
        first.insert(reservation, namespace);
        first.truncate(SOME);
    }
    Holders {
        held,
        next_end: first.first().and_then(|namespace| namespace.expires_at),
        some: first.iter().map(|namespace| namespace.name.clone()).collect(),
    }
}

impl Index {
    /// Adds a namespace, or replaces the one with the same name.
    pub(crate) fn insert(&mut self, namespace: Found) {
        if let Some(old) = self.all.insert(namespace.name.clone(), Arc::clone(&namespace)) {
            self.unindex(&old);
        }
        self.by_project.insert(or_unknown(&namespace.project_id), &namespace);
        self.by_requester.insert(requester(&namespace), &namespace);
        self.by_run.entry(namespace.run_id.clone()).or_default().push(namespace);
    }

    /// Removes a namespace.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(old) = self.all.remove(name) {
            self.unindex(&old);
        }
    }

    /// Returns the namespace with a name.
    pub(crate) fn get(&self, name: &str) -> Option<Found> {
        self.all.get(name).cloned()
    }

    /// Returns the number of namespaces.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the namespaces that have a run id.
    pub(crate) fn holders(&self, run_id: &str) -> Vec<Found> {
        self.by_run.get(run_id).cloned().unwrap_or_default()
    }

    /// Counts the namespaces of a scope other than `but`. Their names are returned only if there are at least `max`.
    pub(crate) fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders {
        match scope {
            Scope::Cluster => {
                let held = self.all.len() - usize::from(self.all.contains_key(but));
                holders(held, self.all.values(), but, max)
            }
            Scope::Project(project) => self.by_project.holders(project, but, max),
            Scope::Requester(requester) => self.by_requester.holders(requester, but, max),
            // These are Jobs, which are not indexed here.
            Scope::AgentJobs(_) => Holders::default(),
        }
    }

    fn unindex(&mut self, old: &Found) {
        self.by_project.remove(or_unknown(&old.project_id), &old.name);
        self.by_requester.remove(requester(old), &old.name);
        if let Some(holders) = self.by_run.get_mut(&old.run_id) {
            holders.retain(|holder| holder.name != old.name);
            if holders.is_empty() {
                self.by_run.remove(&old.run_id);
            }
        }
    }
}

/// Returns the value that [`Scope::of`] counts for a missing one.
const fn or_unknown(value: &str) -> &str {
    if value.is_empty() { UNKNOWN } else { value }
}

fn requester(namespace: &ManagedNamespace) -> &str {
    or_unknown(namespace.requested_by.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::run::RuntimeMode;

    use super::*;
    use crate::rules::LevelVersion;

    fn namespace(name: &str, project: &str, requester: &str, ends: i64) -> Found {
        Arc::new(ManagedNamespace {
            name: name.into(),
            mode: RuntimeMode::FullEnv,
            run_id: name.into(),
            project_id: project.into(),
            requested_by: Some(requester.into()),
            correlation_id: None,
            expires_at: Timestamp::from_second(ends).ok(),
            terminating: false,
            ready: true,
            waits_for: None,
            pod_security: LevelVersion::default(),
        })
    }

    #[test]
    fn a_scope_is_counted_without_the_namespace_that_is_requested_about() {
        let mut index = Index::default();
        for (name, project, requester, ends) in [
            ("a", "p1", "jane", 40),
            ("b", "p1", "joe", 30),
            ("c", "p2", "jane", 20),
            ("d", "p1", "jane", 10),
        ] {
            index.insert(namespace(name, project, requester, ends));
        }
        let [_, project, requester] = Scope::of(Some("p1"), Some("jane"));
        let held = |index: &Index, scope, but| index.holders_in(scope, but, 100).held;
        assert_eq!(held(&index, &Scope::Cluster, "x"), 4);
        assert_eq!(held(&index, &Scope::Cluster, "a"), 3);
        assert_eq!(held(&index, &project, "x"), 3);
        assert_eq!(held(&index, &project, "a"), 2);
        assert_eq!(held(&index, &requester, "b"), 3);
        let full = index.holders_in(&Scope::Cluster, "d", 3);
        assert_eq!(full.some, ["c".into(), "b".into(), "a".into()]);
        assert_eq!(full.next_end, Timestamp::from_second(20).ok());
        assert_eq!(index.holders_in(&project, "x", 4), Holders { held: 3, ..Holders::default() });
        index.insert(namespace("a", "p2", "jane", 40));
        index.remove("d");
        assert_eq!(held(&index, &project, "x"), 1);
        assert_eq!(held(&index, &requester, "x"), 2);
    }
}
