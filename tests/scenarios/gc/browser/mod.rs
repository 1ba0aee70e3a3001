//! The page in a real browser, without a script, as people use it with a mouse, a keyboard, a screen reader, a small
//! screen or a dark theme.

mod scene;

use std::path::Path;

use codex_k8s_tests::Chromium;
use serde_json::{Value, json};

use scene::Scene;

const TAB: u32 = 9;
const ENTER: u32 = 13;

/// Saves a screenshot for people to view.
fn picture(browser: &mut Chromium, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    browser.picture(&folder.join(format!("{name}.png"))).unwrap();
}

#[test]
fn the_page_is_read_by_eye_by_keyboard_and_by_screen_reader_without_a_script() {
    let scene = Scene::new();
    let mut browser = Chromium::start().unwrap();
    browser.call("Emulation.setScriptExecutionDisabled", &json!({"value": true})).unwrap();
    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 320), ("dark", 320)] {
        browser.resize(width, 900).unwrap();
        browser.prefer(&[("prefers-color-scheme", scheme)]).unwrap();
        browser.open(&scene.address("")).unwrap();
        picture(&mut browser, &format!("{scheme}-{width}"));
        is_recent(&browser.accessible().unwrap());
        is_seen(&mut browser, scheme, width);
    }
    browser.resize(1280, 900).unwrap();
    // Without animations, because the position of the focus is read before scrolling would end.
    browser.prefer(&[("prefers-reduced-motion", "reduce")]).unwrap();
    browser.open(&scene.address("")).unwrap();
    is_walked_through(&mut browser);
    is_filtered(&mut browser, &scene);
    assert_eq!(browser.complaints(), [""; 0]);
    // The browser refuses what the page's policy forbids, and reports it: else a complaint could never occur.
    browser.evaluate("document.body.setAttribute('style', 'color: red')").unwrap();
    browser.evaluate("1").unwrap();
    assert!(browser.complaints().join("").contains("Content Security Policy"), "{:?}", browser.complaints());
    browser.open(&scene.address("?state=gone&page=0")).unwrap();
    let title = browser.evaluate("document.title").unwrap();
    assert_eq!(title, "Error: run namespaces \u{b7} codex-k8s-guard");
    picture(&mut browser, "error");
}

/// Elements that a page may have and the scene lacks, so that they are checked too.
const REST: &str = "document.querySelector('main').insertAdjacentHTML('beforeend', \
    '<section><p class=unknown><strong>Not known</strong></p><p class=warning><strong>Look</strong></p><div class=error><h3>Error</h3><a href=#main>a</a></div>\
    <span class=\"badge kept\">Kept</span><span class=\"badge undecided\">Undecided</span></section>')";

/// Asserts contrast, no overflow, and no animation for people who prefer none.
fn is_seen(browser: &mut Chromium, scheme: &str, width: u32) {
    browser.evaluate(REST).unwrap();
    let seen = browser.evaluate(include_str!("seen.js")).unwrap();
    let at = format!("{scheme}, {width} px");
    assert!(seen["texts"].as_u64().unwrap() > 200 && seen["shapes"].as_u64().unwrap() > 20, "{at}: {seen}");
    assert_eq!((&seen["pale"], &seen["faint"]), (&json!([]), &json!([])), "{at}");
    assert_eq!((&seen["overflow"], &seen["wide"]), (&json!(0), &json!([])), "{at}");
    let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor").unwrap();
    assert_eq!(ground == "rgb(14, 17, 22)", scheme == "dark", "{at}: {ground}");
    let preferred = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
    let scroll = "getComputedStyle(document.documentElement).scrollBehavior";
    assert_eq!(browser.evaluate(scroll).unwrap(), "smooth");
    browser.prefer(&preferred).unwrap();
    assert_eq!(browser.evaluate(scroll).unwrap(), "auto");
    browser.prefer(&preferred[..1]).unwrap();
}

fn role(node: &Value) -> &str {
    node["role"]["value"].as_str().unwrap_or_default()
}

fn name(node: &Value) -> &str {
    node["name"]["value"].as_str().unwrap_or_default()
}

/// Asserts that controls, links and landmarks have names, tables stay tables at every width, and headings are in order.
fn is_recent(nodes: &[Value]) {
    let names =
        |wanted: &str| -> Vec<&str> { nodes.iter().filter(|node| role(node) == wanted).map(name).collect() };
    for wanted in [
        "link",
        "button",
        "textbox",
        "searchbox",
        "combobox",
        "table",
        "region",
        "navigation",
        "search",
        "columnheader",
        "rowheader",
        "heading",
    ] {
        let found = names(wanted);
        assert!(!found.is_empty() || wanted == "textbox", "there is no {wanted}");
        assert!(found.iter().all(|name| !name.trim().is_empty()), "a {wanted} has no name: {found:?}");
    }
    for wanted in ["navigation", "region", "table"] {
        let found = names(wanted);
        let once: std::collections::BTreeSet<_> = found.iter().collect();
        assert_eq!(once.len(), found.len(), "two of one name: {found:?}");
    }
    for (wanted, count) in [("banner", 1), ("main", 1), ("contentinfo", 1), ("table", 4), ("search", 1)] {
        assert_eq!(names(wanted).len(), count, "{wanted}");
    }
    assert_eq!(names("searchbox"), ["Text in name, run, requester or reason"]);
    assert!(
        names("row").len() > 50 && names("cell").len() > 150,
        "{} {}",
        names("row").len(),
        names("cell").len()
    );
    let level = |node: &Value| {
        let of = node["properties"].as_array()?.iter().find(|property| property["name"] == "level")?;
        of["value"]["value"].as_u64()
    };
    let levels: Vec<_> = nodes.iter().filter(|node| role(node) == "heading").filter_map(level).collect();
    assert_eq!(levels, [1, 2, 2, 2, 2, 2]);
}

/// The focused element: its name, its text, and its outline.
fn focus(browser: &mut Chromium) -> Value {
    let script = "(() => { const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect(); \
        return {tag: at.localName, id: at.id, text: at.textContent.trim().slice(0, 40), outline: `${style.outlineStyle} ${style.outlineWidth}`, \
        visible: box.width > 0 && box.bottom > 0 && box.top < innerHeight}; })()";
    browser.evaluate(script).unwrap()
}

/// Asserts that the Tab key reaches every control, in reading order, and that the focus is visible.
fn is_walked_through(browser: &mut Chromium) {
    browser.press("Tab", TAB).unwrap();
    let first = focus(browser);
    assert_eq!((&first["text"], &first["visible"]), (&json!("Skip to the content"), &json!(true)), "{first}");
    let all = "[...document.querySelectorAll('a, button, input, select')].map(at => at.textContent.trim().slice(0, 40) + at.id)";
    let expected = browser.evaluate(all).unwrap();
    let expected: Vec<_> =
        expected.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
    let mut walked = vec![];
    for _ in &expected {
        let at = focus(browser);
        assert!(at["outline"] == "solid 3px" && at["visible"] == true, "{at}");
        walked.push(format!("{}{}", at["text"].as_str().unwrap(), at["id"].as_str().unwrap()));
        browser.press("Tab", TAB).unwrap();
    }
    assert_eq!(walked, expected);
    browser.evaluate("document.querySelector('.skip').focus()").unwrap();
    browser.press("Enter", ENTER).unwrap();
    assert_eq!(focus(browser)["id"], "main", "the way past the head leads there");
    browser.press("Tab", TAB).unwrap();
    assert_eq!(
        browser.evaluate("document.querySelector('main').contains(document.activeElement)").unwrap(),
        true
    );
}

fn shown(browser: &mut Chromium) -> (u64, String) {
    let rows = browser.evaluate("document.querySelectorAll('#namespaces tbody tr').length").unwrap();
    let text = browser.evaluate("document.querySelector('#namespaces').innerText").unwrap();
    (rows.as_u64().unwrap(), text.as_str().unwrap().to_owned())
}

/// Asserts that typing a text and pressing Enter filters the table, and that a link leads to the next part.
fn is_filtered(browser: &mut Chromium, scene: &Scene) {
    browser.evaluate("document.querySelector('#text').focus()").unwrap();
    browser.call("Input.insertText", &json!({"text": "migration of the scene"})).unwrap();
    browser.press("Enter", ENTER).unwrap();
    browser.await_load().unwrap();
    let (rows, text) = shown(browser);
    assert!(
        rows == 1 && text.contains("a hold blocks its deletion: looking into the migration of the scene"),
        "{text}"
    );
    picture(browser, "filtered");
    browser.open(&scene.address("?project=many")).unwrap();
    assert_eq!(shown(browser).0, 50);
    browser.evaluate("document.querySelector('.parts a[rel=next]').focus()").unwrap();
    browser.press("Enter", ENTER).unwrap();
    browser.await_load().unwrap();
    let (rows, text) = shown(browser);
    assert!(rows == 10 && text.contains("Part 2 of 2") && text.contains("60 of "), "{text}");
    browser.open(&scene.address("?state=needs-attention&project=scene")).unwrap();
    let (rows, text) = shown(browser);
    // The text of an annotation is shown, and not executed.
    assert!(rows == 3 && text.contains("<img src=x onerror=alert(1)>"), "{text}");
    assert_eq!(browser.evaluate("document.images.length").unwrap(), 0);
    picture(browser, "needs-attention");
}
