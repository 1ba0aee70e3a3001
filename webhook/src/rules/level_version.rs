//! The Pod Security level that a namespace enforces, and the version of its controls.

use std::fmt;

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Level;

/// A Pod Security level and the version of its controls. The default is the API server's own for a namespace without
/// labels: everything is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

/// A version of the controls: the minor version of the Kubernetes release that defined them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Default for LevelVersion {
    fn default() -> Self {
        Self { level: Level::Privileged, version: Version::LATEST }
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::LATEST
    }
}

impl LevelVersion {
    /// Limits the version to that of the API server: it evaluates a later one as its latest.
    pub(crate) fn limited_to(self, server: Version) -> Self {
        Self { version: self.version.min(server), ..self }
    }

    /// Reads the labels of a namespace like the `PodSecurity` plug-in: an unknown level counts as `restricted`.
    pub(crate) fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let level = label(keys::POD_SECURITY_ENFORCE)
            .map_or(Level::Privileged, |level| Level::parse(level).unwrap_or(Level::Restricted));
        let version = label(keys::POD_SECURITY_ENFORCE_VERSION).map_or(Version::LATEST, Version::parse);
        Self { level, version }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.level.as_str(), self.version)
    }
}

impl Version {
    /// The newest version.
    const LATEST: Self = Self(u32::MAX);

    /// Returns the version of a minor release of Kubernetes.
    pub(crate) const fn minor(minor: u32) -> Self {
        Self(minor)
    }

    /// Parses the value of the label. An unknown one counts as `latest`, as in the `PodSecurity` plug-in.
    fn parse(value: &str) -> Self {
        let digits = value.strip_prefix("v1.").filter(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'))
        });
        digits.and_then(|digits| digits.parse().ok()).map_or(Self::LATEST, Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LATEST => out.write_str("latest"),
            Self(minor) => write!(out, "v1.{minor}"),
        }
    }
}

impl From<String> for Version {
    fn from(value: String) -> Self {
        Self::parse(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(level: Option<&str>, version: Option<&str>) -> String {
        LevelVersion::of(|key| if key == keys::POD_SECURITY_ENFORCE { level } else { version }).to_string()
    }

    #[test]
    fn labels_are_read_as_the_api_server_reads_them() {
        for (level, version, expected) in [
            (None, None, "privileged:latest"),
            (Some("baseline"), None, "baseline:latest"),
            (Some("restricted"), Some("latest"), "restricted:latest"),
            (Some("baseline"), Some("v1.25"), "baseline:v1.25"),
            (Some("baseline"), Some("v1.0"), "baseline:v1.0"),
            (Some("baseline"), Some("v1.99"), "baseline:v1.99"),
            (Some("baselin"), None, "restricted:latest"),
            (Some(""), None, "restricted:latest"),
        ] {
            assert_eq!(of(level, version), expected);
        }
        for unknown in ["", "1.25", "v1", "v1.", "v1.025", "v1.+5", "v2.1", "v1.25.1", "v1.99999999999"] {
            assert_eq!(of(Some("baseline"), Some(unknown)), "baseline:latest", "{unknown}");
        }
    }
}
