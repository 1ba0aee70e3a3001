//! Writes of a namespace's gate. Each is one patch, and only of the namespace that was observed.

use std::time::Duration;

use codex_k8s_shared::keys;
use codex_k8s_shared::lease::Lease;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::Cluster;
use super::fault::{self, Point};
use super::quota::pending::PendingNamespace;
use crate::baseline::meta::MetaExt;

/// Closes the gate: workloads wait from now on, for the reason in `missing`.
pub(super) async fn close(cluster: &Cluster, meta: &ObjectMeta, missing: &str) -> kube::Result<()> {
    let closed = [(keys::BASELINE_READY_AT, None), (keys::BASELINE_WAITS_FOR, Some(missing.to_owned()))];
    fault::point(Point::BeforeClose, name(meta));
    annotate(cluster, meta, &closed).await?;
    fault::point(Point::AfterClose, name(meta));
    Ok(())
}

/// Opens the gate: workloads may run. A lease that was shortened for lack of a reservation starts again. Returns
/// `false` if there was nothing to do, because the watch may not yet have delivered the last write or the deletion of
/// the namespace.
pub(super) async fn open(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    hash: &str,
) -> kube::Result<bool> {
    let is_open = |now: &ObjectMeta| {
        now.annotation(keys::BASELINE_READY_AT).is_some()
            && now.annotation(keys::BASELINE_HASH) == Some(hash)
            && !now.is_pending()
    };
    let is_it = |now: &ObjectMeta| now.uid == meta.uid && now.deletion_timestamp.is_none();
    let Some(now) = cluster.namespace(name(meta)).await?.filter(|now| is_it(now) && !is_open(now)) else {
        return Ok(false);
    };
    let moment = Timestamp::now();
    let mut annotations = vec![
        (keys::BASELINE_READY_AT, Some(timestamp(moment))),
        (keys::BASELINE_HASH, Some(hash.to_owned())),
        (keys::BASELINE_WAITS_FOR, None),
        (keys::QUOTA_PENDING_SINCE, None),
    ];
    if now.is_pending() {
        let ttl = policy.lease.ttl_for(now.label(keys::AGENT_KEY));
        let ends_later = |new: &Lease| now.lease().is_none_or(|lease| new.expires_at > lease.expires_at);
        annotations.extend(new_lease(&now, moment, ttl).filter(ends_later).into_iter().flat_map(parts));
    }
    fault::point(Point::BeforeOpen, name(meta));
    annotate(cluster, meta, &annotations).await?;
    fault::point(Point::AfterOpen, name(meta));
    Ok(true)
}

/// Records that the namespace is pending. Returns true the first time, when it also shortens the lease.
pub(super) async fn wait(
    cluster: &Cluster,
    policy: &RunPolicy,
    meta: &ObjectMeta,
    waits: &PendingNamespace,
) -> kube::Result<bool> {
    let (first, moment) = (!meta.is_pending(), Timestamp::now());
    let written = meta.annotation(keys::BASELINE_WAITS_FOR).unwrap_or_default();
    if !first && waits.is_written_in(written, moment) {
        return Ok(false);
    }
    let mut annotations = vec![(keys::BASELINE_WAITS_FOR, Some(waits.to_string()))];
    if first {
        annotations.push((keys::QUOTA_PENDING_SINCE, Some(timestamp(moment))));
        let ends_earlier = |new: &Lease| meta.lease().is_some_and(|lease| new.expires_at < lease.expires_at);
        let cut = new_lease(meta, moment, policy.quotas.pending_ttl).filter(ends_earlier);
        annotations.extend(cut.into_iter().flat_map(parts));
    }
    annotate(cluster, meta, &annotations).await?;
    Ok(first)
}

async fn annotate(
    cluster: &Cluster,
    meta: &ObjectMeta,
    annotations: &[(&str, Option<String>)],
) -> kube::Result<()> {
    cluster.annotate(name(meta), meta.uid.as_deref().unwrap_or_default(), annotations).await
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

fn timestamp(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a lease from now on, or from its last renewal, whose writer may have a clock ahead of ours.
fn new_lease(meta: &ObjectMeta, moment: Timestamp, ttl: Duration) -> Option<Lease> {
    let renewed = meta.lease().map(|lease| lease.updated_at.timestamp());
    Lease::grant(renewed.map_or(moment, |renewed| renewed.max(moment)), ttl.into())
}

fn parts(lease: Lease) -> [(&'static str, Option<String>); 3] {
    [
        (keys::NAMESPACE_LEASE_TTL, Some(lease.ttl.to_string())),
        (keys::NAMESPACE_LEASE_EXPIRES_AT, Some(lease.expires_at.to_string())),
        (keys::NAMESPACE_LEASE_UPDATED_AT, Some(lease.updated_at.to_string())),
    ]
}
