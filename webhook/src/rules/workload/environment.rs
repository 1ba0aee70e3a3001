//! The environment of an agent: who it is, and which secrets stand there for all to read.

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::{keys, sanitize};
use serde_json::{Value, json};

use super::{Container, Context, Workload};
use crate::rules::Edits;
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "JOB021",
        title: "An agent is told its own run",
        why: "The agent reports to the platform under the run that its environment names. With a wrong one it \
              reports for somebody else.",
        remedy: "Leave CODEXK8S_RUN_ID, CODEXK8S_CORRELATION_ID, CODEXK8S_PROJECT_ID and CODEXK8S_RUNTIME_MODE out \
                 and they are added.",
        reads: &[],
        default_mode: Mode::Enforce,
        check: Check::Workload { judge: run_is_told_rightly, mend: Some(tell_run) },
    },
    Rule {
        id: "JOB022",
        title: "Secrets are not written into the environment as literals",
        why: "Whoever may read Jobs or Pods reads them.",
        remedy: "Put the value into a Secret and refer to it by valueFrom.secretKeyRef.",
        reads: &["jobs.secretEnv"],
        default_mode: Mode::Warn,
        check: Check::Workload { judge: secrets_are_not_literal, mend: None },
    },
];

/// The variables that tell the run.
pub const TOLD: [&str; 4] =
    ["CODEXK8S_RUN_ID", "CODEXK8S_CORRELATION_ID", "CODEXK8S_PROJECT_ID", "CODEXK8S_RUNTIME_MODE"];

/// A variable that tells the run: its name, its value, and whether a label's spelling of the value will do.
struct Told<'a> {
    name: &'static str,
    value: &'a str,
    as_label: bool,
}

fn told<'a>(context: &Context<'a>, workload: &Workload<'a>) -> impl Iterator<Item = Told<'a>> {
    let namespace = context.namespace;
    let run_id =
        workload.meta.label(keys::RUN_ID).filter(|raw| sanitize::label_equals(&namespace.run_id, raw));
    let correlation = workload.meta.annotation(keys::CORRELATION_ID).or(namespace.correlation_id.as_deref());
    let [run, correlated, project, mode] = TOLD;
    [
        Some((run, run_id.unwrap_or(&namespace.run_id), true)),
        correlation.map(|id| (correlated, id, false)),
        Some((project, &*namespace.project_id, true)),
        Some((mode, namespace.mode.as_str(), false)),
    ]
    .into_iter()
    .flatten()
    .map(|(name, value, as_label)| Told { name, value, as_label })
}

const fn is_told(context: &Context<'_>, workload: &Workload<'_>) -> bool {
    !context.generated && workload.is_the_runs()
}

fn run_is_told_rightly(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if !is_told(context, workload) {
        return;
    }
    for container in workload.containers() {
        for (index, variable) in items(container.value.get("env")).enumerate() {
            let Some(name) = text(variable, "name").filter(|name| name.starts_with("CODEXK8S_")) else {
                continue;
            };
            let Some(told) = told(context, workload).find(|told| told.name == name) else { continue };
            check_variable(workload, &container, index, variable, &told, report);
        }
    }
}

fn check_variable(
    workload: &Workload<'_>,
    container: &Container<'_>,
    index: usize,
    variable: &Value,
    told: &Told<'_>,
    report: &mut Report,
) {
    let found = variable.get("value").and_then(Value::as_str).unwrap_or_default();
    let right = found == told.value || (told.as_label && sanitize::label_equals(told.value, found));
    let indirect = at(variable, &["valueFrom"]).is_some();
    if indirect || !right {
        let found = if indirect { "a reference".to_owned() } else { quoted(found) };
        let path = container.field(workload, &format!("env[{index}] ({})", told.name));
        report.forbid(path, found, format!("this run's is {}", quoted(told.value)));
    }
}

fn tell_run(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    if !is_told(context, workload) {
        return;
    }
    for container in workload.containers().filter(|container| container.list != "ephemeralContainers") {
        let index = container.index.to_string();
        let mut path = workload.template_path().to_vec();
        path.extend(["spec", container.list, &index, "env"]);
        for told in told(context, workload) {
            let named = |variable: &&Value| text(variable, "name") == Some(told.name);
            if items(container.value.get("env")).find(named).is_none() {
                edits.push(&path, json!({"name": told.name, "value": told.value}));
            }
        }
    }
}

fn secrets_are_not_literal(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if context.generated {
        return;
    }
    let mut literal: Vec<&str> = Vec::new();
    let mut place = None;
    for container in workload.containers() {
        for variable in items(container.value.get("env")) {
            let name = text(variable, "name").unwrap_or_default();
            let secret = context.policy.jobs.secret_env.iter().any(|listed| listed == name);
            if secret && text(variable, "value").is_some() && !literal.contains(&name) {
                literal.push(name);
                place.get_or_insert_with(|| container.field(workload, "env"));
            }
        }
    }
    if let Some(place) = place {
        let found = format!("literal values of {}", literal.join(", "));
        report.forbid(place, found, "refer to a Secret instead: whoever may read Jobs reads these");
    }
}
