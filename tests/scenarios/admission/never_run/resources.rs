//! Random resources: around the defaults and the quota of a run namespace, and some that are never valid.

use serde_json::{Value, json};

use super::generate::Random;

/// A resource, its quantities in ascending order, and how many of a hundred containers set it.
struct Resource {
    name: &'static str,
    quantities: &'static [&'static str],
    percent: usize,
}

/// Resources whose limit may be larger than the request.
const OVERCOMMITTED: [Resource; 3] = [
    Resource {
        name: "cpu",
        quantities: &["0", "50m", "100m", "250m", "300m", "0.5", "800m", "1", "1500m", "2", "3", "5", "9"],
        percent: 50,
    },
    Resource {
        name: "memory",
        quantities: &[
            "64Mi", "200M", "256Mi", "300Mi", "512Mi", "1Gi", "1500Mi", "2Gi", "3e9", "9Gi", "17Gi",
        ],
        percent: 50,
    },
    Resource { name: "ephemeral-storage", quantities: &["1Mi", "1Gi", "2Gi", "100Gi"], percent: 15 },
];

/// Resources whose limit is the request.
const EXACT: [Resource; 3] = [
    Resource { name: "example.com/gpu", quantities: &["0", "1", "2", "1500m"], percent: 10 },
    Resource { name: "hugepages-2Mi", quantities: &["2Mi", "4Mi", "8Mi", "3Mi"], percent: 10 },
    Resource { name: "hugepages-1Gi", quantities: &["1Gi", "2Gi"], percent: 3 },
];

/// Resources that no container can have.
const INVALID: [(&str, &str); 5] = [
    ("cpu", "-1"),
    ("memory", "-1Mi"),
    ("gpu", "1"),
    ("requests.cpu", "1"),
    ("requests.example.com/gpu", "1"),
];

/// Sets the resources of a container.
pub(super) fn of_container(random: &mut Random, container: &mut Value) {
    let mut resources = json!({"requests": {}, "limits": {}});
    for resource in &OVERCOMMITTED {
        overcommitted(random, resource, resource.percent, &mut resources);
    }
    for resource in &EXACT {
        exact(random, resource, resource.percent, &mut resources);
    }
    if random.percent(2) {
        let (name, quantity) = *random.pick(&INVALID);
        resources[*random.pick(&["requests", "limits"])][name] = quantity.into();
    }
    container["resources"] = resources;
}

/// Sets the resources of the Pod itself, in some cases, and an overhead, in few.
pub(super) fn of_pod(random: &mut Random, spec: &mut Value) {
    if random.percent(35) {
        let mut resources = json!({"requests": {}, "limits": {}});
        let [cpu, memory, storage] = &OVERCOMMITTED;
        overcommitted(random, cpu, 70, &mut resources);
        overcommitted(random, memory, 40, &mut resources);
        overcommitted(random, storage, 1, &mut resources);
        exact(random, &EXACT[1], 8, &mut resources);
        exact(random, &EXACT[0], 1, &mut resources);
        spec["resources"] = resources;
    }
    if random.percent(2) {
        spec["overhead"] = json!({"cpu": "50m"});
    }
}

/// Sets a request, a limit or both. The limit is seldom the smaller one.
fn overcommitted(random: &mut Random, resource: &Resource, percent: usize, resources: &mut Value) {
    if !random.percent(percent) {
        return;
    }
    let mut indexes = [random.below(resource.quantities.len()), random.below(resource.quantities.len())];
    if random.percent(95) {
        indexes.sort_unstable();
    }
    let [request, limit] = indexes.map(|index| Value::from(resource.quantities[index]));
    let parts = random.below(3);
    if parts != 1 {
        resources["requests"][resource.name] = request;
    }
    if parts != 2 {
        resources["limits"][resource.name] = limit;
    }
}

/// Sets a limit, usually with the request that it needs.
fn exact(random: &mut Random, resource: &Resource, percent: usize, resources: &mut Value) {
    if !random.percent(percent) {
        return;
    }
    let quantity = *random.pick(resource.quantities);
    resources["limits"][resource.name] = quantity.into();
    match random.below(20) {
        0 => resources["requests"][resource.name] = (*random.pick(resource.quantities)).into(),
        1 => {
            resources["limits"].as_object_mut().unwrap().remove(resource.name);
            resources["requests"][resource.name] = quantity.into();
        }
        2..10 => resources["requests"][resource.name] = quantity.into(),
        _ => {}
    }
}
