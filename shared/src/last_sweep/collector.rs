//! The last sweep as metrics, the same ones in every program that exports them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{LastSweep, SweepResult};

/// The prefix of the metrics' names.
pub const PREFIX: &str = "codex_k8s_gc";

/// The last known sweep. Unknown values are not exported.
#[derive(Debug, Default)]
pub struct SweepCollector {
    last: RwLock<Option<LastSweep>>,
}

impl SweepCollector {
    /// Records a sweep.
    pub fn note(&self, sweep: LastSweep) {
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(sweep);
    }

    /// Records a scheduled sweep that did not take place.
    pub fn note_broken(&self, now: Timestamp) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        let last = last.get_or_insert_default();
        (last.result, last.finished_at) = (SweepResult::Failed, Some(now));
    }

    /// The last sweep, if one is known.
    pub fn last(&self) -> Option<LastSweep> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A metric: its name, its help text, and its values, each with its label if it has one.
type Metric<'a> = (&'static str, &'static str, Vec<(Option<(&'static str, &'a str)>, i64)>);

fn seconds(time: Option<Timestamp>) -> Vec<(Option<(&'static str, &'static str)>, i64)> {
    time.map(|time| (None, time.as_second())).into_iter().collect()
}

fn metrics<'a>(last: &'a LastSweep) -> Vec<Metric<'a>> {
    let count = |count: u32| vec![(None, i64::from(count))];
    let by_reason = |counts: &'a BTreeMap<String, u32>| {
        counts.iter().map(|(reason, count)| (Some(("reason", &**reason)), i64::from(*count))).collect()
    };
    let results =
        SweepResult::ALL.map(|result| (Some(("result", result.as_str())), i64::from(result == last.result)));
    let lasted =
        last.finished_at.zip(last.started_at).map(|(end, start)| (None, end.duration_since(start).as_secs()));
    vec![
        ("last_sweep_timestamp_seconds", "When the last sweep ended", seconds(last.finished_at)),
        ("last_success_timestamp_seconds", "When a sweep last ended well", seconds(last.last_success)),
        ("last_sweep_duration_seconds", "How long the last sweep took", lasted.into_iter().collect()),
        ("last_sweep_result", "1 for the way in which the last sweep ended", results.into()),
        ("managed_namespaces", "Managed namespaces that the last sweep found", count(last.managed)),
        ("due_namespaces", "Those that were due", count(last.due)),
        (
            "due_by_policy_namespaces",
            "Those that were due by anything but their own leases",
            count(last.due_by_policy),
        ),
        ("deleted_namespaces", "Those that it deleted", count(last.deleted)),
        ("failed_namespaces", "Those that it could not delete", count(last.failed)),
        ("stuck_namespaces", "Those that are still being deleted after their time", count(last.stuck)),
        ("retained_namespaces", "Those that stay, by reason", by_reason(&last.retained)),
        (
            "overdue_namespaces",
            "Namespaces kept beyond lease, hold and cleanup.workGrace, by reason",
            by_reason(&last.overdue),
        ),
        (
            "oldest_expired_timestamp_seconds",
            "End of the oldest lease that has ended",
            seconds(last.oldest_expired),
        ),
        (
            "oldest_terminating_timestamp_seconds",
            "Since when the namespace is being deleted that has been for longest",
            seconds(last.oldest_terminating),
        ),
        ("breaker_open", "1 if the breaker tripped", vec![(None, i64::from(!last.breaker.is_empty()))]),
        ("leaks", "What is left over of namespaces that are gone", count(last.leaks)),
        ("last_prune_timestamp_seconds", "When old audit rows were last removed", seconds(last.last_prune)),
        (
            "pruned_rows",
            "Audit rows that the last removal removed",
            last.last_prune
                .map(|_| (None, i64::try_from(last.pruned_rows).unwrap_or(i64::MAX)))
                .into_iter()
                .collect(),
        ),
    ]
}

impl Collector for SweepCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(last) = self.last() else { return Ok(()) };
        for (name, help, values) in metrics(&last).into_iter().filter(|(.., values)| !values.is_empty()) {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, value) in &values {
                match label {
                    Some(label) => ConstGauge::new(*value).encode(metric.encode_family(&[*label])?)?,
                    // Without a label there is one value.
                    None => metric.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn rendered(collector: &Arc<SweepCollector>) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Arc::clone(collector)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn of_what_is_not_known_there_is_no_metric() {
        assert_eq!(rendered(&Arc::default()), "# EOF\n");
    }

    #[test]
    fn a_sweep_is_shown_with_what_it_retained_and_why() {
        let collector = Arc::<SweepCollector>::default();
        collector.note(LastSweep {
            started_at: Timestamp::from_second(1000).ok(),
            finished_at: Timestamp::from_second(1007).ok(),
            result: SweepResult::Partial,
            managed: 9,
            retained: [("held".to_owned(), 2)].into(),
            overdue: [("active_workloads_present".to_owned(), 1)].into(),
            ..LastSweep::default()
        });
        let text = rendered(&collector);
        for line in [
            "codex_k8s_gc_last_sweep_timestamp_seconds 1007",
            "codex_k8s_gc_last_sweep_duration_seconds 7",
            "codex_k8s_gc_last_sweep_result{result=\"partial\"} 1",
            "codex_k8s_gc_last_sweep_result{result=\"succeeded\"} 0",
            "codex_k8s_gc_managed_namespaces 9",
            "codex_k8s_gc_retained_namespaces{reason=\"held\"} 2",
            "codex_k8s_gc_overdue_namespaces{reason=\"active_workloads_present\"} 1",
            "codex_k8s_gc_breaker_open 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        assert!(!text.contains("last_success"), "{text}");
    }
}
