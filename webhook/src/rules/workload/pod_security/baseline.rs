//! The controls of the level `baseline`. At `restricted`, they apply too, unless a control of that level replaces them.

use serde_json::Value;

use super::control::{Control, describe};
use super::pod::{Pod, Violations};
use crate::rules::Version;
use crate::rules::object::{at, is_true, items, text};
use crate::rules::report::{quoted, quoted_or_nothing};
use crate::rules::workload::examples::pod_security as examples;
use crate::rules::workload::host::{APP_ARMOR, CONTAINER_TYPES, DEFAULT_CAPABILITIES, handler_hosts};
use crate::rules::workload::subject::{Check, Validate};

pub(in crate::rules::workload) const CHECKS: &[Check] = &[
    Check::new(&PSS001.rule, Validate::State(|c, w, r| PSS001.validate(c, w, r))).about_privileges(),
    Check::new(&PSS002.rule, Validate::State(|c, w, r| PSS002.validate(c, w, r))).about_privileges(),
    Check::new(&PSS003.rule, Validate::State(|c, w, r| PSS003.validate(c, w, r))).about_privileges(),
    Check::new(&PSS004.rule, Validate::State(|c, w, r| PSS004.validate(c, w, r))).about_privileges(),
    Check::new(&PSS005.rule, Validate::State(|c, w, r| PSS005.validate(c, w, r))).about_privileges(),
    Check::new(&PSS006.rule, Validate::State(|c, w, r| PSS006.validate(c, w, r))).about_privileges(),
    Check::new(&PSS007.rule, Validate::State(|c, w, r| PSS007.validate(c, w, r))).about_privileges(),
    Check::new(&PSS008.rule, Validate::State(|c, w, r| PSS008.validate(c, w, r))).about_privileges(),
    Check::new(&PSS009.rule, Validate::State(|c, w, r| PSS009.validate(c, w, r))).about_privileges(),
    Check::new(&PSS010.rule, Validate::State(|c, w, r| PSS010.validate(c, w, r))).about_privileges(),
    Check::new(&PSS011.rule, Validate::State(|c, w, r| PSS011.validate(c, w, r))).about_privileges(),
    Check::new(&PSS012.rule, Validate::State(|c, w, r| PSS012.validate(c, w, r))).about_privileges(),
];

static PSS001: Control = Control::baseline(
    "privileged",
    describe(
        "PSS001",
        "Pod Security privileged: no container is privileged",
        "The API server refuses the Pods, so their workload never runs. JOB017 is reported instead where it is on.",
        "Leave securityContext.privileged out.",
        examples::PSS001,
    ),
    |pod, violations| {
        for container in pod.containers() {
            if at(container.value, &["securityContext"]).is_some_and(|context| is_true(context, "privileged"))
            {
                violations.of_container(
                    container,
                    "securityContext.privileged",
                    "true",
                    "must be false or unset",
                );
            }
        }
    },
);

static PSS002: Control = Control::baseline(
    "windowsHostProcess",
    describe(
        "PSS002",
        "Pod Security windowsHostProcess: no process of a Windows host",
        "The API server refuses the Pods, so their workload never runs. JOB017 is reported instead where it is on.",
        "Leave securityContext.windowsOptions.hostProcess out, of the Pod and of its containers.",
        examples::PSS002,
    ),
    |pod, violations| {
        for context in pod.contexts().filter(|context| context.is_true("windowsOptions", "hostProcess")) {
            violations.of_context(context, "windowsOptions.hostProcess", "true", "must be false or unset");
        }
    },
);

static PSS003: Control = Control::baseline(
    "hostNamespaces",
    describe(
        "PSS003",
        "Pod Security hostNamespaces: no namespaces of the host",
        "The API server refuses the Pods, so their workload never runs. JOB018 is reported instead where it is on.",
        "Leave hostNetwork, hostPID and hostIPC out.",
        examples::PSS003,
    ),
    |pod, violations| {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            if is_true(pod.spec, field) {
                violations.of_spec(field, "true", "must be false or unset");
            }
        }
    },
);

static PSS004: Control = Control::baseline(
    "hostPorts",
    describe(
        "PSS004",
        "Pod Security hostPorts: no ports of the host",
        "The API server refuses the Pods, so their workload never runs. JOB018 is reported instead where it is on.",
        "Leave hostPort out.",
        examples::PSS004,
    ),
    host_ports,
);

static PSS005: Control = Control::baseline(
    "hostProbesAndHostLifecycle",
    describe(
        "PSS005",
        "Pod Security hostProbesAndHostLifecycle: probes and lifecycle handlers go to the Pod",
        "The API server refuses the Pods, so their workload never runs. JOB018 is reported instead where it is on.",
        "Leave the host of probes and lifecycle handlers out: they then go to the Pod.",
        examples::PSS005,
    ),
    |pod, violations| {
        for container in pod.containers() {
            for (field, host) in handler_hosts(container.value) {
                violations.of_container(container, &field, quoted(host), "must be unset");
            }
        }
    },
)
.since(34);

static PSS006: Control = Control::baseline(
    "hostPathVolumes",
    describe(
        "PSS006",
        "Pod Security hostPathVolumes: no volumes of the type hostPath",
        "The API server refuses the Pods, so their workload never runs. JOB019 is reported instead, unless \
         jobs.volumes of the policy lists hostPath.",
        "Use an emptyDir, a ConfigMap or a PersistentVolumeClaim.",
        examples::PSS006,
    ),
    |pod, violations| {
        for (index, volume) in pod.volumes().enumerate() {
            if let Some(source) = at(volume, &["hostPath"]) {
                let path = text(source, "path").unwrap_or_default();
                violations.of_spec(&format!("volumes[{index}].hostPath"), quoted(path), "must be unset");
            }
        }
    },
)
.replaced_since(0);

static PSS007: Control = Control::baseline(
    "capabilities_baseline",
    describe(
        "PSS007",
        "Pod Security capabilities_baseline: only default capabilities are added",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Add only capabilities that a container has by default.",
        examples::PSS007,
    ),
    |pod, violations| added_capabilities(pod, violations, &DEFAULT_CAPABILITIES, "must be a default capability"),
)
.replaced_since(22);

static PSS008: Control = Control::baseline(
    "seccompProfile_baseline",
    describe(
        "PSS008",
        "Pod Security seccompProfile_baseline: seccomp is not disabled",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Leave seccompProfile out, or set its type to RuntimeDefault or Localhost.",
        examples::PSS008,
    ),
    |pod, violations| {
        if pod.version < Version::minor(19) {
            seccomp_annotations(pod, violations);
        } else {
            profiles(pod, violations, "seccompProfile");
        }
    },
)
.replaced_since(19);

static PSS009: Control = Control::baseline(
    "appArmorProfile",
    describe(
        "PSS009",
        "Pod Security appArmorProfile: AppArmor is not disabled",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Leave appArmorProfile out, or set its type to RuntimeDefault or Localhost.",
        examples::PSS009,
    ),
    |pod, violations| {
        profiles(pod, violations, "appArmorProfile");
        for (key, value) in pod.meta().annotations().filter(|(key, _)| key.starts_with(APP_ARMOR)) {
            let profile = value.as_str().unwrap_or_default();
            if !(profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")) {
                violations.of_annotation(
                    key,
                    quoted(profile),
                    "must be \"runtime/default\" or \"localhost/...\"",
                );
            }
        }
    },
);

static PSS010: Control = Control::baseline(
    "seLinuxOptions",
    describe(
        "PSS010",
        "Pod Security seLinuxOptions: SELinux options are those of containers",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Leave seLinuxOptions out, or set only a type of containers and a level.",
        examples::PSS010,
    ),
    se_linux_options,
);

static PSS011: Control = Control::baseline(
    "procMount",
    describe(
        "PSS011",
        "Pod Security procMount: /proc is masked",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Leave procMount out. Since 1.35, Pods with hostUsers: false may set it.",
        examples::PSS011,
    ),
    |pod, violations| {
        if !pod.has_own_users() {
            proc_mounts(pod, violations);
        }
    },
)
.replaced_since(35);

static PSS012: Control = Control::baseline(
    "sysctls",
    describe(
        "PSS012",
        "Pod Security sysctls: only safe sysctls are set",
        "The API server refuses the Pods, so their workload never runs. JOB020 is reported instead where it is on.",
        "Set only safe sysctls: those that the denial lists.",
        examples::PSS012,
    ),
    |pod, violations| {
        let sysctls = items(pod.security().and_then(|context| context.value.get("sysctls")));
        for (index, sysctl) in sysctls.enumerate() {
            let name = text(sysctl, "name").unwrap_or_default();
            let safe = || SYSCTLS.iter().filter(|(since, _)| pod.version >= Version::minor(*since));
            if !safe().any(|(_, safe)| *safe == name) {
                let field = format!("securityContext.sysctls[{index}].name");
                let names: Vec<_> = safe().map(|(_, name)| *name).collect();
                violations.of_spec(&field, quoted(name), &format!("must be {}", names.join(" or ")));
            }
        }
    },
);

fn host_ports(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    if is_true(pod.spec, "hostNetwork") {
        // The API server copies every containerPort to hostPort. The finding about the network is enough.
        return;
    }
    for container in pod.containers() {
        for (index, port) in items(container.value.get("ports")).enumerate() {
            let number = port.get("hostPort").and_then(Value::as_i64).unwrap_or_default();
            if number != 0 {
                let field = format!("ports[{index}].hostPort");
                violations.of_container(container, &field, number.to_string(), "must be unset");
            }
        }
    }
}

/// Reports added capabilities other than the `allowed` ones.
pub(super) fn added_capabilities(
    pod: &Pod<'_>,
    violations: &mut Violations<'_, '_>,
    allowed: &[&str],
    remedy: &str,
) {
    for container in pod.containers() {
        let added = items(at(container.value, &["securityContext", "capabilities", "add"]));
        for (index, name) in added.map(|name| name.as_str().unwrap_or_default()).enumerate() {
            if !allowed.contains(&name) {
                let field = format!("securityContext.capabilities.add[{index}]");
                violations.of_container(container, &field, quoted(name), remedy);
            }
        }
    }
}

/// Returns true if a seccomp or `AppArmor` profile has one of the types that every level allows.
fn is_confined(profile: &Value) -> bool {
    matches!(text(profile, "type"), Some("RuntimeDefault" | "Localhost"))
}

/// Reports seccomp or `AppArmor` profiles of other types.
pub(super) fn profiles(pod: &Pod<'_>, violations: &mut Violations<'_, '_>, field: &str) {
    for context in pod.contexts() {
        if let Some(profile) = at(context.value, &[field]).filter(|profile| !is_confined(profile)) {
            let found = quoted_or_nothing(text(profile, "type"));
            let remedy = "must be \"RuntimeDefault\" or \"Localhost\"";
            violations.of_context(context, &format!("{field}.type"), found, remedy);
        }
    }
}

/// The annotations that set a seccomp profile before the fields existed, of the Pod and of a container.
const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn seccomp_annotations(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    let of_containers = pod.containers().filter_map(|container| text(container.value, "name"));
    let keys = of_containers.map(|name| format!("{CONTAINER_SECCOMP}{name}"));
    for key in std::iter::once(POD_SECCOMP.to_owned()).chain(keys) {
        let profile = pod.meta().annotation(&key);
        let is_allowed = |profile: &str| {
            ["runtime/default", "docker/default"].contains(&profile) || profile.starts_with("localhost/")
        };
        if let Some(profile) = profile.filter(|profile| !is_allowed(profile)) {
            violations.of_annotation(
                &key,
                quoted(profile),
                "must be \"runtime/default\" or \"localhost/...\"",
            );
        }
    }
}

fn se_linux_options(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    let is_allowed = |found: &str| found != "container_engine_t" || pod.version >= Version::minor(31);
    let types = || CONTAINER_TYPES.into_iter().filter(|found| is_allowed(found));
    for context in pod.contexts() {
        let Some(options) = at(context.value, &["seLinuxOptions"]) else { continue };
        if let Some(found) = text(options, "type").filter(|found| !types().any(|allowed| allowed == *found)) {
            let remedy = format!("must be {}", types().collect::<Vec<_>>().join(" or "));
            violations.of_context(context, "seLinuxOptions.type", quoted(found), &remedy);
        }
        for field in ["user", "role"] {
            if let Some(found) = text(options, field) {
                let field = format!("seLinuxOptions.{field}");
                violations.of_context(context, &field, quoted(found), "must be unset");
            }
        }
    }
}

/// Reports containers whose `/proc` is not masked.
pub(super) fn proc_mounts(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    for container in pod.containers() {
        let mount = at(container.value, &["securityContext"]).and_then(|context| text(context, "procMount"));
        if let Some(mount) = mount.filter(|mount| *mount != "Default") {
            let remedy = "must be \"Default\" or unset";
            violations.of_container(container, "securityContext.procMount", quoted(mount), remedy);
        }
    }
}

/// The safe sysctls, and the first version that allows each.
const SYSCTLS: [(u32, &str); 14] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];
