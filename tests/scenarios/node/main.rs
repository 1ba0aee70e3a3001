//! Tests on a real node: Pods run, Services lead to them, and kube-apiserver calls the webhook that the chart has
//! installed.
//!
//! `make test-node` runs them; the machine must be able to run a node ([`codex_k8s_tests::Node`]).

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that cannot go on fails")]

mod by_hand;
mod certificates;
mod fixture;
mod harness;
mod installed;
mod load;
mod page;
mod rolling;
mod storage;
mod upgrade;
