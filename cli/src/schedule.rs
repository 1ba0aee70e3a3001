//! `schedule`: describes a cron expression and its next times.

use anyhow::Context as _;
use codex_k8s_gc::schedule::Schedule;
use jiff::Timestamp;
use serde::Serialize;

use crate::exit::{Ended, Exit, OrExit as _};
use crate::output::Form;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  codex-k8s-guard schedule '*/15 * * * *'
  codex-k8s-guard schedule @daily --time-zone Europe/Berlin -n 3 --after 2026-03-28T00:00:00Z";

/// Describe a cron expression and print its next times
///
/// The expression has the syntax and the meaning that it has in a Kubernetes CronJob.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Cron expression, such as `*/15 * * * *` or `@daily`
    expression: String,
    /// IANA time zone of the expression
    #[arg(long, default_value = "Etc/UTC", value_name = "ZONE")]
    time_zone: String,
    /// Number of times to print
    #[arg(long, short = 'n', default_value_t = 5, value_name = "COUNT")]
    count: usize,
    /// Print times after this RFC 3339 timestamp (default: now)
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
    /// Output format
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    expression: String,
    time_zone: String,
    description: String,
    next: Vec<String>,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        let schedule = self
            .expression
            .parse::<Schedule>()
            .context("failed to parse the schedule")
            .or_exit(Exit::Usage)?;
        let schedule = schedule.in_zone(&self.time_zone).or_exit(Exit::Usage)?;
        let after = self.after.unwrap_or_else(Timestamp::now);
        let next = schedule.upcoming(after).take(self.count);
        let next = next.map(|time| time.to_zoned(schedule.zone().clone()).to_string()).collect();
        let output = Output {
            expression: self.expression,
            time_zone: self.time_zone,
            description: schedule.describe(),
            next,
        };
        self.output.print(&output, |output| {
            let times = table::table(&["NEXT"], output.next.iter().map(|time| vec![time.clone()]));
            format!("{}\n\n{times}", output.description)
        })?;
        Ok(Exit::Done)
    }
}
