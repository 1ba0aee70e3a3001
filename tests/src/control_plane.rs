//! A control plane of one's own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_certs::{Authority, KeyPairPem, Leaf};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::eventually::eventually;
use crate::identity::{EVERY_ACCOUNT, Identity};
use crate::kubectl::Kubectl;
use crate::process::Process;
use crate::supervisor::{Program, Supervisor};

const TIMEOUT: Duration = Duration::from_mins(1);
/// The common name that the API server shows webhooks, if it shows them one.
pub const CALLER: &str = "kube-apiserver-webhooks";
/// The file of the authority that vouches for that; it is there if the API server shows one.
pub const CALLERS_AUTHORITY: &str = "callers-ca.crt";
/// What the API server is told about admission, if anything.
const ADMISSION: &str = "admission.yaml";
/// The address of the Service `kubernetes`: the first of the Services' network.
const SERVICE: [u8; 4] = [10, 0, 0, 1];

/// Where a control plane runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// On this machine's loopback, without nodes.
    Machine,
    /// In the namespaces of a [node](crate::node).
    Node,
}

/// A running control plane: its own certificate authority, RBAC on, all controllers running. It ends when it is
/// dropped, or with this process.
#[derive(Debug)]
pub struct ControlPlane {
    supervisor: Mutex<Supervisor>,
    binaries: Binaries,
    authority: Authority,
    port: u16,
    etcd: u16,
    host: Host,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: some seconds. `playground` is the executable of that
    /// name, which supervises the processes; integration tests have it in `CARGO_BIN_EXE_playground`.
    ///
    /// # Errors
    /// If a program cannot be found, built or started, or is not ready in time; with the end of its log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// As [`start`](Self::start), with every request of the admin in the audit log, those that only read as well: and
    /// with them those of the `ServiceAccounts`, as whom the admin speaks.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_audited(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        let policy = AUDIT_POLICY.replace("users: [auditor]", "users: [auditor, admin]");
        fs::write(control_plane.folder().join("audit-policy.yaml"), policy)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// As [`start`](Self::start), whose API server shows webhooks a client certificate: of the name [`CALLER`], and of the
    /// authority in [`CALLERS_AUTHORITY`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_caller(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        let pair = control_plane.authority.issue(Timestamp::now(), &Leaf::of_client(CALLER, &[]))?;
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": {
            "client-certificate-data": BASE64.encode(pair.certificate),
            "client-key-data": BASE64.encode(pair.key),
        }}]});
        let write = |name: &str, text: String| fs::write(control_plane.folder().join(name), text);
        write("webhooks.kubeconfig", kubeconfig.to_string())?;
        let plugin = |name: &str| {
            json!({"name": name, "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": control_plane.file("webhooks.kubeconfig"),
            }})
        };
        let plugins = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"].map(plugin);
        let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": plugins});
        write(ADMISSION, configuration.to_string())?;
        write(CALLERS_AUTHORITY, control_plane.authority.pem().certificate.clone())?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// One that has all that its programs need, and whose programs are not started.
    pub(crate) fn prepare(playground: &Path, host: Host) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir()?;
        let supervisor = match host {
            Host::Machine => Supervisor::start(playground, Some(folder.path())),
            Host::Node => Supervisor::start_in_node(playground, folder.path()),
        };
        let control_plane = Self {
            supervisor: Mutex::new(supervisor?),
            binaries: Binaries::find()?,
            authority: Authority::generate(now, "control-plane")?,
            port: free_port()?,
            etcd: free_port()?,
            host,
            folder,
        };
        control_plane.write_files(now)?;
        Ok(control_plane)
    }

    /// Starts its programs, and waits until they are ready.
    pub(crate) fn start_programs(&self) -> anyhow::Result<()> {
        self.start_etcd()?;
        self.start_api_server()?;
        self.start_controller_manager()?;
        self.await_ready(
            "kube-controller-manager",
            &["get", "serviceaccount/default", "configmap/kube-root-ca.crt", "--namespace", "default"],
        )
    }

    /// The port of loopback at which the API server is reached.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files, which goes when it ends.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of its supervisor.
    pub fn supervisor_id(&self) -> u32 {
        self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).id()
    }

    /// Runs another program under the same supervision; its output goes to `<name>.log`.
    ///
    /// # Errors
    /// If the supervisor has gone.
    pub fn run(
        &self,
        name: &str,
        path: PathBuf,
        args: Vec<String>,
        env: Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        let program = Program { name: name.to_owned(), path, args, env, log: self.log_file(name) };
        self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).run(&program)
    }

    /// The last lines of a program's log.
    pub fn log_tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log_file(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }

    fn write_files(&self, now: Timestamp) -> anyhow::Result<()> {
        let write = |name: &str, text: &str| fs::write(self.folder().join(name), text);
        write("ca.crt", &self.authority.pem().certificate)?;
        let mut server = Leaf::of_loopback();
        server.dns_names.push("kubernetes.default.svc".to_owned());
        server.addresses.push(SERVICE.into());
        let kubelet_client = Leaf::of_client("kube-apiserver", &["system:masters"]);
        for (name, leaf) in
            [("server", server), ("service-account", Leaf::of_loopback()), ("kubelet-client", kubelet_client)]
        {
            let KeyPairPem { certificate, key } = self.authority.issue(now, &leaf)?;
            write(&format!("{name}.crt"), &certificate)?;
            write(&format!("{name}.key"), &key)?;
        }
        write("audit-policy.yaml", AUDIT_POLICY)?;
        fs::create_dir_all(self.folder().join("home"))?;
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    fn start_etcd(&self) -> anyhow::Result<()> {
        let (client, peer) = (self.etcd, free_port()?);
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let args = vec![
            format!("--data-dir={}", self.file("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            "--log-level=warn".to_owned(),
        ];
        self.run("etcd", self.binaries.path("etcd"), args, Vec::new())
    }

    /// The process of kube-apiserver.
    ///
    /// # Errors
    /// If it does not run.
    pub fn api_server(&self) -> anyhow::Result<Process> {
        Process::started_with(&format!("--secure-port={}", self.port))
    }

    /// Kills the API server; everything else goes on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill_api_server(&self) -> anyhow::Result<()> {
        let process = self.api_server()?;
        process.signal("KILL")?;
        eventually("kube-apiserver has ended", TIMEOUT, || (!process.is_running()).then_some(()))?;
        // Its memory goes before its sockets do, and whoever starts it anew needs the port.
        let is_free = || TcpListener::bind(("127.0.0.1", self.port)).is_ok().then_some(());
        eventually("kube-apiserver's port is free", TIMEOUT, is_free)
    }

    /// Starts the API server, on what etcd has kept, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not get ready; with the end of its log.
    pub fn start_api_server(&self) -> anyhow::Result<()> {
        let mut args = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd),
            format!("--secure-port={}", self.port),
            "--allow-privileged=true".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--client-ca-file={}", self.file("ca.crt")),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("service-account.crt")),
            format!("--service-account-signing-key-file={}", self.file("service-account.key")),
            format!("--audit-policy-file={}", self.file("audit-policy.yaml")),
            format!("--audit-log-path={}", self.file("audit.jsonl")),
            format!("--cert-dir={}", self.file("api-server")),
        ];
        if self.folder().join(ADMISSION).exists() {
            args.push(format!("--admission-control-config-file={}", self.file(ADMISSION)));
        }
        args.extend(match self.host {
            Host::Machine => vec![
                "--bind-address=127.0.0.1".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
            ],
            // Pods call it as well, and it calls kubelet.
            Host::Node => vec![
                format!("--advertise-address={}", crate::node::ADDRESS),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                format!("--kubelet-client-certificate={}", self.file("kubelet-client.crt")),
                format!("--kubelet-client-key={}", self.file("kubelet-client.key")),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ],
        });
        self.run("kube-apiserver", self.binaries.path("kube-apiserver"), args, Vec::new())?;
        self.await_ready("kube-apiserver", &["get", "--raw", "/readyz"])
    }

    fn start_controller_manager(&self) -> anyhow::Result<()> {
        let identity = Identity::user("system:kube-controller-manager");
        let kubeconfig = self.kubeconfig(&identity)?.display().to_string();
        let args = [
            format!("--kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_port()?),
            "--use-service-account-credentials".to_owned(),
            format!("--service-account-private-key-file={}", self.file("service-account.key")),
            format!("--root-ca-file={}", self.file("ca.crt")),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            format!("--cert-dir={}", self.file("controller-manager")),
        ];
        self.run(
            "kube-controller-manager",
            self.binaries.path("kube-controller-manager"),
            args.to_vec(),
            Vec::new(),
        )
    }

    fn await_ready(&self, program: &str, question: &[&str]) -> anyhow::Result<()> {
        let kubectl = self.kubectl(&Identity::Admin)?;
        // A program that gave up says so in its log: nobody waits for it then.
        let gave_up = || self.log_tail(program).contains("command failed");
        let ready = || kubectl.run(question).is_ok_and(|ran| ran.succeeded());
        let answer = eventually(&format!("{program} is ready"), TIMEOUT, || {
            if ready() { Some(true) } else { gave_up().then_some(false) }
        });
        anyhow::ensure!(
            answer.unwrap_or(false),
            "{program} does not get ready; its log ends with:\n{}",
            self.log_tail(program)
        );
        Ok(())
    }

    /// A kubectl that speaks as an identity.
    ///
    /// # Errors
    /// If its kubeconfig cannot be written.
    pub fn kubectl(&self, identity: &Identity) -> anyhow::Result<Kubectl> {
        Ok(Kubectl {
            program: self.binaries.path("kubectl"),
            kubeconfig: self.kubeconfig(identity)?,
            home: self.folder().join("home"),
        })
    }

    /// A kubeconfig file of an identity.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn kubeconfig(&self, identity: &Identity) -> anyhow::Result<PathBuf> {
        let path = self.folder().join(identity.file_name());
        if !path.exists() {
            // JSON is YAML. Written beside and moved, for tests that ask at once.
            let unfinished = tempfile::NamedTempFile::new_in(self.folder())?;
            fs::write(unfinished.path(), serde_json::to_vec_pretty(&self.kubeconfig_value(identity)?)?)?;
            unfinished.persist(&path)?;
        }
        Ok(path)
    }

    fn kubeconfig_value(&self, identity: &Identity) -> anyhow::Result<Value> {
        let leaf = match identity {
            Identity::User { name, groups } => {
                Leaf::of_client(name, &groups.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Identity::Admin | Identity::ServiceAccount { .. } => {
                Leaf::of_client("admin", &["system:masters"])
            }
        };
        let pair = self.authority.issue(Timestamp::now(), &leaf)?;
        let mut user = json!({
            "client-certificate-data": BASE64.encode(pair.certificate),
            "client-key-data": BASE64.encode(pair.key),
        });
        if let (Identity::ServiceAccount { namespace, name }, Some(user)) = (identity, user.as_object_mut()) {
            user.insert("as".to_owned(), format!("system:serviceaccount:{namespace}:{name}").into());
            let groups = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
                EVERY_ACCOUNT.to_owned(),
            ];
            user.insert("as-groups".to_owned(), groups.to_vec().into());
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority-data": BASE64.encode(&self.authority.pem().certificate),
            }}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }))
    }

    /// A client that speaks as an identity. It belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// If its configuration cannot be made.
    pub async fn client(&self, identity: &Identity) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(self.client_config(identity).await?)?)
    }

    /// The configuration of such a client.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn client_config(&self, identity: &Identity) -> anyhow::Result<kube::Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(identity)?)?;
        Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// The audit log so far, an event each.
    pub fn audit_events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder().join("audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What the audit log says about a namespace, a line each: for a test that fails.
    pub fn audit_about(&self, namespace: &str) -> String {
        let about = |event: &Value| {
            event.pointer("/objectRef").is_some_and(|object| {
                [object.get("namespace"), object.get("name")].iter().flatten().any(|name| *name == namespace)
            })
        };
        let line = |event: &Value| {
            let text = |path: &str| {
                event.pointer(path).map_or_else(String::new, |value| value.to_string().replace('"', ""))
            };
            format!(
                "{} {} {}/{} -> {} {}",
                text("/user/username"),
                text("/verb"),
                text("/objectRef/resource"),
                text("/objectRef/name"),
                text("/responseStatus/code"),
                text("/annotations"),
            )
        };
        self.audit_events().iter().filter(|event| about(event)).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A port that was free a moment ago, and that no connection takes by itself: below those that the kernel gives to
/// clients. A server that is started anew finds its port free then.
///
/// # Errors
/// If there is none.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that begin at once begin at different ports.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(next)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  users: [auditor]
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - group: coordination.k8s.io
  - group: ''
    resources: [events]
- level: Metadata
";
