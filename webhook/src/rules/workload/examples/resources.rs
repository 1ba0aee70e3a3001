//! Examples of the rules about the default resources of a Pod and their validity.

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
    Example::new("a person creates a Job that requests more than the default limit")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: build, image: 'busybox:1.36', resources: {requests: {cpu: '2', memory: 2Gi}}}]}}}",
        )
        .mutated(&[("/spec/template/spec/containers/0/resources/limits", "{cpu: '2', memory: 2Gi}")]),
    Example::new("the LimitRange has limited a Pod to less than it requests")
        .creates(
            Object::Pod,
            "{metadata: {annotations: {kubernetes.io/limit-ranger:
                'LimitRanger plugin set: cpu, memory limit for container shell'}},
              spec: {containers: [{name: shell, image: 'busybox:1.36', resources: {
                requests: {cpu: '2', memory: 64Mi}, limits: {cpu: '1', memory: 1Gi}}}]}}",
        )
        .mutated(&[("/spec/containers/0/resources/limits", "{cpu: '2', memory: 1Gi}")]),
    Example::new("a person limits a whole Pod to less than the default limit of a container")
        .creates(Object::Job, "spec: {template: {spec: {resources: {limits: {cpu: 500m}}}}}")
        .mutated(&[(
            "/spec/template/spec/containers/0/resources",
            "{limits: {cpu: 500m}, requests: {cpu: 250m}}",
        )]),
    Example::new("a person raises a request that the limit was equal to")
        .updates(
            Object::Deployment,
            "spec: {template: {spec: {containers: [{name: web, image: 'busybox:1.36',
                resources: {requests: {cpu: '2'}, limits: {cpu: '2'}}}]}}}",
            "spec: {template: {spec: {containers: [{name: web, image: 'busybox:1.36',
                resources: {requests: {cpu: '3'}, limits: {cpu: '2'}}}]}}}",
        )
        .mutated(&[("/spec/template/spec/containers/0/resources/limits/cpu", "'3'")]),
];

pub(in crate::rules::workload) const JOB026: &[Example] = &[
    Example::new("containers share the resources of their Pod").creates(
        Object::Job,
        "spec: {template: {spec: {resources: {requests: {cpu: 500m}, limits: {cpu: '1'}}, containers: [
            {name: a, image: 'busybox:1.36', resources: {requests: {cpu: 200m}, limits: {cpu: '1'}}},
            {name: b, image: 'busybox:1.36', resources: {requests: {cpu: 300m}, limits: {cpu: '1'}}}]}}}",
    ),
    Example::new("the containers of a Pod request more than the limit of the Pod")
        .creates(
            Object::Job,
            "spec: {template: {spec: {resources: {limits: {cpu: 500m}}, containers: [
                {name: a, image: 'busybox:1.36', resources: {requests: {cpu: 300m}}},
                {name: b, image: 'busybox:1.36', resources: {requests: {cpu: 300m}}}]}}}",
        )
        .denied_at("spec.template.spec.resources.limits.cpu"),
    Example::new("a template claims the overhead of a RuntimeClass")
        .creates(Object::Deployment, "spec: {template: {spec: {overhead: {cpu: 50m}}}}")
        .denied_at("spec.template.spec.overhead"),
];
