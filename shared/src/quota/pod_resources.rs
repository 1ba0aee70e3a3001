//! The usage of a Pod against a ResourceQuota: the arithmetic of the scheduler and of the API server's quota plug-in.
//!
//! Containers run in parallel, so their requests add up. Init containers run before them, one after the other, in
//! parallel with the sidecars that have already started: the maximum over all these moments counts. Requests of the
//! Pod itself replace the sum, and the overhead of the runtime class is added (KEP-753, KEP-2837). Before all this, a
//! container that sets nothing gets defaults: its own limit as its request, then those of the LimitRange. Last, a Pod
//! that sets resources for itself gets the missing ones from its containers.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::LimitSettings;
use crate::quota::quantity::Quantity;
use crate::quota::resource_name::{is_huge_pages, is_pod_level};

/// A summand: its source and its quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the container, `the Pod` or `overhead`.
    pub of: String,
    /// The quantity.
    pub quantity: Quantity,
}

/// The usage of a resource by one Pod, with its summands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// The sum.
    pub total: Quantity,
    /// The summands at the moment of the maximum.
    pub parts: Vec<Part>,
}

impl Amount {
    fn of(parts: Vec<Part>) -> Self {
        Self { total: parts.iter().map(|part| part.quantity).sum(), parts }
    }
}

/// A container that the quota always rejects, because it does not set a resource that the quota counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingValue {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// The index in the list.
    pub index: usize,
    /// The resource of the quota, such as `limits.memory`.
    pub resource: String,
}

/// Requests or limits of a container.
pub(super) type Resources<'a> = Vec<(&'a str, Quantity)>;

/// A Pod, with the fields that a quota counts.
///
/// It is evaluated at each creation of a workload, so sums stay numbers until they are printed.
#[derive(Debug)]
pub struct PodResources<'a> {
    pub(super) containers: Vec<Container<'a>>,
    pub(super) requests: Resources<'a>,
    pub(super) limits: Resources<'a>,
    overhead: Resources<'a>,
}

#[derive(Debug)]
pub(super) struct Container<'a> {
    pub(super) list: &'static str,
    pub(super) index: usize,
    name: &'a str,
    stays: bool,
    pub(super) requests: Resources<'a>,
    pub(super) limits: Resources<'a>,
}

/// The list that is summed up: requests or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Limits,
}

/// The defaults of a LimitRange.
pub(super) struct Defaults<'a> {
    pub(super) requests: Resources<'a>,
    pub(super) limits: Resources<'a>,
}

impl<'a> Defaults<'a> {
    /// The defaults as the API server completes them: the default request is the default limit if it is missing.
    pub(super) fn of(range: &'a LimitSettings) -> Self {
        let (mut requests, limits) = (parsed(&range.default_request), parsed(&range.default));
        fill(&mut requests, &limits);
        Self { requests, limits }
    }
}

impl<'a> PodResources<'a> {
    /// The resources of a Pod of this `spec` in a namespace with the LimitRange `range`.
    pub fn of_pod(spec: &'a Value, range: Option<&'a LimitSettings>) -> Self {
        let mut pod = Self::as_written(spec);
        let defaults = range.map(Defaults::of);
        for container in &mut pod.containers {
            container.request_own_limits();
            if let Some(defaults) = &defaults {
                fill(&mut container.requests, &defaults.requests);
                fill(&mut container.limits, &defaults.limits);
            }
        }
        pod.complete_pod_level();
        pod
    }

    /// The resources that a `spec` sets, without any defaults.
    pub fn as_written(spec: &'a Value) -> Self {
        let read = |list: &'static str| {
            let items = spec.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
            items.map(move |(index, value)| container(list, index, value))
        };
        Self {
            containers: read("containers").chain(read("initContainers")).collect(),
            requests: resources(spec.get("resources"), "requests"),
            limits: resources(spec.get("resources"), "limits"),
            overhead: resources(Some(spec), "overhead"),
        }
    }

    /// Adds the resources of the Pod itself that are missing, if it sets any, as the API server does before it stores
    /// the Pod.
    fn complete_pod_level(&mut self) {
        if self.requests.is_empty() && self.limits.is_empty() {
            return;
        }
        let limits = self.containers.iter().flat_map(|container| &container.limits);
        let pages: Vec<_> = limits.map(|(resource, _)| *resource).filter(|it| is_huge_pages(it)).collect();
        for resource in pages.into_iter().filter(|pages| find(&self.requests, pages).is_none()) {
            let total = self.of_containers(Side::Limits, resource);
            fill(&mut self.limits, total.map(|total| (resource, total)).as_slice());
        }
        for resource in ["cpu", "memory"] {
            let total = self.of_containers(Side::Requests, resource);
            fill(&mut self.requests, total.map(|total| (resource, total)).as_slice());
        }
        fill(&mut self.requests, &self.limits);
        for (resource, request) in &self.requests {
            let is_limited = |container: &Container<'_>| find(&container.limits, resource).is_some();
            if is_pod_level(resource) && self.containers.iter().all(is_limited) {
                let limit = self.of_containers(Side::Limits, resource).unwrap_or(*request).max(*request);
                fill(&mut self.limits, &[(resource, limit)]);
            }
        }
    }

    /// The usage of a resource by one Pod, by its name in `spec.hard` of a ResourceQuota; `None` if the quota does
    /// not count it for this Pod.
    pub fn total(&self, counted: &str) -> Option<Quantity> {
        match requested(counted) {
            Requested::Pod => Some(Quantity::of(1)),
            Requested::Resource(side, resource) => {
                self.parts(side, resource).map(|parts| parts.map(|(_, quantity)| quantity).sum())
            }
            Requested::Nothing => None,
        }
    }

    /// As [`total`](Self::total), with the summands.
    pub fn amount(&self, counted: &str) -> Option<Amount> {
        let part = |(of, quantity): (&str, Quantity)| Part { of: of.to_owned(), quantity };
        match requested(counted) {
            Requested::Pod => Some(Amount::of(vec![part((THE_POD, Quantity::of(1)))])),
            Requested::Resource(side, resource) => {
                self.parts(side, resource).map(|parts| Amount::of(parts.map(part).collect()))
            }
            Requested::Nothing => None,
        }
    }

    /// The containers that do not set a resource that a quota counts, even after defaults.
    pub fn missing_values<'q>(&self, hard: impl Iterator<Item = &'q str>) -> Vec<MissingValue> {
        if [&self.requests, &self.limits].into_iter().flatten().any(|(resource, _)| is_pod_level(resource)) {
            return Vec::new();
        }
        let must_be_said =
            ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
        let missing = |counted: &str, container: &Container<'_>| match requested(counted) {
            Requested::Resource(side, resource) => find(container.side(side), resource).is_none(),
            _ => false,
        };
        hard.filter(|counted| must_be_said.contains(counted))
            .flat_map(|counted| {
                let missing = self.containers.iter().filter(move |container| missing(counted, container));
                missing.map(move |container| MissingValue {
                    list: container.list,
                    index: container.index,
                    resource: counted.to_owned(),
                })
            })
            .collect()
    }

    /// The summands at the moment of the maximum, the overhead last; `None` if no container sets the resource.
    fn parts(&self, side: Side, resource: &str) -> Option<impl Iterator<Item = (&'a str, Quantity)>> {
        let mut moment = self.peak(side, resource);
        let whole = find(self.side(side), resource).filter(|_| is_pod_level(resource));
        // The Pod's own value replaces the sum, unless it was made of it.
        if let Some(whole) = whole.filter(|whole| *whole != sum(&moment)) {
            moment = vec![(THE_POD, whole)];
        }
        let overhead = find(&self.overhead, resource).filter(|_| match side {
            Side::Requests => true,
            // The overhead does not add a limit where there was none.
            Side::Limits => sum(&moment) != Quantity::ZERO,
        });
        let overhead = overhead.map(|quantity| ("overhead", quantity));
        (!moment.is_empty() || overhead.is_some()).then(|| moment.into_iter().chain(overhead))
    }

    const fn side(&self, side: Side) -> &Resources<'a> {
        match side {
            Side::Requests => &self.requests,
            Side::Limits => &self.limits,
        }
    }

    /// The maximum of the sums over the containers; `None` if no container sets the resource.
    pub(super) fn of_containers(&self, side: Side, resource: &str) -> Option<Quantity> {
        Some(self.peak(side, resource)).filter(|moment| !moment.is_empty()).map(|moment| sum(&moment))
    }

    /// The containers and sidecars together, or one of the init containers with the sidecars before it.
    fn peak(&self, side: Side, resource: &str) -> Vec<(&'a str, Quantity)> {
        let part = |container: &Container<'a>| Some((container.name, find(container.side(side), resource)?));
        let runs_first = |container: &&Container<'_>| container.list == "initContainers" && !container.stays;
        let together: Vec<_> =
            self.containers.iter().filter(|container| !runs_first(container)).filter_map(part).collect();
        // One pass, with the running sum of the sidecars, because there may be thousands of init containers.
        let mut most =
            (!together.is_empty()).then(|| (together.iter().map(|(_, requested)| *requested).sum(), None));
        let mut sidecars: Option<Quantity> = None;
        for container in self.containers.iter().filter(|container| container.list == "initContainers") {
            let own = part(container).map(|(_, requested)| requested);
            let moment = own.into_iter().chain(sidecars).reduce(std::ops::Add::add);
            if container.stays {
                sidecars = moment;
            } else if let Some(moment) = moment
                && most.is_none_or(|(most, _): (Quantity, _)| moment > most)
            {
                most = Some((moment, Some(container)));
            }
        }
        let Some((_, Some(first))) = most else { return together };
        let beside = self.containers.iter().filter(|other| other.stays && other.index < first.index);
        beside.chain([first]).filter_map(part).collect()
    }
}

const THE_POD: &str = "the Pod";

fn sum(parts: &[(&str, Quantity)]) -> Quantity {
    parts.iter().map(|(_, quantity)| *quantity).sum()
}

/// The meaning of a resource name in a quota.
enum Requested<'a> {
    Pod,
    Resource(Side, &'a str),
    Nothing,
}

fn requested(counted: &str) -> Requested<'_> {
    let is_compute = |resource: &str| matches!(resource, "cpu" | "memory" | "ephemeral-storage");
    let is_own = |resource: &str| is_compute(resource) || resource.starts_with("hugepages-");
    match counted.split_once('.') {
        _ if matches!(counted, "pods" | "count/pods") => Requested::Pod,
        _ if is_own(counted) => Requested::Resource(Side::Requests, counted),
        Some(("limits", resource)) if is_compute(resource) => Requested::Resource(Side::Limits, resource),
        Some(("requests", resource)) if is_own(resource) || resource.contains('/') => {
            Requested::Resource(Side::Requests, resource)
        }
        _ => Requested::Nothing,
    }
}

impl<'a> Container<'a> {
    const fn side(&self, side: Side) -> &Resources<'a> {
        match side {
            Side::Requests => &self.requests,
            Side::Limits => &self.limits,
        }
    }

    /// Requests the container's own limits where it has no request, as the API server does first of all.
    pub(super) fn request_own_limits(&mut self) {
        fill(&mut self.requests, &self.limits);
    }
}

fn container<'a>(list: &'static str, index: usize, value: &'a Value) -> Container<'a> {
    let text = |field| value.get(field).and_then(Value::as_str).unwrap_or_default();
    Container {
        list,
        index,
        name: text("name"),
        stays: list == "initContainers" && text("restartPolicy") == "Always",
        requests: resources(value.get("resources"), "requests"),
        limits: resources(value.get("resources"), "limits"),
    }
}

fn resources<'a>(holder: Option<&'a Value>, part: &str) -> Resources<'a> {
    let map = holder.and_then(|holder| holder.get(part)).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), read_quantity(value)?))).collect()
}

/// Parses a quantity as the API server does: numbers and `null` are accepted too.
pub fn read_quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Null => Some(Quantity::ZERO),
        other => other.to_string().parse().ok(),
    }
}

fn parsed(texts: &BTreeMap<String, String>) -> Resources<'_> {
    texts.iter().filter_map(|(key, text)| Some((key.as_str(), text.parse().ok()?))).collect()
}

pub(super) fn find(resources: &Resources<'_>, resource: &str) -> Option<Quantity> {
    resources.iter().find(|(name, _)| *name == resource).map(|(_, quantity)| *quantity)
}

/// Adds the resources that are missing.
fn fill<'a>(resources: &mut Resources<'a>, defaults: &[(&'a str, Quantity)]) {
    for (resource, quantity) in defaults {
        if find(resources, resource).is_none() {
            resources.push((resource, *quantity));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(name: &str, cpu: &str) -> Value {
        let mut container = container(name, cpu);
        container["restartPolicy"] = "Always".into();
        container
    }

    fn cpu(spec: &Value) -> (String, String) {
        let amount = PodResources::of_pod(spec, None).amount("requests.cpu").unwrap();
        let parts = amount.parts.iter().map(|part| format!("{} {}", part.of, part.quantity));
        (amount.total.to_string(), parts.collect::<Vec<_>>().join(" + "))
    }

    #[test]
    fn containers_and_sidecars_add_up_and_the_largest_init_container_counts() {
        let main = [container("a", "300m"), container("b", "200m")];
        let only = cpu(&json!({"containers": main}));
        assert_eq!(only, ("500m".to_owned(), "a 300m + b 200m".to_owned()));
        let small = [container("i", "400m"), sidecar("s", "100m")];
        let with_small = cpu(&json!({"containers": main, "initContainers": small}));
        assert_eq!(with_small, ("600m".to_owned(), "a 300m + b 200m + s 100m".to_owned()));
        let large = [sidecar("s", "100m"), container("i", "700m"), sidecar("late", "50m")];
        let with_large = cpu(&json!({"containers": main, "initContainers": large}));
        assert_eq!(with_large, ("800m".to_owned(), "s 100m + i 700m".to_owned()));
    }

    #[test]
    fn an_init_container_counts_beside_the_sidecars_before_it_only() {
        let spec = json!({
            "containers": [container("c", "1")],
            "initContainers": [container("a", "4"), sidecar("s", "2"), container("b", "3"), sidecar("t", "1")],
        });
        let amount = PodResources::of_pod(&spec, None).amount("cpu").unwrap();
        let parts: Vec<_> = amount.parts.iter().map(|part| part.of.as_str()).collect();
        assert_eq!((amount.total, parts), (Quantity::of(5), vec!["s", "b"]));
    }

    #[test]
    fn requests_of_the_pod_replace_the_sum_and_overhead_comes_on_top() {
        let mut spec =
            json!({"containers": [container("a", "300m")], "overhead": {"cpu": "50m", "memory": "1Mi"}});
        assert_eq!(cpu(&spec), ("350m".to_owned(), "a 300m + overhead 50m".to_owned()));
        let resources = PodResources::of_pod(&spec, None);
        assert_eq!(resources.total("memory").unwrap().to_string(), "1Mi");
        assert_eq!(resources.total("limits.cpu"), None, "overhead limits nothing that was not limited");
        spec["resources"] = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
        assert_eq!(cpu(&spec).0, "350m", "a container asks already");
        assert_eq!(PodResources::of_pod(&spec, None).total("requests.memory"), "1025Mi".parse().ok());
        assert_eq!(PodResources::of_pod(&spec, None).total("limits.cpu"), "2050m".parse().ok());
        spec["resources"]["requests"] = json!({"cpu": "1"});
        assert_eq!(cpu(&spec), ("1050m".to_owned(), "the Pod 1 + overhead 50m".to_owned()));
    }

    #[test]
    fn the_resources_of_a_pod_are_completed_from_those_of_its_containers() {
        let pages = json!({"limits": {"hugepages-2Mi": "2Mi", "cpu": "1"}});
        let mut spec = json!({"containers": [{"name": "a", "resources": pages}], "resources": {"requests": {"cpu": "2"}}});
        let total = |spec: &Value, resource: &str| {
            PodResources::of_pod(spec, None).total(resource).unwrap().to_string()
        };
        assert_eq!(total(&spec, "limits.cpu"), "2", "at least its request");
        assert_eq!(total(&spec, "hugepages-2Mi"), "2Mi");
        spec["resources"] = json!({"limits": {"hugepages-2Mi": "4Mi", "cpu": "3"}});
        assert_eq!(total(&spec, "hugepages-2Mi"), "4Mi", "huge pages are requested as they are limited");
        assert_eq!([total(&spec, "requests.cpu"), total(&spec, "limits.cpu")], ["1", "3"]);
    }

    #[test]
    fn a_container_that_names_nothing_gets_the_defaults_of_the_limit_range() {
        let policy = crate::policy::RunPolicy::default();
        let range = policy.baseline.full_env.limit_range;
        let spec = json!({"containers": [{"name": "c"}]});
        let resources = PodResources::of_pod(&spec, range.as_ref());
        let total = |resource: &str| resources.total(resource).unwrap().to_string();
        assert_eq!([total("requests.cpu"), total("limits.cpu")], ["250m", "1"]);
        assert_eq!([total("requests.memory"), total("limits.memory")], ["256Mi", "1Gi"]);
        let own = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}}}]});
        let resources = PodResources::of_pod(&own, range.as_ref());
        assert_eq!(resources.total("requests.cpu").unwrap().to_string(), "3", "its own limit");
    }

    #[test]
    fn devices_and_huge_pages_are_counted_by_their_requests() {
        let resources = json!({"limits": {"example.com/gpu": 2, "hugepages-2Mi": "4Mi"}});
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        let resources = PodResources::of_pod(&spec, None);
        assert_eq!(resources.total("requests.example.com/gpu"), Some(Quantity::of(2)));
        assert_eq!(resources.total("hugepages-2Mi"), "4Mi".parse().ok());
        assert_eq!(resources.total("requests.hugepages-2Mi"), "4Mi".parse().ok());
        for name in ["example.com/gpu", "limits.hugepages-2Mi", "services", "requests.storage", "cpus"] {
            assert_eq!(resources.total(name), None, "{name}");
        }
        assert_eq!([resources.total("pods"), resources.total("count/pods")], [Some(Quantity::of(1)); 2]);
    }

    #[test]
    fn a_container_that_says_nothing_of_what_is_counted_is_named_unless_the_pod_speaks_for_it() {
        let hard = ["pods", "requests.cpu", "limits.memory", "cpu"];
        let mut spec = json!({"containers": [container("a", "1")], "initContainers": [{"name": "i"}]});
        let missing = |spec: &Value, range: Option<&LimitSettings>| {
            let missing_values = PodResources::of_pod(spec, range).missing_values(hard.into_iter());
            missing_values
                .into_iter()
                .map(|it| format!("{}[{}] {}", it.list, it.index, it.resource))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            missing(&spec, None),
            [
                "initContainers[0] requests.cpu",
                "containers[0] limits.memory",
                "initContainers[0] limits.memory",
                "initContainers[0] cpu"
            ]
        );
        let range = crate::policy::RunPolicy::default().baseline.full_env.limit_range;
        assert_eq!(missing(&spec, range.as_ref()), [""; 0]);
        spec["resources"] = json!({"limits": {"memory": "1Gi"}});
        assert_eq!(missing(&spec, None), [""; 0]);
    }
}
