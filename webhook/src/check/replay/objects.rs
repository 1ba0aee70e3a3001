//! The last seen objects of the log, in bounded memory: the old objects of later updates and deletions.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Serialize;

/// The bytes that an entry takes in addition to its key and its text: the maps and their pointers.
const OVERHEAD: usize = 160;

/// API group, resource, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Box<str>);

impl Key {
    /// Returns the key of an object. None of the parts can contain a slash.
    pub(super) fn new(group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Self(format!("{group}/{resource}/{namespace}/{name}").into())
    }
}

/// The use of the old objects.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OldObjects {
    /// Updates and deletions, whose decision needs the object as it was before.
    pub lookups: u64,
    /// Lookups of an object that the log has not shown, or that had been evicted. Such a request is not evaluated.
    pub missed: u64,
    /// Objects that were evicted for others, because memory is bounded.
    pub evicted: u64,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    text: Box<str>,
}

/// The objects, least recently used first.
#[derive(Debug)]
pub(super) struct Objects {
    limit: usize,
    bytes: usize,
    clock: u64,
    entries: HashMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
    statistics: OldObjects,
}

impl Objects {
    /// Creates a cache of at most this many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            clock: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            statistics: OldObjects::default(),
        }
    }

    /// Returns the statistics.
    pub(super) const fn statistics(&self) -> OldObjects {
        self.statistics
    }

    /// Stores an object, and evicts those that have not been used for longest.
    pub(super) fn insert(&mut self, key: Key, text: &str) {
        self.remove(&key);
        self.clock += 1;
        self.bytes += size(&key, text);
        self.by_use.insert(self.clock, key.clone());
        self.entries.insert(key, Entry { used: self.clock, text: text.into() });
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= size(&oldest, &entry.text);
                self.statistics.evicted += 1;
            }
        }
    }

    /// Removes an object that is deleted, or that has changed in an unknown way.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= size(key, &entry.text);
            self.by_use.remove(&entry.used);
        }
    }

    /// Returns an object for a decision, and counts the lookup.
    pub(super) fn old(&mut self, key: &Key) -> Option<&str> {
        self.statistics.lookups += 1;
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            self.statistics.missed += 1;
            return None;
        };
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.clock, key);
        }
        entry.used = self.clock;
        Some(&entry.text)
    }

    /// Returns an object.
    pub(super) fn get(&self, key: &Key) -> Option<&str> {
        self.entries.get(key).map(|entry| &*entry.text)
    }
}

fn size(key: &Key, text: &str) -> usize {
    2 * key.0.len() + text.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("batch", "jobs", "n", name)
    }

    #[test]
    fn the_bytes_of_all_objects_never_exceed_the_limit() {
        let mut objects = Objects::new(100_000);
        for number in 0..10_000 {
            objects.insert(key(&number.to_string()), &"x".repeat(number % 1_000));
            assert!(objects.bytes <= 100_000, "{}", objects.bytes);
            assert_eq!(objects.entries.len(), objects.by_use.len());
        }
        let sum: usize = objects.entries.iter().map(|(key, entry)| size(key, &entry.text)).sum();
        assert_eq!(sum, objects.bytes);
        assert!(objects.statistics().evicted > 9_000, "{:?}", objects.statistics());
        assert_eq!(objects.old(&key("0")), None);
        assert!(objects.old(&key("9999")).is_some());
        assert_eq!((objects.statistics().lookups, objects.statistics().missed), (2, 1));
    }

    #[test]
    fn the_object_that_was_used_least_recently_is_evicted() {
        let mut objects = Objects::new(2 * size(&key("a"), "1"));
        objects.insert(key("a"), "1");
        objects.insert(key("b"), "2");
        assert_eq!(objects.old(&key("a")), Some("1"));
        objects.insert(key("c"), "3");
        assert_eq!(["a", "b", "c"].map(|name| objects.get(&key(name))), [Some("1"), None, Some("3")]);
        objects.insert(key("a"), "4");
        objects.remove(&key("c"));
        assert_eq!(["a", "b", "c"].map(|name| objects.get(&key(name))), [Some("4"), None, None]);
        assert_eq!(objects.bytes, size(&key("a"), "4"));
    }
}
