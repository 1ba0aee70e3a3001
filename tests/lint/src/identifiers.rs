//! Words to avoid in identifiers.

use std::collections::BTreeMap;

use proc_macro2::{Ident, TokenStream, TokenTree};

use crate::config::Rules;
use crate::problem::Problem;
use crate::repository::Repository;
use crate::source::Source;

/// A word to avoid: parts of an identifier, or a whole one.
struct Word<'a> {
    text: &'a str,
    instead: &'a str,
    parts: Option<Vec<&'a str>>,
}

impl<'a> Word<'a> {
    fn new(text: &'a str, instead: &'a str) -> Self {
        let is_whole = text.contains(char::is_uppercase);
        Self { text, instead, parts: (!is_whole).then(|| text.split('_').collect()) }
    }

    fn is_in(&self, identifier: &str, parts: &[String]) -> bool {
        self.parts
            .as_ref()
            .map_or(identifier == self.text, |word| parts.windows(word.len()).any(|p| p == word))
    }
}

/// The uses of each word to avoid; a word that is not used has an empty list.
pub fn uses(repository: &Repository, rules: &Rules) -> BTreeMap<String, Vec<Problem>> {
    let avoided: Vec<_> = rules
        .names
        .iter()
        .flat_map(|group| group.names.iter().map(|word| Word::new(word, &group.instead)))
        .collect();
    let mut found: BTreeMap<_, _> = avoided.iter().map(|word| (word.text.to_owned(), Vec::new())).collect();
    for source in repository.crates.iter().flat_map(|member| member.sources.values()) {
        search(source, source.tokens.clone(), &avoided, &mut found);
    }
    found
}

fn search(
    source: &Source,
    tokens: TokenStream,
    avoided: &[Word<'_>],
    found: &mut BTreeMap<String, Vec<Problem>>,
) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => search(source, group.stream(), avoided, found),
            TokenTree::Ident(ident) => search_identifier(source, &ident, avoided, found),
            _ => {}
        }
    }
}

fn search_identifier(
    source: &Source,
    ident: &Ident,
    avoided: &[Word<'_>],
    found: &mut BTreeMap<String, Vec<Problem>>,
) {
    let name = ident.to_string();
    let parts = parts(&name);
    for word in avoided.iter().filter(|word| word.is_in(&name, &parts)) {
        let message = format!("{:?} in the name {name}: use {}", word.text, word.instead);
        let problem = Problem::new(&source.path, ident.span().start().line, message);
        found.entry(word.text.to_owned()).or_default().push(problem);
    }
}

/// The words of an identifier, in lower case: `NoPlace` and `no_place` are "no" and "place".
pub fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_after_lower = false;
    for c in identifier.trim_start_matches("r#").chars() {
        if c == '_' || (c.is_uppercase() && is_after_lower) {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| c != '_') {
            part.extend(c.to_lowercase());
        }
        is_after_lower = !c.is_uppercase();
    }
    parts.retain(|part| !part.is_empty());
    parts
}
