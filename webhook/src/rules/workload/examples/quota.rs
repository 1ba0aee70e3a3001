//! Examples of the rule about workloads that can never fit their quota.

use crate::rules::example::User::Worker;
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const QUOTA002: &[Example] = &[
    Example::new("two Pods fit the quota together").creates(
        Object::Job,
        "spec: {parallelism: 2, completions: 2, template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', resources: {requests: {memory: 3Gi}, limits: {memory: 3Gi}}}]}}}",
    ),
    Example::new("a Pod is larger than the quota")
        .by(Worker)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36',
                resources: {requests: {memory: 12Gi}, limits: {memory: 12Gi}}}]}}}",
        )
        .denied_at("spec.template.spec.containers"),
    Example::new("two Pods do not fit the quota together")
        .creates(
            Object::Job,
            "spec: {parallelism: 2, completions: 2, template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', resources: {requests: {memory: 5Gi}, limits: {memory: 5Gi}}}]}}}",
        )
        .denied_at("spec.parallelism"),
];
