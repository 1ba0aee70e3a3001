//! A guarded control plane that keeps running, for manual experiments.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::eventually::eventually;
use crate::guard::Guard;
use crate::identity::Identity;

/// The timeout for the start, which may have to build the control plane first.
const TIMEOUT: Duration = Duration::from_mins(20);
const READY: &str = "ready";
const PROGRAMS: &str = "bin";
const PID: &str = "pid";
const FAILED: &str = "error";

/// Starts a guarded control plane in the background. Prints the paths of its kubeconfigs, and a line for a shell that
/// puts kubectl and our program, which lies next to this one, on the `PATH`.
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
    link_programs(playground, &dir.join(PROGRAMS))?;
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
    let dir = dir.canonicalize()?;
    let path = |name: &str| dir.join(format!("{name}.kubeconfig")).display().to_string();
    let mut out = std::io::stdout().lock();
    for name in ["worker", "agent", "developer"] {
        writeln!(out, "{name:<9} {}", path(name))?;
    }
    writeln!(out, "\nFor kubectl guard, codex-k8s-guard and kubectl as an admin of this cluster:")?;
    writeln!(out, "export PATH='{}':\"$PATH\" KUBECONFIG='{}'", dir.join(PROGRAMS).display(), path("admin"))?;
    Ok(())
}

/// Links kubectl and our program, also under its name as a plugin of kubectl.
fn link_programs(playground: &Path, folder: &Path) -> anyhow::Result<()> {
    let program = playground.with_file_name(codex_k8s_guard::NAME);
    ensure!(program.is_file(), "{} is missing: run `make cluster`, which builds it", program.display());
    fs::create_dir_all(folder)?;
    symlink(crate::binaries::Binaries::find()?.path("kubectl"), folder.join("kubectl"))?;
    for name in [codex_k8s_guard::NAME, "kubectl-guard"] {
        symlink(&program, folder.join(name))?;
    }
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
    ensure!(created.succeeded(), "{created}");
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
