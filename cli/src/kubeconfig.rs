//! The kubeconfig: its files, and the names in it.

use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;
use kube::config::{Kubeconfig, KubeconfigError};

/// Reads the files of `$KUBECONFIG`, or the default file. Unlike in the client library, and as in kubectl, a file of
/// the list may be missing.
pub(crate) fn read() -> Result<Kubeconfig, KubeconfigError> {
    let files = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let files: Vec<_> = std::env::split_paths(&files).filter(|file| file.exists()).collect();
    if files.is_empty() {
        return Kubeconfig::read();
    }
    let merge =
        |all: Kubeconfig, file: &PathBuf| Kubeconfig::read_from(file).and_then(|next| all.merge(next));
    files.iter().try_fold(Kubeconfig::default(), merge)
}

/// The contexts, to complete an option.
pub(crate) fn contexts() -> Vec<CompletionCandidate> {
    names(|found| found.contexts.into_iter().map(|context| context.name).collect())
}

/// The clusters, to complete an option.
pub(crate) fn clusters() -> Vec<CompletionCandidate> {
    names(|found| found.clusters.into_iter().map(|cluster| cluster.name).collect())
}

/// The users, to complete an option.
pub(crate) fn users() -> Vec<CompletionCandidate> {
    names(|found| found.auth_infos.into_iter().map(|user| user.name).collect())
}

fn names(of: impl FnOnce(Kubeconfig) -> Vec<String>) -> Vec<CompletionCandidate> {
    let names = read().map(of).unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}
