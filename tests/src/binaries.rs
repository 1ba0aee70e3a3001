//! Programs of others: found, or built from their Go modules into a cache that is keyed by version.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What is built from one Go module, and how.
struct Source {
    /// The folder of the module beside this code, and of what is built in the cache.
    name: &'static str,
    /// The module whose version is told and is part of the key.
    required: &'static str,
    /// The programs, and the packages that they are built from; those of our own begin with `./`.
    programs: &'static [(&'static str, &'static str)],
    /// Files that are kept beside them: definitions of the kinds of others, by their paths in the module.
    definitions: &'static [&'static str],
    /// What tells a program its version.
    stamp: Option<fn(&str) -> String>,
}

const CONTROL_PLANE: Source = Source {
    name: "control-plane",
    required: "k8s.io/kubernetes",
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    definitions: &[],
    stamp: Some(kubernetes_version),
};

/// What the chart is rendered by.
const HELM: Source = Source {
    name: "helm",
    required: "helm.sh/helm/v4",
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    definitions: &[],
    stamp: None,
};

/// What the alerts are tried with.
const PROMTOOL: Source = Source {
    name: "promtool",
    required: "github.com/prometheus/prometheus",
    programs: &[("promtool", "github.com/prometheus/prometheus/cmd/promtool")],
    definitions: &[],
    stamp: None,
};

/// What manifests are compared with schemas by.
const KUBECONFORM: Source = Source {
    name: "kubeconform",
    required: "github.com/yannh/kubeconform",
    programs: &[("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform")],
    definitions: &[],
    stamp: None,
};

/// What issues certificates in clusters that have it: its controllers, and the kinds that these know.
const CERT_MANAGER: Source = Source {
    name: "cert-manager",
    required: "github.com/cert-manager/cert-manager",
    programs: &[("cert-manager", "./controllers")],
    definitions: &[
        "deploy/crds/cert-manager.io_certificaterequests.yaml",
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_clusterissuers.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ],
    stamp: None,
};

/// The kinds that Prometheus is told by, in clusters that have its operator.
const PROMETHEUS_OPERATOR: Source = Source {
    name: "prometheus-operator",
    required: "github.com/prometheus-operator/prometheus-operator",
    programs: &[],
    definitions: &[
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    stamp: None,
};

/// What makes a machine a node.
const NODE: Source = Source {
    name: "node/kubernetes",
    required: "k8s.io/kubernetes",
    programs: &[
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ],
    definitions: &[],
    stamp: Some(kubernetes_version),
};

/// What runs a node's containers, and connects them.
const CONTAINERS: Source = Source {
    name: "node/containerd",
    required: "github.com/containerd/containerd/v2",
    programs: &[
        ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
        ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
        ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
        ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
        ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
    ],
    definitions: &[],
    stamp: Some(containerd_version),
};

/// What runs in a node's own containers.
const IMAGES: Source = Source {
    name: "node/images",
    required: "github.com/coredns/coredns",
    programs: &[("coredns", "./coredns"), ("pause", "./pause")],
    definitions: &[],
    stamp: None,
};

/// A folder with all programs of the control plane in it.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds the programs: in `KUBEBUILDER_ASSETS`, else in the project's cache, which is filled if need be. That
    /// takes some minutes, once, and its progress goes to standard error.
    ///
    /// # Errors
    /// If `KUBEBUILDER_ASSETS` lacks a program, or building fails; without Go, that is said.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let found = Self { folder: assets.into() };
            if let Some(missing) = CONTROL_PLANE.missing(&found.folder) {
                bail!(
                    "KUBEBUILDER_ASSETS ({}) has no {missing}; unset it to build one",
                    found.folder.display()
                );
            }
            return Ok(found);
        }
        Ok(Self { folder: CONTROL_PLANE.cached()? })
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// The path of promtool, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn promtool() -> anyhow::Result<PathBuf> {
    Ok(PROMTOOL.cached()?.join("promtool"))
}

/// The path of helm, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn helm() -> anyhow::Result<PathBuf> {
    Ok(HELM.cached()?.join("helm"))
}

/// The path of kubeconform, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn kubeconform() -> anyhow::Result<PathBuf> {
    Ok(KUBECONFORM.cached()?.join("kubeconform"))
}

/// The path of cert-manager's controllers in one program, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn cert_manager() -> anyhow::Result<PathBuf> {
    Ok(CERT_MANAGER.cached()?.join("cert-manager"))
}

/// The files that define the kinds of cert-manager and of the Prometheus operator.
///
/// # Errors
/// If they cannot be fetched or built; without Go, that is said.
pub fn definitions() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in [&CERT_MANAGER, &PROMETHEUS_OPERATOR] {
        let folder = source.cached()?;
        files.extend(source.definitions.iter().map(|file| folder.join(name_of(file))));
    }
    Ok(files)
}

/// The folders of a node's programs, beside those of the control plane.
#[derive(Debug, Clone)]
pub struct NodeBinaries {
    /// `kubelet`, `kube-proxy` and `kube-scheduler`.
    pub kubernetes: PathBuf,
    /// `containerd`, its shim, `ctr`, and the CNI plugins.
    pub containers: PathBuf,
    /// `coredns` and `pause`, which are linked statically.
    pub images: PathBuf,
}

impl NodeBinaries {
    /// Finds the programs in the project's cache, which is filled if need be: some minutes, once.
    ///
    /// # Errors
    /// If building fails; without Go, that is said.
    pub fn find() -> anyhow::Result<Self> {
        Ok(Self { kubernetes: NODE.cached()?, containers: CONTAINERS.cached()?, images: IMAGES.cached()? })
    }
}

/// The last part of a path.
fn name_of(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

/// The folder of what is built once and kept: `CODEX_K8S_GUARD_CACHE`, else below the user's cache folder.
///
/// # Errors
/// If neither that nor `XDG_CACHE_HOME` nor `INSTALL_NAMESPACE` is set.
pub fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("CODEX_K8S_GUARD_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("codex-k8s-guard")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/codex-k8s-guard")))
        .context("none of CODEX_K8S_GUARD_CACHE, XDG_CACHE_HOME and HOME is set")
}

impl Source {
    /// What a folder lacks.
    fn missing(&self, folder: &Path) -> Option<&'static str> {
        let programs = self.programs.iter().map(|(program, _)| *program);
        let mut all = programs.chain(self.definitions.iter().map(|file| name_of(file)));
        all.find(|name| !folder.join(name).is_file())
    }

    /// The folder of the cache that has the programs in it.
    fn cached(&'static self) -> anyhow::Result<PathBuf> {
        Module::read(self)?.cached()
    }
}

/// A Go module that pins the versions of programs.
struct Module {
    source: &'static Source,
    folder: PathBuf,
    version: String,
    key: String,
}

impl Module {
    fn read(source: &'static Source) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(source.name);
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).with_context(|| format!("failed to read {name}"))
        };
        let module = read("go.mod")?;
        let version = module
            .lines()
            .find_map(|line| {
                line.trim_start_matches("require ").trim().strip_prefix(&format!("{} ", source.required))
            })
            .with_context(|| format!("go.mod requires no {}", source.required))?
            .trim()
            .to_owned();
        let mut digest = Sha256::new().chain_update(&module).chain_update(read("go.sum")?);
        for (_, package) in source.programs.iter().filter(|(_, package)| package.starts_with("./")) {
            digest.update(read(&format!("{package}/main.go"))?);
        }
        let digest =
            digest.finalize().iter().take(6).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Ok(Self { source, folder, key: format!("{version}-{digest}"), version })
    }

    /// The folder of the cache that has the programs in it.
    fn cached(&self) -> anyhow::Result<PathBuf> {
        let cache = cache()?.join(self.source.name);
        fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
        // Test binaries that start at once build once.
        let lock = File::create(cache.join(".lock"))?;
        lock.lock()?;
        let folder = cache.join(&self.key);
        if self.source.missing(&folder).is_some() {
            self.build(&folder)?;
        }
        Ok(folder)
    }

    fn build(&self, into: &Path) -> anyhow::Result<()> {
        ensure!(
            Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()),
            "building {} needs Go 1.26 or later on the PATH; install it, or for the control plane point KUBEBUILDER_ASSETS at a built one",
            self.source.name
        );
        tell(&format!(
            "building {} {} from its Go modules, once: some minutes",
            self.source.name, self.version
        ));
        let parent = into.parent().context("the cache has no parent folder")?;
        let unfinished = tempfile::Builder::new().prefix(".building-").tempdir_in(parent)?;
        for (index, (program, package)) in self.source.programs.iter().enumerate() {
            tell(&format!("[{}/{}] {program} ...", index + 1, self.source.programs.len()));
            let begun = Instant::now();
            self.build_one(package, &unfinished.path().join(program))?;
            tell(&format!(
                "[{}/{}] {program}: {} s",
                index + 1,
                self.source.programs.len(),
                begun.elapsed().as_secs()
            ));
        }
        self.copy_definitions(unfinished.path())?;
        if into.exists() {
            fs::remove_dir_all(into)?;
        }
        fs::rename(unfinished.keep(), into).context("failed to move what was built into the cache")
    }

    fn copy_definitions(&self, into: &Path) -> anyhow::Result<()> {
        if self.source.definitions.is_empty() {
            return Ok(());
        }
        // What the lock file knows of it is verified.
        let told = Command::new("go")
            .current_dir(&self.folder)
            .args(["mod", "download", "-json", self.source.required])
            .output()
            .context("failed to run go mod download")?;
        let told: Value = serde_json::from_slice(&told.stdout).context("go mod download tells no JSON")?;
        let module = told.get("Dir").and_then(Value::as_str);
        let module =
            module.with_context(|| format!("failed to download {}: {told}", self.source.required))?;
        for file in self.source.definitions {
            let text =
                fs::read(Path::new(module).join(file)).with_context(|| format!("failed to read {file}"))?;
            fs::write(into.join(name_of(file)), text)?;
        }
        Ok(())
    }

    fn build_one(&self, package: &str, output: &Path) -> anyhow::Result<()> {
        let flags =
            format!("-s -w{}", self.source.stamp.map(|stamp| stamp(&self.version)).unwrap_or_default());
        let built = Command::new("go")
            .current_dir(&self.folder)
            .env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(output)
            .arg(package)
            .status()
            .context("failed to run go build")?;
        ensure!(built.success(), "go build {package} failed: {built}");
        Ok(())
    }
}

/// What tells a Kubernetes program its version.
fn kubernetes_version(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let stamp = "k8s.io/component-base/version";
    format!(" -X {stamp}.gitVersion={version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}")
}

/// What tells containerd its version.
fn containerd_version(version: &str) -> String {
    format!(" -X github.com/containerd/containerd/v2/version.Version={}", version.trim_start_matches('v'))
}

/// Tells a person who waits.
pub(crate) fn tell(line: &str) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
