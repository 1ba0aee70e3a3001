//! The lengths of functions.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Signature};

use crate::problem::Problem;
use crate::source::{Source, is_test_only};

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// The lines from `fn` to the closing brace.
    pub lines: usize,
    /// Set for a function in a test module.
    pub test: bool,
}

/// The functions of a file, nested ones among them.
pub fn functions(source: &Source) -> Vec<Function> {
    let mut collector = Collector { found: Vec::new(), test: false };
    collector.visit_file(&source.items);
    collector.found
}

/// The functions of a file that are longer than a limit.
pub fn long_functions(source: &Source, limit: usize) -> Vec<Problem> {
    let too_long = functions(source).into_iter().filter(|function| function.lines > limit);
    too_long
        .map(|function| {
            let message = format!(
                "function {} has {} lines, more than {limit}: split it by concern",
                function.name, function.lines
            );
            Problem::new(&source.path, function.line, message)
        })
        .collect()
}

/// The median, the 90th percentile and the maximum of some lengths.
pub fn distribution(mut lengths: Vec<usize>) -> (usize, usize, usize) {
    lengths.sort_unstable();
    let at =
        |percent: usize| lengths.get(lengths.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
    (at(50), at(90), at(100))
}

struct Collector {
    found: Vec<Function>,
    test: bool,
}

impl Collector {
    fn add(&mut self, signature: &Signature, body: &Block, attributes: &[Attribute]) {
        let line = signature.fn_token.span().start().line;
        let lines = body.brace_token.span.close().end().line - line + 1;
        let test = self.test || is_test_only(attributes);
        self.found.push(Function { name: signature.ident.to_string(), line, lines, test });
    }
}

impl Visit<'_> for Collector {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        let before = self.test;
        self.test = before || is_test_only(&module.attrs);
        visit::visit_item_mod(self, module);
        self.test = before;
    }

    fn visit_item_fn(&mut self, function: &syn::ItemFn) {
        self.add(&function.sig, &function.block, &function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        self.add(&function.sig, &function.block, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig, body, &function.attrs);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
