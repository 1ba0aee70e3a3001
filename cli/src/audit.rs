//! `audit`: what was decided, and why.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use codex_k8s_gc::times::whole;
use codex_k8s_shared::audit::{AuditStore, EventType, Filter, PostgresStore, Row, Store, StoreAddress};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::connect::StoreArgs;
use crate::duration::duration;
use crate::exit::{self, Ended, Exit, Failure, OrExit as _};
use crate::output::{self, Form};
use crate::{process, table};

/// How often new rows are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What to do with audit rows.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List rows, the oldest first
    List(List),
    /// Remove rows beyond an age; those of deletions that have not ended stay
    Prune(Prune),
    /// Make a schema of our own for rows in a PostgreSQL, where the platform's is not to be used
    Install(Install),
}

/// List rows.
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub(super) struct List {
    #[command(flatten)]
    store: StoreArgs,
    /// Only of this namespace
    namespace: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only of this correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Only of this type, such as `cleaned` or `run.namespace.cleaned`
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    event: Option<EventType>,
    /// Only from then on: a time, or how long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only before then: a time, or how long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = moment)]
    until: Option<Timestamp>,
    /// So many at most, the newest of them
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u32,
    /// Go on, and print rows as they are written
    #[arg(long, short)]
    follow: bool,
    /// The form of what is printed; JSON is one line a row when following
    #[arg(long, short, value_enum, default_value = "human")]
    output: Form,
}

/// Remove rows beyond an age.
#[derive(Debug, clap::Args)]
pub(super) struct Prune {
    #[command(flatten)]
    store: StoreArgs,
    /// Rows that are older go
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Duration,
}

/// Make the schema that the address names (`postgres://USER@HOST/DATABASE?schema=NAME`), with a table for rows, or bring
/// it up to date. Nothing else ever makes anything in a database.
#[derive(Debug, clap::Args)]
pub(super) struct Install {
    #[command(flatten)]
    store: StoreArgs,
}

fn examples() -> String {
    let examples = "\
Examples:
  codex-k8s-guard audit list --since 24h
  codex-k8s-guard audit list codex-issue-demo --event cleaned --output json
  codex-k8s-guard audit list --follow --audit-store postgres://guard@db/codex";
    format!("{examples}\n\n{}", exit::HELP)
}

/// A row as it is printed: the table's own columns.
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
    pub(super) fn run(self) -> Ended {
        let runtime = process::runtime()?;
        match self {
            Self::List(list) => runtime.block_on(list.run()),
            Self::Prune(prune) => runtime.block_on(prune.run()),
            Self::Install(install) => runtime.block_on(install.run()),
        }
    }
}

impl List {
    async fn run(self) -> Ended {
        let store = self.store.open_to_read().await?;
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
        self.follow(&store, filter).await
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
            Form::Json => {
                let lines = rows.iter().map(|row| serde_json::to_string(&Printed::from(row)));
                output::print(&lines.map(|line| line.map(|line| line + "\n")).collect::<Result<String, _>>()?)
            }
            Form::Yaml => {
                let documents = rows.iter().map(|row| serde_saphyr::to_string(&Printed::from(row)));
                let text = documents.map(|text| text.map(|text| format!("---\n{text}")));
                output::print(&text.collect::<Result<String, _>>()?)
            }
        }
    }
}

pub(super) fn print(form: Form, rows: &[Row]) -> anyhow::Result<()> {
    let printed: Vec<_> = rows.iter().map(Printed::from).collect();
    form.print(&printed, |_| match rows {
        [] => "no rows\n".to_owned(),
        rows => table::rows(rows, true),
    })
}

impl Prune {
    async fn run(self) -> Ended {
        let store = self.store.open_to_read().await?;
        let age = SignedDuration::try_from(self.older_than).or_exit(Exit::Usage)?;
        let before = Timestamp::now().checked_sub(age).or_exit(Exit::Usage)?;
        let pruned = store.prune(before).await.or_exit(Exit::Database)?;
        output::print(&format!("removed {pruned} rows from before {}\n", whole(before)))?;
        Ok(Exit::Done)
    }
}

impl Install {
    async fn run(self) -> Ended {
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
        format!("expected one of {}", known.join(", "))
    })
}

/// A time, or how long ago.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| anyhow!("expected a time such as 2026-11-25T12:00:00Z, or 24h"))?;
    Ok(Timestamp::now().checked_sub(SignedDuration::try_from(ago)?)?)
}
