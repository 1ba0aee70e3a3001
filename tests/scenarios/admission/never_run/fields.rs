//! Random fields of Pods and containers: security contexts, volumes, probes, ports, scheduling, accounts. Most are
//! admitted somewhere, some nowhere.

use serde_json::{Value, json};

use super::generate::Random;

/// Parts of a Pod's spec, as YAML.
const OF_PODS: [&str; 44] = [
    "hostNetwork: true",
    "hostNetwork: false",
    "hostPID: true",
    "hostIPC: true",
    "hostUsers: false",
    "hostUsers: true",
    "shareProcessNamespace: true",
    "securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}",
    "securityContext: {runAsNonRoot: true}",
    "securityContext: {runAsNonRoot: false}",
    "securityContext: {runAsUser: 0}",
    "securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, supplementalGroups: [1, 2]}",
    "securityContext: {seccompProfile: {type: Unconfined}}",
    "securityContext: {seccompProfile: {type: Localhost, localhostProfile: p.json}}",
    "securityContext: {appArmorProfile: {type: Unconfined}}",
    "securityContext: {appArmorProfile: {type: RuntimeDefault}}",
    "securityContext: {seLinuxOptions: {type: container_t}}",
    "securityContext: {seLinuxOptions: {type: spc_t}}",
    "securityContext: {seLinuxOptions: {user: system_u}}",
    "securityContext: {seLinuxOptions: {role: object_r}}",
    "securityContext: {seLinuxOptions: {level: 's0:c1,c2'}}",
    "securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}",
    "securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: '1'}]}",
    "securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}",
    "securityContext: {windowsOptions: {hostProcess: true}}",
    "securityContext: {fsGroupChangePolicy: OnRootMismatch, fsGroup: 5}",
    "os: {name: linux}",
    "os: {name: windows}",
    "nodeName: n1",
    "nodeSelector: {disk: ssd}",
    "schedulerName: other",
    "priorityClassName: system-cluster-critical",
    "priorityClassName: absent",
    "runtimeClassName: absent",
    "tolerations: [{operator: Exists}]",
    "tolerations: [{key: a, operator: Equal, value: b, effect: NoSchedule}]",
    "serviceAccountName: default",
    "serviceAccountName: absent",
    "automountServiceAccountToken: false",
    "imagePullSecrets: [{name: absent}]",
    "hostAliases: [{ip: 127.0.0.1, hostnames: [a]}]",
    "dnsPolicy: None",
    "terminationGracePeriodSeconds: 5",
    "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}",
];

/// Parts of a container, as YAML.
const OF_CONTAINERS: [&str; 40] = [
    "securityContext: {privileged: true}",
    "securityContext: {privileged: false}",
    "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
    "securityContext: {allowPrivilegeEscalation: true}",
    "securityContext: {capabilities: {add: [NET_BIND_SERVICE], drop: [ALL]}}",
    "securityContext: {capabilities: {add: [SYS_ADMIN]}}",
    "securityContext: {capabilities: {add: [CHOWN]}}",
    "securityContext: {procMount: Default}",
    "securityContext: {procMount: Unmasked}",
    "securityContext: {runAsNonRoot: true}",
    "securityContext: {runAsNonRoot: false}",
    "securityContext: {runAsUser: 0}",
    "securityContext: {runAsUser: 1000}",
    "securityContext: {readOnlyRootFilesystem: true}",
    "securityContext: {seccompProfile: {type: RuntimeDefault}}",
    "securityContext: {seccompProfile: {type: Unconfined}}",
    "securityContext: {appArmorProfile: {type: Unconfined}}",
    "securityContext: {appArmorProfile: {type: Localhost, localhostProfile: p}}",
    "securityContext: {seLinuxOptions: {type: container_init_t}}",
    "securityContext: {seLinuxOptions: {type: spc_t}}",
    "securityContext: {windowsOptions: {hostProcess: true}}",
    "livenessProbe: {httpGet: {port: 80}}",
    "livenessProbe: {httpGet: {port: 80, host: 10.0.0.1}}",
    "livenessProbe: {httpGet: {port: 80, host: 127.0.0.1}}",
    "livenessProbe: {tcpSocket: {port: 80, host: example.com}}",
    "lifecycle: {preStop: {httpGet: {port: 80, host: 10.0.0.1}}}",
    "lifecycle: {postStart: {exec: {command: ['true']}}}",
    "ports: [{containerPort: 80}]",
    "ports: [{containerPort: 80, hostPort: 80}]",
    "ports: [{containerPort: 80, hostPort: 0}]",
    "ports: [{containerPort: 80, hostIP: 10.0.0.1}]",
    "env: [{name: A, value: '1'}, {name: B, value: $(CODEXK8S_RUN_ID)}]",
    "env: [{name: CODEXK8S_RUN_ID, value: other}]",
    "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: a}}}]",
    "envFrom: [{configMapRef: {name: absent}}]",
    "imagePullPolicy: Always",
    "stdin: true",
    "workingDir: /tmp",
    "terminationMessagePolicy: FallbackToLogsOnError",
];

/// Sources of volumes, as YAML.
const VOLUMES: [&str; 16] = [
    "emptyDir: {}",
    "emptyDir: {medium: Memory, sizeLimit: 10Mi}",
    "configMap: {name: absent}",
    "secret: {secretName: absent}",
    "downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.labels}}]}",
    "persistentVolumeClaim: {claimName: absent}",
    "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}",
    "projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}",
    "projected: {sources: [{serviceAccountToken: {path: token, audience: other}}]}",
    "projected: {sources: [{configMap: {name: absent}}]}",
    "hostPath: {path: /}",
    "nfs: {server: 10.0.0.1, path: /}",
    "csi: {driver: example.com}",
    "image: {reference: 'busybox:1.36'}",
    "gitRepo: {repository: 'https://example.com/a'}",
    "iscsi: {targetPortal: '10.0.0.1', iqn: 'iqn.2001-04.com.example:a', lun: 0}",
];

/// Annotations of a Pod.
const ANNOTATIONS: [(&str, &str); 4] = [
    ("container.apparmor.security.beta.kubernetes.io/c0", "unconfined"),
    ("container.apparmor.security.beta.kubernetes.io/c0", "runtime/default"),
    ("kubernetes.io/limit-ranger", "by hand"),
    ("example.com/note", "seen"),
];

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Sets some fields of a Pod's spec.
pub(super) fn of_pod(random: &mut Random, spec: &mut Value) {
    if random.percent(60) {
        json_patch::merge(spec, &yaml(OF_PODS[7]));
    }
    for _ in 0..random.below(2) + random.below(2) {
        json_patch::merge(spec, &yaml(random.pick::<&str>(&OF_PODS)));
    }
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for index in 0..random.below(2) + random.below(2) {
        let mut volume = yaml(random.pick::<&str>(&VOLUMES));
        let name = format!("v{index}");
        mounts.push(json!({"name": name, "mountPath": format!("/{name}")}));
        volume["name"] = name.into();
        volumes.push(volume);
    }
    spec["containers"][0]["volumeMounts"] = mounts.into();
    spec["volumes"] = volumes.into();
}

/// Sets some fields of a container.
pub(super) fn of_container(random: &mut Random, container: &mut Value) {
    if random.percent(70) {
        json_patch::merge(container, &yaml(OF_CONTAINERS[2]));
    }
    for _ in 0..random.below(2) + random.below(2) {
        json_patch::merge(container, &yaml(random.pick::<&str>(&OF_CONTAINERS)));
    }
}

/// Returns the annotations of a Pod.
pub(super) fn annotations(random: &mut Random) -> Value {
    let mut annotations = json!({});
    if random.percent(10) {
        let (key, value) = *random.pick(&ANNOTATIONS);
        annotations[key] = value.into();
    }
    annotations
}
