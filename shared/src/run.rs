//! Runs: runtime mode, access profile, and the payload of a run (contract.md, section 4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::IssueNumber;

/// The access of a run to its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeMode {
    /// A namespace with a ServiceAccount, a Role and quotas of its own.
    FullEnv,
    /// No access to Kubernetes.
    CodeOnly,
}

/// A text that is not a runtime mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no runtime mode; expected \"full-env\" or \"code-only\"")]
pub struct RuntimeModeError {
    found: String,
}

impl RuntimeMode {
    /// Both modes.
    pub(crate) const ALL: [Self; 2] = [Self::FullEnv, Self::CodeOnly];

    /// The value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FullEnv => "full-env",
            Self::CodeOnly => "code-only",
        }
    }

    /// Parses a text as the platform does: everything except `full-env` is `code-only`.
    pub fn parse_like_platform(text: &str) -> Self {
        text.parse().unwrap_or(Self::CodeOnly)
    }
}

impl FromStr for RuntimeMode {
    type Err = RuntimeModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mode = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| RuntimeModeError { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for RuntimeMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The access of a `full-env` run (release B only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccessProfile {
    /// It may change the objects in its namespace.
    #[default]
    Candidate,
    /// It may only read.
    ProductionReadonly,
}

impl AccessProfile {
    /// Parses a text as the platform does: `production-readonly` in any case, otherwise candidate.
    pub fn parse_like_platform(text: &str) -> Self {
        if text.trim().eq_ignore_ascii_case("production-readonly") {
            Self::ProductionReadonly
        } else {
            Self::Candidate
        }
    }
}

/// The platform release whose interpretation of a payload applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The earlier release.
    A,
    /// The later release.
    B,
}

/// The kinds of trigger, without their `_revise` twins.
const KINDS: [&str; 13] = [
    "intake",
    "vision",
    "prd",
    "arch",
    "design",
    "plan",
    "dev",
    "doc_audit",
    "qa",
    "release",
    "postdeploy",
    "ops",
    "self_improve",
];
/// The kinds of trigger that have no `_revise` twin.
const SINGLE_KINDS: [&str; 2] = ["ai_repair", "rethink"];

fn is_trigger_kind(kind: &str) -> bool {
    KINDS.contains(&kind.strip_suffix("_revise").unwrap_or(kind)) || SINGLE_KINDS.contains(&kind)
}

/// The fields of `run_payload` that decide where and how a run works. All others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunPayload {
    /// The trigger.
    pub trigger: Option<Trigger>,
    /// The issue.
    pub issue: Option<Issue>,
    /// The agent (release B).
    pub agent: Option<Agent>,
    /// The decision of the control plane (release B).
    pub runtime: Option<Runtime>,
    /// The repository (release B).
    pub repository: Option<Repository>,
    /// True if the run is a discussion (release B).
    pub discussion_mode: bool,
    /// The original event (release B).
    pub raw_payload: Option<RawPayload>,
}

/// The trigger of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// The kind, such as `dev`.
    pub kind: String,
    /// The label that was set (release B), such as `run:dev`.
    pub label: String,
}

/// An issue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Issue {
    /// The number; 0 means none.
    pub number: i64,
}

/// An agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// The key of the agent's role.
    pub key: String,
    /// The display name.
    pub name: String,
}

/// A repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Repository {
    /// The owner and the name, such as `o/r`.
    pub full_name: String,
}

/// The decision of the control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// The runtime mode; if empty, the trigger decides.
    pub mode: String,
    /// The namespace; if empty, the name is built from the run.
    pub namespace: String,
    /// The access profile.
    pub access_profile: String,
    /// The target environment.
    pub target_env: String,
    /// The reference that is built.
    pub build_ref: String,
    /// True if the run only deploys, and has no agent.
    pub deploy_only: bool,
}

/// The original event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawPayload {
    /// The pull request, whose number replaces a missing issue.
    pub pull_request: Option<PullRequest>,
}

/// A pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PullRequest {
    /// The number.
    pub number: i64,
    /// The head.
    pub head: Option<Head>,
}

/// The head of a pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The branch.
    #[serde(rename = "ref")]
    pub branch: String,
}

impl RunPayload {
    /// The runtime mode that the worker of a release gives the run.
    pub fn runtime_mode(&self, release: Release) -> RuntimeMode {
        let text = self.runtime.as_ref().map_or("", |runtime| runtime.mode.trim());
        let full = |full: bool| if full { RuntimeMode::FullEnv } else { RuntimeMode::CodeOnly };
        match (release, &self.trigger) {
            (Release::B, _) if !text.is_empty() => RuntimeMode::parse_like_platform(text),
            (_, None) => RuntimeMode::CodeOnly,
            (Release::A, Some(trigger)) => full(matches!(trigger.kind.as_str(), "dev" | "dev_revise")),
            (Release::B, Some(trigger)) => full(trigger.kind.is_empty() || is_trigger_kind(&trigger.kind)),
        }
    }

    /// The issue, or in release B the pull request that replaces it.
    pub fn issue_number(&self, release: Release) -> Option<IssueNumber> {
        let issue = self.issue.as_ref().and_then(|issue| IssueNumber::new(issue.number));
        let pull = || {
            self.raw_payload.as_ref()?.pull_request.as_ref().and_then(|pull| IssueNumber::new(pull.number))
        };
        if release == Release::B { issue.or_else(pull) } else { issue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL_A: &str = r#"{"trigger":{"kind":"dev"},"issue":{"number":77}}"#;
    const MINIMAL_B: &str = r#"{"repository":{"full_name":"o/r"},"trigger":{"kind":"dev","source":"issue_label","label":"run:dev"},"issue":{"number":77},"agent":{"key":"dev","name":"AI Developer"},"runtime":{"mode":"full-env","target_env":"ai","build_ref":"main","access_profile":"candidate"}}"#;

    /// Parses a payload as the worker does: a malformed one is empty.
    fn parse(json: &str) -> RunPayload {
        serde_json::from_str(json).unwrap_or_default()
    }

    fn mode(release: Release, json: &str) -> RuntimeMode {
        parse(json).runtime_mode(release)
    }

    #[test]
    fn modes_round_trip_and_others_are_refused() {
        for mode in RuntimeMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for text in ["", "Full-Env", "full-env ", "fullenv"] {
            assert!(text.parse::<RuntimeMode>().is_err(), "{text:?}");
            assert_eq!(RuntimeMode::parse_like_platform(text), RuntimeMode::CodeOnly);
        }
    }

    #[test]
    fn the_minimal_payloads_are_full_env_at_their_release() {
        assert_eq!(mode(Release::A, MINIMAL_A), RuntimeMode::FullEnv);
        assert_eq!(mode(Release::B, MINIMAL_B), RuntimeMode::FullEnv);
        let payload = parse(MINIMAL_B);
        assert_eq!(payload.issue_number(Release::B), IssueNumber::new(77));
    }

    #[test]
    fn at_a_only_dev_and_its_revise_are_full_env() {
        let revised = KINDS.map(|kind| format!("{kind}_revise"));
        for kind in KINDS.into_iter().chain(SINGLE_KINDS).chain(revised.iter().map(String::as_str)) {
            let json = format!(r#"{{"trigger":{{"kind":"{kind}"}}}}"#);
            let full = matches!(kind, "dev" | "dev_revise");
            assert_eq!(mode(Release::A, &json) == RuntimeMode::FullEnv, full, "{kind}");
            assert_eq!(mode(Release::B, &json), RuntimeMode::FullEnv, "{kind}");
        }
    }

    #[test]
    fn at_b_a_mode_that_is_reported_wins() {
        assert_eq!(
            mode(Release::B, r#"{"trigger":{"kind":"dev"},"runtime":{"mode":"code-only"}}"#),
            RuntimeMode::CodeOnly
        );
        assert_eq!(mode(Release::B, r#"{"runtime":{"mode":"full-env"}}"#), RuntimeMode::FullEnv);
        assert_eq!(mode(Release::A, r#"{"runtime":{"mode":"full-env"}}"#), RuntimeMode::CodeOnly);
    }

    #[test]
    fn nothing_unknown_and_malformed_payloads_are_code_only() {
        for json in ["", "{", "{}", "[]", "null", r#"{"trigger":{"kind":"other"}}"#, r#"{"trigger":7}"#] {
            for release in [Release::A, Release::B] {
                assert_eq!(mode(release, json), RuntimeMode::CodeOnly, "{json}");
            }
        }
    }

    #[test]
    fn a_pull_request_stands_in_for_the_issue_at_b_only() {
        let payload = parse(r#"{"raw_payload":{"pull_request":{"number":5}}}"#);
        assert_eq!(payload.issue_number(Release::B), IssueNumber::new(5));
        assert_eq!(payload.issue_number(Release::A), None);
    }

    #[test]
    fn profiles_are_read_as_the_platform_reads_them() {
        assert_eq!(
            AccessProfile::parse_like_platform(" Production-Readonly "),
            AccessProfile::ProductionReadonly
        );
        assert_eq!(AccessProfile::parse_like_platform("anything"), AccessProfile::Candidate);
    }
}
