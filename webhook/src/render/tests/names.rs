//! Tests that two runs never get the same name: runs that would are rejected.

use std::collections::HashMap;

use codex_k8s_shared::names::{run_namespace_name, whole_run_namespace_name};

use super::*;

#[test]
fn ids_whose_names_could_collide_are_refused() {
    let with = |id: &str| Run { id: RunId::new(id), ..run(A) };
    for id in [
        "",
        "run-2026-11-25-0001",
        "run-1",
        "RUN1",
        "3F2B8C1E-9D47-4A06-B5E2-7C81D0F4A913",
        "0198c0de-0000-7000-8000-000000000001",
        "3f2b8c1e-0000-1000-8000-000000000001",
        "abcdefghijklm",
    ] {
        let refused = refused_with(&RunPolicy::default(), &Settings::default(), &with(id));
        assert!(refused.starts_with(&format!("run id: found {id:?}, of which names hold 12")), "{refused}");
    }
    assert!(render(&RunPolicy::default(), &Settings::default(), &with("run1")).is_ok());
}

fn policy_with_prefix(prefix: &str) -> RunPolicy {
    let mut policy = RunPolicy::default();
    policy.namespaces.prefixes = vec![prefix.to_owned()];
    policy
}

#[test]
fn a_name_that_would_be_cut_is_refused_with_the_prefix_that_would_do() {
    let long = "very-long-namespace-prefix-for-team-alpha-platform";
    let cut = run_namespace_name(long, PROJECT, RUN, 77);
    assert_eq!(cut, run_namespace_name(long, PROJECT, "another", 77), "the contract forces it");
    let refused = refused_with(&policy_with_prefix(long), &Settings::default(), &run(A));
    assert!(
        refused.starts_with(&format!(
            "namespace prefix: found {long:?}, with which the name {long}-a74d653cadf0-i77-r"
        )) && refused.ends_with("use a prefix of at most 32 characters"),
        "{refused}"
    );
    let fits = &long[..32];
    let name =
        render(&policy_with_prefix(fits), &Settings::default(), &run(A)).unwrap().job.metadata.namespace;
    assert_eq!(name.unwrap().len(), 63);
}

/// Deterministic pseudo-random numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Returns a UUID of version 4.
    fn uuid(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.next(), self.next());
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
    }
}

#[test]
fn a_hundred_thousand_runs_share_no_name_and_what_would_be_cut_is_refused() {
    let mut numbers = Numbers(1);
    let prefixes: Vec<_> =
        (1..=50).map(|length| policy_with_prefix(&"abcdefghij".repeat(5)[..length])).collect();
    let projects: Vec<_> = (0..50).map(|_| numbers.uuid()).collect();
    let (mut namespaces, mut jobs) = (HashMap::new(), HashMap::new());
    let mut cut = 0;
    for _ in 0..100_000 {
        let policy = &prefixes[numbers.below(50)];
        let mut run = run(if numbers.next().is_multiple_of(2) { A } else { B });
        run.id = RunId::new(numbers.uuid());
        run.project = ProjectId::new(projects[numbers.below(50)].clone());
        let issue = i64::try_from(numbers.next() % 1_000_000).unwrap();
        run.payload.issue.as_mut().unwrap().number = issue;
        let (prefix, project) = (&policy.namespaces.prefixes[0], run.project.as_str());
        match render(policy, &Settings::default(), &run) {
            Ok(manifests) => {
                let name = manifests.namespace.unwrap().metadata.name.unwrap();
                assert_eq!(name, run_namespace_name(prefix, project, run.id.as_str(), issue));
                assert_eq!(namespaces.insert(name, run.id.clone()), None);
                assert_eq!(jobs.insert(manifests.job.metadata.name.unwrap(), run.id), None);
            }
            Err(RenderError::Cut { name, .. }) => {
                assert!(
                    name.len() > 63
                        && name == whole_run_namespace_name(prefix, project, run.id.as_str(), issue)
                );
                cut += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(namespaces.len() + cut, 100_000);
    assert!(cut > 30_000 && namespaces.len() > 50_000, "{cut} of 100000 would be cut");
}
