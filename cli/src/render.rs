//! `render`: prints or creates the Namespace and the Job of a run.

mod progress;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum;
use codex_k8s_shared::identity::{ProjectId, RunId};
use codex_k8s_shared::run::Release;
use codex_k8s_shared::runs::read_run;
use codex_k8s_webhook::render::{
    Applied, ApplyError, Cluster, Manifests, Run, Settings, State, is_final, read_payload, release_of, render,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::cluster::ClusterArgs;
use crate::connect::RunsArgs;
use crate::exit::{Ended, Exit, Failure, OrExit as _};
use crate::policy_file::PolicyArgs;
use crate::{input, output, process};
use progress::Progress;

const HELP: &str = "\
Examples:
  codex-k8s-guard render payload.json --run-id 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913
  codex-k8s-guard render - --run-id 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913 --release b --output json < payload.json
  codex-k8s-guard render payload.json --run-id 3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913 --wait

Exit codes:
  0  printed or created; with --wait, the Job succeeded
  1  the Job failed, or was deleted before its end
  2  invalid usage, an unreadable policy, or a run that cannot be rendered
  3  refused: a namespace or Job of that name belongs to another run, or the API server denied the request
  4  the API server is unreachable or failed to respond
  5  the platform's database is unreachable or unusable, or does not contain the run";

/// Print or create the Namespace and the agent Job of a run
///
/// Renders them as the platform's worker would create them. The same run gives the same bytes at any time, because the
/// webhook adds the fields that depend on the time or the requester.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Payload of the run in JSON, or `-` for standard input (default: read the run from --runs)
    file: Option<PathBuf>,
    /// Id of the run
    #[arg(long, value_name = "ID")]
    run_id: String,
    /// Id of the run's project, if the payload is read from a file
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true, requires = "file")]
    project_id: String,
    /// Correlation id of the run, if the payload is read from a file (default: the id of the run)
    #[arg(long, value_name = "ID", requires = "file")]
    correlation_id: Option<String>,
    #[command(flatten)]
    runs: RunsArgs,
    /// Platform release that interprets the payload (default: b if the payload has a `runtime`, otherwise a)
    #[arg(long, value_enum)]
    release: Option<ReleaseName>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Form,
    /// Create the objects in the cluster; objects of the run that exist are reused
    #[arg(long)]
    apply: bool,
    /// Wait until the Job ends, and print its state; implies --apply
    #[arg(long)]
    wait: bool,
}

/// Options for the settings of the platform's worker, with the worker's own environment variables.
#[derive(Debug, clap::Args)]
struct SettingsArgs {
    /// Prefix of the namespace, one of the policy's prefixes (default: the first one)
    #[arg(long, value_name = "PREFIX", env = "CODEXK8S_WORKER_RUN_NAMESPACE_PREFIX")]
    prefix: Option<String>,
    /// Namespace of runs without one of their own (default: the policy's first platform namespace)
    #[arg(long, value_name = "NAMESPACE", env = "CODEXK8S_WORKER_K8S_NAMESPACE")]
    platform_namespace: Option<String>,
    /// Image of the agent (default: the platform's default image)
    #[arg(long, env = "CODEXK8S_WORKER_JOB_IMAGE")]
    image: Option<String>,
    /// Shell command of the agent (default: the platform's default command)
    #[arg(long, env = "CODEXK8S_WORKER_JOB_COMMAND")]
    command: Option<String>,
    /// Slot number to pass to the agent
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    slot: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReleaseName {
    /// The earlier release
    A,
    /// The later release
    B,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// YAML, one document per object
    Yaml,
    /// JSON, one List of all objects
    Json,
}

impl Args {
    pub(super) fn run(self) -> Ended {
        process::runtime().or_exit(Exit::Usage)?.block_on(self.go())
    }

    async fn go(&self) -> Ended {
        let policy = self.policy.read().or_exit(Exit::Usage)?;
        let run = self.read().await?;
        let settings = &self.settings;
        let settings = Settings {
            prefix: settings.prefix.clone(),
            platform_namespace: settings.platform_namespace.clone(),
            image: settings.image.clone(),
            command: settings.command.clone(),
            slot: settings.slot,
        };
        let manifests = render(&policy, &settings, &run).or_exit(Exit::Usage)?;
        if self.apply || self.wait {
            return self.create(&manifests).await;
        }
        let text = self.output.write(&manifests).or_exit(Exit::Usage)?;
        output::print(&text).or_exit(Exit::Usage)?;
        Ok(Exit::Done)
    }

    async fn read(&self) -> Result<Run, Failure> {
        let id = RunId::new(&self.run_id);
        let (project, correlation_id, payload) = match &self.file {
            Some(file) => {
                let correlation_id = self.correlation_id.clone().unwrap_or_else(|| self.run_id.clone());
                (ProjectId::new(&self.project_id), correlation_id, input::text(file).or_exit(Exit::Usage)?)
            }
            None => self.read_stored(&id).await?,
        };
        let payload = read_payload(&payload).or_exit(Exit::Usage)?;
        let release = match self.release {
            Some(ReleaseName::A) => Release::A,
            Some(ReleaseName::B) => Release::B,
            None => release_of(&payload),
        };
        Ok(Run { id, project, correlation_id, release, payload })
    }

    /// Reads the project, the correlation id and the payload of a run from the platform's database.
    async fn read_stored(&self, id: &RunId) -> Result<(ProjectId, String, String), Failure> {
        let missing = || anyhow!("no payload: pass a file, - for standard input, or a database with --runs");
        let address = self.runs.address()?.ok_or_else(missing).or_exit(Exit::Usage)?;
        let stored = read_run(&address, id).await.or_exit(Exit::Database)?;
        let unknown = || anyhow!("--run-id: the database {} has no run {id}", address.database());
        let stored = stored.ok_or_else(unknown).or_exit(Exit::Database)?;
        Ok((stored.project, stored.correlation_id, stored.payload))
    }

    async fn create(&self, manifests: &Manifests) -> Ended {
        let cluster = Cluster::new(self.cluster.client_to_write().or_exit(Exit::Cluster)?);
        if let Some(namespace) = &manifests.namespace {
            print_applied(&cluster.apply_namespace(namespace).await.map_err(refused)?);
        }
        print_applied(&cluster.apply_job(&manifests.job).await.map_err(refused)?);
        if !self.wait {
            return Ok(Exit::Done);
        }
        let name = manifests.job.metadata.name.clone().unwrap_or_default();
        let mut progress = Progress::of(format!("job {name}"));
        let mut states = std::pin::pin!(cluster.follow(&manifests.job));
        while let Some(state) = states.next().await {
            let state = match state {
                Ok(state) => state,
                Err(error) if is_final(&error) => return Err(error).or_exit(Exit::Cluster),
                // The watch restarts by itself, with backoff.
                Err(_) => continue,
            };
            progress.show(&state);
            if state.is_the_end() {
                return Ok(if state == State::Succeeded { Exit::Done } else { Exit::Failed });
            }
        }
        Err(Failure { exit: Exit::Cluster, error: anyhow!("failed to follow the Job: the watch ended") })
    }
}

fn refused(error: ApplyError) -> Failure {
    let exit = match error {
        ApplyError::Failed { .. } => Exit::Cluster,
        ApplyError::Conflict { .. } | ApplyError::Terminating { .. } | ApplyError::Refused { .. } => {
            Exit::Refused
        }
    };
    Failure { exit, error: error.into() }
}

fn print_applied((object, applied): &(String, Applied)) {
    let what = match applied {
        Applied::Created => "created",
        Applied::Reused => "reused",
    };
    // If standard output is closed, the work is still finished, and the exit code reports the outcome.
    let _ = output::print(&format!("{object} {what}\n"));
}

impl Form {
    fn write(self, manifests: &Manifests) -> anyhow::Result<String> {
        let namespace = manifests.namespace.as_ref();
        match self {
            Self::Yaml => {
                let namespace = namespace.map(serde_saphyr::to_string).transpose()?;
                let documents = [namespace, Some(serde_saphyr::to_string(&manifests.job)?)];
                Ok(documents.into_iter().flatten().collect::<Vec<_>>().join("---\n"))
            }
            Self::Json => {
                let namespace = namespace.map(serde_json::to_value).transpose()?;
                let items: Vec<Value> =
                    namespace.into_iter().chain([serde_json::to_value(&manifests.job)?]).collect();
                let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
                Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
            }
        }
    }
}
