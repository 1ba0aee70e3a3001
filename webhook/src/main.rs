//! The `codex-k8s-webhook` binary.

fn main() {}
