//! The order of an installation, by helm and by Argo CD.
//!
//! helm creates all objects but hooks, waits with `--wait` until they are ready, and then runs the hook that registers.
//! Argo CD maps helm's hooks: `pre-install` to `PreSync`, `post-install` to `PostSync`, after all else is healthy; it
//! ignores those that it does not know, such as `post-rollback`. A claim that binds with its first Pod is not healthy
//! before that, so what is created first must contain this Pod, and must not need what is created last.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::values::{SETS, objects, pod, rendered};

/// The hooks of an object, none for an object of the release itself.
fn hooks(object: &Value) -> Vec<&str> {
    let hooks = object.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str);
    hooks.into_iter().flat_map(|hooks| hooks.split(',')).collect()
}

fn name(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// The objects that a Pod cannot start without. Keys and certificates are made by the reconciler or by cert-manager.
fn needs(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut needs = vec![format!("ServiceAccount {}", spec["serviceAccountName"].as_str().unwrap())];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let map = &volume["configMap"];
        if map["optional"] != true {
            needs.extend(map["name"].as_str().map(|name| format!("ConfigMap {name}")));
        }
        needs.extend(
            volume["persistentVolumeClaim"]["claimName"]
                .as_str()
                .map(|name| format!("PersistentVolumeClaim {name}")),
        );
    }
    needs
}

#[test]
fn what_is_created_first_needs_nothing_that_is_created_last_and_binds_its_claim() {
    for set in &SETS {
        let all = objects(&rendered(set));
        let (last, first): (Vec<_>, Vec<_>) = all.iter().partition(|object| !hooks(object).is_empty());
        let known = ["post-install", "post-upgrade", "post-rollback", "pre-delete", "post-delete", "test"];
        assert!(last.iter().flat_map(|object| hooks(object)).all(|hook| known.contains(&hook)), "{}", set.0);
        let there: BTreeSet<_> = first.iter().map(|object| name(object)).collect();
        // Of others: that the values name.
        let others = ["PersistentVolumeClaim rows".to_owned()];
        for pod in first.iter().filter_map(|object| pod(object)) {
            let missing: Vec<_> = needs(pod)
                .into_iter()
                .filter(|need| !there.contains(need) && !others.contains(need))
                .collect();
            assert!(missing.is_empty(), "{}: {missing:?}", set.0);
        }
        // A CronJob has no Pod yet.
        let at_once = first.iter().filter(|object| object["kind"] != "CronJob");
        let bound: BTreeSet<_> = at_once.filter_map(|object| pod(object)).flat_map(needs).collect();
        let claims = first.iter().filter(|object| object["kind"] == "PersistentVolumeClaim");
        for claim in claims {
            assert!(bound.contains(&name(claim)), "{}: {}", set.0, name(claim));
        }
    }
}

#[test]
fn the_registration_is_renewed_by_an_installation_an_upgrade_and_a_rollback() {
    for set in &SETS {
        let all = objects(&rendered(set));
        let of = |hook: &str| {
            let jobs = all.iter().filter(|object| object["kind"] == "Job" && hooks(object).contains(&hook));
            jobs.map(|job| job["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>()
        };
        for hook in ["post-install", "post-upgrade", "post-rollback"] {
            assert_eq!(of(hook), ["codex-k8s-registration"], "{}: {hook}", set.0);
        }
        assert_eq!(of("pre-delete"), ["codex-k8s-deregistration"]);
        assert_eq!(of("post-delete"), ["codex-k8s-uninstall"]);
    }
}
