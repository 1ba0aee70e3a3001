//! A control plane with the webhook and the reconciler.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use codex_k8s_certs::{Authority, Leaf};
use codex_k8s_shared::policy::{API_VERSION, KIND, RunPolicy};
use jiff::Timestamp;
use serde_json::json;

use crate::chart;
use crate::control_plane::{CALLER, CALLERS_AUTHORITY, ControlPlane};
use crate::eventually;
use crate::identity::{EVERY_ACCOUNT, EVERY_RIGHT, Identity, KUBELETS};
use crate::kubectl::Kubectl;
use crate::webhook::{Reconciler, Webhook};

/// A guarded cluster.
#[derive(Debug)]
pub struct Guard {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The webhook.
    pub webhook: Webhook,
    /// The reconciler.
    pub reconciler: Reconciler,
    playground: PathBuf,
}

impl Guard {
    /// Starts a control plane and the webhook, registers the webhook, and waits until the rules are enforced.
    ///
    /// # Errors
    /// Returns an error if a program does not start; with the end of its log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        Self::over(ControlPlane::start(playground)?, playground)
    }

    /// Like [`start`](Self::start), with a policy, given without its first two lines.
    ///
    /// # Errors
    /// Returns an error if a program does not start; with the end of its log.
    pub fn start_with_policy(playground: &Path, policy: &str) -> anyhow::Result<Self> {
        Self::over_with_policy(ControlPlane::start(playground)?, playground, policy)
    }

    /// Like [`start_with_policy`](Self::start_with_policy), with an [audit log](ControlPlane::audit_log) that can be
    /// replayed.
    ///
    /// # Errors
    /// Returns an error if a program does not start; with the end of its log.
    pub fn start_logged(playground: &Path, policy: &str) -> anyhow::Result<Self> {
        Self::over_with_policy(ControlPlane::start_logged(playground)?, playground, policy)
    }

    /// Like [`start_with_policy`](Self::start_with_policy), with a control plane that is already running.
    ///
    /// # Errors
    /// Returns an error if the webhook does not start; with the end of its log.
    pub fn over_with_policy(
        control_plane: ControlPlane,
        playground: &Path,
        policy: &str,
    ) -> anyhow::Result<Self> {
        write_policy(&control_plane, policy)?;
        Self::over(control_plane, playground)
    }

    /// Starts the installation of an operator with the default policy: `ServiceAccounts` have the rights that the chart
    /// and the platform give them, and the chart's admission policies are installed.
    ///
    /// # Errors
    /// Returns an error if a program does not start; with the end of its log.
    pub fn start_as_installed(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start(playground)?;
        let_developers_do_all(&control_plane)?;
        chart::install_rights(&control_plane)?;
        let identity = Identity::service_account("codex-k8s-guard", "codex-k8s-webhook");
        let guard = Self::beside(control_plane, playground, &identity)?;
        guard.await_admission_policies()?;
        Ok(guard)
    }

    /// Waits until the admission policies are in force: the API server reads them some time after they were written.
    fn await_admission_policies(&self) -> anyhow::Result<()> {
        let account = ["create", "serviceaccount", "codex-runner", "--dry-run=server"];
        let namespace = ["delete", "namespace", "codex-k8s-guard", "--dry-run=server"];
        for (identity, args) in
            [(Identity::reconciler(), account.as_slice()), (Identity::collector(), namespace.as_slice())]
        {
            let kubectl = self.kubectl(&identity)?;
            let is_denied = || {
                kubectl
                    .run(args)
                    .is_ok_and(|ran| ran.stderr.contains("ValidatingAdmissionPolicy"))
                    .then_some(())
            };
            eventually("the admission policies are in force", Duration::from_mins(1), is_denied)?;
        }
        Ok(())
    }

    /// Like [`start`](Self::start), with a control plane that is already running. Only admission denies requests: RBAC
    /// allows everything to every ServiceAccount.
    ///
    /// # Errors
    /// Returns an error if the webhook does not start; with the end of its log.
    pub fn over(control_plane: ControlPlane, playground: &Path) -> anyhow::Result<Self> {
        grant_every_right(&control_plane)?;
        Self::beside(control_plane, playground, &Identity::Admin)
    }

    fn beside(control_plane: ControlPlane, playground: &Path, serving_as: &Identity) -> anyhow::Result<Self> {
        write_certificate(&control_plane)?;
        let args = serving(&control_plane);
        let webhook = Webhook::start_as(&control_plane, playground, "webhook", serving_as, &args)?;
        register(&control_plane, playground, webhook.address)?;
        let (identity, args) = (Identity::reconciler(), reconciling(&control_plane));
        let reconciler = Reconciler::start(&control_plane, playground, "reconcile", &identity, &args)?;
        Ok(Self { control_plane, webhook, reconciler, playground: playground.to_owned() })
    }

    /// Replaces the policy, given without its first two lines. The webhook reloads it by itself.
    ///
    /// # Errors
    /// Returns an error if the policy cannot be written.
    pub fn write_policy(&self, policy: &str) -> anyhow::Result<()> {
        write_policy(&self.control_plane, policy)
    }

    /// Starts another webhook, with additional arguments. It is not registered.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn one_more(&self, name: &str, args: &[String]) -> anyhow::Result<Webhook> {
        let mut all = serving(&self.control_plane);
        all.extend_from_slice(args);
        Webhook::start(&self.control_plane, &self.playground, name, &all)
    }

    /// Starts another reconciler, with additional arguments.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn one_more_reconciler(&self, name: &str, args: &[String]) -> anyhow::Result<Reconciler> {
        self.one_more_reconciler_as(&Identity::reconciler(), name, args)
    }

    /// Like [`one_more_reconciler`](Self::one_more_reconciler), with the rights of an identity.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn one_more_reconciler_as(
        &self,
        identity: &Identity,
        name: &str,
        args: &[String],
    ) -> anyhow::Result<Reconciler> {
        let mut all = reconciling(&self.control_plane);
        all.extend_from_slice(args);
        Reconciler::start(&self.control_plane, &self.playground, name, identity, &all)
    }

    /// Registers another address instead of that of the webhook, and waits until the rules are enforced there.
    ///
    /// # Errors
    /// Returns an error if the API server does not reach a webhook there.
    pub fn register_at(&self, address: SocketAddr) -> anyhow::Result<()> {
        register(&self.control_plane, &self.playground, address)
    }

    /// Returns the policy that the cluster was started with, or that was written last.
    ///
    /// # Errors
    /// Returns an error if there is no policy.
    pub fn policy(&self) -> anyhow::Result<RunPolicy> {
        Ok(RunPolicy::from_yaml(&fs::read_to_string(self.file(POLICY))?)?)
    }

    /// Returns the path of a file of the guarded cluster.
    pub fn file(&self, name: &str) -> PathBuf {
        self.control_plane.folder().join(name)
    }

    /// Returns a kubectl with an identity.
    ///
    /// # Errors
    /// Returns an error if its kubeconfig cannot be written.
    pub fn kubectl(&self, identity: &Identity) -> anyhow::Result<Kubectl> {
        self.control_plane.kubectl(identity)
    }
}

/// Registers the webhook like an installation, and waits until a known-bad request is denied.
fn register(control_plane: &ControlPlane, playground: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let registered = std::process::Command::new(playground)
        .args(["guard", "register", "--url", &format!("https://{address}"), "--ca"])
        .arg(control_plane.folder().join("webhook-ca.crt"))
        .args(policy_argument(control_plane))
        .env("KUBECONFIG", control_plane.kubeconfig(&Identity::Admin)?)
        .output()?;
    let told = String::from_utf8_lossy(&registered.stderr);
    ensure!(registered.status.success(), "{told}\n{}", control_plane.log_tail("webhook"));
    Ok(())
}

/// Allows everything in RBAC to developers and to all `ServiceAccounts` of tests, so that only admission denies
/// requests, and creates the install namespace.
///
/// # Errors
/// Returns an error if the objects cannot be written.
pub fn grant_every_right(control_plane: &ControlPlane) -> anyhow::Result<()> {
    grant(control_plane, &[EVERY_RIGHT, EVERY_ACCOUNT, KUBELETS])?;
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "codex-k8s-guard"}});
    apply(control_plane, &home)
}

/// Allows everything in RBAC to developers, so that only admission denies their requests.
///
/// # Errors
/// Returns an error if the binding cannot be written.
pub fn let_developers_do_all(control_plane: &ControlPlane) -> anyhow::Result<()> {
    grant(control_plane, &[EVERY_RIGHT])
}

fn grant(control_plane: &ControlPlane, groups: &[&str]) -> anyhow::Result<()> {
    let group = |name: &&str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": EVERY_RIGHT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": groups.iter().map(group).collect::<Vec<_>>(),
    });
    apply(control_plane, &binding)
}

fn apply(control_plane: &ControlPlane, object: &serde_json::Value) -> anyhow::Result<()> {
    let kubectl = control_plane.kubectl(&Identity::Admin)?;
    let applied = kubectl.run_with_input(&["apply", "-f", "-"], &object.to_string())?;
    ensure!(applied.succeeded(), "{applied}");
    Ok(())
}

/// Writes the files of a serving certificate, like those of a Secret, and of its CA.
fn write_certificate(control_plane: &ControlPlane) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let authority = Authority::generate(now, "webhook")?;
    let pair = authority.issue(now, &Leaf::of_loopback())?;
    let write = |name: &str, text: &str| fs::write(control_plane.folder().join(name), text);
    write("webhook-ca.crt", &authority.pem().certificate)?;
    write("webhook.crt", &pair.certificate)?;
    write("webhook.key", &pair.key)?;
    Ok(())
}

/// Returns the arguments of all webhooks of a cluster: the certificate, and short intervals for tests.
fn serving(control_plane: &ControlPlane) -> Vec<String> {
    let file = |name: &str| control_plane.folder().join(name).display().to_string();
    let mut args = vec![
        format!("--tls-cert={}", file("webhook.crt")),
        format!("--tls-key={}", file("webhook.key")),
        "--reload-interval=200ms".to_owned(),
        "--drain-delay=200ms".to_owned(),
    ];
    args.extend(policy_argument(control_plane));
    let callers = control_plane.folder().join(CALLERS_AUTHORITY);
    if callers.exists() {
        args.extend([format!("--client-ca={}", callers.display()), format!("--client-name={CALLER}")]);
    }
    args
}

/// Returns the arguments of all reconcilers of a cluster.
fn reconciling(control_plane: &ControlPlane) -> Vec<String> {
    let mut args = vec!["--reload-interval=200ms".to_owned()];
    args.extend(policy_argument(control_plane));
    args
}

/// A policy without a limit on the number of run namespaces, for tests that fill a cluster with them.
pub const WITHOUT_QUOTAS: &str = "quotas: {cluster: null, perProject: null, perRequester: null}\n";

/// The file of the policy.
const POLICY: &str = "policy.yaml";

/// Writes the policy under another name and moves it, so that no process reads an incomplete file.
fn write_policy(control_plane: &ControlPlane, policy: &str) -> anyhow::Result<()> {
    let unfinished = tempfile::NamedTempFile::new_in(control_plane.folder())?;
    fs::write(unfinished.path(), format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{policy}"))?;
    unfinished.persist(control_plane.folder().join(POLICY))?;
    Ok(())
}

/// Returns the argument that names the policy, if there is one.
fn policy_argument(control_plane: &ControlPlane) -> Option<String> {
    let file = control_plane.folder().join(POLICY);
    file.exists().then(|| format!("--policy={}", file.display()))
}
