//! The controller of the reservations of agent Jobs: watches the Jobs while the policy limits them, and makes a pass
//! over all of them whenever one has changed.
//!
//! A pass releases the reservations of Jobs that have ended, creates reservations for Jobs that run without one because
//! they were started before there was a limit, and only then admits pending Jobs, the oldest of each project first. As
//! long as no policy has limited agent Jobs, the API server gets no requests about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use codex_k8s_shared::errors;
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

/// Keeps the reservations of agent Jobs up to date forever.
pub(crate) async fn run(client: Client, context: &Context) {
    let mut counted = context.quota.counted();
    loop {
        let limited = || is_limited(context) || context.quota.store.is_marked();
        // The stored reservations are known after the first count.
        if counted.wait_for(|counted| counted.is_some() && limited()).await.is_err() {
            return;
        }
        let (synced, changed) = (Notify::new(), Notify::new());
        tokio::select! {
            () = follow(client.clone(), context, &synced, &changed) => {}
            () = hold_back(context, &synced, &changed) => tracing::info!("agent Jobs are no longer limited"),
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
            Err(error) => tracing::warn!(error = errors::chain(&error), "failed to watch Jobs"),
        }
        changed.notify_one();
    }
}

/// Makes passes until agent Jobs are no longer limited, and none is pending or can become pending.
async fn hold_back(context: &Context, synced: &Notify, changed: &Notify) {
    synced.notified().await;
    let mut counted = context.quota.counted();
    let mut free_since = None;
    loop {
        free_since = if is_limited(context) { None } else { free_since.or_else(|| Some(Instant::now())) };
        let settled = pass(context).await;
        // A webhook may not have loaded the new policy yet, and still suspend Jobs.
        let waited = free_since.is_some_and(|since| since.elapsed() >= context.linger);
        if settled && waited && !is_limited(context) && unmark(context).await {
            return;
        }
        let again = if free_since.is_some() { RESYNC_INTERVAL.min(context.linger) } else { RESYNC_INTERVAL };
        let delay = if settled && !waited { again } else { RETRY_DELAY };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = changed.notified() => {}
            // The policy has changed, or the reservations were counted again.
            changed = counted.changed() => if changed.is_err() { return },
        }
    }
}

async fn unmark(context: &Context) -> bool {
    let unmarked = context.quota.store.unmark().await;
    if let Err(error) = &unmarked {
        tracing::warn!(error = errors::chain(error), "failed to end the limit of agent Jobs, retrying");
    }
    unmarked.is_ok()
}

/// Makes one pass over all Jobs. Returns `false` if it must be repeated soon.
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
            tracing::warn!(error = errors::chain(&error), "failed to reconcile the agent Jobs, retrying");
            false
        }
    }
}

/// Resumes all pending Jobs, because they are no longer limited. Returns `false` if one of them could not be written.
async fn resume_all(context: &Context) -> kube::Result<bool> {
    context.quota.store.state().retain_waiting(true, |_| false);
    let jobs = context.jobs.of_managed_namespaces().await?;
    let waiting: Vec<_> = jobs.iter().filter(|(job, _)| job.stage == Stage::Pending).collect();
    let started = stream::iter(&waiting)
        .map(|(job, _)| start(context, job, false, "agent Jobs are no longer limited"))
        .buffer_unordered(MAX_CONCURRENT);
    Ok(started.fold(true, |all, one| std::future::ready(all && one)).await)
}

/// Starts a Job. Returns `false` if that failed.
async fn start(context: &Context, job: &AgentJob, reserved: bool, why: &str) -> bool {
    match context.jobs.start(job, reserved).await {
        Ok(true) => {
            context.metrics.jobs_admitted.inc();
            tracing::info!(namespace = job.namespace, job = job.name, "admitted the Job: {why}");
            let reason = if reserved { "QuotaReserved" } else { "Unlimited" };
            context.publish(&reference(job), EventType::Normal, reason, why.to_owned()).await;
            true
        }
        Ok(false) => true,
        Err(error) => is_logged(context, job, &error),
    }
}

/// Logs a failed write of a Job and returns `false`, so that the other Jobs do not have to wait.
fn is_logged(context: &Context, job: &AgentJob, error: &kube::Error) -> bool {
    context.metrics.failures.inc();
    tracing::warn!(
        namespace = job.namespace,
        job = job.name,
        error = errors::chain(error),
        "failed to update the Job"
    );
    false
}

/// One pass over all agent Jobs while they are limited.
struct Pass<'a> {
    context: &'a Context,
    quotas: &'a Quotas,
}

impl Pass<'_> {
    /// Makes the pass. Returns `false` if a Job could not be written, or another process has created a reservation as
    /// well.
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

    /// Returns the running Jobs whose reservations are not complete.
    fn lacking(&self, jobs: &[Owned]) -> Vec<Candidate> {
        let state = self.context.quota.store.state();
        let works = jobs.iter().filter(|(job, _)| job.stage == Stage::Works);
        let candidates = works.map(|(job, project)| job.candidate(self.quotas, project));
        candidates.filter(|who| plan(&state.held, who, std::iter::empty()) != Step::Done).collect()
    }

    /// Releases the reservations of Jobs that have ended or are gone, after reading each of them.
    async fn release(&self, jobs: &[Owned]) -> kube::Result<()> {
        let alive: BTreeSet<_> = jobs.iter().map(|(job, _)| &*job.uid).collect();
        let suspects: BTreeSet<_> = {
            let state = self.context.quota.store.state();
            let of_jobs = state
                .held
                .iter()
                .filter(|reservation| reservation.stored.is_some() && reservation.holder.is_job());
            let suspects = of_jobs.filter(|reservation| !alive.contains(&*reservation.uid));
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
            tracing::info!(
                namespace,
                job = name,
                released,
                "released the reservation of a Job that has ended"
            );
        }
        Ok(())
    }

    /// Creates the reservations of running Jobs that have none, and moves down those whose number is above the limit.
    /// Returns `false` if a Job could not be written.
    async fn count(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let store = &self.context.quota.store;
        let has_none = |who: &Candidate| store.state().held.of_holder(&who.uid).next().is_none();
        let mut lacking = self.lacking(jobs);
        if lacking.iter().any(has_none) {
            // Another process may have created one.
            store.read().await?;
            lacking = self.lacking(jobs);
        }
        for who in &lacking {
            // A running Job is never refused.
            drop(store.reserve(who).await?);
        }
        let noted = stream::iter(jobs.iter().filter(|(job, _)| job.has_outdated_reason()))
            .map(async |(job, _)| match self.context.jobs.note(job).await {
                Ok(_) => true,
                Err(error) => is_logged(self.context, job, &error),
            })
            .buffer_unordered(MAX_CONCURRENT);
        Ok(noted.fold(true, |all, one| std::future::ready(all && one)).await)
    }

    /// Admits pending Jobs while reservations are available, and writes the reason to the others. Returns `false` if a
    /// Job could not be written.
    async fn admit(&self, jobs: &[Owned]) -> kube::Result<bool> {
        let mut queues = BTreeMap::<&str, Vec<AgentJob>>::new();
        for (job, project) in jobs.iter().filter(|(job, _)| job.stage == Stage::Pending) {
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
            // The Jobs behind a refused one are younger and need the same reservation; but a process that had not seen
            // the older one may have created a reservation for one of them.
            if full.is_some() && store.state().held.of_holder(&job.uid).next().is_none() {
                pending.push(job);
                continue;
            }
            match store.reserve(&job.candidate(self.quotas, project)).await? {
                Ok(()) => {
                    written &= start(self.context, &job, true, "the quota is reserved").await;
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

    /// Writes the reason why a Job is pending, unless it is already there. Returns `false` if that failed.
    async fn report_one(&self, job: &AgentJob, waits: &PendingJob) -> bool {
        let written = job.pending_reason.as_deref().unwrap_or_default();
        if waits.is_written_in(written) {
            return true;
        }
        match self.context.jobs.set_pending_reason(job, &waits.to_string()).await {
            Ok(changed) => {
                if changed && written == PENDING_REASON_AT_CREATION {
                    self.context.metrics.refused(waits.scope.kind());
                    let help = self.context.help("QUOTA004");
                    let note = format!("waiting for {waits}; the Job is suspended until then {help}");
                    tracing::info!(namespace = job.namespace, job = job.name, %waits, "the quota is exceeded, the Job is pending");
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
