//! The host: what Pod Security would refuse only when the Pod fails is named when the Job is created.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::{Context, Workload};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::{at, is_true, items, text};
use crate::rules::report::{Report, quoted};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "JOB017",
        title: "No container is privileged",
        why: "A privileged container is root on its node, and from there in the cluster.",
        remedy: "Leave securityContext.privileged out, on init and ephemeral containers too.",
        default_mode: Mode::Enforce,
        check: Check::Workload { judge: nothing_is_privileged, mend: None },
    },
    Rule {
        id: "JOB018",
        title: "A workload stays out of the host's namespaces and ports",
        why: "On the host's network a Pod speaks as the node; among the host's processes it can look into all.",
        remedy: "Leave hostNetwork, hostPID, hostIPC and hostPort out.",
        default_mode: Mode::Enforce,
        check: Check::Workload { judge: host_namespaces_are_left, mend: None },
    },
    Rule {
        id: "JOB019",
        title: "A workload mounts nothing of the host",
        why: "The host's files hold the node's keys and every other Pod's data.",
        remedy: "Use an emptyDir, a ConfigMap or a PersistentVolumeClaim.",
        default_mode: Mode::Enforce,
        check: Check::Workload { judge: host_paths_are_left, mend: None },
    },
    Rule {
        id: "JOB020",
        title: "Kernel protections stay on",
        why: "Added capabilities and switched-off profiles are the usual ways out of a container.",
        remedy: "Add no capability beyond the default ones; leave seccomp, AppArmor, procMount and sysctls alone.",
        default_mode: Mode::Enforce,
        check: Check::Workload { judge: protections_stay_on, mend: None },
    },
];

/// The capabilities that a container has anyway: Pod Security's `baseline` lets them be added by name.
const DEFAULT_CAPABILITIES: [&str; 13] = [
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
            report.forbid(path, "true", "expected false or nothing");
        }
        if hosts_process(security) {
            let path = container.field(workload, "securityContext.windowsOptions.hostProcess");
            report.forbid(path, "true", "expected false or nothing");
        }
    }
    if hosts_process(workload.pod_spec().and_then(|spec| at(spec, &["securityContext"]))) {
        let path = workload.pod_field("securityContext.windowsOptions.hostProcess");
        report.forbid(path, "true", "expected false or nothing");
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
            report.forbid(workload.pod_field(field), "true", "expected false or nothing");
        }
    }
    if is_true(spec, "hostNetwork") {
        // The API server has copied every containerPort to hostPort: the one finding above says it all.
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

fn host_paths_are_left(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let volumes = items(workload.pod_spec().and_then(|spec| spec.get("volumes")));
    for (index, volume) in volumes.enumerate() {
        if let Some(host) = at(volume, &["hostPath"]) {
            let found = quoted(text(host, "path").unwrap_or_default());
            report.forbid(
                workload.pod_field(&format!("volumes[{index}].hostPath")),
                found,
                "host paths are not mounted",
            );
        }
    }
}

fn protections_stay_on(_: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    annotated_profiles_stay_on(workload, report);
    let Some(spec) = workload.pod_spec() else { return };
    if let Some(security) = at(spec, &["securityContext"]) {
        check_profiles(security, |field| workload.pod_field(&format!("securityContext.{field}")), report);
        for (index, sysctl) in items(security.get("sysctls")).enumerate() {
            let path = workload.pod_field(&format!("securityContext.sysctls[{index}]"));
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
            report.forbid(path("procMount"), quoted(mount), "expected \"Default\" or nothing");
        }
    }
}

/// The old spelling: on a Pod the API server turns it into the field, in a template it stands until the Pod is made.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn annotated_profiles_stay_on(workload: &Workload<'_>, report: &mut Report) {
    let Some(holder) = workload.holders().last() else { return };
    for (key, value) in workload.meta_at(holder).annotations() {
        if key.starts_with(APP_ARMOR) && value.as_str() == Some("unconfined") {
            let path = format!("{}metadata.annotations[\"{key}\"]", super::dotted(holder));
            report.forbid(path, quoted("unconfined"), "leave it out");
        }
    }
}

fn check_profiles(security: &Value, path: impl Fn(&str) -> String, report: &mut Report) {
    for profile in ["seccompProfile", "appArmorProfile"] {
        let kind = at(security, &[profile]).and_then(|profile| text(profile, "type"));
        if kind == Some("Unconfined") {
            report.forbid(path(&format!("{profile}.type")), quoted("Unconfined"), "leave it out");
        }
    }
}
