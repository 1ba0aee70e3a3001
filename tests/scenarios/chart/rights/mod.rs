//! Rights: the chart grants what the programs use, on a real control plane, in the situations that need it.

pub(crate) mod installation;
mod situations;
mod table;
mod worker;

use std::collections::BTreeSet;

use crate::documented::document;
use crate::values::{SETS, objects, rendered, set};
use installation::{INSTALL_NAMESPACE, Installation, lacks};
use situations::{COLLECTOR, CONFIGURATIONS, OPERATOR, RECONCILE, Rights, UNINSTALL};
use table::{Request, Right, markdown};

/// Values that enable everything that needs rights.
const VALUES: &str = "\
policy: {quotas: {agentJobsPerProject: {max: 4}}}
operatorRole: {enabled: true, subjects: [{kind: ServiceAccount, namespace: codex-k8s-guard, name: codex-k8s-operator}]}
";

/// Everything that the chart grants, however it is installed.
fn all_rights() -> BTreeSet<Right> {
    table::granted(&objects(&rendered(&("rights", INSTALL_NAMESPACE, VALUES))))
}

/// No set of values grants more than the scenario below uses.
#[test]
fn every_set_of_values_grants_a_part_of_the_same_rights() {
    let all = all_rights();
    let granted = |name: &str| {
        let set = set(name);
        let rights = table::granted(&objects(&rendered(set))).into_iter();
        let home =
            |namespace: String| if namespace == set.1 { INSTALL_NAMESPACE.to_owned() } else { namespace };
        rights.map(|right| Right { namespace: right.namespace.map(home), ..right }).collect::<BTreeSet<_>>()
    };
    // The rights that limit agent Jobs; the reconciler lists Jobs without a limit as well.
    let limits =
        |right: &&Right| right.resource == "jobs" && right.account == RECONCILE && right.verb != "list";
    // The Role of operators has no subject by default.
    let all: BTreeSet<_> = all.into_iter().filter(|right| right.account != OPERATOR).collect();
    let default: BTreeSet<_> = all.iter().filter(|right| !limits(right)).cloned().collect();
    for (name, ..) in &SETS {
        let found = granted(name);
        match *name {
            "agent-jobs" => assert_eq!(found, all),
            "no-collector" => {
                let without = default.iter().filter(|right| right.account != COLLECTOR).cloned();
                assert_eq!(found, without.collect());
            }
            // Without certificates and replicas to watch, because cert-manager manages them.
            "cert-manager" => {
                let without = default.iter().filter(|right| !keeps(right)).cloned();
                assert_eq!(found, without.collect());
            }
            _ => assert_eq!(found, default, "{name}"),
        }
    }
}

/// Returns true if a right is for managing certificates.
fn keeps(right: &Right) -> bool {
    let resources = ["secrets", "endpointslices"].iter().chain(&CONFIGURATIONS);
    let of_reconcile =
        right.account == RECONCILE && resources.into_iter().any(|resource| right.resource == **resource);
    of_reconcile || (right.account == UNINSTALL && right.resource == "secrets")
}

#[test]
fn the_rights_are_documented_as_they_are() {
    document("docs/operations/rights.md", "rights", &markdown(&all_rights()));
}

#[test]
fn what_the_chart_grants_is_what_the_programs_use_and_nothing_is_missing() {
    let objects = objects(&rendered(&("rights", INSTALL_NAMESPACE, VALUES)));
    let at = Installation::new(&objects);
    compare(&situations::run(at, all_rights(), &objects));
}

/// Returns true if a right was used, with any result, even a refusal by our webhook.
fn is_used(right: &Right, requests: &[Request]) -> bool {
    requests.iter().any(|request| right.allows(request) && !is_forbidden(request))
}

fn is_forbidden(request: &Request) -> bool {
    request.code == 403 && !request.message.contains("admission webhook")
}

/// Returns true if a right over everything was used on one object alone, which it could name.
fn is_too_wide(right: &Right, requests: &[Request]) -> bool {
    let allowed = || requests.iter().filter(|request| right.allows(request));
    let things: BTreeSet<_> = allowed().map(|request| (&request.namespace, &request.name)).collect();
    let places: BTreeSet<_> = allowed().map(|request| &request.namespace).collect();
    let by_name = ["get", "patch", "update", "delete"].contains(&&*right.verb) && right.name.is_none();
    let everywhere = right.namespace.is_none() && NAMESPACED.contains(&&*right.resource);
    (by_name && things.len() == 1) || (everywhere && right.verb == "create" && places.len() == 1)
}

/// Resources that are granted in all namespaces and written there.
const NAMESPACED: [&str; 6] =
    ["serviceaccounts", "roles", "rolebindings", "resourcequotas", "limitranges", "events"];

fn compare(rights: &Rights) {
    let requests = rights.at.requests();
    let seen = rights.granted.iter().filter(|right| is_used(right, &requests));
    let used: BTreeSet<_> = seen.chain(&rights.missed).cloned().collect();
    let unused: BTreeSet<_> = rights.granted.difference(&used).cloned().collect();
    let wide: BTreeSet<_> =
        rights.granted.iter().filter(|right| is_too_wide(right, &requests)).cloned().collect();
    let excused = |request: &&Request| rights.missed.iter().any(|right| lacks(request, right));
    let refused: Vec<_> =
        requests.iter().filter(|request| is_forbidden(request)).filter(|request| !excused(request)).collect();
    println!("{} requests used:\n{}", requests.len(), markdown(&used));
    assert!(unused.is_empty(), "granted, and never used:\n{}", markdown(&unused));
    assert!(wide.is_empty(), "granted over all, and used over one:\n{}", markdown(&wide));
    assert!(refused.is_empty(), "wanted, and not granted: {refused:#?}");
}
