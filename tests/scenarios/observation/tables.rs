//! The tables of docs/metrics.md and the exported metrics, in one form.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// A metric's type, and the names of its labels.
pub(crate) type Shape = (String, BTreeSet<String>);

/// Metrics by their names. The name of a counter is that of its samples, which ends in `_total`.
pub(crate) type Families = BTreeMap<String, Shape>;

fn code(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| `")?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// The metrics in the tables, of all programs together.
pub(crate) fn documented() -> Families {
    let rows: Vec<_> = PAGE.lines().filter_map(cells).filter(|cells| cells.len() > 2).collect();
    let families: Families = rows
        .iter()
        .map(|cells| {
            let [name, kind, labels, unit, meaning] = cells[..] else { panic!("{cells:?}") };
            assert!(!unit.is_empty() && meaning.len() > 8, "{cells:?}");
            (name.trim_end_matches('`').to_owned(), (kind.to_owned(), code(labels)))
        })
        .collect();
    assert_eq!(families.len(), rows.len(), "a metric has two rows");
    families
}

/// Other projects' metrics that the page names.
pub(crate) fn of_others() -> BTreeSet<String> {
    let rows = PAGE.lines().filter_map(cells).filter(|cells| cells.len() == 2);
    rows.map(|cells| cells[0].trim_end_matches('`').to_owned()).collect()
}

/// The metrics of an exposition.
pub(crate) fn exposed(text: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            let total = if kind == "counter" { "_total" } else { "" };
            current = format!("{name}{total}");
            families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.rsplit_once('}').unwrap().0;
            let names = labels.split("\",").map(|label| label.split_once("=\"").unwrap().0.to_owned());
            families.get_mut(&current).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

/// Names of metrics in a Prometheus expression, each as in the tables.
pub(crate) fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let names = words.filter(|word| word.starts_with("codex_k8s_") || word.starts_with("apiserver_"));
    // In a matcher on `__name__`, a prefix of several names.
    names.filter(|name| !name.ends_with('_')).map(family).collect()
}

/// The family of a metric: a histogram has three names.
fn family(name: &str) -> String {
    let parts = ["_bucket", "_count", "_sum"];
    let base = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
    let known = documented().contains_key(base) || of_others().contains(base);
    if known { base.to_owned() } else { name.to_owned() }
}

/// Asserts that an expression names only existing metrics.
#[track_caller]
pub(crate) fn names_only_what_there_is(expression: &str) {
    let (ours, others) = (documented(), of_others());
    let names = named(expression);
    // `up` is Prometheus' own.
    let is_of_others = ["__name__", "up{"].iter().any(|name| expression.contains(name));
    assert!(!names.is_empty() || is_of_others, "{expression}");
    for name in names {
        assert!(ours.contains_key(&name) || others.contains(&name), "{name} in {expression}");
    }
}
