//! Figures about the product's code, for people who compare two states of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proc_macro2::{TokenStream, TokenTree};
use serde::Serialize;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Item, Visibility};

use crate::config::Rules;
use crate::findings::Findings;
use crate::functions::{distribution, functions};
use crate::identifiers::parts;
use crate::repository::Repository;
use crate::source::{Source, is_test_only};
use crate::summaries::doc_lines;

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Circles of files.
    pub circles: usize,
    /// Files that are in a circle.
    pub files_in_circles: usize,
    /// Forbidden uses between rooms or crates.
    pub forbidden_arrows: usize,
    /// Items that are `pub`, outside tests.
    pub public_items: usize,
    /// Percentage of summaries that begin with a question word.
    pub question_summaries: f64,
    /// Uses of words to avoid, in identifiers.
    pub avoided_names: usize,
    /// Files about quotas, outside tests.
    pub quota_files: BTreeSet<String>,
    /// The folders of these files.
    pub quota_folders: BTreeSet<String>,
    /// The lengths of functions outside tests.
    pub function_lines: Lengths,
    /// Lines of code by crate, without blank lines, comments and tests.
    pub product_lines: BTreeMap<String, usize>,
}

/// A distribution of lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// The median.
    pub median: usize,
    /// The 90th percentile.
    pub p90: usize,
    /// The maximum.
    pub max: usize,
}

impl Figures {
    /// Counts, from all sources.
    pub fn count(repository: &Repository, rules: &Rules) -> Self {
        let found = Findings::collect(repository, rules).figures;
        let mut figures = Self {
            circles: found.circles,
            files_in_circles: found.files_in_circles,
            forbidden_arrows: found.arrows.len(),
            question_summaries: found.question_summaries,
            avoided_names: found.names.values().sum(),
            ..Self::default()
        };
        let mut lengths = Vec::new();
        for member in &repository.crates {
            for source in member.sources.values().filter(|source| !member.is_test(source)) {
                figures.add(&member.path, source, rules);
                lengths.extend(functions(source).into_iter().filter(|f| !f.test).map(|f| f.lines));
            }
        }
        let (median, p90, max) = distribution(lengths);
        figures.function_lines = Lengths { median, p90, max };
        figures
    }

    fn add(&mut self, member: &str, source: &Source, rules: &Rules) {
        let product = Product::count(source);
        self.public_items += product.public_items;
        *self.product_lines.entry(member.to_owned()).or_default() += product.lines;
        if is_about_quotas(source, rules) {
            let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.quota_files.insert(source.path.clone());
            self.quota_folders.insert(folder.to_owned());
        }
    }
}

/// Reports whether a file's name or its module doc has one of the words about quotas.
fn is_about_quotas(source: &Source, rules: &Rules) -> bool {
    let docs = source.items.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).count();
    let doc_lines = doc_lines(source).into_iter().take(docs).map(|line| line.text);
    let texts = std::iter::once(source.path.clone()).chain(doc_lines);
    texts.flat_map(|text| text_parts(&text)).any(|word| rules.quota_terms.contains(&word))
}

fn text_parts(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').flat_map(parts).collect()
}

/// The part of a file that is not for tests.
#[derive(Default)]
struct Product {
    public_items: usize,
    lines: usize,
    test_lines: BTreeSet<usize>,
}

impl Product {
    fn count(source: &Source) -> Self {
        let mut product = Self::default();
        product.visit_file(&source.items);
        let mut lines = BTreeSet::new();
        code_lines(source.tokens.clone(), &mut lines);
        product.lines = lines.difference(&product.test_lines).count();
        product
    }

    fn add_if_public(&mut self, visibility: &Visibility) {
        self.public_items += usize::from(matches!(visibility, Visibility::Public(_)));
    }
}

/// Adds the lines that hold a token; doc comments are attributes named `doc`, and left out.
fn code_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if matches!(&tree, TokenTree::Punct(p) if p.as_char() == '#') {
            let bang = trees.next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == '!'));
            if trees.next_if(is_doc).is_some() {
                continue;
            }
            lines.extend(bang.map(|bang| bang.span().start().line));
        }
        if let TokenTree::Group(group) = &tree {
            lines.extend([group.span_open().start().line, group.span_close().end().line]);
            code_lines(group.stream(), lines);
        } else {
            lines.extend(tree.span().start().line..=tree.span().end().line);
        }
    }
}

fn is_doc(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let mut content = group.stream().into_iter();
    let is_named_doc = matches!(content.next(), Some(TokenTree::Ident(name)) if name == "doc");
    is_named_doc && matches!(content.next(), Some(TokenTree::Punct(_)))
}

impl Visit<'_> for Product {
    fn visit_item(&mut self, item: &Item) {
        if is_test_module(item) {
            self.test_lines.extend(item.span().start().line..=item.span().end().line);
            return;
        }
        if let Some(visibility) = visibility(item) {
            self.add_if_public(visibility);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        self.add_if_public(&function.vis);
    }

    fn visit_impl_item_const(&mut self, constant: &syn::ImplItemConst) {
        self.add_if_public(&constant.vis);
    }
}

fn is_test_module(item: &Item) -> bool {
    matches!(item, Item::Mod(module) if is_test_only(&module.attrs))
}

fn visibility(item: &Item) -> Option<&Visibility> {
    match item {
        Item::Const(item) => Some(&item.vis),
        Item::Enum(item) => Some(&item.vis),
        Item::Fn(item) => Some(&item.vis),
        Item::Mod(item) => Some(&item.vis),
        Item::Static(item) => Some(&item.vis),
        Item::Struct(item) => Some(&item.vis),
        Item::Trait(item) => Some(&item.vis),
        Item::Type(item) => Some(&item.vis),
        _ => None,
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lengths { median, p90, max } = self.function_lines;
        let by_crate: Vec<_> =
            self.product_lines.iter().map(|(name, lines)| format!("{name} {lines}")).collect();
        let rows = [
            ("circles of files", format!("{} ({} files)", self.circles, self.files_in_circles)),
            ("forbidden uses between rooms", self.forbidden_arrows.to_string()),
            ("public items", self.public_items.to_string()),
            ("summaries with a question word", format!("{:.1} %", self.question_summaries)),
            ("avoided words in identifiers", self.avoided_names.to_string()),
            (
                "files about quotas",
                format!("{} in {} folders", self.quota_files.len(), self.quota_folders.len()),
            ),
            ("lines of a function", format!("median {median}, p90 {p90}, longest {max}")),
            ("lines of product code", self.product_lines.values().sum::<usize>().to_string()),
            ("  by crate", by_crate.join(", ")),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<31} {value}"))
    }
}
