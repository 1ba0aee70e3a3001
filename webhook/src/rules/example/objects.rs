//! The objects from which the examples start. The rules admit each of them, if the right user creates it.

use serde_json::Value;

/// A valid object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A run namespace as a person writes it, with only a name.
    NewNamespace,
    /// A run namespace as it is stored.
    RunNamespace,
    /// A slot that is not managed yet.
    BareSlot,
    /// A namespace that is not managed.
    OtherNamespace,
    /// A Job.
    Job,
    /// A Job that meets the Pod Security level `restricted`.
    HardenedJob,
    /// A `CronJob`.
    CronJob,
    /// A Pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A Binding of a Pod to a node.
    Binding,
    /// A ServiceAccount that is not part of the baseline.
    ServiceAccount,
    /// A Role that is not part of the baseline.
    Role,
    /// A RoleBinding that is not part of the baseline.
    RoleBinding,
    /// A `ClusterRole` that is bound to all users.
    ClusterRole,
    /// A `ClusterRoleBinding`.
    ClusterRoleBinding,
    /// The ResourceQuota of the baseline.
    ResourceQuota,
    /// A LimitRange that is not part of the baseline.
    LimitRange,
    /// A Secret.
    Secret,
    /// A request for a ServiceAccount's token.
    TokenRequest,
}

impl Object {
    /// All objects.
    pub const ALL: [Self; 19] = [
        Self::NewNamespace,
        Self::RunNamespace,
        Self::BareSlot,
        Self::OtherNamespace,
        Self::Job,
        Self::HardenedJob,
        Self::CronJob,
        Self::Pod,
        Self::Deployment,
        Self::Binding,
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ClusterRole,
        Self::ClusterRoleBinding,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::Secret,
        Self::TokenRequest,
    ];

    /// Returns the object as YAML.
    pub const fn yaml(self) -> &'static str {
        match self {
            Self::NewNamespace => NEW_NAMESPACE,
            Self::RunNamespace => RUN_NAMESPACE,
            Self::BareSlot => BARE_SLOT,
            Self::OtherNamespace => OTHER_NAMESPACE,
            Self::Job => JOB,
            Self::HardenedJob => HARDENED_JOB,
            Self::CronJob => CRON_JOB,
            Self::Pod => POD,
            Self::Deployment => DEPLOYMENT,
            Self::Binding => BINDING,
            Self::ServiceAccount => SERVICE_ACCOUNT,
            Self::Role => ROLE,
            Self::RoleBinding => ROLE_BINDING,
            Self::ClusterRole => CLUSTER_ROLE,
            Self::ClusterRoleBinding => CLUSTER_ROLE_BINDING,
            Self::ResourceQuota => RESOURCE_QUOTA,
            Self::LimitRange => LIMIT_RANGE,
            Self::Secret => SECRET,
            Self::TokenRequest => TOKEN_REQUEST,
        }
    }

    /// Returns the object's name for the documentation.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NewNamespace => "new namespace",
            Self::RunNamespace => "run namespace",
            Self::BareSlot => "bare slot",
            Self::OtherNamespace => "other namespace",
            Self::Job => "Job",
            Self::HardenedJob => "hardened Job",
            Self::CronJob => "CronJob",
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::Binding => "Binding",
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ClusterRole => "ClusterRole",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::ResourceQuota => "ResourceQuota",
            Self::LimitRange => "LimitRange",
            Self::Secret => "Secret",
            Self::TokenRequest => "TokenRequest",
        }
    }

    /// Returns the object.
    pub(crate) fn value(self) -> Value {
        super::read(self.yaml())
    }
}

const NEW_NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: codex-issue-nightly
";

const RUN_NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: codex-issue-7
  creationTimestamp: 2026-02-01T08:00:00Z
  labels:
    codex-k8s.dev/managed-by: codex-k8s-worker
    codex-k8s.dev/namespace-purpose: run
    codex-k8s.dev/runtime-mode: full-env
    codex-k8s.dev/run-id: r1
    codex-k8s.dev/project-id: p1
    pod-security.kubernetes.io/enforce: baseline
    pod-security.kubernetes.io/audit: restricted
  annotations:
    codex-k8s.dev/requested-by: jane
    codex-k8s.dev/correlation-id: r1
    codex-k8s.dev/namespace-lease-ttl: 24h0m0s
    codex-k8s.dev/namespace-lease-expires-at: 2026-02-02T08:00:00Z
    codex-k8s.dev/namespace-lease-updated-at: 2026-02-01T08:00:00Z
    codex-k8s.dev/baseline-ready-at: 2026-02-01T08:00:01Z
spec:
  finalizers: [kubernetes]
";

const BARE_SLOT: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: codex-k8s-dev-1
";

const OTHER_NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: payments
";

const JOB: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: unit-tests
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: tests
          image: busybox:1.36
";

const HARDENED_JOB: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: unit-tests
spec:
  template:
    spec:
      restartPolicy: Never
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: tests
          image: busybox:1.36
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: [ALL]
";

const CRON_JOB: &str = "\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: 0 2 * * *
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: tests
              image: busybox:1.36
";

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: shell
spec:
  containers:
    - name: shell
      image: busybox:1.36
";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      serviceAccountName: codex-runner
      containers:
        - name: web
          image: busybox:1.36
";

const BINDING: &str = "\
apiVersion: v1
kind: Binding
metadata:
  name: shell
target:
  apiVersion: v1
  kind: Node
  name: node-1
";

const SERVICE_ACCOUNT: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: builder
";

const ROLE: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reader
rules:
  - apiGroups: ['']
    resources: [pods]
    verbs: [get]
";

const ROLE_BINDING: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reader
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: codex-runner-readonly
subjects:
  - kind: ServiceAccount
    name: default
    namespace: codex-issue-7
";

const CLUSTER_ROLE: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: system:discovery
rules:
  - nonResourceURLs: [/api, /api/*]
    verbs: [get]
";

const CLUSTER_ROLE_BINDING: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: deployers
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: view
subjects:
  - kind: ServiceAccount
    name: deployer
    namespace: payments
";

const RESOURCE_QUOTA: &str = "\
apiVersion: v1
kind: ResourceQuota
metadata:
  name: codex-run-quota
spec:
  hard:
    pods: '20'
";

const LIMIT_RANGE: &str = "\
apiVersion: v1
kind: LimitRange
metadata:
  name: small
spec:
  limits:
    - type: Container
      default:
        cpu: 100m
";

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: api-key
type: Opaque
";

const TOKEN_REQUEST: &str = "\
apiVersion: authentication.k8s.io/v1
kind: TokenRequest
metadata:
  name: codex-runner
spec:
  audiences: []
  expirationSeconds: 3600
";
