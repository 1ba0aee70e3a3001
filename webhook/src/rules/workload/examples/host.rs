//! Examples of the rules about access to the host.

use crate::rules::example::Setting::Slot;
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB017: &[Example] = &[
    Example::new("a person creates a container without privileges").creates(
        Object::Job,
        "spec: {template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', securityContext: {privileged: false}}]}}}",
    ),
    Example::new("a person creates a privileged container")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {privileged: true}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.privileged"),
    Example::new("an agent creates a privileged init container")
        .by(Agent)
        .creates(
            Object::Job,
            "spec: {template: {spec: {initContainers: [
                {name: setup, image: 'busybox:1.36', securityContext: {privileged: true}}]}}}",
        )
        .denied_at("spec.template.spec.initContainers[0].securityContext.privileged"),
];

pub(in crate::rules::workload) const JOB018: &[Example] = &[
    Example::new("a person creates a probe of the Pod itself").creates(
        Object::Deployment,
        "spec: {template: {spec: {containers: [
            {name: web, image: 'busybox:1.36', readinessProbe: {httpGet: {port: 8080}}}]}}}",
    ),
    Example::new("the platform creates a Job on the network of its node")
        .by(Worker)
        .creates(Object::Job, "spec: {template: {spec: {hostNetwork: true}}}")
        .denied_at("spec.template.spec.hostNetwork"),
    Example::new("a person uses a port of the node")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', ports: [{containerPort: 8080, hostPort: 80}]}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].ports[0].hostPort"),
    Example::new("a person creates a probe of an address on the node")
        .creates(
            Object::Deployment,
            "spec: {template: {spec: {containers: [
                {name: web, image: 'busybox:1.36', readinessProbe: {httpGet: {host: 127.0.0.1, port: 10250}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].readinessProbe.httpGet.host"),
    Example::new("an agent replaces the platform's program, which uses the host network")
        .within(Slot)
        .by(Agent)
        .updates(
            Object::Deployment,
            "spec: {template: {spec: {hostNetwork: true}}}",
            "spec: {template: {spec: {containers: [{name: web, image: 'example.com/mine:1'}]}}}",
        )
        .denied_at("spec.template.spec.hostNetwork"),
    Example::new("an agent scales the platform's program, which uses the host network").within(Slot).by(Agent).updates(
        Object::Deployment,
        "spec: {template: {spec: {hostNetwork: true}}}",
        "spec: {replicas: 2}",
    ),
];

pub(in crate::rules::workload) const JOB019: &[Example] = &[
    Example::new("a person mounts an empty directory")
        .creates(Object::Job, "spec: {template: {spec: {volumes: [{name: scratch, emptyDir: {}}]}}}"),
    Example::new("a person mounts a directory of the node")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [{name: logs, hostPath: {path: /var/log}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].hostPath"),
    Example::new("a person mounts a share without a StorageClass")
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [{name: data, nfs: {server: nfs.example.com, path: /data}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].nfs"),
];

pub(in crate::rules::workload) const JOB020: &[Example] = &[
    Example::new("a person adds a default capability").creates(
        Object::Job,
        "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36',
            securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}]}}}",
    ),
    Example::new("a person adds another capability")
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36',
                securityContext: {capabilities: {add: [SYS_ADMIN]}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.capabilities.add[0]"),
    Example::new("a person disables the filter of system calls")
        .creates(
            Object::Job,
            "spec: {template: {spec: {securityContext: {seccompProfile: {type: Unconfined}}}}}",
        )
        .denied_at("spec.template.spec.securityContext.seccompProfile.type"),
    Example::new("a person disables AppArmor by annotation")
        .creates(
            Object::Job,
            "spec: {template: {metadata: {annotations: {
                container.apparmor.security.beta.kubernetes.io/tests: unconfined}}}}",
        )
        .denied_at(
            r#"spec.template.metadata.annotations["container.apparmor.security.beta.kubernetes.io/tests"]"#,
        ),
];
