//! Namespaces in every state: the right ones are deleted, each of the others is retained for its reason.

use codex_k8s_shared::audit::EventType::{Cleaned, CleanupIntended, CleanupSkipped};
use codex_k8s_shared::audit::Filter;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cluster, Ns, SweepOutcome, soon, unique};
use crate::states::{COPIES, Fate, STATES, State};

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
    let rows = cluster.rows_of(&Filter { namespace: Some(expired.clone()), ..Filter::default() });
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
}

/// A namespace in one of the states.
struct Made {
    state: &'static State,
    name: String,
}

fn make_all(cluster: &Cluster) -> Vec<Made> {
    let copies = STATES.iter().flat_map(|state| std::iter::repeat_n(state, COPIES));
    let made: Vec<_> = copies.map(|state| Made { state, name: unique(state.prefix) }).collect();
    for made in &made {
        made.state.create(cluster, &made.name);
    }
    let jobs_done = || {
        let done = made.iter().filter(|made| made.state.name.ends_with("a Job that is done"));
        let complete = |name: &str| {
            let job =
                cluster.send(Method::GET, &format!("/apis/batch/v1/namespaces/{name}/jobs/a"), &Value::Null);
            job.body["status"]["conditions"].to_string().contains("Complete")
        };
        done.into_iter().all(|made| complete(&made.name)).then_some(())
    };
    soon("the Jobs are done", jobs_done);
    made
}

fn check(cluster: &Cluster, swept: &SweepOutcome, made: &Made) {
    let (name, what) = (&made.name, made.state.name);
    let rows = cluster.rows(name);
    let skipped = |reason: &str| vec![(CleanupSkipped, reason.to_owned())];
    let there = cluster.read(name).is_some();
    match made.state.fate {
        Fate::Goes => {
            assert_eq!(
                (swept.verdict(name), swept.outcome(name)),
                (("delete", "ttl_expired"), "deleted"),
                "{what}"
            );
            let ended = "ttl_expired".to_owned();
            assert_eq!(rows, [(CleanupIntended, ended.clone()), (Cleaned, ended)], "{what}");
        }
        Fate::Stays(reason) => {
            assert_eq!(swept.verdict(name), ("retain", reason), "{what}");
            assert_eq!(rows, skipped(reason), "{what}");
        }
        Fate::WaitsTold(reason) => {
            assert_eq!(swept.verdict(name), ("wait", reason), "{what}");
            assert_eq!(rows, skipped(reason), "{what}");
        }
        Fate::Quiet(verdict, reason) => {
            assert_eq!(swept.verdict(name), (verdict, reason), "{what}");
            assert_eq!(rows, [], "{what}");
        }
        Fate::Unseen => assert_eq!((swept.line(name), rows), (None, vec![]), "{what}"),
    }
    assert_eq!(there, made.state.fate != Fate::Goes, "{what}");
}

#[test]
fn of_three_hundred_namespaces_in_every_state_the_right_ones_go_and_each_other_stays_for_its_reason() {
    let cluster = Cluster::new();
    let made = make_all(&cluster);
    // Three more, which no template creates: one whose name is protected, one that is being deleted, and a recreated
    // one of the same name.
    let protected = "codex-k8s-system";
    cluster.create_namespace(&Ns::expired(protected));
    let (stuck, reborn) = (unique("codex-issue"), unique("codex-issue"));
    cluster.create_namespace(&Ns::expired(&stuck));
    let finalizer = json!({"metadata": {"name": "a", "finalizers": ["example.org/block"]}});
    cluster.create(&format!("/api/v1/namespaces/{stuck}/configmaps"), &finalizer);
    cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{stuck}"), &Value::Null);
    let first = cluster.create_namespace(&Ns::fresh(&reborn));
    cluster.delete_wholly(&reborn);
    let second = cluster.create_namespace(&Ns::expired(&reborn));
    assert_ne!(first, second);

    let rehearsed = cluster.sweep(&["--dry-run"]);
    assert_eq!(rehearsed.code, 0, "{}", rehearsed.told);
    let swept = cluster.sweep(&[]);
    assert_eq!(swept.code, 0, "{}", swept.told);
    assert!(made.len() >= 300, "{}", made.len());
    for made in &made {
        check(&cluster, &swept, made);
        if made.state.fate != Fate::Unseen {
            assert_eq!(rehearsed.verdict(&made.name), swept.verdict(&made.name), "{}", made.state.name);
        }
    }
    assert_eq!(swept.verdict(protected), ("retain", "protected_namespace"));
    assert!(cluster.lives(protected) && cluster.rows(protected).is_empty());
    assert_eq!(swept.verdict(&stuck), ("retain", "terminating"));
    assert_eq!((cluster.rows(&stuck), cluster.read(&stuck).is_some()), (vec![], true));
    assert_eq!((swept.outcome(&reborn), cluster.read(&reborn)), ("deleted", None));

    // The next one has nothing to do and nothing new to report.
    let count = cluster.rows_of(&Filter::default()).len();
    let again = cluster.sweep(&[]);
    assert_eq!((again.code, again.report["namespaces"].to_string().contains("\"deleted\"")), (0, false));
    assert_eq!(cluster.rows_of(&Filter::default()).len(), count);

    let unblock = json!({"metadata": {"finalizers": null}});
    cluster
        .send(Method::PATCH, &format!("/api/v1/namespaces/{stuck}/configmaps/a"), &unblock)
        .object()
        .unwrap();
    for made in made.iter().filter(|made| made.state.fate != Fate::Goes) {
        cluster.send(Method::DELETE, &format!("/api/v1/namespaces/{}", made.name), &Value::Null);
    }
}
