//! Messages to pending namespaces and agent Jobs.

use std::fmt;

use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;

/// The reason why a namespace is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingNamespace {
    /// The scope that is full.
    pub scope: Scope,
    /// The limit of the scope.
    pub max: u32,
    /// The earliest end of a lease among the holders.
    pub next_end: Option<Timestamp>,
}

const NEXT: &str = "; the next lease ends at ";

impl PendingNamespace {
    fn want(&self) -> String {
        self.scope.needed(self.max)
    }

    /// True if a text that was written before is still correct. Because leases are extended all the time, only an end
    /// that has passed is worth another write.
    pub(crate) fn is_written_in(&self, written: &str, now: Timestamp) -> bool {
        let Some(rest) = written.strip_prefix(&self.want()) else { return false };
        match rest.strip_prefix(NEXT) {
            Some(end) => end.parse::<Timestamp>().is_ok_and(|end| end > now || self.next_end == Some(end)),
            None => rest.is_empty() && self.next_end.is_none(),
        }
    }
}

impl fmt::Display for PendingNamespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.want())?;
        self.next_end.map_or(Ok(()), |end| write!(out, "{NEXT}{end}"))
    }
}

/// The reason why an agent Job is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingJob {
    /// The scope that is full.
    pub scope: Scope,
    /// The limit of the scope.
    pub max: u32,
    /// The names of the holders.
    pub holders: Vec<String>,
}

const HELD: &str = "; held by ";
/// The number of holders to name. More would only blur the message.
const NAMED: usize = 3;

impl PendingJob {
    /// True if a text that was written before is still correct. Because Jobs come and go all the time, it is worth
    /// another write only if none of the holders that it names has a reservation any more.
    pub(crate) fn is_written_in(&self, written: &str) -> bool {
        let Some(rest) = written.strip_prefix(&self.scope.needed(self.max)) else { return false };
        let Some(named) = rest.strip_prefix(HELD) else {
            return rest.is_empty() && self.holders.is_empty();
        };
        let named = named.split_once(" and ").map_or(named, |(named, _)| named);
        named.split(", ").any(|named| self.holders.iter().any(|holder| holder == named))
    }
}

impl fmt::Display for PendingJob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.scope.needed(self.max))?;
        let named: Vec<_> = self.holders.iter().take(NAMED).map(String::as_str).collect();
        if !named.is_empty() {
            write!(out, "{HELD}{}", named.join(", "))?;
        }
        match self.holders.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_namespace_waits_for_is_reported_again_only_when_it_has_changed() {
        let now: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        let ends = |text: &str| Some(text.parse().unwrap());
        let waits = |max, next_end| PendingNamespace { scope: Scope::Project("p1".into()), max, next_end };
        let written = waits(2, ends("2026-02-01T13:00:00Z")).to_string();
        assert_eq!(
            written,
            "a quota reservation in project p1, whose limit is 2; the next lease ends at 2026-02-01T13:00:00Z"
        );
        assert!(waits(2, ends("2026-02-01T14:00:00Z")).is_written_in(&written, now), "a lease was extended");
        assert!(!waits(3, ends("2026-02-01T13:00:00Z")).is_written_in(&written, now));
        let later = "2026-02-01T13:00:01Z".parse().unwrap();
        assert!(!waits(2, ends("2026-02-01T14:00:00Z")).is_written_in(&written, later));
        assert!(
            waits(2, ends("2026-02-01T13:00:00Z")).is_written_in(&written, later),
            "nothing else is known"
        );
        assert!(!waits(2, ends("2026-02-01T14:00:00Z")).is_written_in(&waits(2, None).to_string(), now));
        assert!(!waits(2, None).is_written_in("Role codex-runner is missing", now));
    }

    #[test]
    fn what_a_job_waits_for_names_some_who_have_it_and_is_reported_again_once_none_of_them_has() {
        let waits = |max, holders: &[&str]| PendingJob {
            scope: Scope::AgentJobs("p1".into()),
            max,
            holders: holders.iter().map(|holder| (*holder).to_owned()).collect(),
        };
        let written = waits(5, &["a/1", "b/2", "c/3", "d/4", "e/5"]).to_string();
        let text = "a quota reservation among the agent Jobs of project p1, whose limit is 5; held by a/1, b/2, c/3 and 2 more";
        assert_eq!(written, text);
        assert!(waits(5, &["c/3", "f/6"]).is_written_in(&written));
        assert!(!waits(5, &["d/4", "e/5"]).is_written_in(&written), "they are not named");
        assert!(!waits(5, &[]).is_written_in(&written));
        assert!(!waits(4, &["a/1"]).is_written_in(&written));
        assert!(waits(0, &[]).is_written_in(&waits(0, &[]).to_string()));
        assert!(!waits(1, &["a/1"]).is_written_in(&waits(1, &[]).to_string()));
        assert!(!waits(5, &["a/1"]).is_written_in(codex_k8s_shared::quota::PENDING_REASON_AT_CREATION));
        let two = waits(2, &["a/1", "b/2"]).to_string();
        assert!(two.ends_with("; held by a/1, b/2") && waits(2, &["b/2"]).is_written_in(&two), "{two}");
    }
}
