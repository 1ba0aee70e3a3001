//! An installation as an operator makes it: first the certificate controller, then two servers with the mounted leaf,
//! then the registration, without a caBundle.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::load::Dialer;
use codex_k8s_tests::{Answer, Caller, ControlPlane, Identity, Reconciler, Webhook, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
pub(crate) const AUTHORITY: &str = "codex-k8s-webhook-ca";
pub(crate) const LEAF: &str = "codex-k8s-webhook-tls";
const KINDS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// The path of a Secret.
pub(crate) fn secret(name: &str) -> String {
    format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/secrets/{name}")
}

/// The path of a webhook configuration.
pub(crate) fn configuration(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}/{INSTALL_NAMESPACE}")
}

pub(crate) struct Installation {
    pub(crate) control_plane: ControlPlane,
    pub(crate) servers: [Webhook; 2],
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) caller: Caller,
    mount: PathBuf,
}

/// The installation, for one test at a time.
pub(crate) struct Turn {
    pub(crate) at: &'static Installation,
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn installation() -> Turn {
    static SHARED: OnceLock<Installation> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Turn { at: SHARED.get_or_init(Installation::new), _turn: turn }
}

impl Installation {
    fn new() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        prepare(&control_plane);
        let caller = runtime().block_on(Caller::new(&control_plane, &Identity::Admin)).unwrap();
        let addresses = [(); 2].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap())));
        let reconciler = start_reconciler(&control_plane, addresses, &[]);
        let mount = control_plane.folder().join("mounted");
        follow(&control_plane, mount.clone());
        eventually("the leaf is mounted", TIMEOUT, || mount.join("tls.key").exists().then_some(())).unwrap();
        let servers = [("first", addresses[0]), ("second", addresses[1])]
            .map(|(name, address)| start_server(&control_plane, &mount, name, address));
        let installation = Self { control_plane, servers, addresses, caller, mount };
        installation.register();
        installation.await_whole();
        reconciler.process.signal("TERM").unwrap();
        installation
    }

    /// Registers as the chart does: without a caBundle, which the reconciler fills in.
    pub(crate) fn register(&self) {
        let printed = Command::new(playground())
            .args(["guard", "register", "--print", "--url", &format!("https://{}", self.addresses[0])])
            .output()
            .unwrap();
        let kubectl = self.control_plane.kubectl(&Identity::Admin).unwrap();
        let manifests = String::from_utf8(printed.stdout).unwrap();
        let applied = kubectl.run_with_input(&["apply", "-f", "-"], &manifests).unwrap();
        assert!(applied.succeeded(), "{applied}");
    }

    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        runtime().block_on(self.caller.send(method, path, body)).unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).object().unwrap()
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) {
        self.send(Method::PATCH, path, body).object().unwrap();
    }

    /// A part of a Secret; empty if it is missing.
    pub(crate) fn part(&self, name: &str, key: &str) -> String {
        let answer = self.send(Method::GET, &secret(name), &Value::Null);
        let encoded = answer.body["data"][key].as_str().unwrap_or_default();
        String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap()
    }

    /// Starts another reconciler that manages the certificates.
    pub(crate) fn reconcile(&self, args: &[&str]) -> RunningReconciler {
        RunningReconciler(start_reconciler(&self.control_plane, self.addresses, args))
    }

    /// Runs a reconciler until it dies at a point.
    #[track_caller]
    pub(crate) fn die(&self, point: &str) -> Output {
        let kubeconfig = self.control_plane.kubeconfig(&Identity::reconciler()).unwrap();
        Command::new(playground())
            .args(["guard", "reconcile", "--health-listen=127.0.0.1:0"])
            .args(keeping(self.addresses))
            .env("KUBECONFIG", kubeconfig)
            .env("CODEX_K8S_FAULT", format!("{point}:{INSTALL_NAMESPACE}"))
            .output()
            .unwrap()
    }

    /// Requests the rotation of the certificate in a Secret.
    pub(crate) fn ask(&self, name: &str) {
        self.patch(&secret(name), &json!({"metadata": {"annotations": {"codex-k8s.dev/rotate": "now"}}}));
    }

    /// The distinct caBundles of both configurations.
    pub(crate) fn bundles(&self) -> Vec<String> {
        let decode = |webhook: &Value| {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            String::from_utf8(BASE64.decode(bundle).unwrap()).unwrap()
        };
        let mut all: Vec<_> = KINDS
            .iter()
            .flat_map(|kind| {
                let found = self.get(&configuration(kind));
                found["webhooks"].as_array().unwrap().iter().map(decode).collect::<Vec<_>>()
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Returns true if one authority is trusted by every webhook and no other; both servers serve its leaf, and are
    /// ready.
    fn is_whole(&self) -> bool {
        let authority = self.part(AUTHORITY, "ca.crt");
        let serves = |address: &SocketAddr| {
            let dialer = Dialer::trusting(authority.as_bytes());
            dialer.is_ok_and(|dialer| runtime().block_on(dialer.connect(*address)).is_ok())
        };
        self.part(AUTHORITY, "previous.crt").is_empty()
            && self.bundles() == [authority.clone()]
            && self.addresses.iter().all(serves)
            && self.servers.iter().all(|server| server.health.is_ready())
            && refuses(&self.send(Method::POST, BAD.0, &bad()))
    }

    #[track_caller]
    pub(crate) fn await_whole(&self) {
        let whole = eventually("the certificates are whole", TIMEOUT, || self.is_whole().then_some(()));
        whole.unwrap_or_else(|error| {
            panic!(
                "{error}\nreconciler: {}\nserver: {}",
                self.control_plane.log_tail("reconciler"),
                self.control_plane.log_tail("first")
            )
        });
    }

    /// The requests that the API server has admitted without a call of our webhook.
    pub(crate) fn failed_open(&self) -> String {
        let metrics = self.send(Method::GET, "/metrics", &Value::Null).body;
        let lines = metrics.as_str().unwrap_or_default().lines();
        lines.filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count")).collect()
    }

    /// Starts a server with a mounted folder of its own.
    pub(crate) fn start_server(&self, name: &str, mount: &Path) -> Webhook {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        start_server(&self.control_plane, mount, name, address)
    }

    pub(crate) fn mount(&self) -> &Path {
        &self.mount
    }
}

/// A certificate controller that ends with its test.
pub(crate) struct RunningReconciler(pub(crate) Reconciler);

impl Drop for RunningReconciler {
    fn drop(&mut self) {
        let _ = self.0.process.signal("TERM");
        let _ =
            eventually("the reconciler has ended", TIMEOUT, || (!self.0.process.is_running()).then_some(()));
    }
}

/// Creates our namespace, with exactly the rights of `deploy/base`.
fn prepare(control_plane: &ControlPlane) {
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    assert!(kubectl.run(&["create", "namespace", INSTALL_NAMESPACE]).unwrap().succeeded());
    let texts = [
        include_str!("../../../deploy/base/reconcile.yaml"),
        include_str!("../../../deploy/base/serve.yaml"),
    ];
    let objects: Vec<Value> =
        texts.iter().flat_map(|text| serde_saphyr::from_multiple::<Value>(text).unwrap()).collect();
    let rights: Vec<_> =
        objects.into_iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1").collect();
    assert_eq!(rights.len(), 6);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string();
    let applied = kubectl.run_with_input(&["apply", "-f", "-"], &list).unwrap();
    assert!(applied.succeeded(), "{applied}");
}

fn keeping(addresses: [SocketAddr; 2]) -> Vec<String> {
    let mut args = vec![
        "--no-leader-election".to_owned(),
        "--certificates".to_owned(),
        format!("--webhook-url=https://{}", addresses[0]),
        "--propagation=2s".to_owned(),
        "--authority-linger=2s".to_owned(),
        "--certificate-interval=500ms".to_owned(),
    ];
    args.extend(addresses.map(|address| format!("--replica={address}")));
    args
}

fn start_reconciler(control_plane: &ControlPlane, addresses: [SocketAddr; 2], args: &[&str]) -> Reconciler {
    let mut all = keeping(addresses);
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    Reconciler::start(control_plane, playground(), "reconciler", &Identity::reconciler(), &all).unwrap()
}

fn start_server(control_plane: &ControlPlane, mount: &Path, name: &str, address: SocketAddr) -> Webhook {
    let file = |name: &str| mount.join(name).display().to_string();
    let args = [
        format!("--listen={address}"),
        format!("--tls-cert={}", file("tls.crt")),
        format!("--tls-key={}", file("tls.key")),
        format!("--verify-ca-bundle-of={INSTALL_NAMESPACE}"),
        "--reload-interval=200ms".to_owned(),
    ];
    Webhook::start(control_plane, playground(), name, &args).unwrap()
}

/// Does kubelet's work: writes the leaf's Secret into a folder whenever it changes.
fn follow(control_plane: &ControlPlane, mount: PathBuf) {
    fs::create_dir_all(&mount).unwrap();
    let caller = runtime().block_on(Caller::new(control_plane, &Identity::Admin)).unwrap();
    std::thread::spawn(move || {
        let mut seen = Value::Null;
        // It ends with the test's process, and idles once the control plane is gone.
        loop {
            let answer = runtime().block_on(caller.send(Method::GET, &secret(LEAF), &Value::Null));
            if let Some(data) =
                answer.ok().map(|answer| answer.body["data"].clone()).filter(|data| !data.is_null())
                && data != seen
            {
                let pem = |key: &str| BASE64.decode(data[key].as_str().unwrap_or_default()).unwrap();
                publish(&mount, &pem("tls.crt"), &pem("tls.key"));
                seen = data;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Swaps the link `..data`, as kubelet does.
pub(crate) fn publish(mount: &Path, certificate: &[u8], key: &[u8]) {
    static GENERATION: AtomicU32 = AtomicU32::new(0);
    let generation = format!("..{}", GENERATION.fetch_add(1, Ordering::Relaxed));
    let data = mount.join(&generation);
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("tls.crt"), certificate).unwrap();
    fs::write(data.join("tls.key"), key).unwrap();
    symlink(&generation, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{name}"), mount.join(name));
    }
}

/// A request that our webhook refuses in any case: if its certificate is not trusted, the error is a different one.
pub(crate) const BAD: (&str, &str) = (
    "/api/v1/namespaces?dryRun=All",
    "admission webhook \"namespaces.guard.codex-k8s.dev\" denied the request",
);

pub(crate) fn bad() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "codex-issue-probe", "labels": {"codex-k8s.dev/probe": "known-bad"}}})
}

pub(crate) fn refuses(answer: &Answer) -> bool {
    answer.code == 403 && answer.message().contains(BAD.1)
}

/// Requests that go through kube-apiserver to the webhook, until they are stopped.
pub(crate) struct Load {
    enough: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<(u32, Vec<String>)>>,
    begun: std::time::Instant,
}

impl Load {
    pub(crate) fn start(installation: &Installation) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let clients = (0..4).map(|_| {
            let caller =
                runtime().block_on(Caller::new(&installation.control_plane, &Identity::Admin)).unwrap();
            let enough = Arc::clone(&enough);
            std::thread::spawn(move || {
                let (mut sent, mut failures) = (0, Vec::new());
                while !enough.load(Ordering::Relaxed) {
                    match runtime().block_on(caller.send(Method::POST, BAD.0, &bad())) {
                        Ok(answer) if refuses(&answer) => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    sent += 1;
                }
                (sent, failures)
            })
        });
        Self { clients: clients.collect(), enough, begun: std::time::Instant::now() }
    }

    /// Stops it, and prints how many requests there were. None may have failed.
    #[track_caller]
    pub(crate) fn end(self, what: &str) {
        self.enough.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.clients.into_iter().map(|client| client.join().unwrap()).collect();
        let sent: u32 = ended.iter().map(|(sent, _)| sent).sum();
        let failures: Vec<_> = ended.into_iter().flat_map(|(_, failures)| failures).collect();
        let seconds = self.begun.elapsed().as_secs_f64();
        println!(
            "{what}: {} of {sent} requests failed, {:.0} a second",
            failures.len(),
            f64::from(sent) / seconds
        );
        assert_eq!(failures, [""; 0]);
        assert!(sent > 100, "{sent} requests");
    }
}
