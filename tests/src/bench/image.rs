//! The image: its size, the time until its server is ready, and the memory. The floor of a start is a server that only
//! completes TLS handshakes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::report::{at_most, mebibytes, quantile, say};
use crate::control_plane::free_port;
use crate::guard::Guard;
use crate::health::Health;
use crate::identity::Identity;
use crate::image;
use crate::process::Process;

/// The variable with the path of the image that `make bench` has built.
const ARCHIVE: &str = "CODEX_K8S_GUARD_IMAGE";
const STARTS: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn run(playground: &Path) -> anyhow::Result<()> {
    let archive = std::env::var_os(ARCHIVE).map(PathBuf::from);
    let archive = fs::read(archive.with_context(|| format!("{ARCHIVE} names no image: `make bench`"))?)?;
    let guard = Guard::start(playground)?;
    let program = guard.file("codex-k8s-guard");
    fs::write(&program, image::unpacked(&archive, "usr/bin/codex-k8s-guard")?)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;

    let (mut floor, mut ours, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        floor.push(started(&guard, Server::Echo(playground))?.0);
        let (time, resident) = started(&guard, Server::Serve(&program))?;
        ours.push(time);
        memory.push(resident);
    }
    say(&format!("\nThe image, and {STARTS} starts of its server before an empty cluster:"))?;
    let milliseconds = |times: &[Duration]| quantile(times, 0.5) / 1e3;
    say(&format!(
        "from start to ready{:>9.1} ms p50; a server that only completes handshakes{:>7.1} ms",
        milliseconds(&ours),
        milliseconds(&floor)
    ))?;
    let largest = memory.into_iter().max().unwrap_or_default();
    at_most("the archive, MiB", mebibytes(u64::try_from(archive.len())?), 15.0)?;
    at_most("from start to ready, ms", milliseconds(&ours), 500.0)?;
    at_most("resident once ready, MiB", mebibytes(largest), 25.0)
}

/// A server to start.
#[derive(Clone, Copy)]
enum Server<'a> {
    Echo(&'a Path),
    Serve(&'a Path),
}

/// A child process that is killed when it is dropped.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server. Returns the time until it is ready, and its resident memory in bytes.
fn started(guard: &Guard, server: Server<'_>) -> anyhow::Result<(Duration, u64)> {
    let free = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
    let (listen, health) = (free()?, free()?);
    let file = |name: &str| guard.file(name).display().to_string();
    let mut command = match &server {
        Server::Echo(playground) => Command::new(playground),
        Server::Serve(program) => Command::new(program),
    };
    match server {
        Server::Echo(_) => command.arg("echo"),
        Server::Serve(_) => command.args(["serve", &format!("--health-listen={health}")]),
    };
    command
        .arg(format!("--listen={listen}"))
        .arg(format!("--tls-cert={}", file("webhook.crt")))
        .arg(format!("--tls-key={}", file("webhook.key")))
        .env("KUBECONFIG", guard.control_plane.kubeconfig(&Identity::Admin)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let is_ready = || match server {
        Server::Echo(_) => TcpStream::connect(listen).is_ok(),
        Server::Serve(_) => Health(health).is_ready(),
    };
    let begun = Instant::now();
    let process = Ending(command.spawn()?);
    while !is_ready() {
        ensure!(begun.elapsed() < TIMEOUT, "the server did not become ready");
        std::thread::yield_now();
    }
    Ok((begun.elapsed(), Process::of_child(&process.0).memory()?))
}
