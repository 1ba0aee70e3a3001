//! A PgBouncer in front of a PostgreSQL of tests, from Debian's package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::{Owner, Postgres, TIMEOUT, within_reach};
use crate::binaries::tell;
use crate::control_plane::free_port;
use crate::debian::{self, Apt};
use crate::eventually::eventually;
use crate::supervisor::{Program, Supervisor};

/// A running PgBouncer on a loopback port. It ends when it is dropped, or with this process.
#[derive(Debug)]
pub struct PgBouncer {
    _supervisor: Supervisor,
    port: u16,
    _folder: TempDir,
}

/// Finds the program below a folder that packages were unpacked into, or on this machine.
fn program(root: &Path) -> Option<PathBuf> {
    let program = root.join("usr/sbin/pgbouncer");
    let (name, value) = debian::library_path(&debian::libraries(root));
    let told = Command::new(&program).arg("--version").env(name, value).output().ok()?;
    told.status.success().then_some(program)
}

fn unpack(cache: &Path, root: &Path) -> anyhow::Result<()> {
    ensure!(
        debian::is_here(),
        "the tests of poolers need PgBouncer, and this is no Debian to unpack it from"
    );
    tell("unpacking PgBouncer from Debian's package, once");
    let apt = Apt::in_folder(cache.join("apt"))?;
    let mut wanted = apt.lacking(&["pgbouncer"])?;
    wanted.insert("pgbouncer".to_owned());
    apt.unpack(&wanted, cache, root)
}

impl PgBouncer {
    /// Starts a PgBouncer for one database, with these additional settings, and waits until it lets a user in. The
    /// password of every user is its name, and PgBouncer does not ask for it.
    ///
    /// # Errors
    /// Returns an error if the program cannot be unpacked, or does not start; with its log.
    pub fn start(postgres: &Postgres, database: &str, user: &str, settings: &str) -> anyhow::Result<Self> {
        debian::retained("pgbouncer", program, unpack)?;
        let cached = crate::binaries::cache()?.join("pgbouncer/root");
        let folder = tempfile::Builder::new().prefix("pgbouncer-").tempdir()?;
        let owner = Owner::find()?;
        postgres.own(folder.path())?;
        let root = folder.path().join("programs");
        within_reach(&cached, &root)?;
        let (port, server) = (free_port()?, postgres.port());
        let users = folder.path().join("userlist.txt");
        fs::write(&users, format!("\"{user}\" \"{user}\"\n"))?;
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} dbname={database}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\n{settings}\n",
            users.display()
        );
        fs::write(&config, text)?;
        let log = folder.path().join("pgbouncer.log");
        let args = vec![config.display().to_string()];
        let (path, args) = Owner::wrap(owner, root.join("usr/sbin/pgbouncer"), args);
        let env = vec![debian::library_path(&debian::libraries(&root))];
        let mut supervisor = Supervisor::start(&postgres.playground, None)?;
        supervisor.run(&Program { name: "pgbouncer".to_owned(), path, args, env, log: log.clone() })?;
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(());
        eventually("PgBouncer listens", TIMEOUT, listening)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { _supervisor: supervisor, port, _folder: folder })
    }

    /// Returns the address of a database for a user.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }
}
