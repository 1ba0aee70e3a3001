//! Processes of this machine: their resource usage as the kernel counts it, and signals.

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
    /// Returns the process that was started with an argument.
    ///
    /// # Errors
    /// Returns an error if there is no such process.
    pub fn started_with(argument: &str) -> anyhow::Result<Self> {
        let started = Self::all_started_with(argument)?.into_iter().next();
        started.with_context(|| format!("no process was started with {argument}"))
    }

    /// Returns all processes that were started with an argument.
    ///
    /// # Errors
    /// Returns an error if the processes of this machine cannot be listed.
    pub fn all_started_with(argument: &str) -> anyhow::Result<Vec<Self>> {
        let started = |folder: &PathBuf| {
            let command = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
            command.split('\0').any(|found| found == argument)
        };
        let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
        Ok(processes.filter(started).map(|folder| Self { folder }).collect())
    }

    /// Returns a child of this process.
    pub fn of_child(child: &std::process::Child) -> Self {
        Self { folder: PathBuf::from("/proc").join(child.id().to_string()) }
    }

    /// True if the process is still running.
    pub fn is_running(&self) -> bool {
        // A zombie has no command line any more.
        fs::read(self.folder.join("cmdline")).is_ok_and(|command| !command.is_empty())
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Errors
    /// Returns an error if it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.folder.file_name().context("a process has an id")?;
        ensure!(
            Command::new("kill").args(["-s", name]).arg(pid).status()?.success(),
            "failed to signal {}",
            pid.display()
        );
        Ok(())
    }

    /// Returns the CPU time that the process has used.
    ///
    /// # Errors
    /// Returns an error if it has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        // The name of the program is in parentheses and may contain blanks.
        let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }

    /// Returns the resident memory in bytes.
    ///
    /// # Errors
    /// Returns an error if it has ended.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Returns the peak resident memory in bytes.
    ///
    /// # Errors
    /// Returns an error if it has ended.
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
