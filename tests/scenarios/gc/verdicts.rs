//! Namespaces in every state: the right ones go, each of the others stays for its reason.

use codex_k8s_shared::audit::EventType::{Cleaned, CleanupIntended, CleanupSkipped};
use serde_json::Value;

use crate::harness::{Cluster, Ns, unique};

#[test]
fn an_expired_namespace_goes_with_its_rows_and_a_living_one_stays() {
    let cluster = Cluster::new();
    let (expired, fresh) = (unique("codex-issue"), unique("codex-issue"));
    let uid = cluster.create_namespace(&Ns::expired(&expired));
    cluster.create_namespace(&Ns::fresh(&fresh));
    let swept = cluster.sweep(&[]);
    assert_eq!(swept.code, 0, "{swept:?}");
    assert_eq!((swept.verdict(&expired), swept.outcome(&expired)), (("delete", "ttl_expired"), "deleted"));
    assert_eq!((swept.verdict(&fresh), swept.outcome(&fresh)), (("wait", "lease_lives"), ""));
    assert!(cluster.read(&expired).is_none() && cluster.lives(&fresh));
    let ended = "ttl_expired".to_owned();
    assert_eq!(cluster.rows(&expired), [(CleanupIntended, ended.clone()), (Cleaned, ended)]);
    assert_eq!(cluster.rows(&fresh), []);
    let rows = cluster
        .rows_of(&codex_k8s_shared::audit::Filter { namespace: Some(expired.clone()), ..Default::default() });
    for row in &rows {
        let payload = &row.event.payload;
        assert_eq!(row.event.correlation_id, format!("c-{expired}"));
        assert_eq!((&row.event.actor.kind[..], &row.event.actor.id[..]), ("system", "codex-k8s-gc"));
        assert_eq!((payload.run_id.clone(), &*payload.project_id), (format!("run-{expired}"), "p1"));
        assert_eq!(payload.uid.as_deref(), Some(&*uid));
        assert_eq!(payload.decision_id, rows[0].event.payload.decision_id);
    }
    let again = cluster.sweep(&[]);
    assert_eq!((again.code, again.line(&expired)), (0, None::<&Value>));
    assert_eq!(cluster.rows(&expired).len(), 2, "nothing is told twice");
    let _ = CleanupSkipped;
}
