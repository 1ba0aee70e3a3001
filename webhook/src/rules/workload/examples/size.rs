//! Examples of the rule about the length of lists.

use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB024: &[Example] = &[
    Example::new("a thousand arguments")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', args: [x]}]}}}",
        )
        .repeating("/spec/template/spec/containers/0/args", 1000),
    Example::new("more than a thousand arguments")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', args: [x]}]}}}",
        )
        .repeating("/spec/template/spec/containers/0/args", 1001)
        .denied_at("spec.template.spec.containers[0].args"),
    Example::new("more than a hundred containers in all")
        .creates(
            Object::Job,
            "spec: {template: {spec: {initContainers: [{name: setup, image: 'busybox:1.36'}]}}}",
        )
        .repeating("/spec/template/spec/initContainers", 100)
        .denied_at("spec.template.spec.containers"),
];
