//! The module tree of one crate: its files, the names each module defines or imports, and the paths it uses.

mod collect;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use syn::Item;

use crate::source::{Source, is_test_only};

/// The parsed files of a crate, by path.
pub type Sources = BTreeMap<String, Source>;

/// A path in the code, and its line.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The segments, as they are written.
    pub segments: Vec<String>,
    /// The line of the first segment.
    pub line: usize,
}

/// A name that a `use` brings into a module.
#[derive(Debug, Clone)]
struct Import {
    name: String,
    segments: Vec<String>,
}

/// A module: a file, or a block in one.
#[derive(Debug, Default)]
pub struct Module {
    /// The path from the crate's root, without `crate`.
    pub path: Vec<String>,
    /// The file that it is written in.
    pub file: String,
    /// Set for what is compiled for tests only.
    pub test: bool,
    /// The paths that its code uses.
    pub references: Vec<Reference>,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    globs: Vec<Vec<String>>,
}

/// The modules of a crate; the first one is the root.
#[derive(Debug, Default)]
pub struct ModuleTree {
    /// The modules, parents before children.
    pub modules: Vec<Module>,
}

impl ModuleTree {
    /// Follows the `mod` declarations from the root file of a crate.
    pub fn build(root: &str, sources: &Sources) -> Self {
        let mut tree = Self::default();
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some(source) = sources.get(root) {
            let module = Module { file: root.to_owned(), ..Module::default() };
            tree.add(module, &source.items.items, folder, sources);
        }
        tree
    }

    fn add(&mut self, mut module: Module, items: &[Item], folder: &str, sources: &Sources) -> usize {
        collect::names(&mut module, items);
        collect::references(&mut module, items);
        let (id, path, file, test) =
            (self.modules.len(), module.path.clone(), module.file.clone(), module.test);
        self.modules.push(module);
        for item in items {
            let Item::Mod(declared) = item else { continue };
            let name = declared.ident.to_string();
            let child = Module {
                path: path.iter().cloned().chain([name.clone()]).collect(),
                file: file.clone(),
                test: test || is_test_only(&declared.attrs),
                parent: Some(id),
                ..Module::default()
            };
            if let Some(child) = self.add_child(child, declared, &format!("{folder}/{name}"), sources) {
                self.modules[id].children.insert(name, child);
            }
        }
        id
    }

    /// Adds the module of a declaration: from the block that follows it, or from `FOLDER.rs` or `FOLDER/mod.rs`.
    fn add_child(
        &mut self,
        mut child: Module,
        declared: &syn::ItemMod,
        folder: &str,
        sources: &Sources,
    ) -> Option<usize> {
        if let Some((_, items)) = &declared.content {
            return Some(self.add(child, items, folder, sources));
        }
        let source =
            sources.get(&format!("{folder}.rs")).or_else(|| sources.get(&format!("{folder}/mod.rs")))?;
        child.file.clone_from(&source.path);
        child.test = child.test || source.is_test();
        Some(self.add(child, &source.items.items, folder, sources))
    }

    /// The files that are compiled for tests only.
    pub fn test_files(&self) -> BTreeSet<&str> {
        let product: BTreeSet<_> = self.modules.iter().filter(|m| !m.test).map(|m| m.file.as_str()).collect();
        self.modules.iter().map(|m| m.file.as_str()).filter(|file| !product.contains(file)).collect()
    }
}
