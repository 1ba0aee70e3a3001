//! The two files of settings: the rules, and the limits of today.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The rules, as `tests/lint/rules.toml` has them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The most lines that a function may have.
    pub longest_function: usize,
    /// The first words that a summary should not have.
    pub summary_starts: Vec<String>,
    /// The endings of the names of documents.
    pub documents: Vec<String>,
    /// The folders of manifests.
    pub manifests: Vec<String>,
    /// The words that tell a file about quotas.
    pub quota_terms: Vec<String>,
    /// Words to avoid in prose, each with its replacement.
    #[serde(default)]
    pub prose: BTreeMap<String, String>,
    /// The crates that are checked.
    #[serde(default)]
    pub crates: Vec<CrateRules>,
    /// Words to avoid in identifiers.
    #[serde(default)]
    pub names: Vec<AvoidedNames>,
}

/// The rules of one crate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrateRules {
    /// The folder of the crate, from the root of the repository.
    pub path: String,
    /// The folders of the crates that it may use.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Groups of its top-level modules, by name.
    #[serde(default)]
    pub rooms: BTreeMap<String, Room>,
}

/// A group of top-level modules of a crate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// The modules.
    pub modules: Vec<String>,
    /// The rooms that they may use besides their own.
    #[serde(default)]
    pub uses: Vec<String>,
}

/// Words to avoid in identifiers, and their replacement.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvoidedNames {
    /// The words.
    pub names: Vec<String>,
    /// The replacement.
    pub instead: String,
}

/// The present figures, as `tests/lint/limits.toml` has them. They only fall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Circles of files.
    pub circles: usize,
    /// Files that are in a circle.
    pub files_in_circles: usize,
    /// Functions that are too long.
    pub long_functions: usize,
    /// Percentage of summaries that begin with a question word.
    pub question_summaries: f64,
    /// Uses between modules or crates that the rules forbid.
    #[serde(default)]
    pub arrows: BTreeSet<String>,
    /// Words to avoid in prose, each with its count.
    #[serde(default)]
    pub prose: BTreeMap<String, usize>,
    /// Words to avoid in identifiers, each with its count.
    #[serde(default)]
    pub names: BTreeMap<String, usize>,
}
