//! The page as HTML. Pure.
//!
//! Text from a cluster may come from an attacker: all of it is escaped by the templates, and goes through
//! [`parts::plain`], which replaces every character that hides or reverses the text around it.

mod filter;
mod namespaces;
mod parts;
mod sections;
mod summary;
mod timeline;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::model::Model;
use super::query::Query;

/// The style sheet.
const STYLE: &str = include_str!("style.css");
/// A small icon for the browser's tab: three bars of different ends.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cg fill='%231a7f37'%3E\
    %3Crect x='1' y='2' width='14' height='3'/%3E%3Crect x='1' y='7' width='9' height='3'/%3E%3Crect x='1' y='12' width='5' \
    height='3'/%3E%3C/g%3E%3C/svg%3E";

/// The content security policy: a browser may only show the page, in its own style, and send its one form back to the
/// same origin.
pub(crate) fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// The page.
pub(crate) fn page(model: &Model, query: &Result<Query, Vec<String>>, now: Timestamp) -> String {
    let requested = query.clone().unwrap_or_default();
    let title = if query.is_ok() { "Run namespaces" } else { "Error: run namespaces" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " \u{b7} codex-k8s-guard" }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header { (banner(model, &requested, now)) }
                main id="main" tabindex="-1" {
                    (summary::section(model, now))
                    (namespaces::section(model, query, now))
                    (sections::quota_usage(model))
                    (sections::sweep(model, now))
                    (sections::rows(model, now))
                }
                footer {
                    p { "This page is read-only. Its states are explained in " code { "docs/operations/page.md" } ", and one namespace by "
                        code { "kubectl guard explain ns/NAME" } ". The Grafana dashboard shows the denials of the webhooks. "
                        a href={"status.json" (requested.address(0))} { "The same data as JSON" } "." }
                }
            }
        }
    }
    .into_string()
}

fn banner(model: &Model, requested: &Query, now: Timestamp) -> Markup {
    html! {
        div.title {
            p.product { "codex-k8s-guard" }
            h1 { "Run namespaces" }
        }
        p.read { "Read " (parts::moment(model.read_at, now)) ". " a href=(requested.address(requested.page)) { "Read again" } }
        nav aria-label="Sections" {
            ul {
                @for (id, name) in [("namespaces", "Namespaces"), ("quotas", "Quotas"), ("sweep", "Last sweep"), ("rows", "Audit rows")] {
                    li { a href={"#" (id)} { (name) } }
                }
            }
        }
    }
}
