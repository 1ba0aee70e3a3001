//! Third-party programs: found, or built from their Go modules into a cache that is keyed by version.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A Go module and the programs to build from it.
struct Source {
    /// The folder of the module in this crate, and of the programs in the cache.
    name: &'static str,
    /// The module whose version is printed and is part of the key.
    required: &'static str,
    /// The programs and the packages that they are built from. Our own packages begin with `./`.
    programs: &'static [(&'static str, &'static str)],
    /// Files to keep next to the programs: `CustomResourceDefinitions`, by their paths in the module.
    definitions: &'static [&'static str],
    /// The linker flags that set the version of a program.
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

/// The minor versions of Kubernetes below that of [`CONTROL_PLANE`] whose API server and controllers can be built, the
/// oldest first. etcd and kubectl are always those of [`CONTROL_PLANE`].
static OLDER: [(&str, Source); 5] = [
    ("1.30", older("control-plane/1.30")),
    ("1.33", older("control-plane/1.33")),
    ("1.34", older("control-plane/1.34")),
    ("1.35", older("control-plane/1.35")),
    ("1.36", older("control-plane/1.36")),
];

const fn older(name: &'static str) -> Source {
    Source {
        name,
        required: "k8s.io/kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ],
        definitions: &[],
        stamp: Some(kubernetes_version),
    }
}

/// The environment variable with the minor version of Kubernetes that a test run uses, such as `1.30`. Without it, the
/// newest is used.
pub const KUBERNETES: &str = "CODEX_K8S_GUARD_KUBERNETES";

/// Returns the minor versions of Kubernetes that can be built, the oldest first, each with its whole version.
///
/// # Errors
/// Returns an error if a module cannot be read.
pub fn kubernetes_versions() -> anyhow::Result<Vec<(String, String)>> {
    let older = OLDER.iter().map(|(_, source)| source);
    let versions = older.chain([&CONTROL_PLANE]).map(|source| Ok(Module::read(source)?.version));
    let version = |version: anyhow::Result<String>| {
        let version = version?.trim_start_matches('v').to_owned();
        let minor = version.rsplit_once('.').context("a version has three parts")?.0.to_owned();
        Ok((minor, version))
    };
    versions.map(version).collect()
}

/// The program that renders the chart.
const HELM: Source = Source {
    name: "helm",
    required: "helm.sh/helm/v4",
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    definitions: &[],
    stamp: None,
};

/// The program that tests the alerts.
const PROMTOOL: Source = Source {
    name: "promtool",
    required: "github.com/prometheus/prometheus",
    programs: &[("promtool", "github.com/prometheus/prometheus/cmd/promtool")],
    definitions: &[],
    stamp: None,
};

/// The program that validates manifests against schemas.
const KUBECONFORM: Source = Source {
    name: "kubeconform",
    required: "github.com/yannh/kubeconform",
    programs: &[("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform")],
    definitions: &[],
    stamp: None,
};

/// The program that checks the workflows for GitHub.
const ACTIONLINT: Source = Source {
    name: "actionlint",
    required: "github.com/rhysd/actionlint",
    programs: &[("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")],
    definitions: &[],
    stamp: None,
};

/// The program that installs plugins of kubectl.
const KREW: Source = Source {
    name: "krew",
    required: "sigs.k8s.io/krew",
    programs: &[("krew", "sigs.k8s.io/krew/cmd/krew")],
    definitions: &[],
    stamp: None,
};

/// The controllers of cert-manager and the definitions of their kinds.
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

/// The definitions of the kinds of the Prometheus operator.
const PROMETHEUS_OPERATOR: Source = Source {
    name: "prometheus-operator",
    required: "github.com/prometheus-operator/prometheus-operator",
    programs: &[],
    definitions: &[
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ],
    stamp: None,
};

/// The Kubernetes programs of a node.
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

/// The programs that run and connect the containers of a node.
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

/// The programs of the images of a node.
const IMAGES: Source = Source {
    name: "node/images",
    required: "github.com/coredns/coredns",
    programs: &[("coredns", "./coredns"), ("pause", "./pause")],
    definitions: &[],
    stamp: None,
};

/// The folders with all programs of the control plane.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    /// The folder of the API server and the controllers, if they are of another version.
    older: Option<PathBuf>,
}

impl Binaries {
    /// Finds the programs in `KUBEBUILDER_ASSETS`, otherwise in the project's cache, which is filled if needed: of the
    /// newest version of Kubernetes, or of the one that [`KUBERNETES`] names. That takes some minutes, once, and the
    /// progress is printed to standard error.
    ///
    /// # Errors
    /// Returns an error if `KUBEBUILDER_ASSETS` lacks a program, or building fails, or Go is missing.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let found = Self { folder: assets.into(), older: None };
            if let Some(missing) = CONTROL_PLANE.missing(&found.folder) {
                bail!(
                    "KUBEBUILDER_ASSETS ({}) has no {missing}; unset it to build one",
                    found.folder.display()
                );
            }
            return Ok(found);
        }
        let older = match std::env::var(KUBERNETES) {
            Ok(minor) => older_folder(&minor)?,
            Err(_) => None,
        };
        Ok(Self { folder: CONTROL_PLANE.cached()?, older })
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        let older = self.older.as_ref().map(|folder| folder.join(program));
        older.filter(|path| path.is_file()).unwrap_or_else(|| self.folder.join(program))
    }
}

/// Returns the folder of the API server and the controllers of a minor version; `None` for the newest.
fn older_folder(minor: &str) -> anyhow::Result<Option<PathBuf>> {
    if let Some((_, source)) = OLDER.iter().find(|(known, _)| *known == minor) {
        return source.cached().map(Some);
    }
    let known: Vec<_> = kubernetes_versions()?.into_iter().map(|(minor, _)| minor).collect();
    let newest = known.last().is_some_and(|newest| newest == minor);
    ensure!(newest, "{KUBERNETES}: Unsupported value: {minor:?}: supported values: {}", known.join(", "));
    Ok(None)
}

/// Returns the number of the minor version of Kubernetes that this test run uses: 30 for 1.30.
///
/// # Errors
/// Returns an error if there is no such number.
pub fn kubernetes_minor() -> anyhow::Result<u32> {
    let minor = match std::env::var(KUBERNETES) {
        Ok(minor) => minor,
        Err(_) => kubernetes_versions()?.pop().context("no version can be built")?.0,
    };
    minor
        .strip_prefix("1.")
        .and_then(|minor| minor.parse().ok())
        .with_context(|| format!("{KUBERNETES}: {minor:?}"))
}

/// Returns the path of promtool, which is built into the project's cache if it is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn promtool() -> anyhow::Result<PathBuf> {
    Ok(PROMTOOL.cached()?.join("promtool"))
}

/// Returns the path of helm, which is built into the project's cache if it is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn helm() -> anyhow::Result<PathBuf> {
    Ok(HELM.cached()?.join("helm"))
}

/// Returns the path of kubeconform, which is built into the project's cache if it is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn kubeconform() -> anyhow::Result<PathBuf> {
    Ok(KUBECONFORM.cached()?.join("kubeconform"))
}

/// Returns the path of actionlint, which is built into the project's cache if it is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn actionlint() -> anyhow::Result<PathBuf> {
    Ok(ACTIONLINT.cached()?.join("actionlint"))
}

/// Returns the path of krew, which is built into the project's cache if it is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn krew() -> anyhow::Result<PathBuf> {
    Ok(KREW.cached()?.join("krew"))
}

/// Returns the path of one program with the controllers of cert-manager, which is built into the project's cache if it
/// is missing.
///
/// # Errors
/// Returns an error if building fails, or Go is missing.
pub fn cert_manager() -> anyhow::Result<PathBuf> {
    Ok(CERT_MANAGER.cached()?.join("cert-manager"))
}

/// Returns the files that define the kinds of cert-manager and of the Prometheus operator.
///
/// # Errors
/// Returns an error if they cannot be fetched or built, or Go is missing.
pub fn definitions() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in [&CERT_MANAGER, &PROMETHEUS_OPERATOR] {
        let folder = source.cached()?;
        files.extend(source.definitions.iter().map(|file| folder.join(name_of(file))));
    }
    Ok(files)
}

/// The folders of the programs of a node, besides those of the control plane.
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
    /// Finds the programs in the project's cache, which is filled if needed. That takes some minutes, once.
    ///
    /// # Errors
    /// Returns an error if building fails, or Go is missing.
    pub fn find() -> anyhow::Result<Self> {
        Ok(Self { kubernetes: NODE.cached()?, containers: CONTAINERS.cached()?, images: IMAGES.cached()? })
    }
}

/// Returns the folder of the Go module whose manifests test Pod Security. It is a dependency of kube-apiserver, so that
/// building one has fetched it already.
///
/// # Errors
/// Returns an error if it cannot be fetched, or Go is missing.
pub fn pod_security_admission() -> anyhow::Result<PathBuf> {
    Module::read(&CONTROL_PLANE)?.downloaded("k8s.io/pod-security-admission")
}

/// The last part of a path.
fn name_of(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

/// Returns the folder of the cache: `CODEX_K8S_GUARD_CACHE`, otherwise a folder in the user's cache folder.
///
/// # Errors
/// Returns an error if none of this variable, `XDG_CACHE_HOME` and `HOME` is set.
pub fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("CODEX_K8S_GUARD_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("codex-k8s-guard")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/codex-k8s-guard")))
        .context("none of CODEX_K8S_GUARD_CACHE, XDG_CACHE_HOME and HOME is set")
}

impl Source {
    /// Returns the first program or file that a folder lacks.
    fn missing(&self, folder: &Path) -> Option<&'static str> {
        let programs = self.programs.iter().map(|(program, _)| *program);
        let mut all = programs.chain(self.definitions.iter().map(|file| name_of(file)));
        all.find(|name| !folder.join(name).is_file())
    }

    /// Returns the folder of the cache with the programs.
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

    /// Returns the folder of the cache with the programs, which is filled if needed.
    fn cached(&self) -> anyhow::Result<PathBuf> {
        let cache = cache()?.join(self.source.name);
        fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
        // Several test binaries that start at the same time must build only once.
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
        fs::rename(unfinished.keep(), into).context("failed to move the programs into the cache")
    }

    fn copy_definitions(&self, into: &Path) -> anyhow::Result<()> {
        if self.source.definitions.is_empty() {
            return Ok(());
        }
        let module = self.downloaded(self.source.required)?;
        for file in self.source.definitions {
            let text = fs::read(module.join(file)).with_context(|| format!("failed to read {file}"))?;
            fs::write(into.join(name_of(file)), text)?;
        }
        Ok(())
    }

    /// Returns the folder of a module that is required, which is fetched if it is not there yet.
    fn downloaded(&self, required: &str) -> anyhow::Result<PathBuf> {
        // Go verifies the download against go.sum.
        let output = Command::new("go")
            .current_dir(&self.folder)
            .args(["mod", "download", "-json", required])
            .output()
            .context("failed to run go mod download")?;
        let module: Value =
            serde_json::from_slice(&output.stdout).context("go mod download printed no JSON")?;
        let folder = module.get("Dir").and_then(Value::as_str);
        Ok(folder.with_context(|| format!("failed to download {required}: {module}"))?.into())
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

/// Returns the linker flags that set the version of a Kubernetes program.
fn kubernetes_version(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let stamp = "k8s.io/component-base/version";
    format!(" -X {stamp}.gitVersion={version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}")
}

/// Returns the linker flag that sets the version of containerd.
fn containerd_version(version: &str) -> String {
    format!(" -X github.com/containerd/containerd/v2/version.Version={}", version.trim_start_matches('v'))
}

/// Prints a line of progress to standard error.
pub(crate) fn tell(line: &str) {
    // If standard error is closed, the line is lost.
    let _ = writeln!(std::io::stderr(), "{line}");
}
