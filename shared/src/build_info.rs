//! The running version as a metric, the same one in every program that exports metrics.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    program: &'static str,
    version: &'static str,
    /// The version of the API server; empty until it is known.
    kubernetes: String,
}

/// The version of this program, and that of the API server once it is known.
#[derive(Debug)]
pub struct BuildInfo {
    program: &'static str,
    registry: Registry,
    info: Family<Build, Gauge>,
}

impl BuildInfo {
    /// Creates the metric of a program: `serve`, `reconcile` or `daemon`.
    pub fn new(program: &'static str) -> Self {
        let mut registry = Registry::with_prefix("codex_k8s_guard");
        let info = Family::default();
        registry.register("build_info", "1 for the versions of the program and the API server", info.clone());
        let new = Self { program, registry, info };
        new.kubernetes("");
        new
    }

    /// Sets the version of the API server.
    pub fn kubernetes(&self, version: &str) {
        let (program, version) = (self.program, version.to_owned());
        self.info.clear();
        let build = Build { program, version: env!("CARGO_PKG_VERSION"), kubernetes: version };
        self.info.get_or_create(&build).set(1);
    }

    /// Renders the metrics of a program, this one last.
    pub fn exposition(&self, registries: &[&Registry]) -> String {
        let mut exposition = String::new();
        // Writing into a String cannot fail.
        for registry in registries.iter().chain([&&self.registry]) {
            let _ = text::encode_registry(&mut exposition, registry);
        }
        let _ = text::encode_eof(&mut exposition);
        exposition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_one_sample_with_the_version_of_the_api_server_that_is_known_last() {
        let build = BuildInfo::new("serve");
        let samples = || {
            let text = build.exposition(&[]);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let sample = |kubernetes: &str| {
            let version = env!("CARGO_PKG_VERSION");
            format!(
                "codex_k8s_guard_build_info{{program=\"serve\",version=\"{version}\",kubernetes=\"{kubernetes}\"}} 1"
            )
        };
        assert_eq!(samples(), [sample("")]);
        build.kubernetes("v1.36.0");
        build.kubernetes("v1.37.2");
        assert_eq!(samples(), [sample("v1.37.2")]);
    }
}
