//! Examples of the rule about the length of lists.

use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB024: &[Example] = &[
    Example::new("a container has a thousand arguments")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', args: [x]}]}}}",
        )
        .repeating("/spec/template/spec/containers/0/args", 1000),
    Example::new("a container has more than a thousand arguments")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', args: [x]}]}}}",
        )
        .repeating("/spec/template/spec/containers/0/args", 1001)
        .denied_at("spec.template.spec.containers[0].args"),
    Example::new("a Pod has more than a hundred containers in total")
        .creates(
            Object::Job,
            "spec: {template: {spec: {initContainers: [{name: setup, image: 'busybox:1.36'}]}}}",
        )
        .repeating("/spec/template/spec/initContainers", 100)
        .denied_at("spec.template.spec.containers"),
];
