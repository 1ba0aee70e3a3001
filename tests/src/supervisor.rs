//! A process whose only task is to end others: it starts what it is told to on standard input, one JSON line each,
//! and ends all of it when that input ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A program to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// A name for its log.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside those that it inherits.
    pub env: Vec<(String, String)>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// The owner's end of a supervisor. Dropping it, or dying with it, ends all programs.
#[derive(Debug)]
pub struct Supervisor {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts a supervisor: `executable supervise`. A folder goes with it, if one is given: what a process keeps until its
    /// own end is never dropped.
    ///
    /// # Errors
    /// If the executable cannot be started.
    pub fn start(executable: &Path, folder: Option<&Path>) -> anyhow::Result<Self> {
        Self::spawn(Command::new(executable).arg("supervise").args(folder))
    }

    /// Starts one in namespaces of its own, which a [keeper](crate::node::keeper) makes and takes away: `executable
    /// keep-node`.
    ///
    /// # Errors
    /// If the executable cannot be started.
    pub fn start_in_node(executable: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::spawn(Command::new(executable).arg("keep-node").arg(folder))
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

    /// The supervisor's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Has a program started.
    ///
    /// # Errors
    /// If the supervisor has gone.
    pub fn run(&mut self, program: &Program) -> anyhow::Result<()> {
        let orders = self.orders.as_mut().context("the supervisor takes no orders any more")?;
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
        // It ends by itself now; waiting only keeps it from becoming a zombie.
        let _ = self.process.wait();
    }
}

/// The supervisor's own main: obeys until its input ends, and then removes the folder, if there is one.
///
/// # Errors
/// If an order cannot be read or a program cannot be started; everything is ended then too.
pub fn supervise(folder: Option<&Path>) -> anyhow::Result<()> {
    let obeyed = obey();
    if let Some(folder) = folder {
        // Its owner may have removed it already.
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

/// The parent-death signal is bound to the thread that starts the program: the supervisor has only one.
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
