//! Inspects the work in the namespaces that are due.

use codex_k8s_shared::cleanup::{Candidate, Work};
use codex_k8s_shared::policy::RunPolicy;
use futures::TryStreamExt;
use jiff::Timestamp;

use crate::cluster::work::Deadline;
use crate::cluster::{Cluster, ClusterError};
use crate::plan::Planned;
use crate::progress::Progress;

/// The number of namespaces from which the work is listed for the whole cluster.
const MANY: usize = 25;

/// Inspects the work in namespaces that would be due without work. It is inspected again right before each deletion.
///
/// # Errors
/// If the API server does not respond, because a namespace without an inspection does not count as idle.
pub(crate) async fn inspect(
    cluster: &Cluster,
    policy: &RunPolicy,
    now: Timestamp,
    listed: &mut [Candidate],
    progress: &dyn Progress,
) -> Result<(), ClusterError> {
    let due: Vec<_> =
        listed.iter_mut().filter(|candidate| Planned::is_to_be_inspected(policy, now, candidate)).collect();
    progress.phase("inspecting", due.len());
    let deadline = Deadline { now, to_start: policy.cleanup.work_grace };
    if due.len() > MANY {
        let mut everywhere = cluster.work_everywhere(deadline).await?;
        for candidate in due {
            candidate.work = everywhere.remove(&candidate.name).unwrap_or(Work::Idle);
        }
        return Ok(());
    }
    futures::stream::iter(due.into_iter().map(Ok))
        .try_for_each_concurrent(usize::from(policy.cleanup.concurrency), async |candidate| {
            candidate.work = cluster.work(&candidate.name, deadline).await?;
            progress.step();
            Ok(())
        })
        .await
}
