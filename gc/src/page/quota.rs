//! The reservations that are held, compared with the limits of a policy. Pure.

use std::collections::BTreeMap;

use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::{Id, Scope};
use serde::Serialize;

/// The usage of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The display name of the scope.
    pub scope: String,
    /// The number of reservations that are held.
    pub held: u32,
    /// The maximum number of reservations; `None` if there is no limit.
    pub limit: Option<u32>,
}

impl Usage {
    /// The usage, in percent of the limit.
    pub(crate) fn percent(&self) -> Option<u32> {
        let limit = u64::from(self.limit?);
        let percent = (u64::from(self.held) * 100).checked_div(limit).unwrap_or(100);
        Some(u32::try_from(percent).unwrap_or(u32::MAX))
    }
}

/// The usage of each scope with a limit or a reservation, the fullest first.
pub(crate) fn usage<'a>(
    quotas: &Quotas,
    namespaces: &[Candidate],
    reservations: impl IntoIterator<Item = &'a str>,
) -> Vec<Usage> {
    let mut held = BTreeMap::<String, u32>::new();
    for id in reservations.into_iter().filter_map(Id::parse) {
        *held.entry(id.stem).or_default() += 1;
    }
    let mut usage = vec![];
    for (stem, scope) in scopes(namespaces) {
        let (held, limit) = (held.remove(&stem), quotas.limit(&scope));
        if held.is_some() || limit.is_some() {
            usage.push(Usage { scope: scope.to_string(), held: held.unwrap_or_default(), limit });
        }
    }
    // A stem contains the project or requester only as a hash.
    let gone = held.into_iter().map(|(stem, held)| Usage {
        scope: format!("{stem} (no namespace of it is there)"),
        held,
        limit: None,
    });
    usage.extend(gone);
    usage.sort_by(|one, other| other.percent().cmp(&one.percent()).then_with(|| one.scope.cmp(&other.scope)));
    usage
}

fn scopes(namespaces: &[Candidate]) -> BTreeMap<String, Scope> {
    let of = |namespace: &Candidate| {
        let project = namespace.label(keys::PROJECT_ID);
        let requester = namespace.annotation(keys::REQUESTED_BY);
        Scope::of(project, requester).into_iter().chain([Scope::of_jobs(project)])
    };
    let all = namespaces.iter().flat_map(of).chain([Scope::Cluster]);
    all.map(|scope| (scope.stem(), scope)).collect()
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::policy::{Limit, ProjectLimit};

    use super::*;

    fn namespace(project: &str) -> Candidate {
        Candidate {
            labels: [(keys::PROJECT_ID.to_owned(), project.to_owned())].into(),
            annotations: [(keys::REQUESTED_BY.to_owned(), "jane".to_owned())].into(),
            ..Candidate::default()
        }
    }

    fn summary(usage: &[Usage]) -> Vec<(&str, u32, Option<u32>)> {
        usage.iter().map(|usage| (&*usage.scope, usage.held, usage.limit)).collect()
    }

    #[test]
    fn reservations_are_counted_by_scope_and_the_fullest_comes_first() {
        let overrides = [("p2".to_owned(), 2)].into();
        let quotas = Quotas {
            per_project: Some(ProjectLimit { max: 4, overrides }),
            cluster: Some(Limit { max: 100 }),
            per_requester: None,
            ..Quotas::default()
        };
        let stem = Scope::Project("p2".into()).stem();
        let reservations = [
            format!("reservation-{stem}-0"),
            format!("reservation-{stem}-1"),
            "reservation-cluster-7".to_owned(),
            "codex-k8s-gc".to_owned(),
        ];
        let usage =
            usage(&quotas, &[namespace("p1"), namespace("p2")], reservations.iter().map(String::as_str));
        let expected =
            [("project p2", 2, Some(2)), ("the cluster", 1, Some(100)), ("project p1", 0, Some(4))];
        assert_eq!(summary(&usage), expected);
        assert_eq!(usage[0].percent(), Some(100));
    }

    #[test]
    fn what_is_held_without_a_limit_or_a_namespace_is_reported_all_the_same() {
        let quotas = Quotas { cluster: None, per_project: None, per_requester: None, ..Quotas::default() };
        let jobs = format!("reservation-{}-0", Scope::of_jobs(Some("p1")).stem());
        let usage = usage(&quotas, &[namespace("p1")], [&*jobs, "reservation-project-x-00000000-3"]);
        let expected = [
            ("project-x-00000000 (no namespace of it is there)", 1, None),
            ("the agent Jobs of project p1", 1, None),
        ];
        assert_eq!(summary(&usage), expected);
        assert_eq!(
            Usage { scope: String::new(), held: 0, limit: Some(0) }.percent(),
            Some(100),
            "there is never one"
        );
    }
}
