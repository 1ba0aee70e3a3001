//! The state of a Job's Pod. Pure.

use k8s_openapi::api::core::v1::{ContainerState, Event, Pod};

/// The state of the container that runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It does not run yet; with the reason, if that is more than the usual steps of a start.
    Waiting(Option<String>),
    /// It runs.
    Running,
    /// It has exited with this code; with the reason, if that is more than an exit of the program.
    Ended(i32, Option<String>),
    /// The Pod has failed without an exit code of the container, for this reason.
    Failed(String),
}

/// Reasons that only say that the start goes on.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Reasons of an end that the exit code tells as well.
const USUAL_ENDS: [&str; 2] = ["Completed", "Error"];

/// Returns the state of a container. `events` are about the Pod and its Job, the latest last.
pub(super) fn state(pod: Option<&Pod>, container: &str, events: &[Event]) -> State {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let found = containers.into_iter().find(|found| found.name == container);
    let state = found.and_then(|found| found.state.as_ref());
    match state {
        Some(ContainerState { terminated: Some(terminated), .. }) => {
            let reason = terminated.reason.as_deref().filter(|reason| !USUAL_ENDS.contains(reason));
            let reason = reason.map(|reason| sentence(reason, terminated.message.as_deref()));
            return State::Ended(terminated.exit_code, reason);
        }
        Some(ContainerState { running: Some(_), .. }) => return State::Running,
        _ => {}
    }
    if status.and_then(|status| status.phase.as_deref()) == Some("Failed") {
        let parts = status.map(|status| (status.reason.as_deref(), status.message.as_deref()));
        let (reason, message) = parts.unwrap_or_default();
        return State::Failed(sentence(reason.unwrap_or("Failed"), message));
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let waiting = waiting.and_then(|waiting| Some((waiting.reason.as_deref()?, waiting.message.as_deref())));
    State::Waiting(match waiting.filter(|(reason, _)| !USUAL.contains(reason)) {
        Some((reason, message)) => Some(sentence(reason, message)),
        None => unscheduled(pod).or_else(|| warning(events)),
    })
}

/// The reason why no node takes the Pod.
fn unscheduled(pod: Option<&Pod>) -> Option<String> {
    let mut conditions = pod?.status.as_ref()?.conditions.as_ref()?.iter();
    let condition = conditions.find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
    Some(sentence(condition.reason.as_deref()?, condition.message.as_deref()))
}

/// The latest warning, such as about a volume that another node uses, or a quota that is exhausted.
fn warning(events: &[Event]) -> Option<String> {
    let event = events.iter().rfind(|event| event.type_.as_deref() == Some("Warning"))?;
    Some(sentence(event.reason.as_deref().unwrap_or_default(), event.message.as_deref()))
}

fn sentence(reason: &str, message: Option<&str>) -> String {
    message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {}", message.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn in_state(container: &Value) -> State {
        let status = json!({"phase": "Pending", "containerStatuses": [{"name": "gc", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": container}]});
        state(Some(&pod(&status)), "gc", &[])
    }

    fn event(kind: &str, reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({"metadata": {}, "involvedObject": {}, "type": kind, "reason": reason,
            "message": message}))
        .unwrap()
    }

    #[test]
    fn a_container_runs_or_has_ended_with_its_code() {
        assert_eq!(in_state(&json!({"running": {}})), State::Running);
        let ended = |reason: &str| in_state(&json!({"terminated": {"exitCode": 3, "reason": reason}}));
        assert_eq!(ended("Error"), State::Ended(3, None));
        assert_eq!(ended("OOMKilled"), State::Ended(3, Some("OOMKilled".to_owned())));
    }

    #[test]
    fn the_reason_why_a_pod_does_not_start_is_its_containers_its_nodes_or_that_of_the_latest_warning() {
        let waiting = |text: &str| State::Waiting(Some(text.to_owned()));
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        assert_eq!(in_state(&pull), waiting("ImagePullBackOff: no such image"));
        let conditions = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
        assert_eq!(
            state(Some(&pod(&conditions)), "gc", &[]),
            waiting("Unschedulable: 0/3 nodes are available")
        );
        let events = [event("Warning", "FailedCreate", "exceeded quota"), event("Normal", "Created", "")];
        assert_eq!(state(None, "gc", &events), waiting("FailedCreate: exceeded quota"));
        assert_eq!(state(None, "gc", &[]), State::Waiting(None));
        assert_eq!(in_state(&json!({"waiting": {"reason": "ContainerCreating"}})), State::Waiting(None));
    }

    #[test]
    fn a_pod_that_was_evicted_has_no_code() {
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"});
        let failed = State::Failed("Evicted: the node was low on memory".to_owned());
        assert_eq!(state(Some(&pod(&evicted)), "gc", &[]), failed);
    }
}
