//! Namespaces that are created and deleted many times: nothing is left behind.

use std::time::Duration;

use codex_k8s_tests::eventually;

use crate::harness::person;
use crate::limits::cluster;

/// The most namespaces that one user may have at a time.
const BATCH: usize = 20;
/// The variable with the number of cycles.
const CYCLES: &str = "CODEX_K8S_GUARD_CYCLES";

#[test]
fn namespaces_that_come_and_go_leave_no_reservation_behind() {
    let cluster = cluster();
    let cycles = std::env::var(CYCLES).ok().map_or(100, |count| count.parse().unwrap());
    for batch in 0..usize::div_ceil(cycles, BATCH) {
        let names: Vec<_> = (0..BATCH).map(|number| format!("codex-run-cycle-{batch}-{number}")).collect();
        for (name, created) in cluster.create_all(&person(&format!("cycler-{batch}")), &names, "cycles") {
            assert!(created.is_ok(), "{name}: {created:?}");
        }
        // The other half is deleted without waiting until it is ready.
        let (half, rest) = names.split_at(BATCH / 2);
        for name in half {
            cluster.await_ready(name);
        }
        cluster.delete(half);
        cluster.delete(rest);
    }
    let of_cycles = |name: &String| name.starts_with("codex-run-cycle-");
    let left = || {
        let reservations = cluster.holders("project").into_iter().chain(cluster.holders("requester"));
        let namespaces = cluster.all().iter().map(crate::harness::name).collect::<Vec<_>>();
        reservations.chain(namespaces).filter(of_cycles).count()
    };
    let timeout = Duration::from_mins(1) + Duration::from_millis(500) * u32::try_from(cycles).unwrap();
    eventually("nothing is left of them", timeout, || (left() == 0).then_some(())).unwrap();
    let released = "codex_k8s_reconcile_quota_reservations_released_total{scope=\"project\"}";
    assert!(cluster.guard.reconciler.health.metric(released).unwrap() > 0);
}
