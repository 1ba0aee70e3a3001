//! The garbage collector's last sweep as metrics of the reconciler, so that a stopped collector is noticed.

use std::time::Duration;

use codex_k8s_shared::errors;
use codex_k8s_shared::last_sweep::{CONFIG_MAP, KEY, SweepCollector};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

/// The interval between reads of the outcome of the last sweep.
const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Polls the outcome of the last sweep forever. While it cannot be read, the last outcome that was read stays.
pub async fn follow(client: Client, namespace: &str, collector: &SweepCollector) {
    let config_maps = Api::<ConfigMap>::namespaced(client, namespace);
    loop {
        match config_maps.get_opt(CONFIG_MAP).await {
            Ok(found) => {
                let text = found.and_then(|found| found.data?.remove(KEY));
                if let Some(sweep) = text.and_then(|text| serde_json::from_str(&text).ok()) {
                    collector.note(sweep);
                }
            }
            Err(error) => {
                tracing::warn!(error = errors::chain(&error), "failed to read the outcome of the last sweep");
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
