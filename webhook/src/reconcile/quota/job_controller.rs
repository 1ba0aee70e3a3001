//! The controller of the agent Jobs' reservations: watches the Jobs while the policy limits them, and passes over all of them
//! whenever one has changed.
//!
//! A pass releases the reservations of those that have ended, gives reservations to those that work without, for they began
//! before there was a limit, and only then lets in those that wait, the oldest of each project first. Where nothing
//! limits agent Jobs, and nothing has, nothing is asked of the API server about them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::{Duration, Instant};

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Quotas;
use codex_k8s_shared::quota::{PENDING_REASON_AT_CREATION, Scope};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::EventType;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tokio::sync::Notify;

use super::super::context::Context;
use super::job::{AgentJob, Stage, in_order};
use super::pending::PendingJob;
use super::reservations::{Candidate, Holder, Step, plan};

/// The interval of the passes over all Jobs, in addition to those that a watch starts.
const RESYNC_INTERVAL: Duration = Duration::from_mins(1);
/// The delay after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The maximum number of Jobs that are written at the same time.
const MAX_CONCURRENT: usize = 8;

/// A Job, and its project.
type Owned = (AgentJob, String);

/// Keeps the reservations for ever.
pub async fn run(client: Client, context: &Context) {
    let mut counted = context.quota.counted();
    loop {
        let limited = || is_limited(context) || context.quota.store.is_marked();
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
            Ok(Event::Apply(job)) => context.jobs.on_apply(&job),
            Ok(Event::Delete(job)) => context.jobs.on_delete(&job),
            Err(error) => tracing::warn!(error = &error as &dyn Error, "failed to watch Jobs"),
        }
        changed.notify_one();
    }
}

/// Until nothing limits agent Jobs any more, and nobody waits or can come to wait.
async fn hold_back(context: &Context, synced: &Notify, changed: &Notify) {
    synced.notified().await;
    let mut counted = context.quota.counted();
    let mut free_since = None;
    loop {
        free_since = if is_limited(context) { None } else { free_since.or_else(|| Some(Instant::now())) };
        let settled = pass(context).await;
        // A webhook may not have read the new policy yet, and still have Jobs wait.
        let waited = free_since.is_some_and(|since| since.elapsed() >= context.linger);
        if settled && waited && !is_limited(context) && unmark(context).await {
            return;
        }
        let again = if free_since.is_some() { RESYNC_INTERVAL.min(context.linger) } else { RESYNC_INTERVAL };
        let delay = if settled && !waited { again } else { RETRY_DELAY };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = changed.notified() => {}
            // The policy has changed, or the reservations were counted anew.
            changed = counted.changed() => if changed.is_err() { return },
        }
    }
}

async fn unmark(context: &Context) -> bool {
    let unmarked = context.quota.store.unmark().await;
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
        None => resume_all(context).await,
    };
    context.quota.store.show();
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
async fn resume_all(context: &Context) -> kube::Result<bool> {
    context.quota.store.state().retain_waiting(true, |_| false);
    let jobs = context.jobs.of_managed_namespaces().await?;
    let waiting: Vec<_> = jobs.iter().filter(|(job, _)| job.stage == Stage::PendingNamespace).collect();
    let started = stream::iter(&waiting)
        .map(|(job, _)| start(context, job, false, "agent Jobs are not limited any more"))
        .buffer_unordered(MAX_CONCURRENT);
    Ok(started.fold(true, |all, one| std::future::ready(all && one)).await)
}

/// Starts a Job; `false` if that failed.
async fn start(context: &Context, job: &AgentJob, reserved: bool, why: &str) -> bool {
    match context.jobs.start(job, reserved).await {
        Ok(true) => {
            context.metrics.jobs_admitted.inc();
            tracing::info!(namespace = job.namespace, job = job.name, "the Job starts: {why}");
            let reason = if reserved { "QuotaReserved" } else { "Unlimited" };
            context.publish(&reference(job), EventType::Normal, reason, why.to_owned()).await;
            true
        }
        Ok(false) => true,
        Err(error) => is_logged(context, job, &error),
    }
}

/// One Job that cannot be written is no reason to keep the others waiting.
fn is_logged(context: &Context, job: &AgentJob, error: &kube::Error) -> bool {
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
    /// `false` if a Job could not be written, or another process has given a reservation as well.
    async fn all(&self) -> kube::Result<bool> {
        let store = &self.context.quota.store;
        if !store.is_marked() {
            store.mark().await?;
        }
        let jobs = self.context.jobs.of_managed_namespaces().await?;
        self.release(&jobs).await?;
        let noted = self.count(&jobs).await?;
        let admitted = self.admit(&jobs).await?;
        Ok(noted && admitted && self.lacking(&jobs).is_empty())
    }

    /// Those that work whose reservations are not yet as they are to be.
    fn lacking(&self, jobs: &[Owned]) -> Vec<Candidate> {
        let state = self.context.quota.store.state();
        let works = jobs.iter().filter(|(job, _)| job.stage == Stage::Works);
        let candidates = works.map(|(job, project)| job.candidate(self.quotas, project));
        candidates.filter(|who| plan(&state.held, who, std::iter::empty()) != Step::Done).collect()
    }

    /// Releases the reservations of those that have ended or are gone, after a look at each.
    async fn release(&self, jobs: &[Owned]) -> kube::Result<()> {
        let alive: BTreeSet<_> = jobs.iter().map(|(job, _)| &*job.uid).collect();
        let suspects: BTreeSet<_> = {
            let state = self.context.quota.store.state();
            let theirs = state
                .held
                .iter()
                .filter(|reservation| reservation.stored.is_some() && reservation.holder.is_job());
            let suspects = theirs.filter(|reservation| !alive.contains(&*reservation.uid));
            suspects.map(|reservation| (reservation.holder.clone(), reservation.uid.clone())).collect()
        };
        stream::iter(suspects)
            .map(|(holder, uid)| self.release_one(holder, uid))
            .buffer_unordered(MAX_CONCURRENT)
            .try_collect()
            .await
    }

    async fn release_one(&self, holder: Holder, uid: String) -> kube::Result<()> {
        let can_exist = holder.can_exist();
        let Holder::Job { namespace, name } = holder else { return Ok(()) };
        if !can_exist || self.context.jobs.is_over(&namespace, &name, &uid).await? {
            let released = self.context.quota.store.release(&uid).await?;
            tracing::info!(namespace, job = name, released, "the Job is done with its reservation");
        }
        Ok(())
    }

    /// Gives reservations to those that work without, and moves down those whose number lies above the limit. `false` if a
    /// Job could not be written.
    async fn count(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let store = &self.context.quota.store;
        let has_none = |who: &Candidate| store.state().held.of_holder(&who.uid).next().is_none();
        let mut lacking = self.lacking(jobs);
        if lacking.iter().any(has_none) {
            // Another process may have given it one.
            store.read().await?;
            lacking = self.lacking(jobs);
        }
        for who in &lacking {
            // One that works is never refused.
            drop(store.reserve(who).await?);
        }
        let noted = stream::iter(jobs.iter().filter(|(job, _)| job.says_too_much()))
            .map(async |(job, _)| match self.context.jobs.note(job).await {
                Ok(_) => true,
                Err(error) => is_logged(self.context, job, &error),
            })
            .buffer_unordered(MAX_CONCURRENT);
        Ok(noted.fold(true, |all, one| std::future::ready(all && one)).await)
    }

    /// Lets in those that wait, as far as there are reservations, and tells the others. `false` if a Job could not be written.
    async fn admit(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let mut queues = BTreeMap::<&str, Vec<AgentJob>>::new();
        for (job, project) in jobs.iter().filter(|(job, _)| job.stage == Stage::PendingNamespace) {
            queues.entry(project).or_default().push(job.clone());
        }
        {
            let mut state = self.context.quota.store.state();
            state.retain_waiting(true, |_| false);
            for (project, queue) in &mut queues {
                in_order(queue);
                for job in queue.iter() {
                    state.wait(job.candidate(self.quotas, project));
                }
            }
        }
        let admitted = stream::iter(queues)
            .map(|(project, queue)| self.admit_project(project, queue))
            .buffer_unordered(MAX_CONCURRENT);
        admitted.try_fold(true, |all, one| std::future::ready(Ok(all && one))).await
    }

    async fn admit_project(&self, project: &str, queue: Vec<AgentJob>) -> kube::Result<bool> {
        let store = &self.context.quota.store;
        let (mut written, mut full, mut pending) = (true, None, Vec::new());
        for job in queue {
            // Those behind one that found no reservation are younger, and want the same; but a process that did not know of
            // the older one may have given one of them a reservation.
            if full.is_some() && store.state().held.of_holder(&job.uid).next().is_none() {
                pending.push(job);
                continue;
            }
            match store.reserve(&job.candidate(self.quotas, project)).await? {
                Ok(()) => {
                    written &= start(self.context, &job, true, "there is a reservation for it").await;
                }
                Err(refused) => {
                    full = Some(refused);
                    pending.push(job);
                }
            }
        }
        if let Some((scope, max)) = full {
            written &= self.report_pending(scope, max, &pending).await;
        }
        Ok(written)
    }

    async fn report_pending(&self, scope: Scope, max: u32, queue: &[AgentJob]) -> bool {
        let holders = {
            let state = self.context.quota.store.state();
            let holders: BTreeSet<_> = state
                .held
                .of_scope(&scope.stem())
                .map(|reservation| reservation.holder.to_string())
                .collect();
            holders.into_iter().collect()
        };
        let waits = PendingJob { scope, max, holders };
        let reported =
            stream::iter(queue).map(|job| self.report_one(job, &waits)).buffer_unordered(MAX_CONCURRENT);
        reported.fold(true, |all, one| std::future::ready(all && one)).await
    }

    /// Tells a Job what it waits for, unless it says so; `false` if that failed.
    async fn report_one(&self, job: &AgentJob, waits: &PendingJob) -> bool {
        let said = job.pending_reason.as_deref().unwrap_or_default();
        if waits.is_written_in(said) {
            return true;
        }
        match self.context.jobs.set_pending_reason(job, &waits.to_string()).await {
            Ok(changed) => {
                if changed && said == PENDING_REASON_AT_CREATION {
                    self.context.metrics.refused(waits.scope.kind());
                    let note = format!("waits for {waits}; it is suspended until then");
                    tracing::info!(namespace = job.namespace, job = job.name, %waits, "there is no reservation for this Job");
                    self.context.publish(&reference(job), EventType::Normal, "QuotaExceeded", note).await;
                }
                true
            }
            Err(error) => is_logged(self.context, job, &error),
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
