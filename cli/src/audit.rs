//! `audit`: lists, exports and prunes audit rows.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use clap_complete::ArgValueCandidates;
use codex_k8s_gc::times::whole;
use codex_k8s_shared::audit::{AuditStore, EventType, Filter, PostgresStore, Row, Store, StoreAddress};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::command_line::CommandLine;
use crate::connect::StoreArgs;
use crate::duration::duration;
use crate::exit::{self, Ended, Exit, Failure, OrExit as _};
use crate::output::{self, Form};
use crate::remote::RemoteArgs;
use crate::{completion, process, table};

/// The interval between polls for new rows.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The number of rows that an export reads at a time.
const PAGE: u32 = 1000;

/// The subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    List(List),
    Export(Export),
    Prune(Prune),
    Install(Install),
}

/// Options that select the audit store: that of the installation, or one that this machine reaches.
#[derive(Debug, clap::Args)]
struct StoreOptions {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    install: InstallArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// List audit rows, oldest first
///
/// Lists the rows of the installation: a Job with its audit store and identity reads them.
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub(super) struct List {
    #[command(flatten)]
    at: StoreOptions,
    /// Namespace to list the rows of
    #[arg(add = ArgValueCandidates::new(completion::run_namespaces))]
    namespace: Option<String>,
    /// List only rows of this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// List only rows with this correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// List only rows of this event type, such as `cleaned` or `run.namespace.cleaned`
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    event: Option<EventType>,
    /// List only rows since this time: an RFC 3339 timestamp, or a duration before now
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    since: Option<Timestamp>,
    /// List only rows before this time: an RFC 3339 timestamp, or a duration before now
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    until: Option<Timestamp>,
    /// Maximum number of rows; the newest rows are listed
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    /// Keep running, and print new rows as they are written
    #[arg(long, short)]
    follow: bool,
    /// Output format; with --follow, JSON is printed as one line per row
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
}

/// Print all audit rows as JSON, one line per row, oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard audit export > rows.jsonl\n  codex-k8s-guard audit export --since 720h --context staging"
)]
pub(super) struct Export {
    #[command(flatten)]
    at: StoreOptions,
    /// Export only rows since this time: an RFC 3339 timestamp, or a duration before now
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    since: Option<Timestamp>,
    /// Export only rows before this time: an RFC 3339 timestamp, or a duration before now
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    until: Option<Timestamp>,
}

/// Remove old audit rows
///
/// Keeps the rows of deletions that have not ended.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard audit prune --older-than 2160h\n  codex-k8s-guard audit prune --older-than 2160h --local --audit-store postgres://guard@db/codex"
)]
pub(super) struct Prune {
    #[command(flatten)]
    at: StoreOptions,
    /// Remove rows that are older than this
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Duration,
}

/// Create or upgrade the schema for audit rows in a PostgreSQL database
///
/// For installations that do not write to the platform's own table. The address names the schema:
/// `postgres://USER@HOST/DATABASE?schema=NAME`. No other command creates database objects.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard audit install --audit-store 'postgres://admin@db/audit?schema=codex_k8s_guard'"
)]
pub(super) struct Install {
    #[command(flatten)]
    store: StoreArgs,
}

fn examples() -> String {
    let examples = "\
Examples:
  codex-k8s-guard audit list --since 24h
  codex-k8s-guard audit list codex-issue-demo --event cleaned --output json
  codex-k8s-guard audit list --follow --local --audit-store postgres://guard@db/codex";
    format!("{examples}\n\n{}", exit::HELP)
}

/// A row in the output format: the columns of the table.
#[derive(Serialize)]
struct Printed<'a> {
    id: i64,
    created_at: Timestamp,
    event_type: &'static str,
    correlation_id: &'a str,
    actor_type: &'a str,
    actor_id: &'a str,
    payload: &'a codex_k8s_shared::audit::Payload,
}

impl<'a> From<&'a Row> for Printed<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            id: row.id,
            created_at: row.event.created_at,
            event_type: row.event.event_type.as_str(),
            correlation_id: &row.event.correlation_id,
            actor_type: &row.event.actor.kind,
            actor_id: &row.event.actor.id,
            payload: &row.event.payload,
        }
    }
}

impl Command {
    pub(super) fn run(self, line: &CommandLine) -> Ended {
        process::runtime()?.block_on(async {
            let at = match &self {
                Self::List(List { at, .. })
                | Self::Export(Export { at, .. })
                | Self::Prune(Prune { at, .. }) => at,
                Self::Install(install) => return install.run().await,
            };
            if !at.remote.is_local(&[at.store.own(true)])? {
                return at.remote.find_and_run(&at.cluster, &at.install, line).await;
            }
            let store = at.store.open_to_read().await?;
            match self {
                Self::List(list) => list.run(&store).await,
                Self::Export(export) => export.run(&store).await,
                Self::Prune(prune) => prune.run(&store).await,
                Self::Install(install) => install.run().await,
            }
        })
    }
}

impl Export {
    /// Reads page by page, so that the memory does not grow with the store.
    async fn run(self, store: &AuditStore) -> Ended {
        let mut filter = Filter {
            since: self.since,
            until: self.until,
            after_id: Some(0),
            limit: Some(PAGE),
            ..Filter::default()
        };
        loop {
            let rows = store.rows(&filter).await.or_exit(Exit::Database)?;
            let Some(last) = rows.last() else { return Ok(Exit::Done) };
            output::print(&json_lines(&rows)?)?;
            filter.after_id = Some(last.id);
        }
    }
}

impl List {
    async fn run(self, store: &AuditStore) -> Ended {
        let mut filter = Filter {
            namespace: self.namespace.clone(),
            run_id: self.run.clone(),
            correlation_id: self.correlation_id.clone(),
            event_type: self.event,
            since: self.since,
            until: self.until,
            after_id: None,
            limit: Some(self.limit),
        };
        let rows = store.rows(&filter).await.or_exit(Exit::Database)?;
        if !self.follow {
            print(self.output, &rows)?;
            return Ok(Exit::Done);
        }
        self.print_more(&rows, true)?;
        filter.after_id = Some(rows.last().map_or(0, |row| row.id));
        filter.limit = None;
        self.follow(store, filter).await
    }

    async fn follow(&self, store: &AuditStore, mut filter: Filter) -> Ended {
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                ended = tokio::signal::ctrl_c() => return ended.map(|()| Exit::Done).map_err(Failure::from),
            }
            let rows = store.rows(&filter).await.or_exit(Exit::Database)?;
            self.print_more(&rows, false)?;
            filter.after_id = rows.last().map(|row| row.id).or(filter.after_id);
        }
    }

    fn print_more(&self, rows: &[Row], header: bool) -> anyhow::Result<()> {
        match self.output {
            Form::Human if rows.is_empty() && !header => Ok(()),
            Form::Human => output::print(&table::rows(rows, header)),
            Form::Json => output::print(&json_lines(rows)?),
            Form::Yaml => {
                let documents = rows.iter().map(|row| serde_saphyr::to_string(&Printed::from(row)));
                let text = documents.map(|text| text.map(|text| format!("---\n{text}")));
                output::print(&text.collect::<Result<String, _>>()?)
            }
        }
    }
}

/// Formats each row as a line of JSON.
fn json_lines(rows: &[Row]) -> anyhow::Result<String> {
    let lines = rows.iter().map(|row| serde_json::to_string(&Printed::from(row)));
    Ok(lines.map(|line| line.map(|line| line + "\n")).collect::<Result<_, _>>()?)
}

pub(super) fn print(form: Form, rows: &[Row]) -> anyhow::Result<()> {
    let printed: Vec<_> = rows.iter().map(Printed::from).collect();
    form.print(&printed, |_| match rows {
        [] => "no rows\n".to_owned(),
        rows => table::rows(rows, true),
    })
}

impl Prune {
    async fn run(self, store: &AuditStore) -> Ended {
        let age = SignedDuration::try_from(self.older_than).or_exit(Exit::Usage)?;
        let before = Timestamp::now().checked_sub(age).or_exit(Exit::Usage)?;
        let pruned = store.prune(before).await.or_exit(Exit::Database)?;
        output::print(&format!("removed {pruned} rows from before {}\n", whole(before)))?;
        Ok(Exit::Done)
    }
}

impl Install {
    async fn run(&self) -> Ended {
        let address = self.store.address()?;
        match &address {
            StoreAddress::Sqlite(_) => {
                AuditStore::open(&address).await.or_exit(Exit::Database)?.close().await;
            }
            StoreAddress::Postgres(postgres) => {
                PostgresStore::install(postgres).await.or_exit(Exit::Database)?.close().await;
            }
        }
        output::print(&format!("rows can be kept at {address}\n"))?;
        Ok(Exit::Done)
    }
}

fn event_type(text: &str) -> anyhow::Result<EventType> {
    let known = |text: &str| text.parse::<EventType>().ok();
    known(text).or_else(|| known(&format!("run.namespace.{text}"))).with_context(|| {
        let known: Vec<_> =
            EventType::ALL.iter().map(|known| known.as_str().trim_start_matches("run.namespace.")).collect();
        format!("must be one of {}", known.join(", "))
    })
}

/// Parses a timestamp, or a duration before now.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| {
        anyhow!("must be a timestamp such as 2026-11-25T12:00:00Z, or a duration such as 24h")
    })?;
    Ok(Timestamp::now().checked_sub(SignedDuration::try_from(ago)?)?)
}
