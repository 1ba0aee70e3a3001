//! Uses between crates, and between the rooms of a crate, against the table of allowed uses.

use std::collections::BTreeMap;

use crate::circles::edges;
use crate::config::{CrateRules, Rules};
use crate::problem::Problem;
use crate::repository::{Crate, Repository};

/// The forbidden uses, by their names (`webhook::engine -> webhook::reconcile`), each with where it is in the code.
pub fn forbidden(repository: &Repository, rules: &Rules) -> BTreeMap<String, Vec<Problem>> {
    let mut found: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for member in &repository.crates {
        let Some(rules) = rules.crates.iter().find(|rules| rules.path == member.path) else { continue };
        for (name, problem) in
            between_crates(member, rules, repository).into_iter().chain(between_rooms(member, rules))
        {
            let problems = found.entry(name).or_default();
            if problems.last() != Some(&problem) {
                problems.push(problem);
            }
        }
    }
    found
}

fn between_crates(member: &Crate, rules: &CrateRules, repository: &Repository) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    for module in member.tree.modules.iter().filter(|module| !module.test) {
        for reference in &module.references {
            let used =
                repository.crates.iter().find(|other| reference.segments.first() == Some(&other.library));
            if let Some(used) =
                used.filter(|used| used.path != member.path && !rules.uses.contains(&used.path))
            {
                let name = format!("{} -> {}", member.path, used.path);
                found
                    .push((name.clone(), problem(&module.file, reference.line, &name, "crate", &rules.uses)));
            }
        }
    }
    found
}

fn between_rooms(member: &Crate, rules: &CrateRules) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    for edge in edges(&member.tree) {
        let (Some(from), Some(to)) = (edge.from_module.first(), edge.to_module.first()) else { continue };
        let (Some(room), Some(used)) = (room_of(rules, from), room_of(rules, to)) else { continue };
        let allowed = &rules.rooms[room].uses;
        if room != used && !allowed.iter().any(|name| name == used) {
            let name = format!("{path}::{from} -> {path}::{to}", path = member.path);
            found.push((name.clone(), problem(&edge.from, edge.line, &name, "room", allowed)));
        }
    }
    found
}

fn problem(file: &str, line: usize, name: &str, kind: &str, allowed: &[String]) -> Problem {
    let allowed =
        if allowed.is_empty() { "no other".to_owned() } else { format!("only {}", allowed.join(", ")) };
    let message = format!(
        "forbidden use {name}: this {kind} may use {allowed}. Move the shared code below both, or pass it in."
    );
    Problem::new(file, line, message)
}

fn room_of<'a>(rules: &'a CrateRules, module: &str) -> Option<&'a str> {
    let holds = |modules: &[String]| modules.iter().any(|name| name == module);
    rules.rooms.iter().find(|(_, room)| holds(&room.modules)).map(|(name, _)| name.as_str())
}

/// Top-level modules that are in no room of a crate that has rooms.
pub fn modules_without_room(repository: &Repository, rules: &Rules) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in &repository.crates {
        let rules = rules.crates.iter().find(|rules| rules.path == member.path && !rules.rooms.is_empty());
        let Some(rules) = rules else { continue };
        for module in member.tree.modules.iter().filter(|module| !module.test && module.path.len() == 1) {
            let name = &module.path[0];
            if room_of(rules, name).is_none() {
                let message = format!(
                    "module {name} is in no room of {}: add it to one in tests/lint/rules.toml",
                    rules.path
                );
                problems.push(Problem::new(&module.file, 1, message));
            }
        }
    }
    problems
}
