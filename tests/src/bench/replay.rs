//! The rate and the memory of `replay` with a large log, which is generated while it is read.

use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::check::end_of;
use super::report;

/// The size of the log.
const SIZE: u64 = 1 << 30;
/// The number of updates of each Job.
const UPDATES: u64 = 16;
/// The text that is replaced by the number of a run.
const NUMBER: &str = "@NUMBER@";

/// Measures and prints.
///
/// # Errors
/// Returns an error if the replay fails, or does not evaluate every request.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    report::say("\n`replay` of 1 GiB of log: runs of a namespace, a Job and its updates ...")?;
    let begun = Instant::now();
    let mut process = Command::new(playground)
        .args(["guard", "replay", "--output=json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = process.stdin.take().context("no standard input")?;
    let writer = std::thread::spawn(move || write(stdin));
    let (output, peak) = finish(&mut process)?;
    let took = begun.elapsed();
    let written = writer.join().map_err(|_| anyhow::anyhow!("the log was not written"))??;
    let report: Value = serde_json::from_str(&output)?;
    let count = |field: &str| {
        report.pointer(&format!("/summary/{field}")).and_then(Value::as_u64).unwrap_or_default()
    };
    let evaluated = count("evaluated");
    // The namespace, the Job, its updates, and both steps of the deletion.
    let expected = written.runs * (UPDATES + 4);
    ensure!(
        evaluated == expected && count("notEvaluated") == 0,
        "{evaluated} evaluated, not {expected}: {report}"
    );
    report::told("MiB of log a second", report::mebibytes(written.bytes) / took.as_secs_f64())?;
    report::told("requests a second", per_second(evaluated, took))?;
    report::at_most("peak memory, MiB", report::mebibytes(peak), 64.0)
}

/// Reads the output of a process to its end. Returns it with the peak memory of the process.
fn finish(process: &mut Child) -> anyhow::Result<(String, u64)> {
    let mut stdout = process.stdout.take().context("no standard output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let (status, peak) = end_of(process)?;
    let output = reader.join().map_err(|_| anyhow::anyhow!("the output was not read"))??;
    // Above 1, nothing was evaluated.
    ensure!(status.code().is_some_and(|code| code < 2), "replay failed: {status}");
    Ok((output, peak))
}

struct Written {
    runs: u64,
    bytes: u64,
}

/// Writes the events of one run after the other.
fn write(stdin: ChildStdin) -> anyhow::Result<Written> {
    let run = events();
    let (mut out, mut written) = (BufWriter::new(stdin), Written { runs: 0, bytes: 0 });
    while written.bytes < SIZE {
        let text = run.replace(NUMBER, &written.runs.to_string());
        out.write_all(text.as_bytes())?;
        written.runs += 1;
        written.bytes += text.len() as u64;
    }
    out.flush()?;
    Ok(written)
}

/// Returns the lines of one run, from the creation of its namespace to the end of it.
fn events() -> String {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("codex-issue-{NUMBER}"),
        "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/run-id": NUMBER,
            "codex-k8s.dev/namespace-purpose": "run", "codex-k8s.dev/project-id": "unknown",
            "codex-k8s.dev/runtime-mode": "full-env", "pod-security.kubernetes.io/enforce": "baseline"},
        "annotations": {"codex-k8s.dev/baseline-ready-at": "2026-02-01T12:00:00Z", "codex-k8s.dev/baseline-hash": "h",
            "codex-k8s.dev/requested-by": "jane"}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "tests",
            "labels": {"codex-k8s.dev/run-id": NUMBER}, "annotations": {"example.dev/notes": "x".repeat(3_000)}},
        "spec": {"activeDeadlineSeconds": 900, "backoffLimit": 0, "template": {"metadata": {}, "spec": {"restartPolicy": "Never",
            "serviceAccountName": "codex-runner", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    let jane = "jane";
    let controller = "system:serviceaccount:kube-system:job-controller";
    let mut lines =
        vec![event("create", "namespaces", "", jane, &namespace), event("create", "jobs", "", jane, &job)];
    for update in 0..UPDATES {
        let mut updated = job.clone();
        if let Some(metadata) = updated.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("finalizers".to_owned(), json!([format!("example.dev/{update}")]));
        }
        lines.push(event("update", "jobs", "status", controller, &updated));
        lines.push(event("get", "jobs", "", controller, &updated));
    }
    let mut ending = namespace;
    if let Some(metadata) = ending.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".to_owned(), "2026-02-01T13:00:00Z".into());
    }
    let collector = "system:serviceaccount:codex-k8s-guard:codex-k8s-gc";
    lines.push(event("delete", "namespaces", "", collector, &ending));
    if let Some(spec) = ending.get_mut("spec").and_then(Value::as_object_mut) {
        spec.clear();
    }
    lines.push(event(
        "update",
        "namespaces",
        "finalize",
        "system:serviceaccount:kube-system:namespace-controller",
        &ending,
    ));
    let mut texts: Vec<_> = lines.iter().map(Value::to_string).collect();
    texts.push(String::new());
    texts.join("\n")
}

fn event(verb: &str, resource: &str, subresource: &str, user: &str, object: &Value) -> Value {
    let (group, name) = if resource == "jobs" {
        ("batch", "tests".to_owned())
    } else {
        ("", format!("codex-issue-{NUMBER}"))
    };
    json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": NUMBER,
        "stage": "ResponseComplete", "requestURI": "/", "verb": verb, "user": {"username": user, "groups": ["system:authenticated"]},
        "objectRef": {"apiGroup": group, "apiVersion": "v1", "resource": resource, "subresource": subresource, "name": name,
            "namespace": format!("codex-issue-{NUMBER}")},
        "responseStatus": {"code": if verb == "create" { 201 } else { 200 }}, "requestObject": object, "responseObject": object,
        "requestReceivedTimestamp": "2026-02-01T12:00:00.000000Z", "stageTimestamp": "2026-02-01T12:00:00.100000Z",
        "annotations": {"workloads.guard.codex-k8s.dev/decision": "allowed"}})
}

#[expect(clippy::cast_precision_loss, reason = "far fewer requests than a float counts exactly")]
fn per_second(requests: u64, took: Duration) -> f64 {
    requests as f64 / took.as_secs_f64()
}
