//! `get`: lists the run namespaces as kubectl lists objects.

mod columns;
mod line;

use std::collections::HashMap;

use anyhow::Context as _;
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use codex_k8s_gc::clock::Clock;
use codex_k8s_shared::cleanup::Candidate;
use codex_k8s_shared::{keys, paged};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use crate::cluster::ClusterArgs;
use crate::exit::{self, Ended, Exit, Failure, OrExit as _};
use crate::{completion, output, process};
use columns::Columns;
use line::{COLUMNS, Line, WIDE};

fn help() -> String {
    let examples = "\
Examples:
  codex-k8s-guard get
  codex-k8s-guard get codex-issue-demo --output yaml
  codex-k8s-guard get --selector codex-k8s.dev/project-id=p1 --watch";
    format!("{examples}\n\n{}", exit::HELP_TO_READ)
}

/// List run namespaces with lease, reservation and what they wait for
///
/// Needs get, list and watch on namespaces only. The reason for which an expired namespace is retained is not in its
/// metadata: explain ns/NAME finds it.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespaces to list (default: all run namespaces)
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(completion::run_namespaces))]
    names: Vec<String>,
    /// Label selector that the namespaces must match as well
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Keep running, and print each namespace that changes
    #[arg(long, short)]
    watch: bool,
    /// Output format; with --watch, JSON is printed as one line per change
    #[arg(long, short, value_enum, default_value = "table")]
    output: Form,
    /// Print no header
    #[arg(long)]
    no_headers: bool,
}

/// The output format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns
    Table,
    /// Columns with run, project and requester
    Wide,
    /// Names
    Name,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        process::runtime()?.block_on(self.get())
    }

    async fn get(self) -> Ended {
        let client = self.cluster.client().or_exit(Exit::Cluster)?;
        let mut printer = Printer::new(self.output, self.no_headers);
        if self.watch {
            return tokio::select! {
                watched = self.follow(client, &mut printer) => watched,
                ended = tokio::signal::ctrl_c() => ended.map(|()| Exit::Done).map_err(Failure::from),
            };
        }
        let api = Api::<Namespace>::all(client);
        let params = ListParams::default().labels(&self.labels());
        let listed = paged::all(&params, async |params| api.list_metadata(params).await).await;
        let listed = listed.context("failed to list namespaces").or_exit(Exit::Cluster)?;
        let now = Clock::of_this_machine().now();
        let candidates = listed.iter().map(|namespace| Candidate::from(&namespace.metadata));
        let mut lines: Vec<_> =
            candidates.filter(|one| self.is_named(&one.name)).map(|one| Line::new(&one, now)).collect();
        lines.sort_by(|one, other| one.name.cmp(&other.name));
        printer.list(&lines)?;
        for name in self.names.iter().filter(|name| lines.iter().all(|line| line.name != **name)) {
            output::complain(&anyhow::anyhow!("namespaces: Not found: {name:?} is not a run namespace"));
        }
        let is_complete = self.names.iter().all(|name| lines.iter().any(|line| line.name == *name));
        Ok(if is_complete { Exit::Done } else { Exit::Failed })
    }

    fn labels(&self) -> String {
        let more = self.selector.iter().map(String::as_str);
        std::iter::once(keys::MANAGED_BY).chain(more).collect::<Vec<_>>().join(",")
    }

    fn is_named(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|named| named == name)
    }

    /// Prints all namespaces, and then those that change, until the command is interrupted.
    async fn follow(&self, client: Client, printer: &mut Printer) -> Ended {
        let config = watcher::Config::default().labels(&self.labels());
        let events = watcher::watcher(Api::<PartialObjectMeta<Namespace>>::all(client), config);
        let mut events = std::pin::pin!(events);
        let mut last = HashMap::<String, Line>::new();
        let mut first = Vec::new();
        let mut is_listed = false;
        while let Some(event) =
            events.try_next().await.context("failed to watch namespaces").or_exit(Exit::Cluster)?
        {
            let line = |meta: &ObjectMeta| Line::new(&Candidate::from(meta), Clock::of_this_machine().now());
            let changed = match event {
                Event::Init => continue,
                Event::InitApply(namespace) | Event::Apply(namespace) => line(&namespace.metadata),
                Event::Delete(namespace) => line(&namespace.metadata).deleted(),
                Event::InitDone => {
                    if !is_listed {
                        printer.first(&std::mem::take(&mut first))?;
                    }
                    is_listed = true;
                    continue;
                }
            };
            if !self.is_named(&changed.name) || last.get(&changed.name) == Some(&changed) {
                continue;
            }
            last.insert(changed.name.clone(), changed.clone());
            if is_listed {
                printer.more(&[changed])?;
            } else {
                first.push(changed);
            }
        }
        Ok(Exit::Done)
    }
}

/// Prints lines in a format.
struct Printer {
    form: Form,
    has_header: bool,
    columns: Columns,
}

impl Printer {
    fn new(form: Form, no_headers: bool) -> Self {
        Self { form, has_header: !no_headers, columns: Columns::default() }
    }

    /// Prints a whole list.
    fn list(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        match self.form {
            Form::Json => output::print(&format!("{}\n", serde_json::to_string_pretty(lines)?)),
            Form::Yaml => output::print(&serde_saphyr::to_string(&lines)?),
            Form::Table | Form::Wide if lines.is_empty() => {
                output::note("there are no run namespaces");
                Ok(())
            }
            Form::Table | Form::Wide | Form::Name => self.first(lines),
        }
    }

    /// Prints the first lines of a watch.
    fn first(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let mut header = COLUMNS.map(str::to_owned).to_vec();
        let is_table = matches!(self.form, Form::Table | Form::Wide);
        if !is_table || !self.has_header {
            return self.more(lines);
        }
        if self.form == Form::Wide {
            let reason = header.len() - 1;
            header.splice(reason..reason, WIDE.map(str::to_owned));
        }
        let cells = std::iter::once(header).chain(self.cells(lines)).collect::<Vec<_>>();
        output::print(&self.columns.format(&cells))
    }

    /// Prints more lines of a watch.
    fn more(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let text = match self.form {
            Form::Table | Form::Wide => {
                let cells = self.cells(lines);
                self.columns.format(&cells)
            }
            Form::Name => lines.iter().flat_map(|line| ["namespace/", &line.name, "\n"]).collect(),
            Form::Json => {
                let lines = lines.iter().map(|line| serde_json::to_string(line).map(|text| text + "\n"));
                lines.collect::<Result<String, _>>()?
            }
            Form::Yaml => {
                let documents = lines.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
                documents.iter().flat_map(|document| ["---\n", document]).collect()
            }
        };
        output::print(&text)
    }

    fn cells(&self, lines: &[Line]) -> Vec<Vec<String>> {
        let now = Clock::of_this_machine().now();
        lines.iter().map(|line| line.cells(self.form == Form::Wide, now)).collect()
    }
}
