//! A PostgreSQL server for tests.

mod pgbouncer;
mod programs;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use codex_k8s_certs::KeyPairPem;
use tempfile::TempDir;

use crate::control_plane::free_port;
use crate::eventually::eventually;
use crate::process::Process;
use crate::supervisor::{Program, Supervisor};

pub use pgbouncer::PgBouncer;
pub use programs::Programs;

const TIMEOUT: Duration = Duration::from_mins(1);
/// The superuser. The password of every user is its name.
const ADMIN: &str = "admin";

/// The tables of the platform that we read (contract.md, section 6).
const PLATFORM: &str = include_str!("platform.sql");

/// A running PostgreSQL on a loopback port, with the usual durability. It ends when it is dropped, or with this
/// process.
#[derive(Debug)]
pub struct Postgres {
    supervisor: Mutex<Option<Supervisor>>,
    playground: PathBuf,
    programs: Programs,
    /// The programs with `psql`.
    client: Programs,
    owner: Option<Owner>,
    port: u16,
    folder: TempDir,
}

/// An unprivileged user of this machine: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Finds the user to run as: `None` for the current one, unless this is root.
    fn find() -> anyhow::Result<Option<Self>> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let user = |name: &str| {
            let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let fields = fields.find(|fields| fields.first() == Some(&name))?;
            Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
        };
        let found = user("postgres").or_else(|| user("nobody"));
        found.context("root runs no PostgreSQL, and there is neither a user postgres nor nobody").map(Some)
    }

    /// Returns the prefix of a command that runs it as this user.
    fn prefix(self) -> Vec<String> {
        let words = ["--pdeathsig", "KILL", "--clear-groups", "--reuid"].map(str::to_owned);
        [&words[..], &[self.uid.to_string(), "--regid".to_owned(), self.gid.to_string(), "--".to_owned()]]
            .concat()
    }

    /// Returns the executable and the arguments that run a program as this user.
    fn wrap(owner: Option<Self>, program: PathBuf, args: Vec<String>) -> (PathBuf, Vec<String>) {
        match owner {
            Some(owner) => {
                let program = vec![program.display().to_string()];
                (PathBuf::from("setpriv"), [owner.prefix(), program, args].concat())
            }
            None => (program, args),
        }
    }
}

/// Copies a folder of programs out of the cache of root, which other users cannot read.
fn within_reach(root: &Path, copy: &Path) -> anyhow::Result<()> {
    // Hard links are free, but are not possible across file systems.
    let copied = ["--link", "--reflink=auto"].iter().any(|how| {
        let copied = Command::new("cp").args(["--archive", how]).arg(root).arg(copy).output();
        copied.is_ok_and(|copied| copied.status.success())
    });
    ensure!(copied, "failed to copy {}", root.display());
    fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).context("failed to open up the copy")
}

impl Postgres {
    /// Starts a PostgreSQL and waits until it is ready, which takes about two seconds. `playground` is the executable
    /// of that name, like for the control plane.
    ///
    /// # Errors
    /// Returns an error if no PostgreSQL can be found or unpacked, or it does not start; with the end of its log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        Self::start_programs(playground, Programs::find()?)
    }

    /// Returns the reason why this machine cannot have a server of this major version, or `None` if it can.
    pub fn hindrance(version: u32) -> Option<String> {
        Programs::hindrance(version)
    }

    /// Starts a PostgreSQL of this major version.
    ///
    /// # Errors
    /// Returns an error if the version cannot be downloaded, or it does not start; with the end of its log.
    pub fn start_version(playground: &Path, version: u32) -> anyhow::Result<Self> {
        Self::start_programs(playground, Programs::of_version(version)?)
    }

    fn start_programs(playground: &Path, programs: Programs) -> anyhow::Result<Self> {
        let postgres = Self::prepare(playground, programs)?;
        postgres.initialize()?;
        postgres.start_again()?;
        Ok(postgres)
    }

    fn prepare(playground: &Path, programs: Programs) -> anyhow::Result<Self> {
        let mut postgres = Self {
            supervisor: Mutex::new(None),
            playground: playground.to_owned(),
            client: if programs.has("psql") { programs.clone() } else { Programs::find()? },
            programs,
            owner: Owner::find()?,
            port: free_port()?,
            folder: tempfile::Builder::new().prefix("postgres-").tempdir()?,
        };
        postgres.own(postgres.folder.path())?;
        if let (Some(root), Some(_)) = (postgres.programs.root(), postgres.owner) {
            let copy = postgres.file("programs");
            within_reach(root, &copy)?;
            postgres.programs = postgres.programs.moved(&copy);
        }
        Ok(postgres)
    }

    /// Starts a standby of this server, which follows it and takes no changes until it is promoted.
    ///
    /// # Errors
    /// Returns an error if it cannot be copied, or does not start; with the end of its log.
    pub fn start_standby(&self) -> anyhow::Result<Self> {
        let standby = Self::prepare(&self.playground, Programs::find()?)?;
        let ran = standby
            .command("pg_basebackup")
            .arg(format!("--pgdata={}", standby.data().display()))
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg(format!("--dbname={}", self.admin_url("postgres")))
            .output()?;
        ensure!(ran.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&ran.stderr));
        standby.configure(&format!("port = {}\n", standby.port))?;
        standby.start_again()?;
        Ok(standby)
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(owner) = self.owner {
            chown(path, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(())
    }

    fn initialize(&self) -> anyhow::Result<()> {
        let password = self.file("password");
        fs::write(&password, ADMIN)?;
        self.own(&password)?;
        let password = format!("--pwfile={}", password.display());
        let data = format!("--pgdata={}", self.data().display());
        let args =
            ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync"];
        let args = [&[data.as_str(), password.as_str(), "--username=admin"], &args[..]].concat();
        let ran = self.command("initdb").args(args).output()?;
        ensure!(ran.status.success(), "initdb failed: {}", String::from_utf8_lossy(&ran.stderr));
        self.configure(&format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\njit = off\nwal_recycle = off\n",
            self.port
        ))
    }

    /// Returns a command of PostgreSQL that runs as an unprivileged user.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.path(program);
        let mut command = match self.owner {
            Some(owner) => {
                let mut command = Command::new("setpriv");
                command.args(owner.prefix()).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.envs(self.programs.env()).current_dir(self.folder.path()).env("LC_ALL", "C");
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// Adds lines to the configuration, which apply from the next start on.
    ///
    /// # Errors
    /// Returns an error if the lines cannot be written.
    pub fn configure(&self, lines: &str) -> anyhow::Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf"))?;
        file.write_all(lines.as_bytes()).context("failed to write settings")
    }

    /// Requires TLS for all connections, from the next start on.
    ///
    /// # Errors
    /// Returns an error if the files cannot be written.
    pub fn require_tls(&self, pair: &KeyPairPem) -> anyhow::Result<()> {
        for (name, text) in [("server.crt", &pair.certificate), ("server.key", &pair.key)] {
            let file = self.data().join(name);
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            self.own(&file)?;
        }
        fs::write(self.data().join("pg_hba.conf"), "hostssl all all all scram-sha-256\n")?;
        self.configure("ssl = on\n")
    }

    /// Starts the server again, if it was stopped, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn start_again(&self) -> anyhow::Result<()> {
        // The port may be in use by a connection for a moment, and a killed server takes a moment to be gone.
        let passes = ["Address already in use", "pre-existing shared memory block", "lock file"];
        let taken = |fault: &anyhow::Error| passes.iter().any(|text| fault.to_string().contains(text));
        eventually("PostgreSQL has its port", TIMEOUT, || match self.launch() {
            Err(fault) if taken(&fault) => None,
            launched => Some(launched),
        })?
    }

    fn launch(&self) -> anyhow::Result<()> {
        let mut supervisor = Supervisor::start(&self.playground, None)?;
        let data = self.data().display().to_string();
        let log = self.file("postgres.log");
        let args = vec!["-D".to_owned(), data];
        let (path, args) = Owner::wrap(self.owner, self.programs.path("postgres"), args);
        let env = self.programs.env();
        // The log of the last run is not about this one.
        let _ = fs::remove_file(&log);
        supervisor.run(&Program { name: "postgres".to_owned(), path, args, env, log: log.clone() })?;
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
        let gave_up = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines().any(|line| line.contains("FATAL:") && !line.contains("the database system is "))
        };
        let ready = eventually("PostgreSQL is ready", TIMEOUT, || {
            if self.sql("postgres", "SELECT 1").is_ok() { Some(true) } else { gave_up().then_some(false) }
        });
        ensure!(
            ready.unwrap_or(false),
            "PostgreSQL does not become ready; it says:\n{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        Ok(())
    }

    /// Stops the server with a fast shutdown, which ends all connections, and waits until it has ended.
    ///
    /// # Errors
    /// Returns an error if it does not end.
    pub fn stop(&self) -> anyhow::Result<()> {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Ok(process) = self.process() {
            process.signal("INT")?;
            eventually("PostgreSQL has ended", TIMEOUT, || (!process.is_running()).then_some(()))?;
        }
        drop(supervisor);
        Ok(())
    }

    /// Returns its first process, which accepts connections.
    ///
    /// # Errors
    /// Returns an error if it is not running.
    pub fn process(&self) -> anyhow::Result<Process> {
        Process::started_with(&self.data().display().to_string())
    }

    /// Returns the address of a database for a user.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the address of a database for the superuser.
    pub fn admin_url(&self, database: &str) -> String {
        self.url(ADMIN, database)
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// Returns an error if the name exists.
    pub fn create_database(&self, name: &str) -> anyhow::Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE {name}")).map(drop)
    }

    /// Creates a database with the platform's tables.
    ///
    /// # Errors
    /// Returns an error if the name exists.
    pub fn create_platform(&self, name: &str) -> anyhow::Result<()> {
        self.create_database(name)?;
        self.sql(name, PLATFORM).map(drop)
    }

    /// Creates a user without rights, whose password is the name.
    ///
    /// # Errors
    /// Returns an error if the name exists.
    pub fn create_user(&self, name: &str) -> anyhow::Result<()> {
        self.sql("postgres", &format!("CREATE USER {name} PASSWORD '{name}'")).map(drop)
    }

    /// Runs SQL as the superuser and returns its output: one line per row, columns separated by bars.
    ///
    /// # Errors
    /// Returns an error if a statement fails; with the message of PostgreSQL.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        self.sql_at(&self.admin_url(database), sql)
    }

    /// Runs SQL at an address, which may be that of a pooler, and returns its output.
    ///
    /// # Errors
    /// Returns an error if a statement fails; with the message of PostgreSQL.
    pub fn sql_at(&self, address: &str, sql: &str) -> anyhow::Result<String> {
        let ran = Command::new(self.client.path("psql"))
            .envs(self.client.env())
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .arg(format!("--command={sql}"))
            .arg(address)
            .output()
            .context("failed to run psql")?;
        ensure!(ran.status.success(), "psql failed: {}", String::from_utf8_lossy(&ran.stderr).trim());
        Ok(String::from_utf8_lossy(&ran.stdout).trim_end().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The supervisor would end the server as well, but while it still writes to its folder.
        let _ = self.stop();
    }
}
