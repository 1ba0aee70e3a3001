//! The manifest of the plugin `kubectl guard` for krew, the package manager for plugins of kubectl.

use codex_k8s_guard::NAME;

use super::{Artefact, Platform, VERSION};

const HEAD: &str = "\
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: guard
spec:
  homepage: HOMEPAGE
  shortDescription: Check and explain run namespaces of coding agents
  description: |
    The command of codex-k8s-guard, which guards the namespaces and Jobs of
    coding agents. It checks manifests and clusters against the rules, explains
    rules and run namespaces, lints and compares policies, and shows what the
    garbage collector would delete. Installation in a cluster: HOMEPAGE
  version: vVERSION
  platforms:
";

/// Returns the manifest for the archives of some platforms, which are found next to each other at an address.
pub fn manifest(archives: &[(Platform, &Artefact)]) -> String {
    let homepage = env!("CARGO_PKG_REPOSITORY");
    let head = HEAD.replace("HOMEPAGE", homepage).replace("VERSION", VERSION);
    archives.iter().fold(head, |manifest, (platform, archive)| {
        let Platform { os, arch, .. } = platform;
        let (name, digest, folder) = (&archive.name, archive.sha256(), platform.folder());
        manifest
            + &format!(
                "  - selector:\n      matchLabels:\n        os: {os}\n        arch: {arch}\n    \
                 uri: {homepage}/releases/download/v{VERSION}/{name}\n    sha256: {digest}\n    \
                 bin: {NAME}\n    files:\n    - from: {folder}/{NAME}\n      to: .\n    \
                 - from: {folder}/LICENSE\n      to: .\n"
            )
    })
}
