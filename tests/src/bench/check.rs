//! The cost of `check` by the size of its input.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::report;
use crate::process::Process;

/// The numbers of documents in a stream.
const SIZES: [usize; 3] = [2_500, 5_000, 10_000];
/// The number of evaluations of each stream. The fastest one counts, because other load can only slow it down.
const ROUNDS: usize = 3;
/// The interval between reads of the memory of a process.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Measures and prints.
///
/// # Errors
/// Returns an error if an evaluation fails.
pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    report::say("\n`check` of one stream, half of it Namespaces and half Jobs in them ...")?;
    let folder = tempfile::tempdir()?;
    let mut per_document = Vec::new();
    for size in SIZES {
        let file = folder.path().join("stream.yaml");
        fs::write(&file, stream(size))?;
        let mut fastest = Duration::MAX;
        let mut peak = 0;
        for _ in 0..ROUNDS {
            let (took, memory) = evaluate(playground, &file)?;
            fastest = fastest.min(took);
            peak = peak.max(memory);
        }
        report::told(&format!("{size} documents, milliseconds"), fastest.as_secs_f64() * 1e3)?;
        report::told(&format!("{size} documents, MiB at most"), report::mebibytes(peak))?;
        per_document.push(per(fastest, size));
    }
    if let ([first, ..], [.., last]) = (&*per_document, &*per_document) {
        report::at_most("a document of the largest / of the smallest", last / first, 1.3)?;
    }
    Ok(())
}

fn stream(size: usize) -> String {
    let mut text = String::new();
    for number in 0..size / 2 {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-bench-{number}\n\
             ---\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: tests\n  namespace: codex-issue-bench-{number}\n\
             spec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: c\n        \
             image: busybox:1.36\n        command: [\"sh\", \"-c\", \"make test\"]\n"
        );
    }
    text
}

fn evaluate(playground: &Path, file: &Path) -> anyhow::Result<(Duration, u64)> {
    let mut check = Command::new(playground);
    check.args(["guard", "check", "--output=json", "-"]).stdin(File::open(file)?).stdout(Stdio::null());
    let (status, took, peak) = watched(&mut check)?;
    ensure!(status.success(), "check failed: {status}");
    Ok((took, peak))
}

/// Runs a program to its end. Returns its duration and its peak memory.
pub(super) fn watched(command: &mut Command) -> anyhow::Result<(ExitStatus, Duration, u64)> {
    let begun = Instant::now();
    let (status, peak) = end_of(&mut command.spawn()?)?;
    Ok((status, begun.elapsed(), peak))
}

/// Waits for the end of a process. Returns its status and its peak memory.
pub(super) fn end_of(process: &mut Child) -> anyhow::Result<(ExitStatus, u64)> {
    let mut peak = 0;
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok((status, peak));
        }
        // The process may have ended meanwhile.
        peak = Process::of_child(process).peak_memory().unwrap_or(peak).max(peak);
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer documents than a float counts exactly")]
fn per(time: Duration, documents: usize) -> f64 {
    time.as_secs_f64() / documents as f64
}
