//! The part of a kubelet that a command in a Job needs: it runs the Pods of Jobs as processes of this machine, with their
//! arguments, variables and volumes, and serves their logs to the API server.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Router, routing};
use axum_server::tls_rustls::RustlsConfig;
use codex_k8s_certs::{Authority, Leaf};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::control_plane::ControlPlane;
use crate::identity::Identity;
use crate::process::Process;

/// The interval between reads of the Pods.
const INTERVAL: Duration = Duration::from_millis(100);
/// The labels of the garbage collector's Pods that belong to Jobs. The Jobs of helm's hooks are not run.
const OF_JOBS: &str = "batch.kubernetes.io/job-name,app.kubernetes.io/name=codex-k8s-gc";

/// The lines of a container, and its end.
#[derive(Debug, Default)]
struct Log {
    text: Vec<u8>,
    has_ended: bool,
}

/// The logs by the names of the Pods.
type Logs = Arc<Mutex<BTreeMap<String, watch::Sender<Log>>>>;

/// A node of one machine. It ends when it is dropped.
pub struct Kubelet {
    // Its tasks end with it.
    _runtime: Runtime,
    folder: TempDir,
}

/// The state that the tasks share.
#[derive(Clone)]
struct Node {
    caller: Caller,
    name: String,
    logs: Logs,
    folder: PathBuf,
    playground: PathBuf,
    kubeconfig: PathBuf,
    variables: Vec<(String, String)>,
}

impl Kubelet {
    /// Registers a node. The program of its Pods is ours, with the rights of an identity and additional variables.
    ///
    /// # Errors
    /// Returns an error if it cannot listen, or the node cannot be registered.
    pub fn start(
        control_plane: &ControlPlane,
        playground: &FilePath,
        identity: &Identity,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let node = Node {
            caller: runtime.block_on(Caller::new(control_plane, &Identity::Admin))?,
            // Tests that share a control plane have a node each.
            name: format!("node{}", folder.path().display()).to_lowercase().replace(['/', '.'], "-"),
            logs: Logs::default(),
            folder: folder.path().to_owned(),
            playground: playground.to_owned(),
            kubeconfig: control_plane.kubeconfig(identity)?,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        runtime.block_on(node.register(port))?;
        let tls = runtime.block_on(certificate())?;
        let app = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", routing::get(serve_log))
            .with_state(Arc::clone(&node.logs));
        runtime.spawn(async move {
            let server = axum_server::from_tcp_rustls(listener, tls)?;
            server.serve(app.into_make_service()).await
        });
        runtime.spawn(node.follow());
        Ok(Self { _runtime: runtime, folder })
    }

    /// Returns the folder of a claim.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub fn volume(&self, claim: &str) -> anyhow::Result<PathBuf> {
        volume(self.folder.path(), claim)
    }
}

/// Returns the folder of a `ConfigMap` or a claim, which is created if it does not exist.
fn volume(folder: &FilePath, name: &str) -> anyhow::Result<PathBuf> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

async fn certificate() -> anyhow::Result<RustlsConfig> {
    let now = Timestamp::now();
    let pair = Authority::generate(now, "kubelet")?.issue(now, &Leaf::of_loopback())?;
    // The default provider of this process may be set already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(RustlsConfig::from_pem(pair.certificate.into_bytes(), pair.key.into_bytes()).await?)
}

impl Node {
    async fn register(&self, port: u16) -> anyhow::Result<()> {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}});
        self.caller.send(Method::POST, "/api/v1/nodes", &node).await?.object()?;
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
        let path = format!("/api/v1/nodes/{}/status", self.name);
        self.caller.send(Method::PATCH, &path, &status).await?.object().context("failed to register")?;
        Ok(())
    }

    /// Starts the Pods of Jobs, and ends those that are being deleted.
    async fn follow(self) {
        let mut running = BTreeMap::<String, Process>::new();
        loop {
            let path = format!("/api/v1/pods?labelSelector={OF_JOBS}");
            if let Ok(listed) = self.caller.send(Method::GET, &path, &Value::Null).await {
                for pod in listed.body["items"].as_array().into_iter().flatten() {
                    self.advance(pod, &mut running).await;
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn advance(&self, pod: &Value, running: &mut BTreeMap<String, Process>) {
        let (name, path) = (text(pod, "name"), path(pod));
        let is_deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        if is_deleted && let Some(process) = running.get(&name) {
            if process.is_running() {
                // It may end at the same time.
                let _ = process.signal("TERM");
                return;
            }
            let now = json!({"gracePeriodSeconds": 0});
            let _ = self.caller.send(Method::DELETE, &path, &now).await;
        }
        if is_deleted || pod["spec"]["nodeName"].is_string() {
            return;
        }
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name}});
        let bound = self.caller.send(Method::POST, &format!("{path}/binding"), &binding).await;
        if !bound.is_ok_and(|answer| answer.is_ok()) {
            return;
        }
        match self.run(pod).await {
            Ok(process) => drop(running.insert(name, process)),
            Err(error) => {
                self.report(
                    pod,
                    "Failed",
                    &json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": error.to_string()}}),
                )
                .await;
            }
        }
    }

    /// Starts the process of a Pod, and reports its end.
    async fn run(&self, pod: &Value) -> anyhow::Result<Process> {
        let mut command = self.command(pod).await?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let process = Process::of_child(&child);
        let (log, _) = watch::channel(Log::default());
        self.logs().insert(text(pod, "name"), log.clone());
        self.report(pod, "Running", &json!({"running": {"startedAt": Timestamp::now().to_string()}})).await;
        let (node, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let ended = tokio::task::spawn_blocking(move || {
                let code = copy(&mut child, &log);
                log.send_modify(|log| log.has_ended = true);
                code
            });
            let code = ended.await.unwrap_or(128);
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            node.report(&pod, phase, &json!({"terminated": {"exitCode": code}})).await;
        });
        Ok(process)
    }

    /// The process of a Pod's only container. Its mounts are folders, whose paths replace those in the container.
    async fn command(&self, pod: &Value) -> anyhow::Result<Command> {
        let container = &pod["spec"]["containers"][0];
        let mut mounts = Vec::new();
        for mount in items(container, "volumeMounts") {
            let found = items(&pod["spec"], "volumes").find(|volume| volume["name"] == mount["name"]);
            if let Some(folder) = self.folder_of(pod, found.unwrap_or(&Value::Null)).await? {
                mounts.push((mount["mountPath"].as_str().unwrap_or_default(), folder.display().to_string()));
            }
        }
        let replaced = |text: &str| {
            mounts.iter().fold(text.to_owned(), |text, (path, folder)| {
                text.replace(&format!("{path}/"), &format!("{folder}/"))
            })
        };
        let mut command = Command::new(&self.playground);
        command.arg("guard").env_clear().env("KUBECONFIG", &self.kubeconfig);
        command.args(items(container, "args").filter_map(|arg| arg.as_str().map(replaced)));
        for variable in items(container, "env") {
            let value = match (&variable["value"], &variable["valueFrom"]["fieldRef"]["fieldPath"]) {
                (Value::String(value), _) => replaced(value),
                (_, Value::String(path)) => text(pod, path.trim_start_matches("metadata.")),
                _ => continue,
            };
            command.env(variable["name"].as_str().unwrap_or_default(), value);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// The folder of a volume: a claim, or a `ConfigMap` with its data. The token of the `ServiceAccount` is not mounted.
    async fn folder_of(&self, pod: &Value, found: &Value) -> anyhow::Result<Option<PathBuf>> {
        let Some(name) = found["configMap"]["name"].as_str() else {
            let claim = found["persistentVolumeClaim"]["claimName"].as_str();
            return claim.map(|claim| volume(&self.folder, claim)).transpose();
        };
        let folder = volume(&self.folder, name)?;
        let path = format!("/api/v1/namespaces/{}/configmaps/{name}", text(pod, "namespace"));
        let stored = self.caller.send(Method::GET, &path, &Value::Null).await?.object()?;
        for (file, data) in stored["data"].as_object().into_iter().flatten() {
            std::fs::write(folder.join(file), data.as_str().unwrap_or_default())?;
        }
        Ok(Some(folder))
    }

    async fn report(&self, pod: &Value, phase: &str, state: &Value) {
        let container = &pod["spec"]["containers"][0];
        let status = json!({"status": {"phase": phase, "containerStatuses": [{"name": container["name"],
            "image": container["image"], "imageID": "", "ready": phase == "Running", "restartCount": 0, "state": state}]}});
        // The Pod may be gone.
        let _ = self.caller.send(Method::PATCH, &format!("{}/status", path(pod)), &status).await;
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, watch::Sender<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(pod: &Value, field: &str) -> String {
    pod["metadata"][field].as_str().unwrap_or_default().to_owned()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

fn path(pod: &Value) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", text(pod, "namespace"), text(pod, "name"))
}

/// Copies both streams of a process to its log, line by line as a container runtime does. Returns its exit code.
fn copy(child: &mut Child, log: &watch::Sender<Log>) -> i32 {
    std::thread::scope(|scope| {
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            scope.spawn(move || {
                let (mut stream, mut line) = (BufReader::new(stream), Vec::new());
                while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                    log.send_modify(|log| log.text.append(&mut line));
                }
            });
        }
    });
    let code = child.wait().ok().and_then(|status| status.code());
    code.unwrap_or(137)
}

async fn serve_log(
    State(logs): State<Logs>,
    Path((_, pod, _)): Path<(String, String, String)>,
) -> impl IntoResponse {
    let found = logs.lock().unwrap_or_else(PoisonError::into_inner).get(&pod).map(watch::Sender::subscribe);
    let Some(log) = found else { return (StatusCode::NOT_FOUND, Body::empty()) };
    let parts = futures::stream::unfold((log, 0), |(mut log, from)| async move {
        let part = {
            let found = log.wait_for(|log| log.text.len() > from || log.has_ended).await.ok()?;
            Bytes::copy_from_slice(found.text.get(from..)?)
        };
        let end = from + part.len();
        (!part.is_empty()).then_some((Ok::<_, std::convert::Infallible>(part), (log, end)))
    });
    (StatusCode::OK, Body::from_stream(parts))
}
