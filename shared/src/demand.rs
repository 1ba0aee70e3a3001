//! What a Pod counts against a ResourceQuota: the arithmetic of the scheduler and of the API server's quota plug-in.
//!
//! Containers run side by side, so their requests add up. Init containers run before them and one after the other,
//! beside the sidecars that were started by then: the largest of these moments counts. What the Pod itself asks for
//! replaces the sum, and the runtime's overhead comes on top (KEP-753, KEP-2837). Before any of it, a container that
//! names nothing gets the defaults: its own limit as its request, then those of the LimitRange.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::policy::LimitSettings;
use crate::quantity::Quantity;

/// One summand: whose, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// A container, `the Pod` or `overhead`.
    pub of: String,
    /// How much of it.
    pub quantity: Quantity,
}

/// How much of a resource one Pod counts, and what it is the sum of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// The sum.
    pub total: Quantity,
    /// Its summands: what counts at the moment when most is asked for.
    pub parts: Vec<Part>,
}

impl Amount {
    fn of(parts: Vec<Part>) -> Self {
        Self { total: parts.iter().map(|part| part.quantity).sum(), parts }
    }

    fn with(mut self, part: Part) -> Self {
        self.total = self.total + part.quantity;
        self.parts.push(part);
        self
    }
}

/// A container that the quota refuses for ever: it counts a resource of which the container says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// What the quota counts, such as `limits.memory`.
    pub resource: String,
}

/// What one Pod counts, by the names that `spec.hard` of a ResourceQuota has for it.
pub type Demand = BTreeMap<String, Amount>;

/// Requests or limits of a container.
type Resources = BTreeMap<String, Quantity>;

struct Container<'a> {
    list: &'static str,
    index: usize,
    name: &'a str,
    stays: bool,
    requests: Resources,
    limits: Resources,
}

/// Which of a container's two lists is summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Limits,
}

/// The resources that a Pod can ask for as a whole.
fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

/// What a Pod of this `spec` counts, in a namespace whose LimitRange is `range`.
pub fn of_pod(spec: &Value, range: Option<&LimitSettings>) -> Demand {
    let containers = containers(spec, range);
    let requests = Side::Requests.of_pod(spec, &containers);
    let limits = Side::Limits.of_pod(spec, &containers);
    let one = || Amount::of(vec![Part { of: "the Pod".to_owned(), quantity: Quantity::of(1) }]);
    let mut demand: Demand = ["pods", "count/pods"].map(|name| (name.to_owned(), one())).into();
    for (resource, amount) in limits {
        if matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            demand.insert(format!("limits.{resource}"), amount);
        }
    }
    for (resource, amount) in requests {
        let own = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || resource.starts_with("hugepages-");
        if own {
            demand.insert(resource.clone(), amount.clone());
        }
        if own || resource.contains('/') {
            demand.insert(format!("requests.{resource}"), amount);
        }
    }
    demand
}

/// The containers of which a quota counts something that they do not say, not even by default.
pub fn silences<'q>(
    spec: &Value,
    range: Option<&LimitSettings>,
    hard: impl Iterator<Item = &'q str>,
) -> Vec<Silence> {
    let whole = ["requests", "limits"].into_iter().any(|part| {
        resources(spec.pointer("/resources"), part).keys().any(|resource| is_pod_level(resource))
    });
    if whole {
        return Vec::new();
    }
    let containers = containers(spec, range);
    let silent = |resource: &str, container: &Container<'_>| match resource.split_once('.') {
        Some(("limits", resource)) => !container.limits.contains_key(resource),
        Some((_, resource)) => !container.requests.contains_key(resource),
        None => !container.requests.contains_key(resource),
    };
    let counted = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    hard.filter(|resource| counted.contains(resource))
        .flat_map(|resource| {
            containers.iter().filter(move |container| silent(resource, container)).map(move |container| {
                Silence { list: container.list, index: container.index, resource: resource.to_owned() }
            })
        })
        .collect()
}

fn containers<'a>(spec: &'a Value, range: Option<&LimitSettings>) -> Vec<Container<'a>> {
    let read = |list: &'static str| {
        let items = spec.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
        items.map(move |(index, container)| {
            let mut limits = resources(container.get("resources"), "limits");
            let mut requests = resources(container.get("resources"), "requests");
            fill(&mut requests, &limits);
            if let Some(range) = range {
                let (default, default_request) = (parsed(&range.default), parsed(&range.default_request));
                fill(&mut requests, &default_request);
                fill(&mut requests, &default);
                fill(&mut limits, &default);
            }
            let stays = list == "initContainers" && container.get("restartPolicy") == Some(&"Always".into());
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            Container { list, index, name, stays, requests, limits }
        })
    };
    read("containers").chain(read("initContainers")).collect()
}

fn resources(holder: Option<&Value>, part: &str) -> Resources {
    let map = holder.and_then(|holder| holder.get(part)).and_then(Value::as_object);
    let quantity = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.to_string().parse().ok(),
    };
    // What is no quantity, the API server refuses by itself.
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), quantity(value)?))).collect()
}

fn parsed(texts: &BTreeMap<String, String>) -> Resources {
    texts.iter().filter_map(|(key, text)| Some((key.clone(), text.parse().ok()?))).collect()
}

/// Adds what is missing.
fn fill(resources: &mut Resources, defaults: &Resources) {
    for (resource, quantity) in defaults {
        resources.entry(resource.clone()).or_insert(*quantity);
    }
}

impl Side {
    const fn of<'c>(self, container: &'c Container<'_>) -> &'c Resources {
        match self {
            Self::Requests => &container.requests,
            Self::Limits => &container.limits,
        }
    }

    fn of_pod(self, spec: &Value, containers: &[Container<'_>]) -> Demand {
        let names: BTreeSet<_> = containers.iter().flat_map(|container| self.of(container).keys()).collect();
        let mut demand: Demand =
            names.into_iter().map(|resource| (resource.clone(), self.peak(containers, resource))).collect();
        self.replace_by_the_pods_own(spec, &mut demand);
        for (resource, quantity) in resources(Some(spec), "overhead") {
            let overhead = Part { of: "overhead".to_owned(), quantity };
            match (self, demand.remove(&resource)) {
                // Nothing is limited that was not.
                (Self::Limits, None) => {}
                (Self::Limits, Some(amount)) if amount.total == Quantity::ZERO => {
                    demand.insert(resource, amount);
                }
                (_, amount) => {
                    let amount = amount.unwrap_or_else(|| Amount::of(Vec::new()));
                    demand.insert(resource, amount.with(overhead));
                }
            }
        }
        demand
    }

    fn replace_by_the_pods_own(self, spec: &Value, demand: &mut Demand) {
        let own = |part| {
            let all = resources(spec.get("resources"), part).into_iter();
            all.filter(|(resource, _)| is_pod_level(resource)).map(|(resource, quantity)| {
                (resource, Amount::of(vec![Part { of: "the Pod".to_owned(), quantity }]))
            })
        };
        match self {
            Self::Limits => demand.extend(own("limits")),
            Self::Requests => {
                demand.extend(own("requests"));
                // A limit of the Pod is its request only where no container asks.
                for (resource, amount) in own("limits") {
                    demand.entry(resource).or_insert(amount);
                }
            }
        }
    }

    /// The moment when most is asked for: the containers and sidecars together, or one of the init containers beside
    /// the sidecars before it.
    fn peak(self, containers: &[Container<'_>], resource: &str) -> Amount {
        let part = |container: &Container<'_>| {
            let quantity = *self.of(container).get(resource)?;
            Some(Part { of: container.name.to_owned(), quantity })
        };
        let (first, beside): (Vec<_>, Vec<_>) =
            containers.iter().partition(|container| container.list == "initContainers" && !container.stays);
        let mut peak = Amount::of(beside.into_iter().filter_map(part).collect());
        for init in first {
            let sidecars = containers.iter().filter(|other| other.stays && other.index < init.index);
            let moment = Amount::of(sidecars.chain([init]).filter_map(part).collect());
            if moment.total > peak.total {
                peak = moment;
            }
        }
        peak
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
        let amount = of_pod(spec, None).remove("requests.cpu").unwrap();
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
    fn what_the_pod_asks_for_replaces_the_sum_and_overhead_comes_on_top() {
        let mut spec =
            json!({"containers": [container("a", "300m")], "overhead": {"cpu": "50m", "memory": "1Mi"}});
        assert_eq!(cpu(&spec), ("350m".to_owned(), "a 300m + overhead 50m".to_owned()));
        let demand = of_pod(&spec, None);
        assert_eq!(demand["memory"].total.to_string(), "1Mi");
        assert!(!demand.contains_key("limits.cpu"), "overhead limits nothing that was not limited");
        spec["resources"] = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
        assert_eq!(cpu(&spec).0, "350m", "a container asks already");
        assert_eq!(of_pod(&spec, None)["requests.memory"].total, "1025Mi".parse().unwrap());
        assert_eq!(of_pod(&spec, None)["limits.cpu"].total, "2050m".parse().unwrap());
        spec["resources"]["requests"] = json!({"cpu": "1"});
        assert_eq!(cpu(&spec), ("1050m".to_owned(), "the Pod 1 + overhead 50m".to_owned()));
    }

    #[test]
    fn a_container_that_names_nothing_gets_the_defaults_of_the_limit_range() {
        let policy = crate::policy::RunPolicy::default();
        let range = policy.baseline.full_env.limit_range;
        let demand = of_pod(&json!({"containers": [{"name": "c"}]}), range.as_ref());
        let total = |resource: &str| demand[resource].total.to_string();
        assert_eq!([total("requests.cpu"), total("limits.cpu")], ["250m", "1"]);
        assert_eq!([total("requests.memory"), total("limits.memory")], ["256Mi", "1Gi"]);
        let own = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}}}]});
        assert_eq!(of_pod(&own, range.as_ref())["requests.cpu"].total.to_string(), "3", "its own limit");
    }

    #[test]
    fn devices_and_huge_pages_are_counted_by_their_requests() {
        let resources = json!({"limits": {"example.com/gpu": 2, "hugepages-2Mi": "4Mi"}});
        let demand = of_pod(&json!({"containers": [{"name": "c", "resources": resources}]}), None);
        assert_eq!(demand["requests.example.com/gpu"].total, Quantity::of(2));
        assert_eq!(demand["hugepages-2Mi"].total, demand["requests.hugepages-2Mi"].total);
        assert!(!demand.contains_key("example.com/gpu") && !demand.contains_key("limits.hugepages-2Mi"));
        assert_eq!((demand["pods"].total, demand["count/pods"].total), (Quantity::of(1), Quantity::of(1)));
    }

    #[test]
    fn a_container_that_says_nothing_of_what_is_counted_is_named_unless_the_pod_speaks_for_it() {
        let hard = ["pods", "requests.cpu", "limits.memory", "cpu"];
        let mut spec = json!({"containers": [container("a", "1")], "initContainers": [{"name": "i"}]});
        let silent = |spec: &Value, range: Option<&LimitSettings>| {
            let silences = silences(spec, range, hard.into_iter());
            silences
                .into_iter()
                .map(|it| format!("{}[{}] {}", it.list, it.index, it.resource))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            silent(&spec, None),
            [
                "initContainers[0] requests.cpu",
                "containers[0] limits.memory",
                "initContainers[0] limits.memory",
                "initContainers[0] cpu"
            ]
        );
        let range = crate::policy::RunPolicy::default().baseline.full_env.limit_range;
        assert_eq!(silent(&spec, range.as_ref()), [""; 0]);
        spec["resources"] = json!({"limits": {"memory": "1Gi"}});
        assert_eq!(silent(&spec, None), [""; 0]);
    }
}
