//! The filter of the namespaces: a form, links for each state, and pages of the result.

use std::collections::BTreeSet;

use codex_k8s_shared::keys;
use maud::{Markup, html};

use crate::page::model::{Listed, State};
use crate::page::query::{Query, Selection};

/// The maximum number of projects in the form.
const OFFERED: usize = 200;

/// The parameters that are invalid.
pub(super) fn errors(wrong: &[String]) -> Markup {
    html! {
        div.error role="alert" {
            h3 { "This cannot be shown" }
            ul { @for problem in wrong { li { (problem) } } }
            p { a href="?" { "Show all namespaces" } }
        }
    }
}

/// A link for each state that occurs, with the number of namespaces in it.
pub(super) fn states(listed: &[Listed], requested: &Query) -> Markup {
    let count = |state: State| listed.iter().filter(|listed| listed.state() == state).count();
    let to = |state| Query { state, ..requested.clone() }.address(0);
    html! {
        nav.states aria-label="Namespaces by state" {
            ul {
                li { a href=(to(None)) aria-current=[requested.state.is_none().then_some("true")] { "All " span.count { (listed.len()) } } }
                @for (state, count) in State::ALL.map(|state| (state, count(state))) {
                    @if count > 0 || requested.state == Some(state) {
                        li {
                            a href=(to(Some(state))) aria-current=[(requested.state == Some(state)).then_some("true")] {
                                (badge(state)) " " span.count { (count) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A state: a word, with a color in addition.
pub(super) fn badge(state: State) -> Markup {
    html! { span class={"badge " (state.code())} { (state.label()) } }
}

/// The form.
pub(super) fn form(listed: &[Listed], requested: &Query) -> Markup {
    let projects: BTreeSet<_> =
        listed.iter().filter_map(|listed| listed.candidate.label(keys::PROJECT_ID)).collect();
    html! {
        form.filter method="get" role="search" aria-label="Namespaces" {
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "Any" }
                    @for state in State::ALL {
                        option value=(state.code()) selected[requested.state == Some(state)] { (state.label()) }
                    }
                }
            }
            div {
                label for="project" { "Project" }
                input id="project" name="project" list="projects" maxlength="63" autocomplete="off" value=(requested.project);
                datalist id="projects" { @for project in projects.into_iter().take(OFFERED) { option value=(project) {} } }
            }
            div {
                label for="text" { "Text in name, run, requester or reason" }
                input id="text" name="text" type="search" maxlength="100" autocomplete="off" value=(requested.text);
            }
            button type="submit" { "Show" }
            @if !requested.is_for_all() { a href="?" { "Show all" } }
        }
    }
}

/// The current page of the result, with links to the others.
pub(super) fn parts(selection: &Selection<'_>, requested: &Query) -> Markup {
    let (page, pages) = (selection.page, selection.pages);
    html! {
        @if pages > 1 {
            nav.parts aria-label="Parts of the list" {
                ul {
                    @if page > 0 {
                        li { a href=(requested.address(0)) { "First" } }
                        li { a href=(requested.address(page - 1)) rel="prev" { "Previous" } }
                    }
                    li { span aria-current="page" { "Part " (page + 1) " of " (pages) } }
                    @if page + 1 < pages {
                        li { a href=(requested.address(page + 1)) rel="next" { "Next" } }
                        li { a href=(requested.address(pages - 1)) { "Last" } }
                    }
                }
            }
        }
    }
}
