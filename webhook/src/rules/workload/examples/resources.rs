//! Examples of the rule about the default resources of a Pod.

use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB023: &[Example] = &[
    Example::new("a Pod without resources asks for those of the LimitRange")
        .creates(Object::Pod, "")
        .mutated(&[
            ("/spec/containers/0/resources/limits", "{cpu: '1', memory: 1Gi}"),
            ("/spec/containers/0/resources/requests", "{cpu: 250m, memory: 256Mi}"),
        ]),
    Example::new("resources that are named are kept").creates(
        Object::Pod,
        "spec: {containers: [{name: shell, image: 'busybox:1.36', resources: {
            requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}}]}",
    ),
];
