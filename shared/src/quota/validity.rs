//! The validity of the resources of a Pod: the checks that the API server makes before it stores the Pod.

use std::fmt::Display;

use crate::quota::pod_resources::{Container, PodResources, Resources, Side, find};
use crate::quota::quantity::Quantity;
use crate::quota::resource_name::{
    is_extended, is_huge_pages, is_of_containers, is_overcommitted, is_pod_level,
};

/// A value that the API server denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field below the Pod's spec.
    pub path: String,
    /// The value; `None` if it is missing.
    pub found: Option<String>,
    /// The fix.
    pub remedy: String,
}

/// The problems of a Pod, at most one for each path.
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: String, found: impl Display, remedy: impl Into<String>) {
        self.push(Problem { path, found: Some(found.to_string()), remedy: remedy.into() });
    }

    fn missing(&mut self, path: String, remedy: impl Into<String>) {
        self.push(Problem { path, found: None, remedy: remedy.into() });
    }

    fn has(&self, path: &str) -> bool {
        self.0.iter().any(|problem| problem.path == path)
    }

    fn push(&mut self, problem: Problem) {
        if !self.has(&problem.path) {
            self.0.push(problem);
        }
    }
}

/// Returns the problems of a Pod with these resources.
pub fn problems(pod: &PodResources<'_>) -> Vec<Problem> {
    let mut problems = Problems::default();
    for container in &pod.containers {
        let (requests, limits) = (&container.requests, &container.limits);
        Requirements { container: Some(container), requests, limits }.validate(&mut problems);
        stays_in_the_pod(pod, container, &mut problems);
    }
    holds_its_containers(pod, &mut problems);
    let (requests, limits) = (&pod.requests, &pod.limits);
    Requirements { container: None, requests, limits }.validate(&mut problems);
    problems.0
}

/// The requests and limits of a container, or of the Pod itself.
struct Requirements<'a> {
    container: Option<&'a Container<'a>>,
    requests: &'a Resources<'a>,
    limits: &'a Resources<'a>,
}

impl Requirements<'_> {
    fn validate(&self, problems: &mut Problems) {
        for (resource, limit) in self.limits {
            self.validate_quantity("limits", resource, *limit, problems);
        }
        for (resource, request) in self.requests {
            let limit = find(self.limits, resource);
            // A request that is missing is equal to its limit: one problem is not reported twice.
            if limit != Some(*request) {
                self.validate_quantity("requests", resource, *request, problems);
                self.validate_request(resource, *request, limit, problems);
            }
        }
        let sets = |is: fn(&str) -> bool| self.limits.iter().chain(self.requests).any(|(name, _)| is(name));
        if sets(is_huge_pages) && !sets(|resource| matches!(resource, "cpu" | "memory")) {
            problems.missing(self.field("requests", "memory"), "huge pages need memory or cpu beside them");
        }
    }

    fn validate_request(
        &self,
        resource: &str,
        request: Quantity,
        limit: Option<Quantity>,
        problems: &mut Problems,
    ) {
        let path = |part| self.field(part, resource);
        match limit {
            Some(limit) if !is_overcommitted(resource) => {
                problems.add(path("requests"), request, format!("must be equal to the limit of {limit}"));
            }
            Some(limit) if request > limit && !problems.has(&path("limits")) => {
                problems.add(path("requests"), request, format!("must be at most the limit of {limit}"));
            }
            None if !is_overcommitted(resource) => {
                problems.missing(path("limits"), format!("must be equal to the request of {request}"));
            }
            _ => {}
        }
    }

    fn validate_quantity(&self, part: &str, resource: &str, quantity: Quantity, problems: &mut Problems) {
        let (is_named, names): (fn(&str) -> bool, _) = match self.container {
            Some(_) => (is_of_containers, NAMES_OF_CONTAINERS),
            None => (is_pod_level, NAMES_OF_PODS),
        };
        if !is_named(resource) {
            problems.add(self.field(part, resource), resource, format!("must be {names}"));
        } else if quantity < Quantity::ZERO {
            problems.add(self.field(part, resource), quantity, "must be at least 0");
        } else if is_extended(resource) && !quantity.is_whole() {
            problems.add(self.field(part, resource), quantity, "must be a whole number");
        } else if let Some(size) = resource.strip_prefix("hugepages-")
            && !size.parse().is_ok_and(|size| quantity.is_multiple_of(size))
        {
            problems.add(self.field(part, resource), quantity, format!("must be a multiple of {size}"));
        }
    }

    fn field(&self, part: &str, resource: &str) -> String {
        field(self.container, part, resource)
    }
}

/// The resources of a container, in words.
const NAMES_OF_CONTAINERS: &str =
    "cpu, memory, ephemeral-storage, hugepages-SIZE or an extended resource such as example.com/gpu";
/// The resources of a Pod itself, in words.
const NAMES_OF_PODS: &str = "cpu, memory or hugepages-SIZE";

/// Returns the path of a quantity of a container, or of the Pod itself.
fn field(container: Option<&Container<'_>>, part: &str, resource: &str) -> String {
    let holder = container.map(|it| format!("{}[{}].", it.list, it.index)).unwrap_or_default();
    let resource = if resource.contains(['.', '/']) {
        format!("[\"{}\"]", resource.escape_debug())
    } else {
        format!(".{}", resource.escape_debug())
    };
    format!("{holder}resources.{part}{resource}")
}

/// Checks that a container is not limited to more than the Pod. Init containers may be.
fn stays_in_the_pod(pod: &PodResources<'_>, container: &Container<'_>, problems: &mut Problems) {
    for (resource, limit) in container.limits.iter().filter(|_| container.list == "containers") {
        if let Some(own) = find(&pod.limits, resource).filter(|own| limit > own) {
            let remedy = format!("must be at most the Pod's limit of {own}");
            problems.add(field(Some(container), "limits", resource), limit, remedy);
        }
    }
}

/// Checks that the Pod's own resources are at least those of its containers together.
fn holds_its_containers(pod: &PodResources<'_>, problems: &mut Problems) {
    for (part, own) in [("requests", &pod.requests), ("limits", &pod.limits)] {
        for (resource, quantity) in own {
            let (side, verb) =
                if is_overcommitted(resource) { (Side::Requests, "request") } else { (Side::Limits, "have") };
            if let Some(total) = pod.of_containers(side, resource).filter(|total| total > quantity) {
                let remedy = format!("must be at least the {total} that the containers {verb} together");
                problems.add(field(None, part, resource), quantity, remedy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns the problems of a Pod whose containers have these resources, as `PATH: FOUND; REMEDY`.
    fn found(containers: &[Value], own: &Value) -> Vec<String> {
        let containers: Vec<_> = containers.iter().map(|resources| json!({"resources": resources})).collect();
        let spec = json!({"containers": containers, "resources": own});
        let line = |problem: Problem| {
            format!("{}: {}; {}", problem.path, problem.found.unwrap_or_default(), problem.remedy)
        };
        problems(&PodResources::of_pod(&spec, None)).into_iter().map(line).collect()
    }

    fn of_container(requests: &Value, limits: &Value) -> Vec<String> {
        found(&[json!({"requests": requests, "limits": limits})], &Value::Null)
    }

    #[test]
    fn a_request_is_at_most_its_limit_and_equal_to_it_for_devices_and_huge_pages() {
        assert_eq!(of_container(&json!({"cpu": "1"}), &json!({"cpu": "1", "memory": "1Gi"})), [""; 0]);
        assert_eq!(
            of_container(&json!({"cpu": "2"}), &json!({"cpu": "1"})),
            ["containers[0].resources.requests.cpu: 2; must be at most the limit of 1"]
        );
        assert_eq!(
            of_container(&json!({"example.com/gpu": 1}), &json!({"example.com/gpu": 2})),
            ["containers[0].resources.requests[\"example.com/gpu\"]: 1; must be equal to the limit of 2"]
        );
        assert_eq!(
            of_container(&json!({"cpu": 1, "hugepages-2Mi": "2Mi"}), &json!({})),
            ["containers[0].resources.limits.hugepages-2Mi: ; must be equal to the request of 2Mi"]
        );
    }

    #[test]
    fn quantities_and_names_are_those_of_containers() {
        let remedy = |limits: &Value| {
            let found = of_container(&json!({}), limits).join(" ");
            found.split_once("; ").map(|(_, remedy)| remedy.to_owned()).unwrap_or_default()
        };
        assert_eq!(remedy(&json!({"memory": "-1"})), "must be at least 0");
        assert_eq!(remedy(&json!({"example.com/gpu": "1500m"})), "must be a whole number");
        assert_eq!(remedy(&json!({"cpu": "1", "hugepages-2Mi": "3Mi"})), "must be a multiple of 2Mi");
        assert_eq!(remedy(&json!({"hugepages-2Mi": "4Mi"})), "huge pages need memory or cpu beside them");
        assert!(remedy(&json!({"gpu": "1"})).starts_with("must be cpu, memory, ephemeral-storage"));
        assert_eq!(remedy(&json!({"example.com/gpu": "2000m", "hugepages-1Gi": "1Gi", "cpu": "100u"})), "");
    }

    #[test]
    fn a_pod_holds_its_containers() {
        let cpu = |part: &str, quantity: &str| json!({part: {"cpu": quantity}});
        let two = [cpu("requests", "300m"), cpu("requests", "300m")];
        assert_eq!(found(&two, &cpu("limits", "600m")), [""; 0]);
        assert_eq!(
            found(&two, &cpu("limits", "500m")),
            ["resources.limits.cpu: 500m; must be at least the 600m that the containers request together"]
        );
        assert_eq!(
            found(&[cpu("limits", "600m")], &cpu("limits", "500m")),
            [
                "containers[0].resources.limits.cpu: 600m; must be at most the Pod's limit of 500m",
                "resources.limits.cpu: 500m; must be at least the 600m that the containers request together"
            ]
        );
        let storage = json!({"limits": {"ephemeral-storage": "1Gi"}});
        assert_eq!(
            found(&two, &storage),
            ["resources.limits.ephemeral-storage: ephemeral-storage; must be cpu, memory or hugepages-SIZE"]
        );
    }
}
