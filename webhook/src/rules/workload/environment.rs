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
        for (index, variable) in items(container.value.get("env")).enumerate() {
            let Some(name) = text(variable, "name").filter(|name| name.starts_with("CODEXK8S_")) else {
                continue;
            };
            let Some(expected) = run_variables(context, workload).find(|expected| expected.name == name)
            else {
                continue;
            };
            check_variable(workload, &container, index, variable, &expected, report);
        }
    }
}

fn check_variable(
    workload: &Workload<'_>,
    container: &Container<'_>,
    index: usize,
    variable: &Value,
    expected: &RunVariable<'_>,
    report: &mut Report,
) {
    let found = variable.get("value").and_then(Value::as_str).unwrap_or_default();
    let right =
        found == expected.value || (expected.as_label && sanitize::label_equals(expected.value, found));
    let indirect = at(variable, &["valueFrom"]).is_some();
    if indirect || !right {
        let found = if indirect { "a reference".to_owned() } else { quoted(found) };
        let path = container.field(workload, &format!("env[{index}] ({})", expected.name));
        report.forbid(path, found, format!("this run's is {}", quoted(expected.value)));
    }
}

fn set_run_variables(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    if !has_run_variables(context, workload) {
        return;
    }
    for container in workload.containers().filter(|container| container.list != "ephemeralContainers") {
        let index = container.index.to_string();
        let mut path = workload.template_path().to_vec();
        path.extend(["spec", container.list, &index, "env"]);
        for expected in run_variables(context, workload) {
            let named = |variable: &&Value| text(variable, "name") == Some(expected.name);
            if items(container.value.get("env")).find(named).is_none() {
                edits.push(&path, json!({"name": expected.name, "value": expected.value}));
            }
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
