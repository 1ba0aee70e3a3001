//! A process whose only task is to end other processes: it starts the programs that it reads from standard input, one
//! JSON line each, and ends all of them when its input ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A program to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// The name for the log.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The arguments.
    pub args: Vec<String>,
    /// Environment variables in addition to the inherited ones.
    pub env: Vec<(String, String)>,
    /// The file for the output.
    pub log: PathBuf,
}

/// The owner's end of a supervisor. When it is dropped, or its process ends, all programs are ended.
#[derive(Debug)]
pub struct Supervisor {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts a supervisor: `executable supervise`. It removes the folder at its end, if one is given, because values
    /// that a process keeps until its own end are never dropped.
    ///
    /// # Errors
    /// Returns an error if the executable cannot be started.
    pub fn start(executable: &Path, folder: Option<&Path>) -> anyhow::Result<Self> {
        Self::spawn(Command::new(executable).arg("supervise").args(folder))
    }

    /// Starts a supervisor in namespaces of its own, which [another process](crate::node::linux_namespaces) creates and
    /// removes:
    /// `executable node-namespaces`.
    ///
    /// # Errors
    /// Returns an error if the executable cannot be started.
    pub fn start_in_node(executable: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::spawn(Command::new(executable).arg("node-namespaces").arg(folder))
    }

    fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", command.get_program().display()))?;
        let orders = process.stdin.take();
        Ok(Self { process, orders })
    }

    /// Returns the process id of the supervisor.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Starts a program.
    ///
    /// # Errors
    /// Returns an error if the supervisor has ended.
    pub fn run(&mut self, program: &Program) -> anyhow::Result<()> {
        let orders = self.orders.as_mut().context("the supervisor has ended")?;
        let mut line = serde_json::to_vec(program)?;
        line.push(b'\n');
        orders.write_all(&line).context("failed to reach the supervisor")?;
        orders.flush()?;
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The supervisor ends by itself now. Waiting only prevents a zombie.
        let _ = self.process.wait();
    }
}

/// Runs the supervisor until its input ends, and then removes the folder, if there is one.
///
/// # Errors
/// Returns an error if a line cannot be read or a program cannot be started. All programs are ended in this case too.
pub fn supervise(folder: Option<&Path>) -> anyhow::Result<()> {
    let obeyed = obey();
    if let Some(folder) = folder {
        // The owner may have removed the folder already.
        let _ = std::fs::remove_dir_all(folder);
    }
    obeyed
}

fn obey() -> anyhow::Result<()> {
    let mut children = Children(Vec::new());
    for line in BufReader::new(std::io::stdin().lock()).lines() {
        let program: Program = serde_json::from_str(&line?)?;
        children.0.push(spawn(&program)?);
    }
    Ok(())
}

struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a program with a parent-death signal, which is bound to the starting thread: the supervisor has only one.
fn spawn(program: &Program) -> anyhow::Result<Child> {
    let log = File::create(&program.log)?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&program.path)
        .args(&program.args)
        .envs(program.env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start {} through setpriv (util-linux)", program.name))
}
