//! Rules about access to the host. Pod Security denies it only when the Pod is created; these rules deny the Job.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::host as examples;
use super::subject::{Check, Context, Validate, Workload};
use crate::rules::object::{at, is_true, items, text};
use crate::rules::report::{Report, clean, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB017, Validate::State(nothing_is_privileged)).about_privileges(),
    Check::new(
        &JOB018,
        Validate::State(|context, workload, report| {
            host_namespaces_are_left(context, workload, report);
            probes_go_to_the_pod(workload, report);
        }),
    )
    .about_privileges(),
    Check::new(&JOB019, Validate::State(volume_types_are_listed)).about_privileges(),
    Check::new(&JOB020, Validate::State(protections_stay_on)).about_privileges(),
];

static JOB017: Rule = Rule {
    id: "JOB017",
    title: "No container is privileged",
    why: "A privileged container has root access to its node, and from there to the cluster.",
    remedy: "Leave securityContext.privileged out, also in init and ephemeral containers.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB017,
};

static JOB018: Rule = Rule {
    id: "JOB018",
    title: "A workload does not use the host's namespaces and ports",
    why: "On the host's network, a Pod acts as the node; in the host's process namespace, it can inspect every \
          process. Kubelet sends probes and lifecycle handlers from the node: with a host of their own, they \
          reach everything that the node can reach.",
    remedy: "Leave hostNetwork, hostPID, hostIPC and hostPort out. Also leave out the host of probes and \
             lifecycle handlers: they then go to the Pod.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB018,
};

static JOB019: Rule = Rule {
    id: "JOB019",
    title: "Only the volume types of the policy are allowed",
    why: "The host's files contain the node's keys and every other Pod's data. A flexVolume runs a program on \
          the node as root, and vendor-specific volume types mount shares without a StorageClass.",
    remedy: "Use an emptyDir, a ConfigMap or a PersistentVolumeClaim, or another type that jobs.volumes of the \
             policy lists.",
    subject: Subject::Workload,
    reads: &["jobs.volumes"],
    default_mode: Mode::Enforce,
    examples: examples::JOB019,
};

static JOB020: Rule = Rule {
    id: "JOB020",
    title: "Kernel protections are not disabled",
    why: "Added capabilities and disabled profiles are the usual ways out of a container.",
    remedy: "Add only default capabilities, and leave seccomp, AppArmor, SELinux, procMount and sysctls \
             unchanged. For SELinux, the container types are allowed.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB020,
};

/// The default capabilities of a container: the `baseline` level of Pod Security allows adding them by name.
pub(super) const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn nothing_is_privileged(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    for container in workload.containers() {
        let security = at(container.value, &["securityContext"]);
        if security.is_some_and(|security| is_true(security, "privileged")) {
            let path = container.field(workload, "securityContext.privileged");
            report.forbid(path, "true", "must be false or unset");
        }
        if hosts_process(security) {
            let path = container.field(workload, "securityContext.windowsOptions.hostProcess");
            report.forbid(path, "true", "must be false or unset");
        }
    }
    if hosts_process(workload.pod_spec().and_then(|spec| at(spec, &["securityContext"]))) {
        let path = workload.pod_field("securityContext.windowsOptions.hostProcess");
        report.forbid(path, "true", "must be false or unset");
    }
}

fn hosts_process(security: Option<&Value>) -> bool {
    security
        .and_then(|security| at(security, &["windowsOptions"]))
        .is_some_and(|options| is_true(options, "hostProcess"))
}

fn host_namespaces_are_left(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec() else { return };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if is_true(spec, field) {
            report.forbid(workload.pod_field(field), "true", "must be false or unset");
        }
    }
    if is_true(spec, "hostNetwork") {
        // The API server has copied every containerPort to hostPort. The finding above is enough.
        return;
    }
    for container in workload.containers() {
        for (index, port) in items(container.value.get("ports")).enumerate() {
            let number = port.get("hostPort").and_then(Value::as_i64).unwrap_or_default();
            if number != 0 {
                let path = container.field(workload, &format!("ports[{index}].hostPort"));
                report.forbid(path, number.to_string(), "leave it out");
            }
        }
    }
}

/// The handlers of a container that kubelet calls.
const HANDLERS: [&[&str]; 5] = [
    &["livenessProbe"],
    &["readinessProbe"],
    &["startupProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

fn probes_go_to_the_pod(workload: &Workload<'_>, report: &mut Report) {
    for container in workload.containers() {
        for (field, host) in handler_hosts(container.value) {
            let path = container.field(workload, &field);
            report.forbid(path, quoted(host), "leave it out: the probe goes to the Pod");
        }
    }
}

/// Returns the hosts of a container's probes and lifecycle handlers, each with its field.
pub(super) fn handler_hosts(container: &Value) -> impl Iterator<Item = (String, &str)> {
    let actions =
        HANDLERS.into_iter().flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| (handler, action)));
    actions.filter_map(move |(handler, action)| {
        let host = text(at(container, handler)?.get(action)?, "host")?;
        Some((format!("{}.{action}.host", handler.join(".")), host))
    })
}

fn volume_types_are_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let volumes = items(workload.pod_spec().and_then(|spec| spec.get("volumes")));
    for (index, volume) in volumes.enumerate() {
        // A volume without a type is an emptyDir.
        let types = volume.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (kind, source) in types.filter(|(key, _)| *key != "name") {
            if !context.policy.jobs.volumes.iter().any(|listed| listed == kind) {
                let found = text(source, "path").map_or_else(|| "a volume of this type".to_owned(), quoted);
                let path = workload.pod_field(&format!("volumes[{index}].{}", clean(kind)));
                report.forbid(path, found, "volumes of this type are not in jobs.volumes of the policy");
            }
        }
    }
}

fn protections_stay_on(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    annotated_profiles_stay_on(workload, report);
    let Some(spec) = workload.pod_spec() else { return };
    if let Some(security) = at(spec, &["securityContext"]) {
        check_profiles(security, |field| workload.pod_field(&format!("securityContext.{field}")), report);
        for (index, sysctl) in items(security.get("sysctls")).enumerate() {
            let path = workload.pod_field(&format!("securityContext.sysctls[{index}].name"));
            report.forbid(path, quoted(text(sysctl, "name").unwrap_or_default()), "sysctls are not set");
        }
    }
    for container in workload.containers() {
        let Some(security) = at(container.value, &["securityContext"]) else { continue };
        let path = |field: &str| container.field(workload, &format!("securityContext.{field}"));
        check_profiles(security, path, report);
        for (index, added) in items(at(security, &["capabilities", "add"])).enumerate() {
            let name = added.as_str().unwrap_or_default();
            if !DEFAULT_CAPABILITIES.contains(&name) {
                report.forbid(
                    path(&format!("capabilities.add[{index}]")),
                    quoted(name),
                    "not a default capability",
                );
            }
        }
        if let Some(mount) = text(security, "procMount").filter(|mount| *mount != "Default") {
            report.forbid(path("procMount"), quoted(mount), "must be \"Default\" or unset");
        }
    }
}

/// The old form of the field. On a Pod, the API server converts it to the field; in a template, it stays until the Pod
/// is created.
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn annotated_profiles_stay_on(workload: &Workload<'_>, report: &mut Report) {
    for (key, value) in workload.pod_meta().annotations() {
        if key.starts_with(APP_ARMOR) && value.as_str() == Some("unconfined") {
            report.forbid(workload.pod_annotation(key), quoted("unconfined"), "leave it out");
        }
    }
}

/// The `SELinux` types that Pod Security `baseline` allows since 1.31.
pub(super) const CONTAINER_TYPES: [&str; 4] =
    ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Checks the kernel profiles in the security context of a Pod or a container.
fn check_profiles(security: &Value, path: impl Fn(&str) -> String, report: &mut Report) {
    let options = at(security, &["seLinuxOptions"]);
    let option = |field: &str| options.and_then(|options| text(options, field));
    if let Some(found) = option("type").filter(|found| !CONTAINER_TYPES.contains(found)) {
        let remedy = format!("must be {}", CONTAINER_TYPES.join(" or "));
        report.forbid(path("seLinuxOptions.type"), quoted(found), remedy);
    }
    for field in ["user", "role"] {
        if let Some(found) = option(field) {
            report.forbid(path(&format!("seLinuxOptions.{field}")), quoted(found), "leave it out");
        }
    }
    for profile in ["seccompProfile", "appArmorProfile"] {
        let kind = at(security, &[profile]).and_then(|profile| text(profile, "type"));
        if kind == Some("Unconfined") {
            report.forbid(path(&format!("{profile}.type")), quoted("Unconfined"), "leave it out");
        }
    }
}
