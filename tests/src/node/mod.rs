//! A real node in private namespaces of this machine: kubelet, containerd, runc, kube-proxy and CoreDNS next to a
//! control plane, so that Pods run, Services route to them, and kube-apiserver calls webhooks in Pods.
//!
//! A node requires root and control groups of version 1; [`Node::hindrance`] returns the reason if it is not possible.
//! Only the files in its folder are visible from outside: its processes, mounts, network and control groups end with
//! the process that started it, for any reason.

mod gateway;
pub mod linux_namespaces;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::control_plane::{ControlPlane, Host};
use crate::eventually::eventually;
use crate::identity::Identity;
use crate::image::{self, Entry, Image, USER};
use gateway::Gateway;
use programs::Programs;

const TIMEOUT: Duration = Duration::from_mins(2);
const NAME: &str = "node1";
/// The address of the node, in a network of its own.
pub(crate) const ADDRESS: &str = "10.99.0.1";
const SERVICES: &str = "10.0.0.0/24";
/// The image of a Pod that only has to run.
pub const PAUSE: &str = "node.invalid/pause:1";
const COREDNS: &str = "node.invalid/coredns:1";

/// A running node with its control plane. It ends when it is dropped, or with this process.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: the gateway first, the namespaces last.
    _door: Gateway,
    control_plane: ControlPlane,
    programs: Programs,
    /// The process id of the first process of the namespaces, as seen from outside.
    first: u32,
}

impl Node {
    /// Returns the reason why this machine cannot run a node, or `None` if it can.
    pub fn hindrance() -> Option<String> {
        linux_namespaces::hindrance()
    }

    /// Starts a node and waits until Pods can run and names are resolved, which takes some seconds. `playground` is the
    /// same as in [`ControlPlane::start`].
    ///
    /// # Errors
    /// Returns an error if the machine cannot run a node, or a program cannot be found, built or started; with the end
    /// of its log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        if let Some(hindrance) = Self::hindrance() {
            anyhow::bail!("no node on this machine: {hindrance}");
        }
        let programs = Programs::find()?;
        let control_plane = ControlPlane::prepare(playground, Host::Node)?;
        let first = first_process(&control_plane)?;
        let gateway = Gateway::open(control_plane.port(), first)?;
        let node = Self { _door: gateway, control_plane, programs, first };
        node.start_containerd()?;
        node.control_plane.start_programs()?;
        node.start_scheduler()?;
        node.import_own_images()?;
        node.start_kubelet()?;
        node.start_proxy()?;
        node.await_ready()?;
        Ok(node)
    }

    /// Returns the control plane, which is used like any other.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Imports an image, because there is no registry.
    ///
    /// # Errors
    /// Returns an error if containerd rejects the image.
    pub fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let ran =
            self.images("import").args(["--local", "--snapshotter", "overlayfs"]).arg(archive).output()?;
        succeeded("ctr images import", &ran)
    }

    /// Adds another name to an image.
    ///
    /// # Errors
    /// Returns an error if the image does not exist.
    pub fn tag(&self, image: &str, name: &str) -> anyhow::Result<()> {
        succeeded("ctr images tag", &self.images("tag").args(["--force", image, name]).output()?)
    }

    fn images(&self, what: &str) -> Command {
        let mut command = self.inside(&self.programs.containers.join("ctr"));
        command.args(["--namespace", "k8s.io", "images", what]);
        command
    }

    /// Returns a command that runs inside the node.
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string(), "--mount", "--net", "--pid", "--cgroup", "--"])
            .arg(program)
            .env("PATH", self.programs.search_path());
        command
    }

    fn file(&self, name: &str) -> String {
        self.control_plane.folder().join(name).display().to_string()
    }

    /// Writes a configuration file from its template.
    fn write(&self, name: &str, template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
        let folder = self.control_plane.folder().display().to_string();
        let text = values
            .iter()
            .fold(template.replace("{folder}", &folder), |text, (key, value)| text.replace(key, value));
        let file = self.file(name);
        fs::write(&file, text)?;
        Ok(file)
    }

    fn run(&self, name: &str, path: PathBuf, args: Vec<String>) -> anyhow::Result<()> {
        self.control_plane.run(name, path, args, self.programs.env())
    }

    fn kubeconfig(&self, user: &str, group: Option<&str>) -> anyhow::Result<String> {
        let identity = Identity::user(user);
        let identity = group.into_iter().fold(identity, Identity::in_group);
        Ok(self.control_plane.kubeconfig(&identity)?.display().to_string())
    }

    fn start_containerd(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.control_plane.folder().join("cni"))?;
        self.write("cni/10-node.conflist", include_str!("../../node/cni.json"), &[])?;
        let (runc, plugins) = (self.programs.runc(), self.programs.containers.display().to_string());
        let config = self.write(
            "containerd.toml",
            include_str!("../../node/containerd.toml"),
            &[("{runc}", &runc), ("{plugins}", &plugins)],
        )?;
        self.run(
            "containerd",
            self.programs.containers.join("containerd"),
            vec!["--config".to_owned(), config],
        )
    }

    fn import_own_images(&self) -> anyhow::Result<()> {
        let ctr = self.programs.containers.join("ctr");
        let answers = || self.inside(&ctr).arg("version").output().is_ok_and(|ran| ran.status.success());
        eventually("containerd answers", TIMEOUT, || answers().then_some(()))
            .with_context(|| self.control_plane.log_tail("containerd"))?;
        for (reference, program, user) in [(PAUSE, "pause", USER), (COREDNS, "coredns", "0:0")] {
            let image = Image {
                reference: reference.to_owned(),
                entries: vec![Entry::program("app", &self.programs.images.join(program))?],
                entrypoint: vec!["/app".to_owned()],
                user: user.to_owned(),
                labels: Vec::new(),
                architecture: image::native(),
            };
            let archive = self.file(&format!("{program}.tar"));
            fs::write(&archive, image.archive()?)?;
            self.import(archive.as_ref())?;
        }
        Ok(())
    }

    fn start_scheduler(&self) -> anyhow::Result<()> {
        let args = vec![
            format!("--kubeconfig={}", self.kubeconfig("system:kube-scheduler", None)?),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        self.run("kube-scheduler", self.programs.kubernetes.join("kube-scheduler"), args)
    }

    fn start_kubelet(&self) -> anyhow::Result<()> {
        let config = self.write("kubelet.yaml", include_str!("../../node/kubelet.yaml"), &[])?;
        let args = vec![
            format!("--config={config}"),
            format!(
                "--kubeconfig={}",
                self.kubeconfig(&format!("system:node:{NAME}"), Some("system:nodes"))?
            ),
            format!("--root-dir={}", self.file("kubelet")),
            format!("--cert-dir={}", self.file("kubelet-pki")),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
        ];
        self.run("kubelet", self.programs.kubernetes.join("kubelet"), args)
    }

    fn start_proxy(&self) -> anyhow::Result<()> {
        let kubeconfig = self.kubeconfig("system:kube-proxy", None)?;
        let config = self.write(
            "kube-proxy.yaml",
            include_str!("../../node/kube-proxy.yaml"),
            &[("{kubeconfig}", &kubeconfig), ("{name}", NAME)],
        )?;
        self.run(
            "kube-proxy",
            self.programs.kubernetes.join("kube-proxy"),
            vec![format!("--config={config}")],
        )
    }

    fn await_ready(&self) -> anyhow::Result<()> {
        let kubectl = self.control_plane.kubectl(&Identity::Admin)?;
        let done = |args: &[&str]| kubectl.run(args).is_ok_and(|ran| ran.succeeded());
        let node = format!("node/{NAME}");
        let ready = ["wait", "--for=condition=Ready", &node, "--timeout=2s"];
        eventually("the node is ready", TIMEOUT, || done(&ready).then_some(())).with_context(|| {
            let logs = ["kubelet", "containerd"].map(|name| self.control_plane.log_tail(name));
            logs.join("\n")
        })?;
        let applied =
            kubectl.run_with_input(&["apply", "-f", "-"], include_str!("../../node/coredns.yaml"))?;
        ensure!(applied.succeeded(), "{applied}");
        let args = ["wait", "-n", "kube-system", "--for=condition=Available", "deploy/coredns"];
        let waited = kubectl.run(&[args.as_slice(), &["--timeout=120s"]].concat())?;
        ensure!(waited.succeeded(), "{waited}\n{}", self.control_plane.log_tail("kubelet"));
        Ok(())
    }
}

/// Waits until the namespaces exist.
fn first_process(control_plane: &ControlPlane) -> anyhow::Result<u32> {
    let file = control_plane.folder().join(linux_namespaces::FIRST);
    eventually("the node's namespaces are there", TIMEOUT, || {
        fs::read_to_string(&file).ok()?.trim().parse().ok()
    })
    .with_context(|| control_plane.log_tail(linux_namespaces::LOG))
}

fn succeeded(what: &str, ran: &Output) -> anyhow::Result<()> {
    ensure!(
        ran.status.success(),
        "{what} failed: {}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}
