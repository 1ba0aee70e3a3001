//! Examples of the rules about the environment of an agent.

use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB021: &[Example] = &[
    Example::new("a person creates a Job without the variables of its run").creates(Object::Job, "").mutated(
        &[
            ("/spec/template/spec/containers/0/env/0", "{name: CODEXK8S_RUN_ID, value: r1}"),
            ("/spec/template/spec/containers/0/env/1", "{name: CODEXK8S_CORRELATION_ID, value: r1}"),
            ("/spec/template/spec/containers/0/env/2", "{name: CODEXK8S_PROJECT_ID, value: p1}"),
            ("/spec/template/spec/containers/0/env/3", "{name: CODEXK8S_RUNTIME_MODE, value: full-env}"),
        ],
    ),
    Example::new("a person refers to a variable of the run")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', env: [
                {name: WORKSPACE, value: /workspace/$(CODEXK8S_RUN_ID)}]}]}}}",
        )
        .mutated(&[
            ("/spec/template/spec/containers/0/env/0", "{name: CODEXK8S_RUN_ID, value: r1}"),
            (
                "/spec/template/spec/containers/0/env/4",
                "{name: WORKSPACE, value: /workspace/$(CODEXK8S_RUN_ID)}",
            ),
        ]),
    Example::new("the platform sets the correct run id").by(Worker).creates(
        Object::Job,
        "spec: {template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', env: [{name: CODEXK8S_RUN_ID, value: r1}]}]}}}",
    ),
    Example::new("an agent sets the run id of another run")
        .by(Agent)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', env: [{name: CODEXK8S_RUN_ID, value: r2}]}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].env[0] (CODEXK8S_RUN_ID)"),
];

pub(in crate::rules::workload) const JOB022: &[Example] = &[
    Example::new("the platform refers to a key in a Secret").by(Worker).creates(
        Object::Job,
        "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', env: [
            {name: CODEXK8S_OPENAI_API_KEY, valueFrom: {secretKeyRef: {name: api-key, key: key}}}]}]}}}",
    ),
    Example::new("the platform writes a key as plain text")
        .by(Worker)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36', env: [
                {name: CODEXK8S_OPENAI_API_KEY, value: not-a-key}]}]}}}",
        )
        .warned_at("spec.template.spec.containers[0].env"),
];
