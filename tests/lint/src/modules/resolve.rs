//! Resolves a path in the code to the module that defines what it names.

use super::{Module, ModuleTree};

/// Re-exports that lead to each other end the search.
const MAX_DEPTH: usize = 16;

/// The end of a search so far: a module, or an item in one.
#[derive(Debug, Clone, Copy)]
enum Found {
    Module(usize),
    Item(usize),
}

impl ModuleTree {
    /// The module that defines what a path names, or the module itself; `None` for other crates and local names.
    pub fn resolve(&self, from: usize, segments: &[String]) -> Option<&Module> {
        self.follow(from, segments, MAX_DEPTH).map(|found| match found {
            Found::Module(id) | Found::Item(id) => &self.modules[id],
        })
    }

    fn follow(&self, from: usize, segments: &[String], depth: usize) -> Option<Found> {
        let (first, rest) = segments.split_first()?;
        let mut found = match first.as_str() {
            "crate" => Found::Module(0),
            "self" => Found::Module(from),
            "super" => Found::Module(self.modules[from].parent?),
            name => self.name_in(from, name, depth)?,
        };
        for name in rest {
            let Found::Module(id) = found else { break };
            found = match name.as_str() {
                "super" => Found::Module(self.modules[id].parent?),
                name => self.name_in(id, name, depth).unwrap_or(Found::Item(id)),
            };
        }
        Some(found)
    }

    fn name_in(&self, id: usize, name: &str, depth: usize) -> Option<Found> {
        let module = &self.modules[id];
        if let Some(child) = module.children.get(name) {
            return Some(Found::Module(*child));
        }
        if module.items.contains(name) {
            return Some(Found::Item(id));
        }
        let depth = depth.checked_sub(1)?;
        let imports = module.imports.iter().filter(|import| import.name == name);
        let mut paths = imports.map(|import| &import.segments).filter(|path| !is_itself(path, name));
        paths.find_map(|path| self.follow(id, path, depth)).or_else(|| self.name_by_glob(id, name, depth))
    }

    fn name_by_glob(&self, id: usize, name: &str, depth: usize) -> Option<Found> {
        self.modules[id].globs.iter().find_map(|path| match self.follow(id, path, depth)? {
            Found::Module(target) if target != id => self.name_in(target, name, depth),
            _ => None,
        })
    }
}

/// Reports whether an import names another crate by the crate's own name: `use serde;`.
fn is_itself(path: &[String], name: &str) -> bool {
    path.len() == 1 && path[0] == name
}
