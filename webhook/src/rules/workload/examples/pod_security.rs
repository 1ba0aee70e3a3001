//! Examples of the controls of Pod Security. Those of the level `baseline` show the control without our own rule about
//! the same field.

use crate::rules::example::Setting::{Restricted, Slot};
use crate::rules::example::User::{Agent, Worker};
use crate::rules::example::{Example, Object};

const WITHOUT_JOB017: &str = "rules: {JOB017: 'off'}";
const WITHOUT_JOB018: &str = "rules: {JOB018: 'off'}";
const WITHOUT_JOB019: &str = "rules: {JOB019: 'off'}";
const WITHOUT_JOB020: &str = "rules: {JOB020: 'off'}";

pub(in crate::rules::workload) const PSS001: &[Example] = &[
    Example::new("a person creates a container without privileges").creates(Object::Job, ""),
    Example::new("a person creates a privileged container")
        .under(WITHOUT_JOB017)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {privileged: true}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.privileged"),
    Example::new("a person creates a privileged container in a slot, whose level allows everything")
        .within(Slot)
        .under(WITHOUT_JOB017)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {privileged: true}}]}}}",
        ),
];

pub(in crate::rules::workload) const PSS002: &[Example] = &[
    Example::new("a person creates a container of Linux").creates(Object::Job, ""),
    Example::new("an agent creates a Pod that is a process of its Windows host")
        .by(Agent)
        .under(WITHOUT_JOB017)
        .creates(
            Object::Job,
            "spec: {template: {spec: {securityContext: {windowsOptions: {hostProcess: true}}}}}",
        )
        .denied_at("spec.template.spec.securityContext.windowsOptions.hostProcess"),
];

pub(in crate::rules::workload) const PSS003: &[Example] = &[
    Example::new("a person creates a Pod with namespaces of its own").creates(Object::Job, ""),
    Example::new("the platform creates a Job on the network of its node")
        .by(Worker)
        .under(WITHOUT_JOB018)
        .creates(Object::Job, "spec: {template: {spec: {hostNetwork: true}}}")
        .denied_at("spec.template.spec.hostNetwork"),
    Example::new("a person scales a Deployment that is older than the level of its namespace")
        .under(WITHOUT_JOB018)
        .updates(Object::Deployment, "spec: {template: {spec: {hostPID: true}}}", "spec: {replicas: 2}"),
    Example::new(
        "a person changes the program of a Deployment that is older than the level of its namespace",
    )
    .under(WITHOUT_JOB018)
    .updates(
        Object::Deployment,
        "spec: {template: {spec: {hostPID: true}}}",
        "spec: {template: {spec: {containers: [{name: web, image: 'example.com/web:2'}]}}}",
    )
    .denied_at("spec.template.spec.hostPID"),
];

pub(in crate::rules::workload) const PSS004: &[Example] = &[
    Example::new("a person opens a port of the Pod").creates(
        Object::Job,
        "spec: {template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', ports: [{containerPort: 8080}]}]}}}",
    ),
    Example::new("a person uses a port of the node")
        .under(WITHOUT_JOB018)
        .creates(
            Object::CronJob,
            "spec: {jobTemplate: {spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', ports: [{containerPort: 8080, hostPort: 80}]}]}}}}}",
        )
        .denied_at("spec.jobTemplate.spec.template.spec.containers[0].ports[0].hostPort"),
];

pub(in crate::rules::workload) const PSS005: &[Example] = &[
    Example::new("a person creates a probe of the Pod itself").creates(
        Object::Deployment,
        "spec: {template: {spec: {containers: [
            {name: web, image: 'busybox:1.36', readinessProbe: {httpGet: {port: 8080}}}]}}}",
    ),
    Example::new("a person creates a probe of an address on the node")
        .under(WITHOUT_JOB018)
        .creates(
            Object::Deployment,
            "spec: {template: {spec: {containers: [
                {name: web, image: 'busybox:1.36', livenessProbe: {tcpSocket: {host: 127.0.0.1, port: 10250}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].livenessProbe.tcpSocket.host"),
];

pub(in crate::rules::workload) const PSS006: &[Example] = &[
    Example::new("a person mounts an empty directory")
        .creates(Object::Job, "spec: {template: {spec: {volumes: [{name: scratch, emptyDir: {}}]}}}"),
    Example::new("a person mounts a directory of the node")
        .under(WITHOUT_JOB019)
        .creates(
            Object::Job,
            "spec: {template: {spec: {volumes: [{name: logs, hostPath: {path: /var/log}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].hostPath"),
];

pub(in crate::rules::workload) const PSS007: &[Example] = &[
    Example::new("a person adds a default capability").creates(
        Object::Job,
        "spec: {template: {spec: {containers: [
            {name: tests, image: 'busybox:1.36', securityContext: {capabilities: {add: [CHOWN]}}}]}}}",
    ),
    Example::new("a person adds another capability")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {capabilities: {add: [NET_RAW]}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.capabilities.add[0]"),
];

pub(in crate::rules::workload) const PSS008: &[Example] = &[
    Example::new("a person chooses the profile of the runtime").creates(
        Object::Job,
        "spec: {template: {spec: {securityContext: {seccompProfile: {type: RuntimeDefault}}}}}",
    ),
    Example::new("a person disables the filter of system calls")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {spec: {securityContext: {seccompProfile: {type: Unconfined}}}}}",
        )
        .denied_at("spec.template.spec.securityContext.seccompProfile.type"),
];

pub(in crate::rules::workload) const PSS009: &[Example] = &[
    Example::new("a person chooses the profile of the runtime").creates(
        Object::Job,
        "spec: {template: {spec: {securityContext: {appArmorProfile: {type: RuntimeDefault}}}}}",
    ),
    Example::new("a person disables AppArmor by annotation")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {metadata: {annotations: {
                container.apparmor.security.beta.kubernetes.io/tests: unconfined}}}}",
        )
        .denied_at(
            r#"spec.template.metadata.annotations["container.apparmor.security.beta.kubernetes.io/tests"]"#,
        ),
];

pub(in crate::rules::workload) const PSS010: &[Example] = &[
    Example::new("a person chooses a type of containers").creates(
        Object::Job,
        "spec: {template: {spec: {securityContext: {seLinuxOptions: {type: container_kvm_t}}}}}",
    ),
    Example::new("a person chooses a type that is not confined")
        .under(WITHOUT_JOB020)
        .creates(Object::Job, "spec: {template: {spec: {securityContext: {seLinuxOptions: {type: spc_t}}}}}")
        .denied_at("spec.template.spec.securityContext.seLinuxOptions.type"),
];

pub(in crate::rules::workload) const PSS011: &[Example] = &[
    Example::new("a person unmasks /proc for users that the node does not know")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {spec: {hostUsers: false, containers: [
            {name: tests, image: 'busybox:1.36', securityContext: {procMount: Unmasked}}]}}}",
        ),
    Example::new("a person unmasks /proc")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {procMount: Unmasked}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.procMount"),
];

pub(in crate::rules::workload) const PSS012: &[Example] = &[
    Example::new("a person sets a safe sysctl").under(WITHOUT_JOB020).creates(
        Object::Job,
        "spec: {template: {spec: {securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: '4096'}]}}}}",
    ),
    Example::new("a person sets another sysctl")
        .under(WITHOUT_JOB020)
        .creates(
            Object::Job,
            "spec: {template: {spec: {securityContext: {sysctls: [{name: kernel.msgmax, value: '65536'}]}}}}",
        )
        .denied_at("spec.template.spec.securityContext.sysctls[0].name"),
];

pub(in crate::rules::workload) const PSS013: &[Example] = &[
    Example::new("a person mounts an empty directory").within(Restricted).creates(
        Object::HardenedJob,
        "spec: {template: {spec: {volumes: [{name: scratch, emptyDir: {}}]}}}",
    ),
    Example::new("a person mounts a share without a StorageClass")
        .within(Restricted)
        .under(WITHOUT_JOB019)
        .creates(
            Object::HardenedJob,
            "spec: {template: {spec: {volumes: [{name: data, nfs: {server: nfs.example.com, path: /data}}]}}}",
        )
        .denied_at("spec.template.spec.volumes[0].nfs"),
];

pub(in crate::rules::workload) const PSS014: &[Example] = &[
    Example::new("a person creates a container that gains no privileges")
        .within(Restricted)
        .creates(Object::HardenedJob, ""),
    Example::new("a person does not say that a container gains no privileges")
        .within(Restricted)
        .creates(
            Object::HardenedJob,
            "spec: {template: {spec: {containers: [
                {name: tests, image: 'busybox:1.36', securityContext: {capabilities: {drop: [ALL]}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.allowPrivilegeEscalation"),
];

pub(in crate::rules::workload) const PSS015: &[Example] = &[
    Example::new("a person creates a Pod that does not run as root")
        .within(Restricted)
        .creates(Object::HardenedJob, ""),
    Example::new("a person does not say that a Pod does not run as root")
        .within(Restricted)
        .creates(Object::HardenedJob, "spec: {template: {spec: {securityContext: {runAsNonRoot: null}}}}")
        .denied_at("spec.template.spec.containers[0].securityContext.runAsNonRoot"),
    Example::new("a person says that a Pod may run as root")
        .within(Restricted)
        .creates(Object::HardenedJob, "spec: {template: {spec: {securityContext: {runAsNonRoot: false}}}}")
        .denied_at("spec.template.spec.securityContext.runAsNonRoot"),
];

pub(in crate::rules::workload) const PSS016: &[Example] = &[
    Example::new("a person chooses a user id")
        .within(Restricted)
        .creates(Object::HardenedJob, "spec: {template: {spec: {securityContext: {runAsUser: 1000}}}}"),
    Example::new("a person chooses the user id of root")
        .within(Restricted)
        .creates(Object::HardenedJob, "spec: {template: {spec: {securityContext: {runAsUser: 0}}}}")
        .denied_at("spec.template.spec.securityContext.runAsUser"),
];

pub(in crate::rules::workload) const PSS017: &[Example] = &[
    Example::new("a person drops all capabilities").within(Restricted).creates(Object::HardenedJob, ""),
    Example::new("a person drops one capability")
        .within(Restricted)
        .creates(
            Object::HardenedJob,
            "spec: {template: {spec: {containers: [{name: tests, image: 'busybox:1.36',
                securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [NET_RAW]}}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.capabilities.drop"),
];

pub(in crate::rules::workload) const PSS018: &[Example] = &[
    Example::new("a person chooses the profile of the runtime")
        .within(Restricted)
        .creates(Object::HardenedJob, ""),
    Example::new("a person does not choose a profile")
        .within(Restricted)
        .creates(Object::HardenedJob, "spec: {template: {spec: {securityContext: {seccompProfile: null}}}}")
        .denied_at("spec.template.spec.containers[0].securityContext.seccompProfile.type"),
];

pub(in crate::rules::workload) const PSS019: &[Example] = &[
    Example::new("a person leaves /proc masked").within(Restricted).creates(Object::HardenedJob, ""),
    Example::new("a person unmasks /proc for users that the node does not know")
        .within(Restricted)
        .under(WITHOUT_JOB020)
        .creates(
            Object::HardenedJob,
            "spec: {template: {spec: {hostUsers: false, containers: [{name: tests, image: 'busybox:1.36',
                securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]},
                    procMount: Unmasked}}]}}}",
        )
        .denied_at("spec.template.spec.containers[0].securityContext.procMount"),
];
