//! Resources that a LimitRange, a quota or the validation of Pods makes impossible, or that only look like it.

/// The expected answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// The Job is admitted, and so are its Pods.
    Runs,
    /// A rule refuses the Job, with these words in the message.
    Refused(&'static str, &'static str),
    /// The API server refuses the Job before the rules are asked, with these words. The offline check refuses it by
    /// `JOB026`.
    Invalid(&'static str),
}

use Expected::{Invalid, Refused, Runs};

/// A name, the spec of the Pods without images as YAML, and the expected answer.
pub(super) const CASES: &[(&str, &str, Expected)] = &[
    ("nothing", "containers: [{name: a}]", Runs),
    (
        "a request above the default limit",
        "containers: [{name: a, resources: {requests: {cpu: '2', memory: 2Gi}}}]",
        Runs,
    ),
    (
        "one in a sidecar and an init container",
        "{containers: [{name: a}], initContainers: [
        {name: i, resources: {requests: {memory: 3Gi}}},
        {name: s, restartPolicy: Always, resources: {requests: {cpu: 1500m}}}]}",
        Runs,
    ),
    (
        "a limit below the default request",
        "containers: [{name: a, resources: {limits: {cpu: 100m, memory: 16Mi}}}]",
        Runs,
    ),
    (
        "a Pod limited to less than the default limit",
        "{containers: [{name: a}], resources: {limits: {cpu: 500m}}}",
        Runs,
    ),
    (
        "a Pod limited to less than the default request",
        "{containers: [{name: a}, {name: b}],
        resources: {limits: {cpu: 100m, memory: 64Mi}}}",
        Runs,
    ),
    (
        "a Pod that requests less than the default requests",
        "{containers: [{name: a}, {name: b}, {name: c}],
        resources: {requests: {cpu: 300m, memory: 256Mi}}}",
        Runs,
    ),
    (
        "a Pod that shares its request with an init container",
        "{containers: [{name: a}],
        initContainers: [{name: i, resources: {requests: {cpu: 200m}}}], resources: {requests: {cpu: 210m}}}",
        Runs,
    ),
    (
        "a Pod whose limit holds a container's request and nothing else",
        "{containers: [
        {name: a, resources: {requests: {cpu: 400m}}}, {name: b}], resources: {limits: {cpu: 500m}}}",
        Runs,
    ),
    (
        "ephemeral storage without a default",
        "containers: [{name: a, resources: {requests: {ephemeral-storage: 9Gi}}}]",
        Runs,
    ),
    (
        "huge pages with a limit and memory",
        "containers: [{name: a, resources: {limits: {hugepages-2Mi: 4Mi, memory: 2Gi}}}]",
        Runs,
    ),
    (
        "a device with a limit only",
        "containers: [{name: a, resources: {limits: {example.com/gpu: 1}}}]",
        Runs,
    ),
    (
        "a request above the limit of the Pod",
        "{containers: [{name: a, resources: {requests: {cpu: 800m}}}],
        resources: {limits: {cpu: 500m}}}",
        Refused(
            "JOB026",
            "spec.template.spec.resources.limits.cpu: Invalid value: \"500m\": must be at least the 800m",
        ),
    ),
    (
        "requests that exceed the limit of the Pod together",
        "{containers: [
        {name: a, resources: {requests: {memory: 300Mi}}}, {name: b, resources: {requests: {memory: 300Mi}}}],
        resources: {limits: {memory: 500Mi}}}",
        Refused(
            "JOB026",
            "Invalid value: \"500Mi\": must be at least the 600Mi that the containers request together",
        ),
    ),
    (
        "limits without requests that exceed the request of the Pod together",
        "{containers: [
        {name: a, resources: {limits: {cpu: 400m}}}, {name: b, resources: {limits: {cpu: 400m}}}],
        resources: {requests: {cpu: 500m}}}",
        Refused(
            "JOB026",
            "spec.template.spec.resources.requests.cpu: Invalid value: \"500m\": must be at least the 800m",
        ),
    ),
    (
        "overhead without a RuntimeClass",
        "{containers: [{name: a}], overhead: {cpu: 50m}}",
        Refused("JOB026", "spec.template.spec.overhead: Forbidden: leave it out"),
    ),
    (
        "a limit above the quota",
        "containers: [{name: a, resources: {limits: {memory: 9Gi}}}]",
        Refused(
            "QUOTA002",
            "\"a\" 9Gi of requests.memory: the quota codex-run-quota of the namespace has 8Gi",
        ),
    ),
    (
        "a request above the quota",
        "containers: [{name: a, resources: {requests: {cpu: '5'}}}]",
        Refused("QUOTA002", "\"a\" 5 of requests.cpu: the quota codex-run-quota of the namespace has 4"),
    ),
    (
        "default limits that exceed the quota together",
        "containers: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e},
        {name: f}, {name: g}, {name: h}, {name: i}]",
        Refused("QUOTA002", "= 9 of limits.cpu"),
    ),
    (
        "a sidecar and an init container that exceed the quota together",
        "{containers: [{name: a}], initContainers: [
        {name: s, restartPolicy: Always, resources: {requests: {cpu: '2'}}},
        {name: i, resources: {requests: {cpu: 2500m}}}]}",
        Refused("QUOTA002", "\"s\" 2 + \"i\" 2500m = 4500m of requests.cpu"),
    ),
    (
        "a Pod's own request above the quota",
        "{containers: [{name: a}], resources: {requests: {memory: 10Gi}}}",
        Refused("QUOTA002", "\"the Pod\" 10Gi of requests.memory"),
    ),
    (
        "a Pod's own limit above the quota",
        "{containers: [{name: a}], resources: {requests: {cpu: '1'}, limits: {cpu: '9'}}}",
        Refused("QUOTA002", "\"the Pod\" 9 of limits.cpu"),
    ),
    (
        "a request above its own limit",
        "containers: [{name: a, resources: {requests: {cpu: '2'}, limits: {cpu: '1'}}}]",
        Invalid("must be less than or equal to cpu limit of 1"),
    ),
    (
        "a fraction of a device",
        "containers: [{name: a, resources: {limits: {example.com/gpu: 500m}}}]",
        Invalid("must be an integer"),
    ),
    (
        "fewer devices than the limit",
        "containers: [{name: a, resources: {
        requests: {example.com/gpu: 1}, limits: {example.com/gpu: 2}}}]",
        Invalid("must be equal to example.com/gpu limit of 2"),
    ),
    (
        "a device without a limit",
        "containers: [{name: a, resources: {requests: {example.com/gpu: 1}}}]",
        Invalid("Limit must be set"),
    ),
    (
        "a device of the Pod itself",
        "{containers: [{name: a}], resources: {limits: {example.com/gpu: 1}}}",
        Invalid("Unsupported value: \"example.com/gpu\""),
    ),
    (
        "huge pages alone",
        "containers: [{name: a, resources: {limits: {hugepages-2Mi: 4Mi}}}]",
        Invalid("HugePages require cpu or memory"),
    ),
    (
        "huge pages without a limit",
        "containers: [{name: a, resources: {requests: {hugepages-2Mi: 4Mi, cpu: 1}}}]",
        Invalid("Limit must be set"),
    ),
    (
        "half a huge page",
        "containers: [{name: a, resources: {limits: {hugepages-2Mi: 3Mi, cpu: 1}}}]",
        Invalid("is not positive integer multiple"),
    ),
    (
        "huge pages beyond those of the Pod",
        "{containers: [{name: a, resources: {limits: {hugepages-2Mi: 4Mi, cpu: 1}}}],
        resources: {limits: {hugepages-2Mi: 2Mi, cpu: 1}}}",
        Invalid("aggregate container limits of 4Mi"),
    ),
    (
        "a negative quantity",
        "containers: [{name: a, resources: {requests: {memory: -1Gi}}}]",
        Invalid("must be greater than or equal to 0"),
    ),
    (
        "an unknown resource",
        "containers: [{name: a, resources: {requests: {gpu: 1}}}]",
        Invalid("must be a standard resource"),
    ),
    (
        "requests that exceed the request of the Pod together",
        "{containers: [
        {name: a, resources: {requests: {cpu: 300m}}}, {name: b, resources: {requests: {cpu: 300m}}}],
        resources: {requests: {cpu: 500m}}}",
        Invalid("aggregate container requests of 600m"),
    ),
    (
        "a limit above the limit of the Pod",
        "{containers: [{name: a, resources: {limits: {cpu: '1'}}}],
        resources: {limits: {cpu: 500m}}}",
        Invalid("must be less than or equal to pod limits of 500m"),
    ),
];
