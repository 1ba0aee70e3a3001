//! The Linux namespaces of a node, and the process outside the namespaces that creates them and cleans up after them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{ADDRESS, NAME, SERVICES};
use crate::eventually::eventually;

/// The file with the process id of the first process of the namespaces, as seen from outside.
pub(super) const FIRST: &str = "first.pid";
/// The log of the first process.
pub(super) const LOG: &str = "init";
const PREFIX: &str = "codex-k8s-node-";
const TIMEOUT: Duration = Duration::from_secs(30);
const NEEDED: [&str; 5] = ["unshare", "nsenter", "setpriv", "ip", "mount"];

/// Returns the reason why this machine cannot run a node, or `None` if it can.
pub(super) fn hindrance() -> Option<String> {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return Some("it takes root, for namespaces and control groups".to_owned());
    }
    let lacking = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    if let Some(program) = NEEDED.iter().find(lacking) {
        return Some(format!("there is no {program} (Debian: util-linux, iproute2, mount)"));
    }
    match groups() {
        Ok(groups) if groups.iter().any(|group| group.controllers == "memory") => None,
        Ok(_) => Some("there are no control groups of version 1 to make one in".to_owned()),
        Err(error) => Some(format!("failed to read its control groups: {error:#}")),
    }
}

/// The control group of this process in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    controllers: String,
    folder: PathBuf,
}

fn groups() -> anyhow::Result<Vec<Group>> {
    Ok(parsed(&fs::read_to_string("/proc/self/cgroup")?))
}

/// Parses the version 1 hierarchies in `/proc/self/cgroup`. The version 2 hierarchy has no controllers.
fn parsed(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let name = controllers.trim_start_matches("name=");
        let folder = Path::new("/sys/fs/cgroup").join(name).join(path.trim_start_matches('/'));
        (!controllers.is_empty()).then(|| Group { controllers: controllers.to_owned(), folder })
    };
    text.lines().filter_map(group).collect()
}

/// The control groups of a node, which contain this process until they are dropped.
struct Own {
    parents: Vec<Group>,
    name: String,
}

impl Own {
    fn join() -> anyhow::Result<Self> {
        let own = Self { parents: groups()?, name: format!("{PREFIX}{}", std::process::id()) };
        own.parents.iter().for_each(|group| sweep(&group.folder));
        for Group { controllers, folder: parent } in &own.parents {
            let folder = parent.join(&own.name);
            fs::create_dir(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
            if controllers == "cpuset" {
                for name in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(folder.join(name), fs::read(parent.join(name))?)?;
                }
            }
            move_to(&folder)?;
        }
        Ok(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for Group { folder, .. } in &self.parents {
            let own = folder.join(&self.name);
            // Processes that ended a moment ago may still be counted.
            let left = || move_to(folder).and_then(|()| Ok(remove(&own)?)).ok();
            let _ = eventually("the control group is empty", TIMEOUT, left);
            sweep(folder);
        }
    }
}

fn move_to(group: &Path) -> anyhow::Result<()> {
    let file = group.join("cgroup.procs");
    fs::write(&file, std::process::id().to_string())
        .with_context(|| format!("failed to write {}", file.display()))
}

/// Removes a control group after those in it.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Removes the control groups that killed processes left behind.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(PREFIX).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // A group that is not empty yet is removed at the end of this node, or with the next one.
            let _ = remove(&entry.path());
        }
    }
}

/// Creates the namespaces with a supervisor that reads this process's standard input, and when they
/// have ended, removes their control groups and the folder.
///
/// # Errors
/// Returns an error if the namespaces cannot be created.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let result = namespaces(folder);
    // The owner may have removed the folder already.
    let _ = fs::remove_dir_all(folder);
    result
}

fn namespaces(folder: &Path) -> anyhow::Result<()> {
    let own = Own::join()?;
    let init = folder.join("init.sh");
    fs::write(&init, include_str!("../../node/init.sh"))?;
    let log = fs::File::create(folder.join(format!("{LOG}.log")))?;
    let mut process = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--net",
            "--cgroup",
            "--pid",
            "--uts",
            "--ipc",
        ])
        .args(["--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private", "bash"])
        .arg(&init)
        .arg(folder)
        .args([NAME, ADDRESS, SERVICES])
        .arg(std::env::current_exe()?)
        .arg("supervise")
        .stdin(Stdio::inherit())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("failed to start setpriv (util-linux)")?;
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let first = || fs::read_to_string(&children).ok()?.split_whitespace().next().map(str::to_owned);
    let ended = || !Path::new("/proc").join(process.id().to_string()).join("exe").exists();
    let first = eventually("the namespaces have a process", TIMEOUT, || {
        first().map(Some).or_else(|| ended().then_some(None))
    })?;
    if let Some(first) = first {
        let unfinished = folder.join(".first.pid");
        fs::write(&unfinished, first)?;
        fs::rename(unfinished, folder.join(FIRST))?;
    }
    let ended = process.wait()?;
    drop(own);
    ensure!(ended.success(), "the node's namespaces ended with {ended}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchies_of_version_1_are_read() {
        let text = "12:cpuset:/a/b\n5:cpu,cpuacct:/\n1:name=systemd:/a\n0::/unified\n";
        let found: Vec<_> = parsed(text).into_iter().map(|group| group.folder).collect();
        let below = |path| Path::new("/sys/fs/cgroup").join(path);
        assert_eq!(found, [below("cpuset/a/b"), below("cpu,cpuacct"), below("systemd/a")]);
        assert_eq!(parsed("0::/user.slice\n"), []);
    }
}
