//! The life of a Job of a command: created, followed, deleted.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use codex_k8s_shared::lease::GoDuration;
use codex_k8s_shared::{errors, marked};
use futures::AsyncBufReadExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::{Api, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::job::job;
use super::pod::{State, state};
use crate::command_line::CommandLine;
use crate::exit::{Ended, Exit, Failure, OrExit as _};
use crate::installation::Installation;
use crate::output;

/// The interval between reads of the Pod.
const INTERVAL: Duration = Duration::from_millis(500);
/// The time that the API server may be unreachable, and that the exit code of a container may come after its log.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that an interrupted command may take to end. A Pod's grace period is 30 seconds.
const ENDING: Duration = Duration::from_secs(40);
/// The exit code of an interrupted command.
const INTERRUPTED: u8 = 130;

/// The stream that receives the standard output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The end of following a Job without an exit code.
enum Broken {
    /// The connection was lost: the Job goes on.
    Lost(anyhow::Error),
    /// The Job cannot go on, or its output cannot be written.
    Failed(anyhow::Error),
}

/// A Job in the cluster.
struct Running<'a> {
    at: &'a Installation,
    name: String,
    container: String,
    output: Output,
    stop: &'a CancellationToken,
}

/// Runs a command in a Job, prints its output, and mirrors its exit code. If `stop` is cancelled, the Job is deleted.
pub(super) async fn run(
    at: &Installation,
    timeout: Duration,
    line: &CommandLine,
    output: Output,
    stop: &CancellationToken,
) -> Ended {
    let (job, container) = job(&at.template().await?, line.args()).or_exit(Exit::Cluster)?;
    let jobs = Api::<Job>::namespaced(at.client.clone(), &at.namespace);
    let created = jobs.create(&PostParams::default(), &job).await;
    let failed = || format!("failed to create a Job in namespace {}", at.namespace);
    let name = created.with_context(failed).or_exit(Exit::Cluster)?.name_any();
    output::note(&format!("running in Job {}/{name} of {}", at.namespace, at.target));
    let running = Running { at, name, container, output, stop };
    let ended = {
        let mut following = pin!(running.follow(timeout));
        tokio::select! {
            ended = &mut following => ended,
            () = stop.cancelled() => {
                output::note(&format!("interrupted: deleting Job {}/{}, until its Pod has ended", at.namespace, running.name));
                running.delete().await;
                // Its last lines.
                let _ = tokio::time::timeout(ENDING, following).await;
                return Ok(Exit::Mirrored(INTERRUPTED));
            }
        }
    };
    match ended {
        Ok(code) => {
            running.delete().await;
            Ok(Exit::Mirrored(code))
        }
        Err(Broken::Failed(error)) => {
            running.delete().await;
            Err(Failure { exit: Exit::Cluster, error })
        }
        Err(Broken::Lost(error)) => {
            Err(Failure { exit: Exit::Cluster, error: error.context(running.goes_on()) })
        }
    }
}

impl Running<'_> {
    async fn follow(&self, timeout: Duration) -> Result<u8, Broken> {
        let pod = self.started(timeout).await?;
        self.print_log(&pod).await?;
        self.code().await
    }

    /// Waits until the container runs, and reports each reason why it does not. Returns the name of the Pod.
    async fn started(&self, timeout: Duration) -> Result<String, Broken> {
        let begun = Instant::now();
        let mut last = None;
        loop {
            let (pod, state) = self.poll().await?;
            match (pod, state) {
                (_, State::Failed(reason)) => {
                    return Err(Broken::Failed(anyhow!("the Pod has failed: {reason}")));
                }
                (Some(pod), State::Running | State::Ended(..)) => return Ok(pod.name_any()),
                (_, State::Waiting(reason)) if begun.elapsed() >= timeout => {
                    let reason = reason.as_deref().unwrap_or("no reason is reported");
                    let timeout = GoDuration::from(timeout);
                    return Err(Broken::Failed(anyhow!(
                        "the Pod of Job {}/{} did not start within {timeout}: {reason}",
                        self.at.namespace,
                        self.name
                    )));
                }
                (_, State::Waiting(Some(reason))) if last.as_ref() != Some(&reason) => {
                    output::note(&format!("waiting for the Pod: {reason}"));
                    last = Some(reason);
                }
                _ => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Prints the log until the container has ended. A log whose connection is lost is opened again after the lines
    /// that were printed.
    async fn print_log(&self, pod: &str) -> Result<(), Broken> {
        let mut printed = 0;
        let mut failing_since = None;
        loop {
            let opened = Instant::now();
            let error = self.copy_log(pod, &mut printed).await?;
            if opened.elapsed() > INTERVAL {
                failing_since = None;
            }
            if self.poll().await?.1 != State::Running {
                return Ok(());
            }
            // The log may end before the API server reports the end of the container.
            if failing_since.get_or_insert(opened).elapsed() >= RETRY_TIMEOUT {
                let error = error.map_or_else(|| anyhow!("its log has ended"), anyhow::Error::from);
                return Err(Broken::Lost(error.context("failed to read the log")));
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Prints the log from a line on. Returns the error that ended it, if any.
    async fn copy_log(&self, pod: &str, printed: &mut usize) -> Result<Option<kube::Error>, Broken> {
        let params =
            LogParams { follow: true, container: Some(self.container.clone()), ..LogParams::default() };
        let pods = Api::<Pod>::namespaced(self.at.client.clone(), &self.at.namespace);
        let mut log = match pods.log_stream(pod, &params).await {
            Ok(log) => pin!(log),
            Err(error) if is_refused(&error) => {
                return Err(Broken::Failed(anyhow!(error).context("failed to read the log")));
            }
            Err(error) => return Ok(Some(error)),
        };
        let mut line = Vec::new();
        let mut read = 0;
        loop {
            line.clear();
            // A line without its end was cut off, and is read again.
            if log.read_until(b'\n', &mut line).await.is_err() || !line.ends_with(b"\n") {
                return Ok(None);
            }
            read += 1;
            if read > *printed {
                self.print(&line).map_err(Broken::Failed)?;
                *printed = read;
            }
        }
    }

    fn print(&self, line: &[u8]) -> anyhow::Result<()> {
        let (line, is_error) = marked::unmarked(line);
        output::copy(line, is_error || self.output == Output::Stderr)
    }

    /// Waits for the exit code.
    async fn code(&self) -> Result<u8, Broken> {
        let begun = Instant::now();
        loop {
            match self.poll().await?.1 {
                State::Ended(code, reason) => {
                    if let Some(reason) = reason {
                        output::warn(&format!("the Pod has ended: {reason}"));
                    }
                    return Ok(u8::try_from(code).unwrap_or(u8::MAX));
                }
                State::Failed(reason) => return Err(Broken::Failed(anyhow!("the Pod has failed: {reason}"))),
                _ if begun.elapsed() >= RETRY_TIMEOUT => {
                    return Err(Broken::Lost(anyhow!("the exit code of the Pod is not reported")));
                }
                _ => tokio::time::sleep(INTERVAL).await,
            }
        }
    }

    /// Reads the Pod and its state. Repeats a request that fails.
    async fn poll(&self) -> Result<(Option<Pod>, State), Broken> {
        let begun = Instant::now();
        loop {
            match self.read().await {
                Ok((None, _)) if self.stop.is_cancelled() => {
                    return Err(Broken::Failed(anyhow!("the Pod is deleted")));
                }
                Ok(read) => return Ok(read),
                Err(error) if is_refused(&error) => {
                    return Err(Broken::Failed(anyhow!(error).context("failed to read the Pod")));
                }
                Err(error) if begun.elapsed() >= RETRY_TIMEOUT => {
                    return Err(Broken::Lost(anyhow!(error).context("failed to read the Pod")));
                }
                Err(_) => tokio::time::sleep(INTERVAL).await,
            }
        }
    }

    async fn read(&self) -> kube::Result<(Option<Pod>, State)> {
        let pods = Api::<Pod>::namespaced(self.at.client.clone(), &self.at.namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", self.name));
        let pod = pods.list(&of_job).await?.items.pop();
        let found = state(pod.as_ref(), &self.container, &[]);
        if found != State::Waiting(None) {
            return Ok((pod, found));
        }
        let events = self.events(pod.as_ref()).await;
        let found = state(pod.as_ref(), &self.container, &events);
        Ok((pod, found))
    }

    /// Reads the Events about the Pod, or about the Job while there is no Pod. They only explain a delay, so a failure
    /// is ignored.
    async fn events(&self, pod: Option<&Pod>) -> Vec<Event> {
        let name = pod.map_or_else(|| self.name.clone(), Pod::name_any);
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = Api::<Event>::namespaced(self.at.client.clone(), &self.at.namespace);
        let mut found = events.list(&about).await.map(|listed| listed.items).unwrap_or_default();
        found.sort_by(|one, other| one.metadata.creation_timestamp.cmp(&other.metadata.creation_timestamp));
        found
    }

    /// Deletes the Job and its Pod. The Pod gets SIGTERM, if it still runs.
    async fn delete(&self) {
        let jobs = Api::<Job>::namespaced(self.at.client.clone(), &self.at.namespace);
        match jobs.delete(&self.name, &DeleteParams::background()).await {
            Err(error) if !is_absent(&error) => {
                let error = errors::chain(&error);
                output::warn(&format!("failed to delete Job {}/{}: {error}", self.at.namespace, self.name));
            }
            _ => {}
        }
    }

    /// The advice after a lost connection.
    fn goes_on(&self) -> String {
        let (namespace, name) = (&self.at.namespace, &self.name);
        format!(
            "lost the connection, and Job {namespace}/{name} goes on: see `kubectl --namespace {namespace} logs --follow job/{name}`"
        )
    }
}

/// True if a request would fail again.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
