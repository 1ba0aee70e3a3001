//! Rules about the environment of an agent: its run variables, and secrets as plain text.

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::{keys, sanitize};
use serde_json::{Value, json};

use super::examples::environment as examples;
use super::subject::{Check, Container, Context, Mutate, Validate, Workload};
use crate::rules::Edits;
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB021, Validate::State(run_variables_match))
        .with_mutation(Mutate::Creation(set_run_variables)),
    Check::new(&JOB022, Validate::State(secrets_are_not_literal)),
];

static JOB021: Rule = Rule {
    id: "JOB021",
    title: "The environment of an agent names the agent's own run",
    why: "The agent reports to the platform for the run that its environment names. With a wrong one, it reports \
          for another run.",
    remedy: "Leave CODEXK8S_RUN_ID, CODEXK8S_CORRELATION_ID, CODEXK8S_PROJECT_ID and CODEXK8S_RUNTIME_MODE out: \
             they are added.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB021,
};

static JOB022: Rule = Rule {
    id: "JOB022",
    title: "The environment does not contain secrets as plain text",
    why: "Every user who can read the Job or its Pods can read them.",
    remedy: "Put the value into a Secret and refer to it with valueFrom.secretKeyRef.",
    subject: Subject::Workload,
    reads: &["jobs.secretEnv"],
    default_mode: Mode::Warn,
    examples: examples::JOB022,
};

/// The variables that identify the run.
pub(crate) const RUN_VARIABLES: [&str; 4] =
    ["CODEXK8S_RUN_ID", "CODEXK8S_CORRELATION_ID", "CODEXK8S_PROJECT_ID", "CODEXK8S_RUNTIME_MODE"];

/// A run variable: its name, its value, and true if the sanitized form of the value is accepted too.
struct RunVariable<'a> {
    name: &'static str,
    value: &'a str,
    as_label: bool,
}

fn run_variables<'a>(
    context: &Context<'a>,
    workload: &Workload<'a>,
) -> impl Iterator<Item = RunVariable<'a>> {
    let namespace = context.namespace;
    let run_id =
        workload.meta.label(keys::RUN_ID).filter(|raw| sanitize::label_equals(&namespace.run_id, raw));
    let correlation = workload.meta.annotation(keys::CORRELATION_ID).or(namespace.correlation_id.as_deref());
    let [run, correlated, project, mode] = RUN_VARIABLES;
    [
        Some((run, run_id.unwrap_or(&namespace.run_id), true)),
        correlation.map(|id| (correlated, id, false)),
        Some((project, &*namespace.project_id, true)),
        Some((mode, namespace.mode.as_str(), false)),
    ]
    .into_iter()
    .flatten()
    .map(|(name, value, as_label)| RunVariable { name, value, as_label })
}

const fn has_run_variables(context: &Context<'_>, workload: &Workload<'_>) -> bool {
    !context.generated && workload.is_the_runs()
}

fn run_variables_match(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if !has_run_variables(context, workload) {
        return;
    }
    for container in workload.containers() {
        for (index, variable, expected) in wrong_variables(context, workload, &container) {
            let found = match at(variable, &["valueFrom"]) {
                Some(_) => "a reference".to_owned(),
                None => quoted(text(variable, "value").unwrap_or_default()),
            };
            let path = container.field(workload, &format!("env[{index}] ({})", expected.name));
            report.forbid(path, found, format!("this run's is {}", quoted(expected.value)));
        }
    }
}

/// Returns the run variables of a container that have another value than the run's, with their positions.
fn wrong_variables<'a>(
    context: &Context<'a>,
    workload: &Workload<'a>,
    container: &Container<'a>,
) -> impl Iterator<Item = (usize, &'a Value, RunVariable<'a>)> {
    items(container.value.get("env")).enumerate().filter_map(|(index, variable)| {
        let name = text(variable, "name").filter(|name| name.starts_with("CODEXK8S_"))?;
        let expected = run_variables(context, workload).find(|expected| expected.name == name)?;
        (!expected.is_set_by(variable)).then_some((index, variable, expected))
    })
}

impl RunVariable<'_> {
    /// Returns true if an entry of `env` sets the run's value.
    fn is_set_by(&self, variable: &Value) -> bool {
        let found = text(variable, "value").unwrap_or_default();
        let right = found == self.value || (self.as_label && sanitize::label_equals(self.value, found));
        right && at(variable, &["valueFrom"]).is_none()
    }
}

/// Adds missing run variables before all others, because Kubernetes expands `$(NAME)` only if `NAME` is further up in
/// the list. Variables that will be denied keep their positions, so that the denial names those of the author.
fn set_run_variables(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    if !has_run_variables(context, workload) {
        return;
    }
    for container in workload.containers().filter(|container| container.list != "ephemeralContainers") {
        let index = container.index.to_string();
        let mut path = workload.template_path().to_vec();
        path.extend(["spec", container.list, &index, "env"]);
        let written = || items(container.value.get("env"));
        let is_wrong = wrong_variables(context, workload, &container).next().is_some();
        let first = if is_wrong { written().count() } else { 0 };
        let is_missing = |expected: &RunVariable<'_>| {
            !written().any(|variable| text(variable, "name") == Some(expected.name))
        };
        for (position, variable) in run_variables(context, workload).filter(is_missing).enumerate() {
            let value = json!({"name": variable.name, "value": variable.value});
            edits.insert(&path, first + position, value);
        }
    }
}

fn secrets_are_not_literal(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if context.generated {
        return;
    }
    let mut literal: Vec<&str> = Vec::new();
    let mut path = None;
    for container in workload.containers() {
        for variable in items(container.value.get("env")) {
            let name = text(variable, "name").unwrap_or_default();
            let secret = context.policy.jobs.secret_env.iter().any(|listed| listed == name);
            if secret && text(variable, "value").is_some() && !literal.contains(&name) {
                literal.push(name);
                path.get_or_insert_with(|| container.field(workload, "env"));
            }
        }
    }
    if let Some(path) = path {
        let found = format!("literal values of {}", literal.join(", "));
        report.forbid(path, found, "refer to a Secret instead: whoever may read Jobs reads these");
    }
}
