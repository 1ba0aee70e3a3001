//! Examples of the rule about the default resources of a Pod.

use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB023: &[Example] = &[
    Example::new("a person creates a Pod without resources").creates(Object::Pod, "").mutated(&[
        ("/spec/containers/0/resources/limits", "{cpu: '1', memory: 1Gi}"),
        ("/spec/containers/0/resources/requests", "{cpu: 250m, memory: 256Mi}"),
    ]),
    Example::new("a person creates a Pod with resources").creates(
        Object::Pod,
        "spec: {containers: [{name: shell, image: 'busybox:1.36', resources: {
            requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}}]}",
    ),
];
