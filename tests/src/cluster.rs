//! A guarded control plane that keeps running, for manual experiments.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::eventually::eventually;
use crate::guard::Guard;
use crate::identity::Identity;

/// The timeout for the start, which may have to build the control plane first.
const TIMEOUT: Duration = Duration::from_mins(20);
const READY: &str = "ready";
const PID: &str = "pid";
const FAILED: &str = "error";

/// Starts a guarded control plane in the background and prints the paths of its kubeconfigs.
///
/// # Errors
/// Returns an error if a cluster is already running, or this one does not start.
pub fn up(playground: &Path, dir: &Path) -> anyhow::Result<()> {
    if is_running(dir) {
        bail!("a cluster is already running; stop it with `make cluster-down`");
    }
    crate::binaries::Binaries::find()?;
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let log = fs::File::create(dir.join("cluster.log"))?;
    let mut holder = Command::new(playground)
        .args(["hold", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let started = eventually("the cluster is ready", TIMEOUT, || {
        let failed = fs::read_to_string(dir.join(FAILED)).ok();
        let gone = || holder.try_wait().ok().flatten().map(|status| Some(format!("ended with {status}")));
        dir.join(READY).exists().then_some(None).or_else(|| failed.map(Some)).or_else(gone)
    })?;
    if let Some(error) = started {
        bail!("failed to start the cluster: {error}");
    }
    let path = |name: &str| dir.join(name).canonicalize();
    let mut out = std::io::stdout().lock();
    for name in ["worker", "agent", "developer"] {
        writeln!(out, "{name:<9} {}", path(&format!("{name}.kubeconfig"))?.display())?;
    }
    writeln!(out, "KUBECONFIG={}", path("admin.kubeconfig")?.display())?;
    Ok(())
}

/// Stops the control plane that [`up`] left running.
///
/// # Errors
/// Returns an error if no cluster is running, or it does not stop.
pub fn down(dir: &Path) -> anyhow::Result<()> {
    if !is_running(dir) {
        bail!("no cluster is running");
    }
    let pid = fs::read_to_string(dir.join(PID))?;
    Command::new("kill").arg(pid.trim()).status().context("failed to run kill")?;
    eventually("the cluster ended", Duration::from_secs(30), || (!is_running(dir)).then_some(()))?;
    fs::remove_dir_all(dir)?;
    Ok(())
}

fn is_running(dir: &Path) -> bool {
    let Ok(pid) = fs::read_to_string(dir.join(PID)) else { return false };
    let command = fs::read_to_string(PathBuf::from("/proc").join(pid.trim()).join("cmdline"));
    command.is_ok_and(|command| command.contains("hold"))
}

/// Runs the background process, which keeps the cluster until SIGTERM.
///
/// # Errors
/// Returns an error if the cluster does not start; the error is also written to `dir/error`.
pub fn hold(playground: &Path, dir: &Path) -> anyhow::Result<()> {
    fs::write(dir.join(PID), std::process::id().to_string())?;
    let held = start(playground, dir);
    match held {
        Ok(_guard) => {
            fs::write(dir.join(READY), "")?;
            await_signal()
        }
        Err(error) => {
            fs::write(dir.join(FAILED), format!("{error:#}"))?;
            Err(error)
        }
    }
}

fn start(playground: &Path, dir: &Path) -> anyhow::Result<Guard> {
    let guard = Guard::start_as_installed(playground)?;
    let namespace = "codex-issue-playground";
    let identities = [
        ("admin", Identity::Admin),
        ("worker", Identity::worker()),
        ("developer", Identity::developer()),
        ("agent", Identity::agent(namespace)),
    ];
    for (name, identity) in identities {
        fs::copy(guard.control_plane.kubeconfig(&identity)?, dir.join(format!("{name}.kubeconfig")))?;
    }
    let created = guard.kubectl(&Identity::developer())?.run(&["create", "namespace", namespace])?;
    anyhow::ensure!(created.succeeded(), "{created}");
    Ok(guard)
}

fn await_signal() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        terminate.recv().await;
        Ok(())
    })
}
