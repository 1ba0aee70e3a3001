//! Requests that are large on purpose: they are refused, and no other request is refused because of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

fn job(name: &str, containers: usize, security: &Value) -> Value {
    let container =
        |index: usize| json!({"name": format!("c{index}"), "image": "i", "securityContext": security});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": (0..containers).map(container).collect::<Vec<_>>()}}}})
}

#[track_caller]
fn is_absent(path: String) {
    let read =
        Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
    assert_eq!(read.code, 404, "{}", read.body);
}

#[test]
fn a_job_of_thousands_of_containers_is_refused_for_that_and_nothing_else() {
    let namespace = managed();
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let answer = create(&Identity::developer(), &jobs, &job("wide", 5000, &json!({"privileged": true})));
    assert_eq!(answer.body["details"]["causes"].as_array().map(Vec::len), Some(1), "{}", answer.body);
    answer.refused(422, "JOB024", "spec.template.spec.containers", "must be at most 100");
    is_absent(format!("{jobs}/wide"));
    create(&Identity::developer(), &jobs, &job("still-fine", 4, &Value::Null)).admitted();
}

#[test]
fn a_denial_lists_ten_problems_of_a_rule_and_counts_the_rest() {
    let namespace = managed();
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let answer = create(&Identity::developer(), &jobs, &job("bad", 100, &json!({"privileged": true})));
    let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    let of_rule = causes.iter().filter(|cause| cause["reason"] == "JOB017").count();
    assert_eq!(of_rule, 11, "{}", answer.body);
    assert!(answer.body.to_string().len() < 16 * 1024, "{} bytes", answer.body.to_string().len());
    answer.refused(403, "JOB017", "", "90 more problems of this kind are not listed");
    is_absent(format!("{jobs}/bad"));
}

#[test]
fn a_role_of_thousands_of_rules_is_refused_for_that() {
    let namespace = managed();
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles");
    let reading =
        |index: usize| json!({"apiGroups": [""], "resources": [format!("r{index}")], "verbs": ["get"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "wide"},
        "rules": (0..3000).map(reading).collect::<Vec<_>>()});
    create(&Identity::developer(), &path, &role).refused(422, "RBAC001", "rules", "must be at most 256");
    is_absent(format!("{path}/wide"));
}

#[test]
fn large_requests_of_one_user_do_not_refuse_small_ones_of_others() {
    const SMALL: usize = 100;
    let (crowded, quiet) = (managed(), managed());
    let at = |namespace: &str| format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let ended = AtomicBool::new(false);
    let (large, mut times) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..3)
            .map(|number| {
                let (ended, path) = (&ended, at(&crowded));
                let wide = job(&format!("wide{number}"), 10_000, &Value::Null);
                scope.spawn(move || {
                    let mut sent = 0;
                    while !ended.load(Ordering::Relaxed) {
                        let answer = create(&Identity::developer(), &path, &wide);
                        assert!([422, 429, 500].contains(&answer.code), "{} {}", answer.code, answer.body);
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        let times: Vec<_> = (0..SMALL)
            .map(|number| {
                let begun = Instant::now();
                let path = format!("{}?dryRun=All", at(&quiet));
                let answer =
                    create(&Identity::worker(), &path, &job(&format!("small{number}"), 1, &Value::Null));
                (begun.elapsed(), answer)
            })
            .collect();
        ended.store(true, Ordering::Relaxed);
        let large: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        (large, times)
    });
    times.sort_by_key(|(took, _)| *took);
    let at = |percent: usize| times[(SMALL - 1) * percent / 100].0.as_millis();
    println!(
        "beside {large} Jobs of 10,000 containers: p50 {} ms, p99 {} ms of {SMALL} small ones",
        at(50),
        at(99)
    );
    assert!(large >= 3, "{large}");
    for (_, answer) in times {
        answer.admitted();
    }
    is_absent(format!("/apis/batch/v1/namespaces/{crowded}/jobs/wide0"));
}
