//! Commands that run in the installation: in a Job with its image, policy, audit store, runs and identity.

mod job;
mod pod;
mod run;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::command_line::CommandLine;
use crate::duration::duration;
use crate::exit::{Ended, Exit, Failure, OrExit as _};
use crate::installation::Installation;
use crate::{output, process};
pub(crate) use run::Output;

/// Options of the commands that run in the installation.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoteArgs {
    /// Run on this machine, with the policy and the stores that the options name, instead of in the installation
    #[arg(long, env = "CODEX_K8S_GUARD_LOCAL")]
    local: bool,
    /// Time to wait for the Pod in the installation to start
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration)]
    start_timeout: Duration,
}

/// An option that names a resource of this machine.
pub(crate) struct Own {
    /// The option.
    pub(crate) name: &'static str,
    /// True if it is given.
    pub(crate) is_given: bool,
    /// True if the command cannot run on this machine without.
    pub(crate) is_required: bool,
}

impl RemoteArgs {
    /// Returns true if the command runs on this machine. What it needs there must be named; in the installation, it must
    /// not be, because the command uses what the installation has.
    pub(crate) fn is_local(&self, own: &[Own]) -> Result<bool, Failure> {
        check(self.local, own).or_exit(Exit::Usage)?;
        Ok(self.local)
    }

    /// Runs a command in the installation, and mirrors its exit code. If `stop` is cancelled, it is ended.
    pub(crate) async fn run(
        &self,
        installation: &Installation,
        line: &CommandLine,
        output: Output,
        stop: &CancellationToken,
    ) -> Ended {
        run::run(installation, self.start_timeout, line, output, stop).await
    }

    /// Finds the installation, and runs a command in it.
    pub(crate) async fn find_and_run(
        &self,
        cluster: &ClusterArgs,
        install: &InstallArgs,
        line: &CommandLine,
    ) -> Ended {
        let installation = Installation::find(cluster, install).await?;
        self.run(&installation, line, Output::Stdout, &process::signals()?).await
    }
}

fn check(is_local: bool, own: &[Own]) -> anyhow::Result<()> {
    for Own { name, is_given, is_required } in own {
        if is_local && *is_required && !is_given {
            return Err(anyhow!(
                "{name}: Required value: must be named with --local; without --local, the command runs in the installation \
                 and uses what that has"
            ));
        }
        if !is_local && *is_given {
            return Err(anyhow!(
                "{name}: Forbidden: the command runs in the installation, with its policy, audit store and runs; to run it on \
                 this machine, add --local"
            ));
        }
    }
    Ok(())
}

/// Asks on the terminal, and returns true if the answer is yes. A signal is a no.
pub(crate) async fn confirm(question: &str, stop: &CancellationToken) -> anyhow::Result<bool> {
    output::ask(question)?;
    let (send, receive) = oneshot::channel();
    // A thread of the runtime would be awaited at the end of the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        // The receiver is gone after a signal.
        let _ = send.send(read.map(|_| answer));
    });
    tokio::select! {
        answer = receive => Ok(is_yes(&answer??)),
        () = stop.cancelled() => Ok(false),
    }
}

/// True if a question can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in
            [("y\n", true), (" YES\n", true), ("\n", false), ("no\n", false), ("", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn on_this_machine_all_is_named_and_in_the_installation_nothing() {
        let tried = |is_local, policy, store| {
            let own = [
                Own { name: "--policy", is_given: policy, is_required: true },
                Own { name: "--runs", is_given: store, is_required: false },
            ];
            check(is_local, &own).err().map(|error| error.to_string())
        };
        assert_eq!(tried(true, true, false), None);
        assert_eq!(tried(false, false, false), None);
        assert!(tried(true, false, true).unwrap().starts_with("--policy: Required value: "));
        assert!(tried(false, false, true).unwrap().starts_with("--runs: Forbidden: "));
    }
}
