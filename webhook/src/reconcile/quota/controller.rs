//! The controller of reservations: releases them when namespaces are deleted, and compares them with the namespaces.

use std::time::Duration;

use arc_swap::ArcSwap;
use codex_k8s_shared::errors;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::{Notify, mpsc, watch as watch_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::super::closed_gates::ClosedGates;
use super::super::context::Context;
use super::namespaces::NamespaceQuota;

/// The interval of the comparisons of reservations with namespaces, in addition to those that a watch starts.
const RESYNC_INTERVAL: Duration = Duration::from_mins(1);
/// The delay after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The maximum number of concurrent releases.
const MAX_CONCURRENT: usize = 8;

/// A namespace that was deleted according to the watch: its name and uid.
type Gone = (String, String);

/// Keeps the reservations up to date forever, and compares them immediately whenever the policy changes.
pub(crate) async fn run(client: Client, context: &Context, changes: watch_channel::Receiver<()>) {
    let (reservations, policy) = (&context.quota, &*context.policy);
    let again = Notify::new();
    let (gone, releases) = mpsc::unbounded_channel();
    tokio::join!(
        follow(client, context, gone, &again),
        UnboundedReceiverStream::new(releases).for_each_concurrent(MAX_CONCURRENT, |(name, uid)| release(
            reservations,
            name,
            uid
        )),
        settle(reservations, policy, changes, &again),
    );
}

async fn follow(client: Client, context: &Context, gone: mpsc::UnboundedSender<Gone>, again: &Notify) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let config = watcher::Config::default().labels(keys::MANAGED_BY).page_size(100);
    let mut gates = ClosedGates::default();
    let mut events = std::pin::pin!(watch::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let is_listing = matches!(event, Ok(Event::Init | Event::InitApply(_)));
        match event {
            Ok(Event::Init) => gates.begin(),
            Ok(Event::InitApply(namespace) | Event::Apply(namespace)) => {
                gates.on_apply(&context.policy.load(), &namespace.metadata, Timestamp::now());
                context.quota.on_apply(&namespace.metadata);
                context.jobs.on_namespace_apply(&namespace.metadata);
            }
            // Deletions while the watch was interrupted have no event.
            Ok(Event::InitDone) => {
                gates.end();
                again.notify_one();
            }
            Ok(Event::Delete(namespace)) => {
                let meta = namespace.metadata;
                let name = meta.name.as_deref().unwrap_or_default();
                gates.on_delete(name);
                context.jobs.on_namespace_delete(name);
                // The receiver ends only with this task.
                let _ = gone.send((meta.name.unwrap_or_default(), meta.uid.unwrap_or_default()));
            }
            Err(error) => tracing::warn!(error = errors::chain(&error), "failed to watch namespaces"),
        }
        if !is_listing {
            context.metrics.closed_gates(gates.summary());
        }
    }
}

/// Releases the reservations of a namespace if it is gone, and retries until that is known.
async fn release(reservations: &NamespaceQuota, name: String, uid: String) {
    while let Err(error) = reservations.release(&name, &uid).await {
        tracing::warn!(
            namespace = name,
            error = errors::chain(&error),
            "failed to release reservations, retrying"
        );
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn settle(
    reservations: &NamespaceQuota,
    policy: &ArcSwap<RunPolicy>,
    mut changes: watch_channel::Receiver<()>,
    again: &Notify,
) {
    loop {
        let delay = match reservations.settle(&policy.load_full().quotas).await {
            Ok(()) => RESYNC_INTERVAL,
            Err(error) => {
                tracing::warn!(error = errors::chain(&error), "failed to count the reservations, retrying");
                RETRY_DELAY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = again.notified() => {}
            sent = changes.changed() => if sent.is_err() { tokio::time::sleep(delay).await },
        }
    }
}
