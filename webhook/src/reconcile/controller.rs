//! The controller: schedules reconciliations, and logs and publishes their outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_k8s_shared::baseline::BaselineKind;
use codex_k8s_shared::errors;
use codex_k8s_shared::install::WEBHOOK_DOMAIN;
use codex_k8s_shared::keys;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tracing::Instrument as _;

use super::context::Context;
use super::inspection::reason;
use super::job_rows;
use super::namespace::{Gate, Report, reconcile};
use super::quota::namespaces::QuotaStatus;
use super::quota::{controller, job_controller};
use super::traces;
use crate::baseline::meta::MetaExt;
use crate::baseline::plan::Step;

/// The maximum number of concurrent reconciliations.
const MAX_CONCURRENT: u16 = 8;
/// The interval between reconciliations of a complete namespace without any change.
const RESYNC_INTERVAL: Duration = Duration::from_mins(10);
/// The delay if the reservations were not counted yet.
const REQUEUE_DELAY: Duration = Duration::from_millis(100);
/// The delay if a namespace waits for something. The watches are usually faster.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The delay after the webhook has refused a write.
const REFUSED_INTERVAL: Duration = Duration::from_mins(1);
/// The interval between inspections of a namespace with violations. Each inspection costs a dozen lists.
const INSPECTION_INTERVAL: Duration = Duration::from_secs(10);

type Meta = PartialObjectMeta<Namespace>;

/// Reconciles all managed namespaces forever, and all of them again whenever the policy `changes`.
pub async fn run(client: Client, context: Arc<Context>, changes: watch::Receiver<()>) {
    context.quota.reset();
    context.jobs.reset();
    tokio::join!(
        controller::run(client.clone(), &context, changes.clone()),
        job_controller::run(client.clone(), &context),
        job_rows::run(client.clone(), &context, changes.clone()),
        control(client.clone(), Arc::clone(&context), changes),
    );
}

async fn control(client: Client, context: Arc<Context>, changes: watch::Receiver<()>) {
    let all_again = WatchStream::from_changes(changes).map(drop);
    let next = WatchStream::from_changes(context.quota.next_in_queue())
        .flat_map(|holders| stream::iter(holders).map(|holder| ObjectRef::<Meta>::new(&holder.to_string())));
    let config = watcher::Config::default().labels(keys::MANAGED_BY).page_size(100);
    let controller = Controller::new(Api::<Meta>::all(client.clone()), config.clone())
        .with_config(Config::default().concurrency(MAX_CONCURRENT))
        .reconcile_all_on(all_again)
        .reconcile_on(next);
    let controller = watching::<ServiceAccount>(controller, &client, &config);
    let controller = watching::<Role>(controller, &client, &config);
    let controller = watching::<RoleBinding>(controller, &client, &config);
    let controller = watching::<ResourceQuota>(controller, &client, &config);
    let controller = watching::<LimitRange>(controller, &client, &config);
    controller
        .run(reconcile_one, |_, error, context| failed(error, &context), context)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Adds a watch: a change of a baseline object triggers a reconciliation of its namespace.
fn watching<K>(controller: Controller<Meta>, client: &Client, config: &watcher::Config) -> Controller<Meta>
where
    K: Resource<DynamicType = ()> + Send + Sync + Clone + std::fmt::Debug + 'static,
    PartialObjectMeta<K>: serde::de::DeserializeOwned,
{
    let objects: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    controller.watches(objects, config.clone(), |object: PartialObjectMeta<K>| {
        object.metadata.namespace.as_deref().map(ObjectRef::<Meta>::new)
    })
}

async fn reconcile_one(namespace: Arc<Meta>, context: Arc<Context>) -> kube::Result<Action> {
    let policy = context.policy.load_full();
    if !namespace.metadata.is_in_scope(&policy) {
        return Ok(Action::await_change());
    }
    context.metrics.reconciles.inc();
    let span = traces::span(&namespace.metadata);
    let Context { cluster, quota, inspector, backoff, .. } = &*context;
    let result = reconcile(cluster, &policy, &namespace.metadata, quota, inspector, backoff)
        .instrument(span.clone())
        .await;
    traces::record(&span, &result);
    if let Some(rows) = &context.audit_rows {
        rows.observe(&policy, &namespace.metadata);
    }
    let report = result?;
    context.report_namespace(&report, &namespace.metadata).await;
    context.report_quota(&report, &namespace.metadata).await;
    let being_built = namespace.metadata.is_being_built(&policy);
    Ok(Action::requeue(context.next(&report, being_built)))
}

fn failed(error: &kube::Error, context: &Context) -> Action {
    context.metrics.failures.inc();
    let delay = retry_delay(error);
    if is_expected(error) {
        tracing::debug!(error = errors::chain(error), "retrying after a conflict");
    } else if is_refused_by_the_webhook(error) {
        tracing::error!(
            error = errors::chain(error),
            ?delay,
            "the webhook refused a write of this reconciler: run it as a user that identities.reconcilers of the policy \
             lists, or list its user there"
        );
    } else {
        tracing::warn!(error = errors::chain(error), "failed to reconcile the namespace");
    }
    Action::requeue(delay)
}

/// Returns the delay until the next attempt. What the webhook has refused, it refuses again until a person acts.
fn retry_delay(error: &kube::Error) -> Duration {
    if is_refused_by_the_webhook(error) { REFUSED_INTERVAL } else { Duration::from_secs(1) }
}

/// True if our own webhook has refused a write, as it does to a user who is not a reconciler.
fn is_refused_by_the_webhook(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.is_forbidden() && status.message.contains(&format!(".{WEBHOOK_DOMAIN}\" denied the request"))
}

/// True if an error is harmless: the namespace was deleted meanwhile, or another leader was faster.
fn is_expected(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let is_outrun = status.is_not_found() || status.is_conflict() || status.is_already_exists();
    is_outrun || causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

impl Context {
    fn next(&self, report: &Report, being_built: bool) -> Duration {
        let (uid, now) = (&report.uid, Instant::now());
        let missing = report.left.creations();
        let first = if being_built { self.backoff.head_start(uid, missing, now) } else { Duration::ZERO };
        let put_off = report.left.steps.iter().filter_map(|step| match step {
            Step::Create(desired) => Some(self.backoff.left(uid, desired.kind, now).max(first)),
            _ => None,
        });
        match put_off.min() {
            Some(delay) => delay.max(Duration::from_millis(100)),
            None if !report.violations.is_empty() => INSPECTION_INTERVAL,
            None if report.quota == QuotaStatus::Unknown => REQUEUE_DELAY,
            // A pending namespace is reconciled when a reservation becomes available.
            None if report.left.is_complete() => RESYNC_INTERVAL,
            None => POLL_INTERVAL,
        }
    }

    async fn report_namespace(&self, report: &Report, meta: &ObjectMeta) {
        let namespace = &report.namespace;
        match report.gate {
            Gate::Opened => {
                self.metrics.gate("open");
                tracing::info!(namespace, "the baseline is complete, opened the gate");
                // A gate that was closed and opened in one reconciliation was never noticed.
                if report.was_complete && meta.annotation(keys::BASELINE_READY_AT).is_none() {
                    let note = "the baseline is complete again: workloads may run".to_owned();
                    self.event_of_namespace(meta, EventType::Normal, "GateOpened", note).await;
                }
            }
            Gate::Closed => {
                self.metrics.gate("closed");
                tracing::warn!(namespace, "the baseline is not complete, closed the gate");
                let missing = report.left.missing().join(", ");
                let note = format!("new workloads wait for {missing} {}", self.help("GATE001"));
                self.event_of_namespace(meta, EventType::Warning, "GateClosed", note).await;
            }
            Gate::Unchanged => {}
        }
        if report.reason_changed && !report.violations.is_empty() {
            let violations = reason(&report.violations);
            tracing::warn!(
                namespace,
                violations,
                "the gate stays closed because existing objects violate the rules"
            );
            let help = self.help("GATE001");
            let note =
                format!("new workloads wait for {violations}; the gate opens once they are gone {help}");
            self.event_of_namespace(meta, EventType::Warning, "GateStaysClosed", note).await;
        }
        for step in &report.done {
            self.metrics.wrote(step.kind(), step.action());
            self.report_step(report, step).await;
        }
        // Only once, not with every reconciliation.
        for (kind, name) in report.left.conflicts.iter().filter(|_| report.reason_changed) {
            self.metrics.conflicts.inc();
            let note = format!(
                "{kind} {name} is owned by another manager; delete it, or give it the label {}={}",
                keys::MANAGED_BY,
                keys::MANAGED_BY_VALUE
            );
            tracing::warn!(namespace, %kind, name, "an object of another manager has the name of a baseline object");
            self.event(namespace, *kind, name, EventType::Warning, "BaselineConflict", note).await;
        }
    }

    async fn report_step(&self, report: &Report, step: &Step) {
        let namespace = &report.namespace;
        let (kind, name, reason, note) = match step {
            Step::Create(desired) => {
                let again = self.backoff.created(&report.uid, desired.kind, Instant::now());
                if let Some(delay) = again {
                    let setting = setting(desired.kind);
                    tracing::warn!(namespace, kind = %desired.kind, ?delay, setting, "the object keeps being deleted; to remove it from the baseline, change the setting");
                }
                if !report.was_complete {
                    return;
                }
                (desired.kind, desired.name.clone(), "BaselineRestored", "it was missing".to_owned())
            }
            Step::Repair(desired, drift) | Step::Replace(desired, drift) => {
                let differences = drift.differences.iter().map(|difference| {
                    format!("{}: found {}, now {}", difference.path, difference.found, difference.desired)
                });
                let by = drift.by.as_deref().map_or(String::new(), |by| format!(" (last written by {by})"));
                let note = format!("{}{by}", differences.collect::<Vec<_>>().join("; "));
                (desired.kind, desired.name.clone(), "BaselineRepaired", note)
            }
            Step::Remove(kind, name, _) => {
                (*kind, name.clone(), "BaselineRemoved", "the policy no longer includes it".to_owned())
            }
        };
        tracing::info!(namespace, %kind, name, note, "{reason}");
        self.event(namespace, kind, &name, EventType::Normal, reason, note).await;
    }

    async fn report_quota(&self, report: &Report, meta: &ObjectMeta) {
        let namespace = &report.namespace;
        match &report.quota {
            QuotaStatus::Pending(waits) if report.newly_pending => {
                self.metrics.refused(waits.scope.kind());
                tracing::warn!(namespace, %waits, "the quota is exceeded, the namespace is pending");
                let note = format!(
                    "waiting for {waits}; no workload is admitted until then, and the lease is shortened to quotas.pendingTtl {}",
                    self.help("QUOTA003")
                );
                self.event_of_namespace(meta, EventType::Warning, "QuotaExceeded", note).await;
            }
            QuotaStatus::Reserved if report.gate == Gate::Opened && meta.is_pending() => {
                tracing::info!(namespace, "the quota is reserved, admitted the namespace");
                let note = "the quota is reserved: workloads may run, and the lease starts again";
                self.event_of_namespace(meta, EventType::Normal, "QuotaReserved", note.to_owned()).await;
            }
            _ => {}
        }
    }
}

/// Returns the setting that includes an object in the baseline.
const fn setting(kind: BaselineKind) -> &'static str {
    match kind {
        BaselineKind::ServiceAccount | BaselineKind::Role | BaselineKind::RoleBinding => {
            "access in baseline.fullEnv, codeOnly or slot"
        }
        BaselineKind::ResourceQuota => "resourceQuota in baseline.fullEnv, codeOnly or slot",
        BaselineKind::LimitRange => "limitRange in baseline.fullEnv, codeOnly or slot",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn what_the_webhook_has_refused_is_tried_again_after_a_minute_and_everything_else_after_a_second() {
        let webhook =
            "admission webhook \"baseline.guard.codex-k8s.dev\" denied the request: BASE001: spec.hard: ...";
        assert_eq!(retry_delay(&refused(403, "Forbidden", webhook)), Duration::from_mins(1));
        for other in [
            refused(
                403,
                "Forbidden",
                "roles.rbac.authorization.k8s.io is forbidden: User \"jane\" cannot create",
            ),
            refused(403, "Forbidden", "admission webhook \"validate.example.com\" denied the request: no"),
            refused(429, "TooManyRequests", webhook),
            refused(409, "Conflict", "the object has been modified"),
        ] {
            assert_eq!(retry_delay(&other), Duration::from_secs(1), "{other}");
        }
    }
}
