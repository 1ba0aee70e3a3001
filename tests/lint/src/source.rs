//! One parsed file of Rust.

use proc_macro2::TokenStream;
use syn::{Attribute, Meta};

/// A file that is not Rust.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: failed to parse: {reason}")]
pub struct ParseError {
    path: String,
    line: usize,
    reason: String,
}

impl ParseError {
    fn new(path: &str, error: &syn::Error) -> Self {
        Self { path: path.to_owned(), line: error.span().start().line, reason: error.to_string() }
    }
}

/// A parsed file, with its path from the root of the repository.
pub struct Source {
    /// The path from the root of the repository, with slashes.
    pub path: String,
    /// The text.
    pub text: String,
    /// The tokens, with doc comments as attributes.
    pub tokens: TokenStream,
    /// The items.
    pub items: syn::File,
}

impl Source {
    /// Parses a file.
    pub fn parse(path: &str, text: &str) -> Result<Self, ParseError> {
        let tokens = text
            .parse::<TokenStream>()
            .map_err(|error| ParseError::new(path, &syn::Error::new(error.span(), error)))?;
        let items = syn::parse2(tokens.clone()).map_err(|error| ParseError::new(path, &error))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), tokens, items })
    }

    /// Reports whether the path alone says that the file holds tests.
    pub fn is_test(&self) -> bool {
        let inside = self.path.split_once("/src/").map_or(self.path.as_str(), |(_, inside)| inside);
        let folders_and_name: Vec<_> = inside.split('/').collect();
        folders_and_name.last() == Some(&"tests.rs")
            || folders_and_name.split_last().is_some_and(|(_, folders)| folders.contains(&"tests"))
    }
}

/// Reports whether an item is compiled for tests only.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || matches!(&attribute.meta, Meta::List(list)
                if attribute.path().is_ident("cfg") && requires_test(&list.tokens.to_string()))
    })
}

/// Reports whether a `cfg` predicate holds in tests only; `any` and `not` are taken as "not only".
fn requires_test(predicate: &str) -> bool {
    let parts: Vec<_> = predicate.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    parts.contains(&"test") && !parts.contains(&"not") && !parts.contains(&"any")
}
