mod document;
mod models;

use jiff::Span;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::page::json::Status;
use document::Document;
use models::{any_model, model, now, of};

fn shown(model: &Model, query: &str) -> Document {
    Document::parse(&page(model, &Query::parse(query), now()))
}

#[test]
fn a_page_has_its_landmarks_one_title_and_headings_in_order() {
    let document = shown(&model(), "");
    for (name, count) in [("header", 1), ("main", 1), ("footer", 1), ("h1", 1), ("title", 1), ("script", 0)] {
        assert_eq!(document.all(name).len(), count, "{name}");
    }
    let levels: Vec<_> = document.headings();
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert_eq!(document.root().attribute("lang").as_deref(), Some("en"));
    let skip = &document.all("a")[0];
    assert_eq!(
        (skip.attribute("href"), skip.text()),
        (Some("#main".to_owned()), "Skip to the content".to_owned())
    );
}

#[test]
fn every_class_of_a_page_has_a_style() {
    let html = page(&model(), &Query::parse(""), now());
    let lists = html.split(" class=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let classes: std::collections::BTreeSet<_> = lists.flat_map(str::split_whitespace).collect();
    assert!(classes.len() > 10, "{classes:?}");
    let style = include_str!("style.css");
    for class in classes {
        let has_style = style.match_indices(&format!(".{class}")).any(|(at, found)| {
            !style[at + found.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '-')
        });
        assert!(has_style, "{class}");
    }
}

#[test]
fn a_sweep_that_is_late_is_due_and_one_to_come_has_a_time() {
    let shown_with = |next| shown(&Model { next: Some(next), ..model() }, "").by_id("glance").text();
    assert!(shown_with(now() - Span::new().seconds(6)).contains("the next one is due"));
    assert!(shown_with(now() + Span::new().minutes(6)).contains("the next one in 6m"));
}

#[test]
fn every_table_has_a_caption_and_heads_and_every_field_a_label() {
    let document = shown(&model(), "");
    assert_eq!(document.all("table").len(), 4, "namespaces, places, what was kept, rows");
    for table in document.all("table") {
        assert_eq!(table.all("caption").len(), 1);
        for head in table.all("th") {
            assert!(matches!(head.attribute("scope").as_deref(), Some("col" | "row")), "{}", head.text());
        }
        for (name, role) in [("tr", "row"), ("td", "cell"), ("tbody", "rowgroup"), ("table", "table")] {
            let roles = table.all(name).into_iter().map(|element| element.attribute("role"));
            assert!(roles.eq(std::iter::repeat_n(Some(role.to_owned()), table.all(name).len())), "{name}");
        }
        let columns = table.all("thead")[0].all("th").len();
        for row in table.all("tbody")[0].all("tr") {
            assert_eq!((row.all("th").len(), row.all("td").len()), (1, columns - 1), "{}", row.text());
        }
    }
    let labelled: Vec<_> = document.all("label").iter().filter_map(|label| label.attribute("for")).collect();
    for field in document.all("input").into_iter().chain(document.all("select")) {
        assert!(labelled.contains(&field.attribute("id").unwrap()));
    }
}

#[test]
fn what_people_write_into_a_cluster_is_text_and_nothing_else() {
    let evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}";
    let mut bad = model();
    let namespaces = bad.namespaces.as_mut().unwrap();
    namespaces.listed.push(of(evil, evil, ""));
    namespaces.listed.push(of("codex-issue-evil", evil, evil));
    let hold = format!("2026-02-01T18:00:00Z {}", evil.trim_end_matches('\u{202e}'));
    namespaces.listed.push(of("codex-issue-held", "jane", &hold));
    namespaces.trips = Ok(vec![evil.to_owned()]);
    bad.quota_usage.as_mut().unwrap()[0].scope = evil.to_owned();
    let row = &mut bad.rows.as_mut().unwrap()[0].event.payload;
    (row.namespace, row.error, row.reason) = (evil.to_owned(), Some(evil.to_owned()), Some(evil.to_owned()));
    let last = bad.sweep.as_mut().unwrap().as_mut().unwrap();
    (last.error, last.retained, last.breaker) =
        (Some(evil.to_owned()), [(evil.to_owned(), 1)].into(), vec![evil.to_owned()]);
    for query in ["", "project=%22%27%3E%3Cscript%3E&text=%3Cscript%3Ealert", "state=%3Cscript%3E"] {
        let html = page(&bad, &Query::parse(query), now());
        assert!(!html.contains('\u{202e}'));
        let document = Document::parse(&html);
        assert_eq!((document.all("script").len(), document.all("img").len()), (0, 0), "{query}");
        let attributes = document.attributes();
        assert!(attributes.iter().all(|name| !name.starts_with("on") && name != "style"), "{attributes:?}");
    }
    let html = page(&bad, &Query::parse(""), now());
    assert_eq!(html.matches("&lt;script&gt;").count(), 14, "each of them is there to be read");
}

#[test]
fn what_is_not_known_is_said_to_be_and_never_shown_as_0() {
    let why = || "failed to read it: connection refused".to_owned();
    let unknown = Model {
        namespaces: Err(why()),
        quota_usage: Err(why()),
        rows: Err(why()),
        sweep: Err(why()),
        ..model()
    };
    let document = shown(&unknown, "");
    for id in ["namespaces", "quotas", "sweep", "rows"] {
        let section = document.by_id(id);
        let text = section.text();
        assert!(text.contains("Not known: ") && section.all("table").is_empty(), "{id}: {text}");
        assert!(!text.contains(" 0"), "{id}: {text}");
    }
    assert_eq!(document.by_id("glance").text().matches("not known").count(), 3);
    assert_eq!(document.all("p").iter().filter(|p| p.text().contains("connection refused")).count(), 4);
}

#[test]
fn without_a_decision_no_namespace_is_shown_as_if_there_was_one() {
    let mut undecided = model();
    let namespaces = undecided.namespaces.as_mut().unwrap();
    namespaces.undecided = Some("failed to reach the database".to_owned());
    namespaces.listed.iter_mut().for_each(|listed| listed.verdict = None);
    let document = shown(&undecided, "");
    let text = document.by_id("namespaces").text();
    assert!(
        text.contains("Not known: the decisions about the namespaces. failed to reach the database"),
        "{text}"
    );
    assert!(text.contains("Undecided 4") && !text.contains("the next sweep deletes it"), "{text}");
    assert!(document.by_id("glance").text().contains("nothing is decided about them"));
}

#[test]
fn namespaces_are_shown_with_what_becomes_of_them_as_a_sweep_decides() {
    let text = shown(&model(), "").by_id("namespaces").text();
    for expected in [
        "4 namespaces, the earliest end first.",
        "codex-issue-1 run run-1 project p1 mode full-env requested by jane",
        "Due the next sweep deletes it: its lease has ended",
        "Held a hold blocks its deletion: looking into it; goes in 6h (18:00 UTC) at the earliest",
        "ended 60m ago (11:00 UTC), renewed 2h ago for 1h0m0s",
        "Terminating it is being deleted since 2026-02-01T11:30:00Z",
        "ready since 119m ago (10:00 UTC)",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
}

#[test]
fn a_query_stays_in_the_form_and_in_every_link() {
    let mut many = model();
    let namespaces = many.namespaces.as_mut().unwrap();
    namespaces.listed = (0..120).map(|number| of(&format!("codex-issue-{number}"), "jane", "")).collect();
    let document = shown(&many, "project=p1&text=codex&page=2");
    let links: Vec<_> = document.all("a").iter().filter_map(|link| link.attribute("href")).collect();
    for link in [
        "?project=p1&text=codex",
        "?project=p1&text=codex&page=3",
        "?state=due&project=p1&text=codex",
        "status.json?project=p1&text=codex",
    ] {
        assert!(links.iter().any(|found| found == link), "no {link} in {links:?}");
    }
    assert!(
        links.iter().all(|link| link.trim_start_matches("status.json").starts_with(['?', '#'])),
        "relative, for a proxy's sake: {links:?}"
    );
    let values: Vec<_> = document.all("input").iter().filter_map(|field| field.attribute("value")).collect();
    assert_eq!(values, ["p1", "codex"]);
    assert!(document.by_id("namespaces").text().contains("Part 2 of 3"));
    let none = shown(&many, "text=nobody");
    assert!(none.by_id("namespaces").text().contains("None of 120 namespaces matches."));
}

#[test]
fn a_query_that_cannot_be_taken_shows_what_is_wrong_and_no_namespace() {
    let document = shown(&model(), "state=gone&page=0");
    let section = document.by_id("namespaces");
    assert!(section.text().contains("state \"gone\" is none; expected one of due,"), "{}", section.text());
    assert!(section.text().contains("page \"0\" is none") && section.all("table").is_empty());
    assert!(document.all("title")[0].text().starts_with("Error: "));
}

fn as_json(model: &Model, query: &str) -> serde_json::Value {
    serde_json::to_value(Status::new(model, &Query::parse(query).unwrap())).unwrap()
}

#[test]
fn the_json_has_the_state_of_each_namespace_that_matches_and_the_reason_of_what_is_unknown() {
    let mut model = model();
    let status = as_json(&model, "state=held");
    let items = status["namespaces"]["items"].as_array().unwrap();
    assert_eq!((status["namespaces"]["managed"].as_u64(), items.len()), (Some(4), 1));
    for (key, value) in [
        ("name", "codex-issue-2"),
        ("state", "held"),
        ("reason", "held"),
        ("until", "2026-02-01T18:00:00Z"),
        ("requestedBy", "jane"),
        ("leaseExpiresAt", "2026-02-01T11:00:00Z"),
        ("baselineReadyAt", "2026-02-01T10:00:05Z"),
    ] {
        assert_eq!(items[0][key], value, "{key}");
    }
    assert_eq!(status["lastSweep"]["result"], "succeeded");
    model.quota_usage = Err("connection refused".to_owned());
    assert_eq!(as_json(&model, "")["quotaUsage"], json!({"unknown": "connection refused"}));
}

#[test]
fn the_json_lists_all_namespaces_without_pages() {
    let mut many = model();
    many.namespaces.as_mut().unwrap().listed =
        (0..120).map(|number| of(&format!("codex-issue-{number}"), "jane", "")).collect();
    assert_eq!(as_json(&many, "page=2")["namespaces"]["items"].as_array().map(Vec::len), Some(120));
}

#[test]
fn the_style_has_nothing_from_elsewhere_and_what_is_inline_is_what_the_policy_lets_through() {
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"), "{STYLE}");
    let document = shown(&model(), "");
    let styles = document.all("style");
    assert_eq!(styles.len(), 1);
    let hash = STANDARD.encode(Sha256::digest(styles[0].text()));
    assert!(content_security_policy().contains(&format!("style-src 'sha256-{hash}';")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_model_is_a_well_formed_page(model in any_model(), query in "[ -~]{0,40}", good in any::<bool>()) {
        let query = if good { Ok(Query { text: query, ..Query::default() }) } else { Err(vec![query]) };
        let document = Document::parse(&page(&model, &query, now()));
        prop_assert_eq!(document.all("script").len(), 0);
        prop_assert_eq!(document.all("main").len(), 1);
        let ids = document.ids();
        let once: std::collections::BTreeSet<_> = ids.iter().collect();
        prop_assert_eq!(once.len(), ids.len());
    }
}
