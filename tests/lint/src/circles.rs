//! Circles of files: files that need each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::ModuleTree;
use crate::problem::Problem;

/// A use of one file by another one of the same crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The file that uses.
    pub from: String,
    /// The line of the use.
    pub line: usize,
    /// The file that is used.
    pub to: String,
    /// The module that uses, from the crate's root.
    pub from_module: Vec<String>,
    /// The module that is used, from the crate's root.
    pub to_module: Vec<String>,
}

/// The uses between the files of a crate, outside tests.
pub fn edges(tree: &ModuleTree) -> Vec<Edge> {
    let mut edges = BTreeSet::new();
    for (id, module) in tree.modules.iter().enumerate().filter(|(_, module)| !module.test) {
        for reference in &module.references {
            let Some(target) = tree.resolve(id, &reference.segments) else { continue };
            if target.test || target.file == module.file {
                continue;
            }
            edges.insert(Edge {
                from: module.file.clone(),
                line: reference.line,
                to: target.file.clone(),
                from_module: module.path.clone(),
                to_module: target.path.clone(),
            });
        }
    }
    edges.into_iter().collect()
}

/// The circles among some edges; each is a set of files.
pub fn circles(edges: &[Edge]) -> BTreeSet<BTreeSet<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        next.entry(&edge.from).or_default().insert(&edge.to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|file| (*file, reachable(file, &next))).collect();
    let mut found = BTreeSet::new();
    for (file, others) in &reach {
        let circle: BTreeSet<_> = others
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|r| r.contains(file)))
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

fn reachable<'a>(start: &'a str, next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for to in next.get(file).into_iter().flatten() {
            if seen.insert(*to) {
                open.push(to);
            }
        }
    }
    seen
}

/// Edges that can be part of a circle: a module may use the modules around it, which hold the types that their parts
/// share. The other direction counts, and so does a sibling that is reached through the module around both.
pub fn counted(edges: Vec<Edge>) -> Vec<Edge> {
    edges.into_iter().filter(|edge| !edge.from_module.starts_with(&edge.to_module)).collect()
}

/// The first use of each file of a circle by each other one, as problems.
pub fn problems(circle: &BTreeSet<&str>, edges: &[Edge]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let inside = edges.iter().filter(|edge| circle.contains(&*edge.from) && circle.contains(&*edge.to));
    inside
        .filter(|edge| seen.insert((&edge.from, &edge.to)))
        .map(|edge| {
            let message = format!(
                "uses {}, in a circle of {} files: move the shared part into a file that uses neither",
                edge.to,
                circle.len()
            );
            Problem::new(&edge.from, edge.line, message)
        })
        .collect()
}
