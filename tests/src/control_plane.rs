//! A control plane for tests.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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
/// The common name of the client certificate that the API server presents to webhooks, if it presents one.
pub const CALLER: &str = "kube-apiserver-webhooks";
/// The file of the CA of that client certificate, which exists only if the API server presents one.
pub const CALLERS_AUTHORITY: &str = "callers-ca.crt";
/// The file of the AdmissionConfiguration of the API server, if there is one.
const ADMISSION: &str = "admission.yaml";
/// The address of the Service `kubernetes`, the first of the service network.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The address of the Service `kubernetes` of a control plane on IPv6.
const SERVICE_ON_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1);

/// The place that a control plane runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// On the loopback interface of this machine, without nodes.
    Machine,
    /// Like `Machine`, on IPv6 alone.
    MachineOnIpv6,
    /// In the namespaces of a [node](crate::node).
    Node,
}

impl Host {
    const fn loopback(self) -> IpAddr {
        match self {
            Self::Machine | Self::Node => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::MachineOnIpv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    const fn service(self) -> IpAddr {
        match self {
            Self::Machine | Self::Node => IpAddr::V4(SERVICE),
            Self::MachineOnIpv6 => IpAddr::V6(SERVICE_ON_IPV6),
        }
    }

    const fn service_network(self) -> &'static str {
        match self {
            Self::Machine | Self::Node => "10.0.0.0/24",
            Self::MachineOnIpv6 => "fd00:10::/112",
        }
    }
}

/// A running control plane with a CA of its own, RBAC and all controllers. It ends when it is dropped, or with this
/// process.
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
    /// Starts a control plane and waits until it is ready, which takes some seconds. `playground` is the executable of
    /// that name, which supervises the processes; integration tests have its path in `CARGO_BIN_EXE_playground`.
    ///
    /// # Errors
    /// Returns an error if a program cannot be found, built or started, or is not ready in time; with the end of its
    /// log.
    pub fn start(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// Like [`start`](Self::start), with all programs and the service network on IPv6 alone.
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
    pub fn start_on_ipv6(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::MachineOnIpv6)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// Like [`start`](Self::start), with every request of the admin in the audit log, including reads and the requests
    /// of the `ServiceAccounts`, which the admin impersonates.
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
    pub fn start_audited(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        let policy = AUDIT_POLICY.replace("users: [auditor]", "users: [auditor, admin]");
        fs::write(control_plane.folder().join("audit-policy.yaml"), policy)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// Like [`start`](Self::start), with the audit policy of the documentation, whose log can be replayed.
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
    pub fn start_logged(playground: &Path) -> anyhow::Result<Self> {
        let control_plane = Self::prepare(playground, Host::Machine)?;
        fs::write(control_plane.folder().join("audit-policy.yaml"), DOCUMENTED_AUDIT_POLICY)?;
        control_plane.start_programs()?;
        Ok(control_plane)
    }

    /// Like [`start`](Self::start), with an API server that presents a client certificate to webhooks, with the name
    /// [`CALLER`] and from the CA in [`CALLERS_AUTHORITY`].
    ///
    /// # Errors
    /// Returns an error like [`start`](Self::start).
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

    /// Prepares the files of a control plane without starting its programs.
    pub(crate) fn prepare(playground: &Path, host: Host) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let folder = tempfile::Builder::new().prefix("control-plane-").tempdir()?;
        let supervisor = match host {
            Host::Machine | Host::MachineOnIpv6 => Supervisor::start(playground, Some(folder.path())),
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

    /// Starts the programs and waits until they are ready.
    pub(crate) fn start_programs(&self) -> anyhow::Result<()> {
        self.start_etcd()?;
        self.start_api_server()?;
        self.start_controller_manager()?;
        self.await_ready(
            "kube-controller-manager",
            &["get", "serviceaccount/default", "configmap/kube-root-ca.crt", "--namespace", "default"],
        )
    }

    /// Returns the loopback port of the API server.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the loopback address of the API server.
    pub const fn address(&self) -> SocketAddr {
        self.at(self.port)
    }

    /// Returns the loopback address with a port.
    pub const fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host.loopback(), port)
    }

    /// Returns the folder of its files, which is removed when it ends.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process id of the supervisor.
    pub fn supervisor_id(&self) -> u32 {
        self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner).id()
    }

    /// Runs another program under the same supervisor. Its output is written to `<name>.log`.
    ///
    /// # Errors
    /// Returns an error if the supervisor has ended.
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

    /// Returns the last lines of a program's log.
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
        server.addresses.push(self.host.service());
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
            (format!("http://{}", self.at(client)), format!("http://{}", self.at(peer)));
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

    /// Returns the process of kube-apiserver.
    ///
    /// # Errors
    /// Returns an error if it is not running.
    pub fn api_server(&self) -> anyhow::Result<Process> {
        Process::started_with(&format!("--secure-port={}", self.port))
    }

    /// Kills the API server. All other programs keep running.
    ///
    /// # Errors
    /// Returns an error if it is not running.
    pub fn kill_api_server(&self) -> anyhow::Result<()> {
        let process = self.api_server()?;
        process.signal("KILL")?;
        eventually("kube-apiserver has ended", TIMEOUT, || (!process.is_running()).then_some(()))?;
        // The sockets of a process are closed after its memory is gone, and a restart needs the port.
        let is_free = || TcpListener::bind(self.address()).is_ok().then_some(());
        eventually("kube-apiserver's port is free", TIMEOUT, is_free)
    }

    /// Starts the API server with the data in etcd, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn start_api_server(&self) -> anyhow::Result<()> {
        let mut args = vec![
            format!("--etcd-servers=http://{}", self.at(self.etcd)),
            format!("--secure-port={}", self.port),
            "--allow-privileged=true".to_owned(),
            format!("--service-cluster-ip-range={}", self.host.service_network()),
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
            Host::Machine | Host::MachineOnIpv6 => vec![
                format!("--bind-address={}", self.host.loopback()),
                // Of the family of the service network. Nothing calls it.
                format!("--advertise-address={}", self.host.service()),
                "--endpoint-reconciler-type=none".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                // Plug-ins that are off by default and that write into Pods before any webhook is called.
                "--enable-admission-plugins=ExtendedResourceToleration,PodTolerationRestriction".to_owned(),
            ],
            // Pods call the API server as well, and it calls the kubelet.
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
            format!("--bind-address={}", self.host.loopback()),
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
        // A program that gave up logs it, so that the wait can end early.
        let gave_up = || self.log_tail(program).contains("command failed");
        let ready = || kubectl.run(question).is_ok_and(|ran| ran.succeeded());
        let answer = eventually(&format!("{program} is ready"), TIMEOUT, || {
            if ready() { Some(true) } else { gave_up().then_some(false) }
        });
        anyhow::ensure!(
            answer.unwrap_or(false),
            "{program} did not become ready; its log ends with:\n{}",
            self.log_tail(program)
        );
        Ok(())
    }

    /// Returns a kubectl with an identity.
    ///
    /// # Errors
    /// Returns an error if its kubeconfig cannot be written.
    pub fn kubectl(&self, identity: &Identity) -> anyhow::Result<Kubectl> {
        Ok(Kubectl {
            program: self.binaries.path("kubectl"),
            kubeconfig: self.kubeconfig(identity)?,
            home: self.folder().join("home"),
        })
    }

    /// Returns the kubeconfig file of an identity, which is written if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn kubeconfig(&self, identity: &Identity) -> anyhow::Result<PathBuf> {
        let path = self.folder().join(identity.file_name());
        if !path.exists() {
            // JSON is valid YAML. The file is written under another name and moved, because tests run concurrently.
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
                "server": format!("https://{}", self.address()),
                "certificate-authority-data": BASE64.encode(&self.authority.pem().certificate),
            }}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }))
    }

    /// Returns a client with an identity. It is bound to the runtime that it is created in.
    ///
    /// # Errors
    /// Returns an error if its configuration cannot be created.
    pub async fn client(&self, identity: &Identity) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(self.client_config(identity).await?)?)
    }

    /// Returns the configuration of such a client.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub async fn client_config(&self, identity: &Identity) -> anyhow::Result<kube::Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(identity)?)?;
        Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// Returns the file of the audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join("audit.jsonl")
    }

    /// Returns the events of the audit log so far.
    pub fn audit_events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_log()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Formats the audit events about a namespace, one per line, for the message of a failed test.
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

/// Returns a port that was free a moment ago, below the ephemeral ports that the kernel assigns to clients. So a server
/// that is restarted finds its port free.
///
/// # Errors
/// Returns an error if no port is free.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that start at the same time start with different ports.
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

/// The audit policy to use for `replay`.
const DOCUMENTED_AUDIT_POLICY: &str = include_str!("../../docs/operations/audit-policy.yaml");

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
