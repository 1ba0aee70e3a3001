//! Collects the names that a module defines and the paths that its code uses.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, ItemUse, Meta, UseTree};

use super::{Import, Module, Reference};
use crate::source::is_test_only;

/// Adds the names of the items of a module.
pub(super) fn names(module: &mut Module, items: &[Item]) {
    module.items.extend(items.iter().filter_map(item_name).map(Ident::to_string));
}

fn item_name(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// Adds the imports and the paths in the code of a module, without those of its child modules.
pub(super) fn references(module: &mut Module, items: &[Item]) {
    let mut collector = Collector { module };
    for item in items {
        collector.visit_item(item);
    }
}

struct Collector<'a> {
    module: &'a mut Module,
}

impl Collector<'_> {
    fn refer(&mut self, segments: Vec<String>, line: usize) {
        self.module.references.push(Reference { segments, line });
    }

    fn import(&mut self, tree: &UseTree, prefix: &[String]) {
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &with(prefix, &path.ident)),
            UseTree::Name(name) => self.import_leaf(prefix, &name.ident, &name.ident),
            UseTree::Rename(rename) => self.import_leaf(prefix, &rename.ident, &rename.rename),
            UseTree::Glob(glob) => {
                self.refer(prefix.to_vec(), glob.star_token.spans[0].start().line);
                self.module.globs.push(prefix.to_vec());
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix)),
        }
    }

    fn import_leaf(&mut self, prefix: &[String], name: &Ident, local: &Ident) {
        let segments = if name == "self" { prefix.to_vec() } else { with(prefix, name) };
        self.refer(segments.clone(), name.span().start().line);
        let local = if local == "self" { segments.last().cloned() } else { Some(local.to_string()) };
        if let Some(name) = local {
            self.module.imports.push(Import { name, segments });
        }
    }

    /// Finds the paths among the tokens of a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let trees: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let segments = path_at(&trees[at..]);
                    at += 3 * (segments.len() - 1);
                    if segments.len() > 1 {
                        self.refer(segments, first.span().start().line);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// The segments of the path that starts with the first token; `::` is two tokens.
fn path_at(trees: &[TokenTree]) -> Vec<String> {
    let mut segments = vec![trees[0].to_string()];
    for step in trees[1..].chunks_exact(3) {
        let [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(name)] = step else { break };
        if first.as_char() != ':' || second.as_char() != ':' {
            break;
        }
        segments.push(name.to_string());
    }
    segments
}

fn with(prefix: &[String], ident: &Ident) -> Vec<String> {
    prefix.iter().cloned().chain([ident.to_string()]).collect()
}

impl Visit<'_> for Collector<'_> {
    fn visit_item(&mut self, item: &Item) {
        if !is_test_only(attributes(item)) && !matches!(item, Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        self.scan(call.tokens.clone());
        self.visit_path(&call.path);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first().filter(|_| segments.len() > 1) {
            self.refer(segments, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
