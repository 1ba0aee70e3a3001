//! The keeper of the agent Jobs' places: watches the Jobs while the policy limits them, and passes over all of them
//! whenever one has changed.
//!
//! A pass releases the places of those that have ended, gives places to those that work without, for they began
//! before there was a limit, and only then lets in those that wait, the oldest of each project first. Where nothing
//! limits agent Jobs, and nothing has, nothing is asked of the API server about them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Instant;

use codex_k8s_shared::keys;
use codex_k8s_shared::places::{Scope, UNTOLD};
use codex_k8s_shared::policy::Quotas;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::EventType;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::Notify;

use super::controller::Context;
use super::jobs::{AgentJob, Stage, in_order};
use super::keeper::{AGAIN, AT_A_TIME, SOON};
use super::places::{Candidate, Holder, Step, plan};
use super::waits::JobWaits;

/// A Job, and its project.
type Owned = (AgentJob, String);

/// Keeps the places for ever.
pub async fn run(client: Client, context: &Context) {
    let mut counted = context.places.counted();
    loop {
        let limited = || is_limited(context) || context.places.ledger.is_marked();
        // What is stored is known once it was counted.
        if counted.wait_for(|counted| counted.is_some() && limited()).await.is_err() {
            return;
        }
        let (synced, changed) = (Notify::new(), Notify::new());
        tokio::select! {
            () = follow(client.clone(), context, &synced, &changed) => {}
            () = hold_back(context, &synced, &changed) => tracing::info!("agent Jobs are not limited any more"),
        }
    }
}

fn is_limited(context: &Context) -> bool {
    context.policy.load().quotas.agent_jobs_per_project.is_some()
}

async fn follow(client: Client, context: &Context, synced: &Notify, changed: &Notify) {
    let config = watcher::Config::default().labels(keys::RUN_ID).page_size(100);
    let mut events = std::pin::pin!(watch::watcher(Api::<Job>::all(client), config).default_backoff());
    let mut listing = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing = Vec::new(),
            Ok(Event::InitApply(job)) => listing.push(AgentJob::of(&job)),
            Ok(Event::InitDone) => {
                context.jobs.replace(std::mem::take(&mut listing));
                synced.notify_one();
            }
            Ok(Event::Apply(job)) => context.jobs.hear_of(&job),
            Ok(Event::Delete(job)) => context.jobs.lose(&job),
            Err(error) => tracing::warn!(error = &error as &dyn Error, "failed to watch Jobs"),
        }
        changed.notify_one();
    }
}

/// Until nothing limits agent Jobs any more, and nobody waits or can come to wait.
async fn hold_back(context: &Context, synced: &Notify, changed: &Notify) {
    synced.notified().await;
    let mut counted = context.places.counted();
    let mut free_since = None;
    loop {
        free_since = if is_limited(context) { None } else { free_since.or_else(|| Some(Instant::now())) };
        let settled = pass(context).await;
        // A webhook may not have read the new policy yet, and still have Jobs wait.
        let waited = free_since.is_some_and(|since| since.elapsed() >= context.linger);
        if settled && waited && !is_limited(context) && unmark(context).await {
            return;
        }
        let again = if free_since.is_some() { AGAIN.min(context.linger) } else { AGAIN };
        let delay = if settled && !waited { again } else { SOON };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = changed.notified() => {}
            // The policy has changed, or the places were counted anew.
            told = counted.changed() => if told.is_err() { return },
        }
    }
}

async fn unmark(context: &Context) -> bool {
    let unmarked = context.places.ledger.unmark().await;
    if let Err(error) = &unmarked {
        tracing::warn!(error = error as &dyn Error, "failed to end the limit of agent Jobs; trying again");
    }
    unmarked.is_ok()
}

/// Looks at all Jobs once; `false` if that is to be done again soon.
async fn pass(context: &Context) -> bool {
    let quotas = context.policy.load().quotas.clone();
    let passed = match quotas.agent_jobs_per_project {
        Some(_) => Pass { context, quotas: &quotas }.all().await,
        None => let_go(context).await,
    };
    context.places.ledger.show();
    match passed {
        Ok(settled) => settled,
        Err(error) => {
            context.metrics.failures.inc();
            tracing::warn!(error = &error as &dyn Error, "failed to look after the agent Jobs; trying again");
            false
        }
    }
}

/// Nothing limits them any more: those that wait go. `false` if one of them could not be written.
async fn let_go(context: &Context) -> kube::Result<bool> {
    context.places.ledger.book().retain_waiting(true, |_| false);
    let jobs = context.jobs.of_managed_namespaces().await?;
    let waiting: Vec<_> = jobs.iter().filter(|(job, _)| job.stage == Stage::Waits).collect();
    let started = stream::iter(&waiting)
        .map(|(job, _)| start(context, job, false, "agent Jobs are not limited any more"))
        .buffer_unordered(AT_A_TIME);
    Ok(started.fold(true, |all, one| std::future::ready(all && one)).await)
}

/// Starts a Job; `false` if that failed.
async fn start(context: &Context, job: &AgentJob, placed: bool, why: &str) -> bool {
    match context.jobs.start(job, placed).await {
        Ok(true) => {
            context.metrics.jobs_started.inc();
            tracing::info!(namespace = job.namespace, job = job.name, "the Job starts: {why}");
            let reason = if placed { "Placed" } else { "Unlimited" };
            context.publish(&reference(job), EventType::Normal, reason, why.to_owned()).await;
            true
        }
        Ok(false) => true,
        Err(error) => is_told(context, job, &error),
    }
}

/// One Job that cannot be written is no reason to keep the others waiting.
fn is_told(context: &Context, job: &AgentJob, error: &kube::Error) -> bool {
    context.metrics.failures.inc();
    tracing::warn!(
        namespace = job.namespace,
        job = job.name,
        error = error as &dyn Error,
        "failed to write a Job"
    );
    false
}

/// One look at all agent Jobs while they are limited.
struct Pass<'a> {
    context: &'a Context,
    quotas: &'a Quotas,
}

impl Pass<'_> {
    /// `false` if a Job could not be written, or another process has given a place as well.
    async fn all(&self) -> kube::Result<bool> {
        let ledger = &self.context.places.ledger;
        if !ledger.is_marked() {
            ledger.mark().await?;
        }
        let jobs = self.context.jobs.of_managed_namespaces().await?;
        self.release(&jobs).await?;
        let noted = self.count(&jobs).await?;
        let admitted = self.admit(&jobs).await?;
        Ok(noted && admitted && self.lacking(&jobs).is_empty())
    }

    /// Those that work whose places are not yet as they are to be.
    fn lacking(&self, jobs: &[Owned]) -> Vec<Candidate> {
        let book = self.context.places.ledger.book();
        let works = jobs.iter().filter(|(job, _)| job.stage == Stage::Works);
        let candidates = works.map(|(job, project)| job.candidate(self.quotas, project));
        candidates.filter(|who| plan(&book.held, who, std::iter::empty()) != Step::Holds).collect()
    }

    /// Releases the places of those that have ended or are gone, after a look at each.
    async fn release(&self, jobs: &[Owned]) -> kube::Result<()> {
        let alive: BTreeSet<_> = jobs.iter().map(|(job, _)| &*job.uid).collect();
        let suspects: BTreeSet<_> = {
            let book = self.context.places.ledger.book();
            let theirs = book.held.iter().filter(|place| place.stored.is_some() && place.holder.is_job());
            let suspects = theirs.filter(|place| !alive.contains(&*place.uid));
            suspects.map(|place| (place.holder.clone(), place.uid.clone())).collect()
        };
        stream::iter(suspects)
            .map(|(holder, uid)| self.release_one(holder, uid))
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await
    }

    async fn release_one(&self, holder: Holder, uid: String) -> kube::Result<()> {
        let can_exist = holder.can_exist();
        let Holder::Job { namespace, name } = holder else { return Ok(()) };
        if !can_exist || self.context.jobs.is_over(&namespace, &name, &uid).await? {
            let released = self.context.places.ledger.release(&uid).await?;
            tracing::info!(namespace, job = name, released, "the Job is done with its place");
        }
        Ok(())
    }

    /// Gives places to those that work without, and moves down those whose number lies above the limit. `false` if a
    /// Job could not be written.
    async fn count(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let ledger = &self.context.places.ledger;
        let has_none = |who: &Candidate| ledger.book().held.of_holder(&who.uid).next().is_none();
        let mut lacking = self.lacking(jobs);
        if lacking.iter().any(has_none) {
            // Another process may have given it one.
            ledger.read().await?;
            lacking = self.lacking(jobs);
        }
        for who in &lacking {
            // One that works is never refused.
            drop(ledger.place(who).await?);
        }
        let noted = stream::iter(jobs.iter().filter(|(job, _)| job.says_too_much()))
            .map(async |(job, _)| match self.context.jobs.note(job).await {
                Ok(_) => true,
                Err(error) => is_told(self.context, job, &error),
            })
            .buffer_unordered(AT_A_TIME);
        Ok(noted.fold(true, |all, one| std::future::ready(all && one)).await)
    }

    /// Lets in those that wait, as far as there are places, and tells the others. `false` if a Job could not be written.
    async fn admit(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let mut queues = BTreeMap::<&str, Vec<AgentJob>>::new();
        for (job, project) in jobs.iter().filter(|(job, _)| job.stage == Stage::Waits) {
            queues.entry(project).or_default().push(job.clone());
        }
        {
            let mut book = self.context.places.ledger.book();
            book.retain_waiting(true, |_| false);
            for (project, queue) in &mut queues {
                in_order(queue);
                for job in queue.iter() {
                    book.wait(job.candidate(self.quotas, project));
                }
            }
        }
        let admitted = stream::iter(queues)
            .map(|(project, queue)| self.admit_project(project, queue))
            .buffer_unordered(AT_A_TIME);
        admitted.try_fold(true, |all, one| std::future::ready(Ok(all && one))).await
    }

    async fn admit_project(&self, project: &str, queue: Vec<AgentJob>) -> kube::Result<bool> {
        let ledger = &self.context.places.ledger;
        let (mut written, mut full, mut told) = (true, None, Vec::new());
        for job in queue {
            // Those behind one that found no place are younger, and want the same; but a process that did not know of
            // the older one may have given one of them a place.
            if full.is_some() && ledger.book().held.of_holder(&job.uid).next().is_none() {
                told.push(job);
                continue;
            }
            match ledger.place(&job.candidate(self.quotas, project)).await? {
                Ok(()) => {
                    written &= start(self.context, &job, true, "there is a place for it").await;
                }
                Err(refused) => {
                    full = Some(refused);
                    told.push(job);
                }
            }
        }
        if let Some((scope, max)) = full {
            written &= self.tell(scope, max, &told).await;
        }
        Ok(written)
    }

    async fn tell(&self, scope: Scope, max: u32, queue: &[AgentJob]) -> bool {
        let holders = {
            let book = self.context.places.ledger.book();
            let holders: BTreeSet<_> =
                book.held.of_scope(&scope.stem()).map(|place| place.holder.to_string()).collect();
            holders.into_iter().collect()
        };
        let waits = JobWaits { scope, max, holders };
        let told = stream::iter(queue).map(|job| self.tell_one(job, &waits)).buffer_unordered(AT_A_TIME);
        told.fold(true, |all, one| std::future::ready(all && one)).await
    }

    /// Tells a Job what it waits for, unless it says so; `false` if that failed.
    async fn tell_one(&self, job: &AgentJob, waits: &JobWaits) -> bool {
        let said = job.told.as_deref().unwrap_or_default();
        if waits.is_said_by(said) {
            return true;
        }
        match self.context.jobs.tell(job, &waits.to_string()).await {
            Ok(told) => {
                if told && said == UNTOLD {
                    self.context.metrics.refused(waits.scope.kind());
                    let note = format!("waits for {waits}; it is suspended until then");
                    tracing::info!(namespace = job.namespace, job = job.name, %waits, "there is no place for this Job");
                    self.context.publish(&reference(job), EventType::Normal, "NoPlace", note).await;
                }
                true
            }
            Err(error) => is_told(self.context, job, &error),
        }
    }
}

fn reference(job: &AgentJob) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: Some(job.name.clone()),
        namespace: Some(job.namespace.clone()),
        uid: Some(job.uid.clone()),
        ..ObjectReference::default()
    }
}
