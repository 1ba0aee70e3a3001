//! The usage of a Pod against a ResourceQuota: the arithmetic of the scheduler and of the API server's quota plug-in.
//!
//! Containers run in parallel, so their requests add up. Init containers run before them, one after the other, in
//! parallel with the sidecars that have already started: the maximum over all these moments counts. Requests of the
//! Pod itself replace the sum, and the overhead of the runtime class is added (KEP-753, KEP-2837). Before all this, a
//! container that sets nothing gets defaults: its own limit as its request, then those of the LimitRange.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::LimitSettings;
use crate::quota::quantity::Quantity;

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
type Resources<'a> = Vec<(&'a str, Quantity)>;

/// A Pod, with the fields that a quota counts.
///
/// It is evaluated at each creation of a workload, so sums stay numbers until they are printed.
#[derive(Debug)]
pub struct PodResources<'a> {
    containers: Vec<Container<'a>>,
    requests: Resources<'a>,
    limits: Resources<'a>,
    overhead: Resources<'a>,
}

#[derive(Debug)]
struct Container<'a> {
    list: &'static str,
    index: usize,
    name: &'a str,
    stays: bool,
    requests: Resources<'a>,
    limits: Resources<'a>,
}

/// The list that is summed up: requests or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Limits,
}

/// The resources that a Pod can set for itself.
fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

/// The defaults of a LimitRange.
struct Defaults<'a> {
    requests: Resources<'a>,
    limits: Resources<'a>,
}

impl<'a> PodResources<'a> {
    /// The usage of a Pod of this `spec` in a namespace with the LimitRange `range`.
    pub fn of_pod(spec: &'a Value, range: Option<&'a LimitSettings>) -> Self {
        let defaults = range.map(|range| {
            let (mut requests, limits) = (parsed(&range.default_request), parsed(&range.default));
            fill(&mut requests, &limits);
            Defaults { requests, limits }
        });
        let read = |list: &'static str| {
            let items = spec.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
            items.map(move |(index, value)| (list, index, value))
        };
        let all = read("containers").chain(read("initContainers"));
        Self {
            containers: all
                .map(|(list, index, value)| container(list, index, value, defaults.as_ref()))
                .collect(),
            requests: resources(spec.get("resources"), "requests"),
            limits: resources(spec.get("resources"), "limits"),
            overhead: resources(Some(spec), "overhead"),
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
        let whole = self.of_the_pod_itself(side, resource);
        let moment = if whole.is_none() { self.peak(side, resource) } else { Vec::new() };
        let found = whole.is_some() || !moment.is_empty();
        let overhead = find(&self.overhead, resource).filter(|_| match side {
            Side::Requests => true,
            // The overhead does not add a limit where there was none.
            Side::Limits => {
                whole.into_iter().chain(moment.iter().map(|(_, quantity)| *quantity)).sum::<Quantity>()
                    != Quantity::ZERO
            }
        });
        let parts = whole.map(|quantity| (THE_POD, quantity)).into_iter().chain(moment);
        let overhead = overhead.map(|quantity| ("overhead", quantity));
        (found || overhead.is_some()).then(|| parts.chain(overhead))
    }

    /// The Pod's own request or limit. A limit of the Pod is its request only if no container has a request.
    fn of_the_pod_itself(&self, side: Side, resource: &str) -> Option<Quantity> {
        if !is_pod_level(resource) {
            return None;
        }
        let requested =
            || self.containers.iter().any(|container| find(&container.requests, resource).is_some());
        match side {
            Side::Limits => find(&self.limits, resource),
            Side::Requests => find(&self.requests, resource)
                .or_else(|| find(&self.limits, resource).filter(|_| !requested())),
        }
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
    fn side(&self, side: Side) -> &Resources<'a> {
        match side {
            Side::Requests => &self.requests,
            Side::Limits => &self.limits,
        }
    }
}

fn container<'a>(
    list: &'static str,
    index: usize,
    value: &'a Value,
    defaults: Option<&Defaults<'a>>,
) -> Container<'a> {
    let mut limits = resources(value.get("resources"), "limits");
    let mut requests = resources(value.get("resources"), "requests");
    fill(&mut requests, &limits);
    if let Some(defaults) = defaults {
        fill(&mut requests, &defaults.requests);
        fill(&mut limits, &defaults.limits);
    }
    let text = |field| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let stays = list == "initContainers" && text("restartPolicy") == "Always";
    Container { list, index, name: text("name"), stays, requests, limits }
}

fn resources<'a>(holder: Option<&'a Value>, part: &str) -> Resources<'a> {
    let map = holder.and_then(|holder| holder.get(part)).and_then(Value::as_object);
    let quantity = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    };
    // The API server itself rejects invalid quantities.
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), quantity(value)?))).collect()
}

fn parsed(texts: &BTreeMap<String, String>) -> Resources<'_> {
    texts.iter().filter_map(|(key, text)| Some((key.as_str(), text.parse().ok()?))).collect()
}

fn find(resources: &Resources<'_>, resource: &str) -> Option<Quantity> {
    resources.iter().find(|(name, _)| *name == resource).map(|(_, quantity)| *quantity)
}

/// Adds the resources that are missing.
fn fill<'a>(resources: &mut Resources<'a>, defaults: &Resources<'a>) {
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
    fn what_the_pod_asks_for_replaces_the_sum_and_overhead_comes_on_top() {
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
