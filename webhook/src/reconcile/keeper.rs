//! The keeper of the places: releases them as namespaces go, and compares what is stored with what there is.

use std::error::Error;
use std::time::Duration;

use arc_swap::ArcSwap;
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

use super::controller::Context;
use super::gates::Gates;
use super::places_cluster::Places;

/// Places are compared with those who have them this often, whatever the watch says.
pub(super) const AGAIN: Duration = Duration::from_mins(1);
/// After a failure, this soon.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// Namespaces or Jobs that something is done about at a time.
pub(super) const AT_A_TIME: usize = 8;

/// A namespace that a watch does not show any more: its name and uid.
type Gone = (String, String);

/// Keeps the places for ever; compares at once whenever the policy changes.
pub async fn run(client: Client, context: &Context, changes: watch_channel::Receiver<()>) {
    let (places, policy) = (&context.places, &*context.policy);
    let again = Notify::new();
    let (gone, releases) = mpsc::unbounded_channel();
    tokio::join!(
        follow(client, context, gone, &again),
        UnboundedReceiverStream::new(releases)
            .for_each_concurrent(AT_A_TIME, |(name, uid)| release(places, name, uid)),
        settle(places, policy, changes, &again),
    );
}

async fn follow(client: Client, context: &Context, gone: mpsc::UnboundedSender<Gone>, again: &Notify) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let config = watcher::Config::default().labels(keys::MANAGED_BY).page_size(100);
    let mut gates = Gates::default();
    let mut events = std::pin::pin!(watch::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let is_listing = matches!(event, Ok(Event::Init | Event::InitApply(_)));
        match event {
            Ok(Event::Init) => gates.begin(),
            Ok(Event::InitApply(namespace) | Event::Apply(namespace)) => {
                gates.hear_of(&context.policy.load(), &namespace.metadata, Timestamp::now());
                context.places.hear_of(&namespace.metadata);
                context.jobs.hear_of_namespace(&namespace.metadata);
            }
            // What went while nobody watched is in no event.
            Ok(Event::InitDone) => {
                gates.end();
                again.notify_one();
            }
            Ok(Event::Delete(namespace)) => {
                let meta = namespace.metadata;
                let name = meta.name.as_deref().unwrap_or_default();
                gates.lose(name);
                context.jobs.lose_namespace(name);
                // Nobody is left to be told of it only when this task ends as well.
                let _ = gone.send((meta.name.unwrap_or_default(), meta.uid.unwrap_or_default()));
            }
            Err(error) => tracing::warn!(error = &error as &dyn Error, "failed to watch namespaces"),
        }
        if !is_listing {
            context.metrics.closed_gates(&gates);
        }
    }
}

/// Until it is known whether the namespace is gone.
async fn release(places: &Places, name: String, uid: String) {
    while let Err(error) = places.release(&name, &uid).await {
        tracing::warn!(
            namespace = name,
            error = &error as &dyn Error,
            "failed to release places; trying again"
        );
        tokio::time::sleep(SOON).await;
    }
}

async fn settle(
    places: &Places,
    policy: &ArcSwap<RunPolicy>,
    mut changes: watch_channel::Receiver<()>,
    again: &Notify,
) {
    loop {
        let delay = match places.settle(&policy.load_full().quotas).await {
            Ok(()) => AGAIN,
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "failed to count the places; trying again");
                SOON
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = again.notified() => {}
            told = changes.changed() => if told.is_err() { tokio::time::sleep(delay).await },
        }
    }
}
