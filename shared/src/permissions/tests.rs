use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]) -> PolicyRule {
    let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    PolicyRule {
        api_groups: strings(groups),
        resources: strings(resources),
        verbs: strings(verbs),
        resource_names: strings(names),
    }
}

fn is_covered(maximum: &[PolicyRule], requested: &PolicyRule) -> bool {
    covers(&maximum.iter().collect::<Vec<_>>(), requested).is_ok()
}

#[test]
fn subresources_are_reported_apart_and_only_a_star_takes_in_all() {
    let allowed = |listed: &str, requested: &str| {
        is_covered(&[rule(&[""], &[listed], &["get"], &[])], &rule(&[""], &[requested], &["get"], &[]))
    };
    for (listed, requested) in [
        ("pods", "pods"),
        ("pods/log", "pods/log"),
        ("*", "pods/log"),
        ("*", "*"),
        ("*", "*/scale"),
        ("*/scale", "pods/scale"),
        ("*/scale", "*/scale"),
        ("pods/*", "pods/*"),
        ("*/*", "pods/*"),
    ] {
        assert!(allowed(listed, requested), "{listed} covers {requested}");
    }
    for (listed, requested) in [
        ("pods", "pods/log"),
        ("pods/log", "pods"),
        ("pods", "*"),
        ("*/scale", "*"),
        ("*/scale", "scale"),
        ("*/scale", "pods/log"),
        ("pods/*", "pods/log"),
        ("*/*", "pods/log"),
        ("pods/log", "*/log"),
        ("pods", "pod"),
        ("pods", "Pods"),
        ("serviceaccounts", "serviceaccounts/token"),
    ] {
        assert!(!allowed(listed, requested), "{listed} does not cover {requested}");
    }
}

#[test]
fn one_permission_is_not_put_together_from_two_rules() {
    let maximum =
        [rule(&[""], &["pods"], &["get"], &[]), rule(&["apps"], &["deployments"], &["delete"], &[])];
    assert!(is_covered(&maximum, &rule(&["apps"], &["deployments"], &["delete"], &[])));
    assert!(!is_covered(&maximum, &rule(&[""], &["pods"], &["delete"], &[])));
    assert!(!is_covered(&maximum, &rule(&["", "apps"], &["pods", "deployments"], &["get"], &[])));
}

#[test]
fn a_rule_is_covered_by_several_each_for_its_part() {
    let maximum = [rule(&[""], &["pods"], &["get"], &[]), rule(&[""], &["services"], &["*"], &[])];
    assert!(is_covered(&maximum, &rule(&[""], &["pods", "services"], &["get"], &[])));
    assert!(!is_covered(&maximum, &rule(&[""], &["pods", "services"], &["get", "list"], &[])));
}

#[test]
fn names_limit_a_rule_and_their_absence_does_not() {
    let all = rule(&[""], &["secrets"], &["get"], &[]);
    let two = rule(&[""], &["secrets"], &["get"], &["a", "b"]);
    let one = rule(&[""], &["secrets"], &["get"], &["b"]);
    assert!(is_covered(std::slice::from_ref(&all), &two));
    assert!(is_covered(std::slice::from_ref(&two), &one));
    assert!(!is_covered(std::slice::from_ref(&one), &two));
    assert!(!is_covered(&[two, one], &all), "two names are not all of them");
}

#[test]
fn the_verbs_that_widen_rights_need_a_star_or_their_own_name() {
    for verb in ["escalate", "bind", "impersonate", "*"] {
        let maximum = [rule(&["*"], &["*"], &["get", "list", "watch", "create"], &[])];
        assert!(!is_covered(&maximum, &rule(&["*"], &["*"], &[verb], &[])), "{verb}");
        assert!(
            is_covered(&[rule(&["*"], &["*"], &["*"], &[])], &rule(&["*"], &["*"], &[verb], &[])),
            "{verb}"
        );
    }
}

#[test]
fn what_allows_nothing_is_covered_by_nothing() {
    assert!(is_covered(&[], &rule(&[""], &["pods"], &[], &[])));
    assert!(!is_covered(&[], &rule(&[""], &["pods"], &["get"], &[])));
}

#[test]
fn the_first_permission_beyond_the_maximum_is_named() {
    let maximum = rule(&[""], &["pods"], &["get", "list"], &[]);
    let requested = rule(&["", "apps"], &["pods", "secrets"], &["list", "delete"], &["x"]);
    let beyond = covers(&[&maximum], &requested).unwrap_err();
    assert_eq!(beyond, Permission { group: "", resource: "pods", verb: "delete", name: Some("x") });
    assert_eq!(beyond.to_string(), r#"verb "delete" on "pods" named "x""#);
    let requested = rule(&["apps"], &["deployments"], &["*"], &[]);
    let beyond = covers(&[&maximum], &requested).unwrap_err();
    assert_eq!(beyond.to_string(), r#"verb "*" on "deployments" of group "apps""#);
}

#[test]
fn lists_whose_product_has_no_end_are_compared_in_the_length_of_the_lists() {
    let many = |stem: &str| (0..20_000).map(|index| format!("{stem}{index}")).collect::<Vec<_>>();
    let requested = PolicyRule {
        api_groups: many("g"),
        resources: many("r"),
        verbs: many("v"),
        resource_names: many("n"),
    };
    let begun = Instant::now();
    assert!(is_covered(
        &[rule(&["apps"], &["*"], &["*"], &[]), rule(&["*"], &["*"], &["*"], &[])],
        &requested
    ));
    assert!(!is_covered(&[rule(&["*"], &["*"], &["*"], &["n1"])], &requested));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A request in the form that the authorizer receives.
#[derive(Debug, Clone, Copy)]
struct Requested {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verb: &'static str,
    name: &'static str,
}

/// Each list ends with a value that no rule names. It stands for everything beyond this small universe, so that only
/// a wildcard can allow it.
const GROUPS: [&str; 3] = ["", "apps", "stranger.dev"];
const RESOURCES: [&str; 3] = ["pods", "deployments", "strangers"];
const SUBRESOURCES: [&str; 4] = ["", "log", "scale", "stranger"];
const VERBS: [&str; 3] = ["get", "bind", "estrange"];
/// Requests without a name, such as a list, have an empty one.
const NAMES: [&str; 4] = ["", "a", "b", "stranger"];

fn universe() -> impl Iterator<Item = Requested> {
    GROUPS.into_iter().flat_map(|group| {
        RESOURCES.into_iter().flat_map(move |resource| {
            SUBRESOURCES.into_iter().flat_map(move |subresource| {
                VERBS.into_iter().flat_map(move |verb| {
                    NAMES.into_iter().map(move |name| Requested { group, resource, subresource, verb, name })
                })
            })
        })
    })
}

/// The decision of RBAC's authorizer, as a second implementation in its own steps.
fn authorizes(rule: &PolicyRule, requested: Requested) -> bool {
    let lists = |list: &[String], value: &str| list.iter().any(|listed| listed == "*" || listed == value);
    let whole = match requested.subresource {
        "" => requested.resource.to_owned(),
        subresource => format!("{}/{subresource}", requested.resource),
    };
    let resource = rule.resources.iter().any(|listed| {
        listed == "*"
            || *listed == whole
            || (!requested.subresource.is_empty() && *listed == format!("*/{}", requested.subresource))
    });
    let name =
        rule.resource_names.is_empty() || rule.resource_names.iter().any(|listed| listed == requested.name);
    lists(&rule.api_groups, requested.group) && resource && lists(&rule.verbs, requested.verb) && name
}

fn some(list: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(list).prop_map(str::to_owned), 0..4)
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let resources = some(&["pods", "deployments", "pods/log", "deployments/scale", "*/scale", "*/log", "*"]);
    (some(&["", "apps", "*"]), resources, some(&["get", "bind", "*"]), some(&["", "a", "b"])).prop_map(
        |(api_groups, resources, verbs, resource_names)| PolicyRule {
            api_groups,
            resources,
            verbs,
            resource_names,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn covered_is_what_the_authorizer_would_allow_anyway(
        maximum in prop::collection::vec(any_rule(), 0..4), requested in any_rule(),
    ) {
        let allowed = |request| maximum.iter().any(|rule| authorizes(rule, request));
        let beyond = universe().find(|&request| authorizes(&requested, request) && !allowed(request));
        let found = covers(&maximum.iter().collect::<Vec<_>>(), &requested);
        prop_assert_eq!(found.is_ok(), beyond.is_none(), "{:?} against {:?}", found, beyond);
    }
}
