//! A control plane with the webhook in front of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use codex_k8s_certs::{Authority, Leaf};
use codex_k8s_shared::policy::{API_VERSION, KIND};
use jiff::Timestamp;
use serde_json::json;

use crate::control_plane::{ControlPlane, free_port};
use crate::eventually::eventually;
use crate::identity::{EVERY_RIGHT, Identity};
use crate::kubectl::Kubectl;

/// The policy's file.
const POLICY: &str = "policy.yaml";
const PATIENCE: Duration = Duration::from_secs(30);

/// A guarded cluster.
#[derive(Debug)]
pub struct Guard {
    /// The control plane.
    pub control_plane: ControlPlane,
    playground: PathBuf,
    port: u16,
    health_port: u16,
}

impl Guard {
    /// Starts a control plane and the webhook, registers it, and waits until it is enforced.
    ///
    /// # Errors
    /// If anything does not start; with the end of its log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        Self::start_under(playground, None)
    }

    /// As [`start`](Self::start), under a policy of one's own: what follows its first two lines.
    ///
    /// # Errors
    /// If anything does not start; with the end of its log.
    pub fn start_with_policy(playground: &Path, policy: &str) -> anyhow::Result<Self> {
        Self::start_under(playground, Some(policy))
    }

    fn start_under(playground: &Path, policy: Option<&str>) -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start(playground)?;
        let guard = Self {
            control_plane,
            playground: playground.to_owned(),
            port: free_port()?,
            health_port: free_port()?,
        };
        guard.grant_every_right()?;
        guard.write_certificate()?;
        if let Some(policy) = policy {
            guard.write_policy(policy)?;
        }
        guard.start_webhook()?;
        guard.register()?;
        Ok(guard)
    }

    /// Replaces the policy, which the webhook reads again by itself: what follows its first two lines. Written
    /// beside and moved, so that nobody reads half of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_policy(&self, policy: &str) -> anyhow::Result<()> {
        let unfinished = tempfile::NamedTempFile::new_in(self.control_plane.folder())?;
        fs::write(unfinished.path(), format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{policy}"))?;
        unfinished.persist(self.file(POLICY))?;
        Ok(())
    }

    /// The argument that names the policy, if there is one.
    fn policy_argument(&self) -> Option<String> {
        let file = self.file(POLICY);
        file.exists().then(|| format!("--policy={}", file.display()))
    }

    /// The address of the webhook.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A file of the guarded cluster.
    pub fn file(&self, name: &str) -> PathBuf {
        self.control_plane.folder().join(name)
    }

    /// A kubectl that speaks as an identity.
    ///
    /// # Errors
    /// If its kubeconfig cannot be written.
    pub fn kubectl(&self, identity: &Identity) -> anyhow::Result<Kubectl> {
        self.control_plane.kubectl(identity)
    }

    /// What the webhook's plain port answers to a GET.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn health(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health_port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Only admission is to say no: RBAC lets the developers and all `ServiceAccounts` do everything.
    fn grant_every_right(&self) -> anyhow::Result<()> {
        let group =
            |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": EVERY_RIGHT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [group(EVERY_RIGHT), group("system:serviceaccounts")],
        });
        let kubectl = self.kubectl(&Identity::Admin)?;
        let applied = kubectl.run_with_input(&["apply", "-f", "-"], &binding.to_string())?;
        ensure!(applied.succeeded(), "{applied}");
        Ok(())
    }

    fn write_certificate(&self) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let authority = Authority::generate(now, "webhook")?;
        let pair = authority.issue(now, &Leaf::of_loopback())?;
        fs::write(self.file("webhook-ca.crt"), &authority.pem().certificate)?;
        fs::write(self.file("webhook.crt"), pair.certificate)?;
        fs::write(self.file("webhook.key"), pair.key)?;
        Ok(())
    }

    fn start_webhook(&self) -> anyhow::Result<()> {
        let path = |name: &str| self.file(name).display().to_string();
        let mut args = vec![
            "webhook".to_owned(),
            "serve".to_owned(),
            "--http1-only".to_owned(),
            format!("--listen=127.0.0.1:{}", self.port),
            format!("--health-listen=127.0.0.1:{}", self.health_port),
            format!("--tls-cert={}", path("webhook.crt")),
            format!("--tls-key={}", path("webhook.key")),
            "--reload-interval=200".to_owned(),
            "--drain-delay=200".to_owned(),
        ];
        args.extend(self.policy_argument());
        let kubeconfig = self.control_plane.kubeconfig(&Identity::Admin)?.display().to_string();
        let env = vec![("KUBECONFIG".to_owned(), kubeconfig)];
        self.control_plane.run("webhook", self.playground.clone(), args, env)?;
        let ready =
            || self.health("/readyz").ok().filter(|answer| answer.starts_with("HTTP/1.1 200")).map(drop);
        eventually("the webhook is ready", PATIENCE, ready)
            .with_context(|| format!("webhook.log ends with:\n{}", self.control_plane.log_tail("webhook")))
    }

    /// Registers the webhook as an installer does, and waits until a known-bad request is refused.
    ///
    /// # Errors
    /// If it is not enforced in time.
    pub fn register(&self) -> anyhow::Result<()> {
        let kubeconfig = self.control_plane.kubeconfig(&Identity::Admin)?;
        let registered = std::process::Command::new(&self.playground)
            .args(["webhook", "registration", "--apply", "--url", &self.url(), "--ca"])
            .arg(self.file("webhook-ca.crt"))
            .args(self.policy_argument())
            .env("KUBECONFIG", kubeconfig)
            .output()?;
        let told = String::from_utf8_lossy(&registered.stderr);
        ensure!(registered.status.success(), "{told}\n{}", self.control_plane.log_tail("webhook"));
        Ok(())
    }
}
