//! The version of Kubernetes, and the features that older versions lack.

use kube::Client;

/// The oldest minor version that is supported: it has match conditions and `v1` of the admission policies.
const OLDEST: u32 = 30;

/// A feature of Kubernetes that rules or settings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The first minor version that has it without a feature gate.
    pub since: u32,
    /// The field or the resource.
    pub name: &'static str,
    /// The consequence of its absence.
    pub without: &'static str,
}

/// All such features that the oldest supported version does not have.
pub const FEATURES: &[Feature] = &[
    Feature {
        since: 32,
        name: "spec.managedBy of Jobs",
        without: "the API server drops the field; jobs.managedBy has no effect",
    },
    Feature { since: 33, name: "pods/resize", without: "the resources of running Pods cannot change" },
    Feature {
        since: 33,
        name: "procMount: Unmasked of containers",
        without: "the API server replaces it by Default",
    },
    Feature {
        since: 34,
        name: "spec.resources of Pods",
        without: "the API server drops the field; only the resources of containers count",
    },
    Feature {
        since: 34,
        name: "validation of the Pod template of a StatefulSet",
        without: "the API server validates only its Pods, so a StatefulSet may be admitted although its Pods are denied",
    },
    Feature {
        since: 35,
        name: "restartPolicy and restartPolicyRules of containers",
        without: "the API server denies or drops them",
    },
    Feature { since: 36, name: "other resources for suspended Jobs", without: "the API server denies them" },
];

/// The version of an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The minor version: 30 for 1.30. `None` if the API server reports a version that is not of this form.
    pub minor: Option<u32>,
    /// The whole version with the vendor's suffix: `v1.30.5-gke.1`.
    pub full: String,
}

/// Reads the version of the API server.
///
/// # Errors
/// If the API server does not return its version.
pub async fn version(client: &Client) -> kube::Result<Version> {
    let version = client.apiserver_version().await?;
    // Some vendors append a plus sign.
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    let minor = digits.parse().ok().filter(|_| version.major == "1");
    Ok(Version { minor, full: version.git_version })
}

/// Describes what a version lacks, one line for each feature.
pub fn describe_missing(minor: u32) -> Vec<String> {
    if minor < OLDEST {
        return vec![format!(
            "Kubernetes 1.{minor} is not supported: the oldest supported version is 1.{OLDEST}"
        )];
    }
    let missing = FEATURES.iter().filter(|feature| feature.since > minor);
    missing
        .map(|Feature { name, without, .. }| format!("Kubernetes 1.{minor} does not have {name}: {without}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/versions.md");

    #[test]
    fn a_version_lacks_the_features_of_later_ones() {
        assert_eq!(describe_missing(30).len(), FEATURES.len());
        assert_eq!(
            describe_missing(35),
            ["Kubernetes 1.35 does not have other resources for suspended Jobs: the API server denies them"]
        );
        assert_eq!(describe_missing(37), [""; 0]);
        assert!(describe_missing(29).concat().contains("not supported"));
    }

    #[test]
    fn the_features_are_those_of_the_page() {
        let rows =
            FEATURES.iter().map(|one| format!("| 1.{} | {} | {} |\n", one.since, one.name, one.without));
        let table = format!(
            "| since | feature | on older versions |\n| --- | --- | --- |\n{}",
            rows.collect::<String>()
        );
        assert!(PAGE.contains(&table), "docs/versions.md must contain:\n{table}");
    }
}
