//! Doc comments: their summaries, and the words in them.

use proc_macro2::{TokenStream, TokenTree};

use crate::config::Rules;
use crate::problem::Problem;
use crate::source::Source;

/// A line of a doc comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocLine {
    /// The line in the file.
    pub line: usize,
    /// The text.
    pub text: String,
    /// Set for the first line of a comment.
    pub is_summary: bool,
}

/// The lines of the doc comments of a file, those inside macros among them.
pub fn doc_lines(source: &Source) -> Vec<DocLine> {
    let mut lines = Vec::new();
    collect(&source.tokens, &mut lines);
    lines
}

/// Adds the doc comments among the tokens: `#[doc = "..."]`, with `!` after `#` in one about the module around it.
fn collect(tokens: &TokenStream, lines: &mut Vec<DocLine>) {
    let trees: Vec<_> = tokens.clone().into_iter().collect();
    let mut at = 0;
    let mut next = None;
    while at < trees.len() {
        if let Some((length, mut doc)) = doc_at(&trees[at..]) {
            // A comment about a module can be followed directly by one about its first item.
            doc.is_summary = next != Some((length, doc.line));
            next = Some((length, doc.line + 1));
            lines.push(doc);
            at += length;
            continue;
        }
        next = None;
        if let TokenTree::Group(group) = &trees[at] {
            collect(&group.stream(), lines);
        }
        at += 1;
    }
}

fn doc_at(trees: &[TokenTree]) -> Option<(usize, DocLine)> {
    let is_punct =
        |at: usize, c: char| matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    let group_at = if is_punct(1, '!') { 2 } else { 1 };
    let Some(TokenTree::Group(group)) = trees.get(group_at).filter(|_| is_punct(0, '#')) else { return None };
    let content: Vec<_> = group.stream().into_iter().collect();
    let [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Literal(text)] = content.as_slice() else {
        return None;
    };
    let text = syn::parse_str::<syn::LitStr>(&text.to_string()).ok()?.value();
    let line = DocLine { line: name.span().start().line, text: text.trim().to_owned(), is_summary: false };
    (name == "doc").then_some((group_at + 1, line))
}

/// The summaries that begin with a question word, and the count of all summaries.
pub fn question_summaries(source: &Source, rules: &Rules) -> (Vec<Problem>, usize) {
    let summaries: Vec<_> = doc_lines(source).into_iter().filter(|line| line.is_summary).collect();
    let problems =
        summaries.iter().filter(|line| is_question(&line.text, &rules.summary_starts)).map(|line| {
            let message = format!(
                "summary begins with a question word: {:?}. Name the thing, or start with a verb.",
                line.text
            );
            Problem::new(&source.path, line.line, message)
        });
    (problems.collect(), summaries.len())
}

fn is_question(summary: &str, starts: &[String]) -> bool {
    let first = summary.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    starts.iter().any(|word| word.eq_ignore_ascii_case(first))
}
