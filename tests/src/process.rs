//! Processes of this machine: what they have cost, as the kernel counts it, and signals to them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// The kernel's unit in `/proc/<pid>/stat`: `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux that runs Rust.
const TICK: Duration = Duration::from_millis(10);

/// A process of this machine.
#[derive(Debug, Clone)]
pub struct Process {
    folder: PathBuf,
}

impl Process {
    /// The process that was started with this argument.
    ///
    /// # Errors
    /// If there is none.
    pub fn started_with(argument: &str) -> anyhow::Result<Self> {
        let started = Self::all_started_with(argument)?.into_iter().next();
        started.with_context(|| format!("no process was started with {argument}"))
    }

    /// All processes that were started with this argument.
    ///
    /// # Errors
    /// If the processes of this machine cannot be listed.
    pub fn all_started_with(argument: &str) -> anyhow::Result<Vec<Self>> {
        let started = |folder: &PathBuf| {
            let command = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
            command.split('\0').any(|found| found == argument)
        };
        let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
        Ok(processes.filter(started).map(|folder| Self { folder }).collect())
    }

    /// A process that this one has started.
    pub fn of_child(child: &std::process::Child) -> Self {
        Self { folder: PathBuf::from("/proc").join(child.id().to_string()) }
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        // What has ended but was not waited for yet has no command line any more.
        fs::read(self.folder.join("cmdline")).is_ok_and(|command| !command.is_empty())
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.folder.file_name().context("a process has an id")?;
        ensure!(
            Command::new("kill").args(["-s", name]).arg(pid).status()?.success(),
            "failed to signal {}",
            pid.display()
        );
        Ok(())
    }

    /// The processor time that it has used.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        // The name of the program stands in brackets and may hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }

    /// The memory that it has resident, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most memory that it has ever had resident, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        let found = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .with_context(|| format!("no {field}"))?;
        let kibibytes: u64 = found.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }
}
