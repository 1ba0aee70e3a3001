//! The environment variables of the platform's worker, from this process or from a list of lines.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use anyhow::anyhow;
use codex_k8s_shared::policy::{FromWorker, Profile, RunPolicy, is_of_worker};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::{input, output};

/// Reads the policy of a worker with the variables of a file, or of this process. Prints what it does not express.
pub(super) fn read(profile: Profile, file: Option<&Path>) -> Result<RunPolicy, Failure> {
    let variables = match file {
        None => std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        Some(file) => {
            parse(&input::text(file).or_exit(Exit::Usage)?).map_err(|problem| failure(&[problem]))?
        }
    };
    let read = RunPolicy::of_worker(profile, &variables).map_err(|problems| failure(&problems))?;
    let FromWorker { policy, warnings } = read;
    for warning in warnings {
        output::warn(&warning);
    }
    Ok(policy)
}

fn failure(problems: &[String]) -> Failure {
    let error = anyhow!("the variables of the worker are not valid:\n{}", problems.join("\n"));
    Failure { exit: Exit::Usage, error }
}

/// Parses lines of the form `NAME=VALUE`. Only those about the worker matter: a value of another program may contain
/// line breaks.
fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            unresolved(comment)?;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| is_of_worker(name)) else {
            continue;
        };
        match variables.entry(name.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(value.to_owned());
            }
            Entry::Occupied(before) if before.get() == value => {}
            Entry::Occupied(before) => {
                let before = before.get();
                return Err(format!(
                    "{name}: Duplicate value: {value:?}: it is {before:?} on another line; list one container \
                     (kubectl set env --containers)"
                ));
            }
        }
    }
    Ok(variables)
}

/// Refuses the comment of kubectl for a variable whose value is in a `ConfigMap` or a Secret.
fn unresolved(comment: &str) -> Result<(), String> {
    match comment.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, "from", ..] if is_of_worker(name) => Err(format!(
            "{name}: Required value: the list does not contain it: use kubectl set env --resolve"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kubectl_is_read() {
        let text = "# Deployment codex-k8s-worker, container worker\nCODEXK8S_WORKER_JOB_COMMAND=a=b \nOTHER=x\nmore\n\
                    # CODEXK8S_DB_PASSWORD from secret codex-k8s-postgres, key PASSWORD\nCODEXK8S_WORKER_ID=\n";
        let found = parse(text).unwrap();
        let expected = [("CODEXK8S_WORKER_ID", ""), ("CODEXK8S_WORKER_JOB_COMMAND", "a=b ")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_value_that_the_list_does_not_contain_is_required() {
        let text = "# CODEXK8S_WORKER_RUN_QUOTA_PODS from configmap worker, key pods\n";
        assert_eq!(
            parse(text).unwrap_err(),
            "CODEXK8S_WORKER_RUN_QUOTA_PODS: Required value: the list does not contain it: use kubectl set env --resolve"
        );
    }

    #[test]
    fn the_variables_of_two_containers_must_agree() {
        let line = "CODEXK8S_WORKER_RUN_QUOTA_PODS=1\n";
        assert_eq!(parse(&line.repeat(2)).unwrap().len(), 1);
        let problem = parse(&format!("{line}CODEXK8S_WORKER_RUN_QUOTA_PODS=2\n")).unwrap_err();
        assert!(problem.contains("\"2\": it is \"1\" on another line"), "{problem}");
    }
}
