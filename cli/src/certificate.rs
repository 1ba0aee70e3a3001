//! `certificate`: creates a CA and a serving certificate, for clusters in which nothing else issues them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use codex_k8s_certs::{Authority, Leaf};
use jiff::Timestamp;

use crate::output;

/// Create a certificate authority (CA) and a serving certificate
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  codex-k8s-guard certificate --out tls --loopback")]
pub(super) struct Args {
    /// Directory to write ca.crt, tls.crt and tls.key to; existing files are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Service to issue the certificate for
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = super::register::service, default_value = "codex-k8s-guard/codex-k8s-webhook")]
    service: super::register::Service,
    /// Also make the certificate valid for localhost and the loopback addresses
    #[arg(long)]
    loopback: bool,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut leaf = Leaf::of_service(&self.service.name, &self.service.namespace);
        if self.loopback {
            let loopback = Leaf::of_loopback();
            leaf.dns_names.extend(loopback.dns_names);
            leaf.addresses.extend(loopback.addresses);
        }
        let authority = Authority::generate(now, "codex-k8s-guard")?;
        let pair = authority.issue(now, &leaf)?;
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("failed to create {}", self.out.display()))?;
        write(&self.out.join("ca.crt"), &authority.pem().certificate, 0o644)?;
        write(&self.out.join("tls.crt"), &pair.certificate, 0o644)?;
        write(&self.out.join("tls.key"), &pair.key, 0o600)?;
        output::print(&format!("wrote ca.crt, tls.crt and tls.key to {}\n", self.out.display()))
    }
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let describe = || format!("failed to write {}", path.display());
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    file.with_context(describe)?.write_all(text.as_bytes()).with_context(describe)
}
