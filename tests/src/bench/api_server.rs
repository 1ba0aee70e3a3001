//! The cost of our registration in the API server, compared with the same requests without it.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Map, Value, json};

use super::report;
use crate::control_plane::ControlPlane;
use crate::guard::{Guard, grant_every_right};
use crate::identity::Identity;

/// The numbers of labels: of a small namespace, of the one that a red team sent, and twice that.
const LABELS: [usize; 3] = [10, 20_000, 40_000];
const REQUESTS: u32 = 5;

/// Prints the CPU time of the API server for a namespace of many labels, with and without our registration.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    let control_plane = ControlPlane::start(playground)?;
    grant_every_right(&control_plane)?;
    let all = |control_plane: &ControlPlane| {
        LABELS.iter().map(|labels| cpu_of_creation(control_plane, *labels)).collect::<Result<Vec<_>, _>>()
    };
    let without = all(&control_plane)?;
    let guard = Guard::over(control_plane, playground)?;
    let with = all(&guard.control_plane)?;
    report::say("\nCPU time of the API server for the dry-run creation of a namespace")?;
    report::say(&format!("{:<14}{:>12}{:>12}{:>8}", "labels", "without us", "with us", "ratio"))?;
    for ((labels, without), with) in LABELS.iter().zip(without).zip(with) {
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        report::say(&format!("{labels:<14}{without:>12.0?}{with:>12.0?}{ratio:>8.2}"))?;
    }
    Ok(())
}

/// Measures the CPU time of the API server for a dry-run creation of a namespace with this number of labels.
///
/// # Errors
/// Returns an error if the API server does not admit the namespace.
pub fn cpu_of_creation(control_plane: &ControlPlane, labels: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let labels: Map<String, Value> =
        (0..labels).map(|number| (format!("example.dev/label-{number}"), "x".into())).collect();
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "measured", "labels": labels}}))?;
    let process = control_plane.api_server()?;
    runtime.block_on(async {
        let api = Api::<Namespace>::all(control_plane.client(&Identity::developer()).await?);
        let dry_run = PostParams { dry_run: true, field_manager: None };
        // The first request connects, and lets the API server compile the conditions.
        api.create(&dry_run, &namespace).await?;
        let before = process.cpu()?;
        for _ in 0..REQUESTS {
            api.create(&dry_run, &namespace).await?;
        }
        let after = process.cpu()?;
        ensure!(after >= before, "the CPU time of a process does not fall");
        Ok(after.saturating_sub(before) / REQUESTS)
    })
}
