//! Words to avoid in documents, manifests and doc comments.

use std::collections::BTreeMap;

use crate::config::Rules;
use crate::problem::Problem;
use crate::repository::Repository;
use crate::summaries::doc_lines;

/// The uses of each word to avoid; a word that is not used has an empty list.
pub fn uses(repository: &Repository, rules: &Rules) -> BTreeMap<String, Vec<Problem>> {
    let mut found: BTreeMap<_, _> = rules.prose.keys().map(|word| (word.clone(), Vec::new())).collect();
    for (path, text) in &repository.texts {
        for (line, text) in (1..).zip(text.lines()) {
            search(path, line, text, rules, &mut found);
        }
    }
    for source in repository.crates.iter().flat_map(|member| member.sources.values()) {
        for line in doc_lines(source) {
            search(&source.path, line.line, &line.text, rules, &mut found);
        }
    }
    found
}

fn search(path: &str, line: usize, text: &str, rules: &Rules, found: &mut BTreeMap<String, Vec<Problem>>) {
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        let word = word.to_lowercase();
        if let (Some(instead), Some(problems)) = (rules.prose.get(&word), found.get_mut(&word)) {
            problems.push(Problem::new(path, line, format!("{word:?} in prose: use {instead}")));
        }
    }
}
