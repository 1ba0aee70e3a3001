//! Programs of others: found, or built from their Go modules into a cache that is keyed by version.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest, Sha256};

/// The programs, and the Go packages that they are built from.
const PROGRAMS: [(&str, &str); 4] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

/// What the chart is rendered by.
const HELM: [(&str, &str); 1] = [("helm", "helm.sh/helm/v4/cmd/helm")];

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
            if let Some(missing) = missing(&PROGRAMS, &found.folder) {
                bail!(
                    "KUBEBUILDER_ASSETS ({}) has no {missing}; unset it to build one",
                    found.folder.display()
                );
            }
            return Ok(found);
        }
        let module = Module::read("control-plane", "k8s.io/kubernetes", &PROGRAMS)?;
        Ok(Self { folder: Module { stamp: Some(kubernetes_version), ..module }.cached()? })
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// What the alerts are tried with.
const PROMTOOL: [(&str, &str); 1] = [("promtool", "github.com/prometheus/prometheus/cmd/promtool")];

/// The path of promtool, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn promtool() -> anyhow::Result<PathBuf> {
    Ok(Module::read("promtool", "github.com/prometheus/prometheus", &PROMTOOL)?.cached()?.join("promtool"))
}

/// The path of helm, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn helm() -> anyhow::Result<PathBuf> {
    Ok(Module::read("helm", "helm.sh/helm/v4", &HELM)?.cached()?.join("helm"))
}

/// What manifests are compared with schemas by.
const KUBECONFORM: [(&str, &str); 1] = [("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform")];

/// The path of kubeconform, which is built into the project's cache if it is not there.
///
/// # Errors
/// If building fails; without Go, that is said.
pub fn kubeconform() -> anyhow::Result<PathBuf> {
    Ok(Module::read("kubeconform", "github.com/yannh/kubeconform", &KUBECONFORM)?
        .cached()?
        .join("kubeconform"))
}

fn missing(programs: &[(&'static str, &str)], folder: &Path) -> Option<&'static str> {
    programs.iter().map(|(program, _)| *program).find(|program| !folder.join(program).is_file())
}

/// The folder of what is built once and kept: `CODEX_K8S_GUARD_CACHE`, else below the user's cache folder.
///
/// # Errors
/// If neither that nor `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("CODEX_K8S_GUARD_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("codex-k8s-guard")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/codex-k8s-guard")))
        .context("none of CODEX_K8S_GUARD_CACHE, XDG_CACHE_HOME and HOME is set")
}

/// A Go module that pins the versions of programs.
struct Module {
    name: &'static str,
    folder: PathBuf,
    programs: &'static [(&'static str, &'static str)],
    version: String,
    key: String,
    stamp: Option<fn(&str) -> String>,
}

impl Module {
    /// The module of a folder beside this code; what the programs are called after is one that it requires.
    fn read(
        name: &'static str,
        required: &str,
        programs: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let read =
            |name| fs::read_to_string(folder.join(name)).with_context(|| format!("failed to read {name}"));
        let (module, sums) = (read("go.mod")?, read("go.sum")?);
        let version = module
            .lines()
            .find_map(|line| line.trim_start_matches("require ").trim().strip_prefix(&format!("{required} ")))
            .with_context(|| format!("go.mod requires no {required}"))?
            .trim()
            .to_owned();
        let digest = Sha256::new().chain_update(&module).chain_update(&sums).finalize();
        let digest = digest.iter().take(6).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Ok(Self { name, folder, programs, key: format!("{version}-{digest}"), version, stamp: None })
    }

    /// The folder of the cache that has the programs in it.
    fn cached(&self) -> anyhow::Result<PathBuf> {
        let cache = cache()?.join(self.name);
        fs::create_dir_all(&cache).with_context(|| format!("failed to make {}", cache.display()))?;
        // Test binaries that start at once build once.
        let lock = File::create(cache.join(".lock"))?;
        lock.lock()?;
        let folder = cache.join(&self.key);
        if missing(self.programs, &folder).is_some() {
            self.build(&folder)?;
        }
        Ok(folder)
    }

    fn build(&self, into: &Path) -> anyhow::Result<()> {
        ensure!(
            Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()),
            "building {} needs Go 1.26 or later on the PATH; install it, or for the control plane point KUBEBUILDER_ASSETS at a built one",
            self.name
        );
        tell(&format!("building {} {} from its Go modules, once: some minutes", self.name, self.version));
        let parent = into.parent().context("the cache has no parent folder")?;
        let unfinished = tempfile::Builder::new().prefix(".building-").tempdir_in(parent)?;
        for (index, (program, package)) in self.programs.iter().enumerate() {
            tell(&format!("[{}/{}] {program} ...", index + 1, self.programs.len()));
            let begun = Instant::now();
            self.build_one(package, &unfinished.path().join(program))?;
            tell(&format!(
                "[{}/{}] {program}: {} s",
                index + 1,
                self.programs.len(),
                begun.elapsed().as_secs()
            ));
        }
        if into.exists() {
            fs::remove_dir_all(into)?;
        }
        fs::rename(unfinished.keep(), into).context("failed to move what was built into the cache")
    }

    fn build_one(&self, package: &str, output: &Path) -> anyhow::Result<()> {
        let flags = format!("-s -w{}", self.stamp.map(|stamp| stamp(&self.version)).unwrap_or_default());
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

/// Tells a person who waits.
pub(crate) fn tell(line: &str) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
