//! Tables of results, with their targets.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::time::Duration;

use super::cache::Memory;
use super::server::Target;

/// The results of a target.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// The time of each single review.
    pub(super) alone: Vec<Duration>,
    /// The total time under many connections, and the number of reviews.
    pub(super) busy: Duration,
    pub(super) reviews: usize,
    /// The CPU time of these reviews.
    pub(super) cpu: Duration,
}

impl Figures {
    fn quantile(&self, share: f64) -> f64 {
        quantile(&self.alone, share)
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer reviews than a float counts exactly")]
    fn rate(&self) -> f64 {
        self.reviews as f64 / self.busy.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer reviews than a float counts exactly")]
    fn cpu_per_thousand(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.reviews as f64
    }
}

/// Returns a quantile in microseconds, or zero without values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length of a slice"
)]
pub(super) fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

pub(super) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{line}")?;
    Ok(())
}

/// Prints the table of servers, the floor first, and the ratios of the webhook to the parsing echo.
pub(super) fn servers(targets: &[Target]) -> anyhow::Result<()> {
    say(&format!(
        "{:<14}{:>10}{:>10}{:>12}{:>16}{:>12}",
        "", "p50", "p99", "reviews/s", "CPU per 1,000", "peak memory"
    ))?;
    for target in targets {
        let figures = &target.figures;
        say(&format!(
            "{:<14}{:>7.0} us{:>7.0} us{:>12.0}{:>13.1} ms{:>8.1} MiB",
            target.name,
            figures.quantile(0.5),
            figures.quantile(0.99),
            figures.rate(),
            figures.cpu_per_thousand(),
            mebibytes(target.process.peak_memory()?),
        ))?;
    }
    let Some(floor) = targets.iter().find(|target| target.name == "parsing echo") else { return Ok(()) };
    for target in targets.iter().filter(|target| !target.name.contains("echo")) {
        let (ours, floor) = (&target.figures, &floor.figures);
        let name = target.name;
        at_most(&format!("{name}: p50 / parsing echo"), ours.quantile(0.5) / floor.quantile(0.5), 1.2)?;
        at_most(&format!("{name}: p99 / parsing echo"), ours.quantile(0.99) / floor.quantile(0.99), 2.5)?;
        at_least(&format!("{name}: throughput / parsing echo"), ours.rate() / floor.rate(), 0.7)?;
        at_most(&format!("{name}: peak memory, MiB"), mebibytes(target.process.peak_memory()?), 25.0)?;
    }
    Ok(())
}

/// Prints the times of creations of Jobs through kube-apiserver.
pub(super) fn end_to_end(times: &[(&'static str, Vec<Duration>)]) -> anyhow::Result<()> {
    say("\nA Job's creation through kube-apiserver (dry run):")?;
    for (name, times) in times {
        say(&format!(
            "{name:<24}{:>7.2} ms p50{:>9.2} ms p99",
            quantile(times, 0.5) / 1e3,
            quantile(times, 0.99) / 1e3
        ))?;
    }
    if let [_, (_, floor), (_, ours)] = times {
        at_most(
            "with us / two calls to the empty echo, p50",
            quantile(ours, 0.5) / quantile(floor, 0.5),
            1.1,
        )?;
    }
    Ok(())
}

/// Prints the memory of the cache, and the speed of the webhook with a full cache.
pub(super) fn cache(memory: &Memory, targets: &[Target]) -> anyhow::Result<()> {
    let lines = [
        ("resident with a few", memory.before),
        ("resident with all", memory.with_all),
        ("resident after each was changed once", memory.after_changes),
        ("peak of one that began then", memory.late_peak),
    ];
    for (what, bytes) in lines {
        say(&format!("{what:<48}{:>8.1} MiB", mebibytes(bytes)))?;
    }
    if let [floor, full] = targets {
        let ratio = full.figures.quantile(0.5) / floor.figures.quantile(0.5);
        at_most("validate, full cache: p50 / parsing echo", ratio, 1.2)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far less memory than a float counts exactly")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(super) fn told(what: &str, found: f64) -> anyhow::Result<()> {
    say(&format!("{what:<48}{found:>8.1}"))
}

pub(super) fn at_most(what: &str, found: f64, aim: f64) -> anyhow::Result<()> {
    aimed(what, found, format_args!("at most {aim}"), found <= aim)
}

fn at_least(what: &str, found: f64, aim: f64) -> anyhow::Result<()> {
    aimed(what, found, format_args!("at least {aim}"), found >= aim)
}

fn aimed(what: &str, found: f64, aim: impl Display, met: bool) -> anyhow::Result<()> {
    say(&format!("{what:<48}{found:>8.2}  (aim: {aim}{})", if met { "" } else { "; MISSED" }))
}
