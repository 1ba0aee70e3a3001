//! The controls of the level `restricted`.

use serde_json::Value;

use super::baseline::{added_capabilities, proc_mounts, profiles};
use super::control::{Control, describe};
use super::pod::{Pod, Violations};
use crate::rules::object::{at, items};
use crate::rules::report::{clean, quoted, quoted_or_nothing};
use crate::rules::workload::examples::pod_security as examples;
use crate::rules::workload::subject::{Check, Validate};

pub(in crate::rules::workload) const CHECKS: &[Check] = &[
    Check::new(&PSS013.rule, Validate::State(|c, w, r| PSS013.validate(c, w, r))).about_privileges(),
    Check::new(&PSS014.rule, Validate::State(|c, w, r| PSS014.validate(c, w, r))).about_privileges(),
    Check::new(&PSS015.rule, Validate::State(|c, w, r| PSS015.validate(c, w, r))).about_privileges(),
    Check::new(&PSS016.rule, Validate::State(|c, w, r| PSS016.validate(c, w, r))).about_privileges(),
    Check::new(&PSS017.rule, Validate::State(|c, w, r| PSS017.validate(c, w, r))).about_privileges(),
    Check::new(&PSS018.rule, Validate::State(|c, w, r| PSS018.validate(c, w, r))).about_privileges(),
    Check::new(&PSS019.rule, Validate::State(|c, w, r| PSS019.validate(c, w, r))).about_privileges(),
];

static PSS013: Control = Control::restricted(
    "restrictedVolumes",
    describe(
        "PSS013",
        "Pod Security restrictedVolumes: only volume types that reach nothing of the host",
        "The API server refuses the Pods, so their workload never runs.",
        "Use an emptyDir, a ConfigMap or a PersistentVolumeClaim, or another type that the control allows.",
        examples::PSS013,
    ),
    volume_types,
);

static PSS014: Control = Control::restricted(
    "allowPrivilegeEscalation",
    describe(
        "PSS014",
        "Pod Security allowPrivilegeEscalation: no process gains more privileges than its parent",
        "The API server refuses the Pods, so their workload never runs.",
        "Set securityContext.allowPrivilegeEscalation to false in each container.",
        examples::PSS014,
    ),
    |pod, violations| {
        if !pod.is_for_windows() {
            privilege_escalation(pod, violations);
        }
    },
)
.since(8);

static PSS015: Control = Control::restricted(
    "runAsNonRoot",
    describe(
        "PSS015",
        "Pod Security runAsNonRoot: containers must run as a user other than root",
        "The API server refuses the Pods, so their workload never runs.",
        "Set securityContext.runAsNonRoot to true, for the Pod or for each container. Since 1.35, Pods with \
         hostUsers: false need not.",
        examples::PSS015,
    ),
    |pod, violations| {
        if !pod.has_own_users() {
            root_users(pod, violations);
        }
    },
);

static PSS016: Control = Control::restricted(
    "runAsUser",
    describe(
        "PSS016",
        "Pod Security runAsUser: no user id is 0",
        "The API server refuses the Pods, so their workload never runs.",
        "Leave securityContext.runAsUser out, or set another id. Since 1.35, Pods with hostUsers: false may set 0.",
        examples::PSS016,
    ),
    |pod, violations| {
        let is_root = |context: &Value| context.get("runAsUser").and_then(Value::as_i64) == Some(0);
        for context in pod.contexts().filter(|context| !pod.has_own_users() && is_root(context.value)) {
            violations.of_context(context, "runAsUser", "0", "must be another id or unset");
        }
    },
)
.since(23);

static PSS017: Control = Control::restricted(
    "capabilities_restricted",
    describe(
        "PSS017",
        "Pod Security capabilities_restricted: all capabilities are dropped",
        "The API server refuses the Pods, so their workload never runs.",
        "Drop ALL capabilities in each container, and add at most NET_BIND_SERVICE.",
        examples::PSS017,
    ),
    |pod, violations| {
        if !pod.is_for_windows() {
            dropped_capabilities(pod, violations);
            added_capabilities(pod, violations, &["NET_BIND_SERVICE"], "must be \"NET_BIND_SERVICE\"");
        }
    },
)
.since(22);

static PSS018: Control = Control::restricted(
    "seccompProfile_restricted",
    describe(
        "PSS018",
        "Pod Security seccompProfile_restricted: each container has a seccomp profile",
        "The API server refuses the Pods, so their workload never runs.",
        "Set the type of securityContext.seccompProfile to RuntimeDefault or Localhost, for the Pod or for each \
         container.",
        examples::PSS018,
    ),
    |pod, violations| {
        if !pod.is_for_windows() {
            profiles(pod, violations, "seccompProfile");
            missing_profiles(pod, violations);
        }
    },
)
.since(19);

static PSS019: Control = Control::restricted(
    "procMount_restricted",
    describe(
        "PSS019",
        "Pod Security procMount_restricted: /proc is masked",
        "The API server refuses the Pods, so their workload never runs.",
        "Leave procMount out, also in Pods with hostUsers: false.",
        examples::PSS019,
    ),
    proc_mounts,
)
.since(35);

/// The volume types that the level allows.
const VOLUME_TYPES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volume_types(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    for (index, volume) in pod.volumes().enumerate() {
        let sources = volume.as_object().into_iter().flatten().filter(|(_, source)| !source.is_null());
        for (kind, _) in sources.filter(|(key, _)| *key != "name" && !VOLUME_TYPES.contains(&key.as_str())) {
            let field = format!("volumes[{index}].{}", clean(kind));
            let remedy = format!("must be {}", VOLUME_TYPES.join(" or "));
            violations.of_spec(&field, "a volume of this type", &remedy);
        }
    }
}

fn privilege_escalation(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    for container in pod.containers() {
        match at(container.value, &["securityContext", "allowPrivilegeEscalation"]).and_then(Value::as_bool) {
            Some(false) => {}
            found => {
                let found = found.map_or_else(|| quoted_or_nothing(None), |found| found.to_string());
                violations.of_container(
                    container,
                    "securityContext.allowPrivilegeEscalation",
                    found,
                    "must be false",
                );
            }
        }
    }
}

fn root_users(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    const REMEDY: &str = "must be true, here or for the whole Pod";
    let is_non_root = |context: &Value| context.get("runAsNonRoot").and_then(Value::as_bool);
    let of_pod = pod.security().and_then(|context| is_non_root(context.value));
    for context in pod.contexts().filter(|context| is_non_root(context.value) == Some(false)) {
        violations.of_context(context, "runAsNonRoot", "false", "must be true");
    }
    // The finding about the Pod is enough for the containers that depend on it.
    for container in pod.containers().filter(|_| of_pod.is_none()) {
        if at(container.value, &["securityContext"]).and_then(is_non_root).is_none() {
            violations.of_container(
                container,
                "securityContext.runAsNonRoot",
                quoted_or_nothing(None),
                REMEDY,
            );
        }
    }
}

fn dropped_capabilities(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    for container in pod.containers() {
        let dropped = || items(at(container.value, &["securityContext", "capabilities", "drop"]));
        let mut names = dropped().filter_map(Value::as_str);
        if !names.any(|name| name == "ALL") {
            let found: Vec<_> = dropped().filter_map(Value::as_str).collect();
            let found = (!found.is_empty()).then(|| found.join(", "));
            let found = found.map_or_else(|| quoted_or_nothing(None), |found| quoted(&found));
            violations.of_container(
                container,
                "securityContext.capabilities.drop",
                found,
                "must contain \"ALL\"",
            );
        }
    }
}

/// Reports containers without a seccomp profile in a Pod without one. A profile of another type is reported apart.
fn missing_profiles(pod: &Pod<'_>, violations: &mut Violations<'_, '_>) {
    let profile = |context: &Value| at(context, &["seccompProfile"]).is_some();
    if pod.security().is_some_and(|context| profile(context.value)) {
        return;
    }
    for container in pod.containers() {
        if !at(container.value, &["securityContext"]).is_some_and(profile) {
            let remedy = "must be \"RuntimeDefault\" or \"Localhost\", here or for the whole Pod";
            violations.of_container(
                container,
                "securityContext.seccompProfile.type",
                quoted_or_nothing(None),
                remedy,
            );
        }
    }
}
