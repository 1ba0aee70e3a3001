//! Run namespaces in any state, sweeps over them, and the rows that these leave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::audit::{Actor, AuditStore, Event, EventType, Filter, Payload, Row, Store};
use codex_k8s_tests::control_plane::free_port;
use codex_k8s_tests::process::Process;
use codex_k8s_tests::{Caller, ControlPlane, Health, Identity, eventually};
use http::Method;
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);
pub(crate) const INSTALL_NAMESPACE: &str = "codex-k8s-guard";

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// Polls until there is an answer.
#[track_caller]
pub(crate) fn soon<T>(what: &str, answer: impl FnMut() -> Option<T>) -> T {
    eventually(what, TIMEOUT, answer).unwrap()
}

/// A name that no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-g{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A control plane that tests use in turn, one at a time, because a sweep covers the whole of it.
struct Shared {
    control_plane: OnceLock<ControlPlane>,
    turn: Mutex<()>,
}

impl Shared {
    const fn new() -> Self {
        Self { control_plane: OnceLock::new(), turn: Mutex::new(()) }
    }

    /// A control plane, locked for this test.
    fn take() -> (&'static ControlPlane, MutexGuard<'static, ()>) {
        // As many as tests run at a time on two cores; most of the time they wait for the deletion of a namespace.
        static ALL: [Shared; 2] = [const { Shared::new() }; 2];
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let free = ALL.iter().find_map(|shared| Some((shared, shared.turn.try_lock().ok()?)));
        let (shared, turn) = free.unwrap_or_else(|| {
            let shared = &ALL[NEXT.fetch_add(1, Ordering::Relaxed) % ALL.len()];
            (shared, shared.turn.lock().unwrap_or_else(PoisonError::into_inner))
        });
        (shared.control_plane.get_or_init(|| ControlPlane::start(playground()).unwrap()), turn)
    }
}

/// An unguarded control plane, so that any state can be created in it.
pub(crate) struct Cluster {
    pub(crate) control_plane: &'static ControlPlane,
    runtime: Runtime,
    caller: Caller,
    folder: TempDir,
    store: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let (control_plane, turn) = Shared::take();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let caller = runtime.block_on(Caller::new(control_plane, &Identity::Admin)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("audit.db");
        let cluster = Self { control_plane, runtime, caller, folder, store, _turn: turn };
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INSTALL_NAMESPACE}});
        cluster.send(Method::POST, "/api/v1/namespaces", &home);
        // The breaker must not compare with a sweep of another test.
        let note = format!("/api/v1/namespaces/{INSTALL_NAMESPACE}/configmaps/codex-k8s-gc-last-sweep");
        cluster.send(Method::DELETE, &note, &Value::Null);
        cluster
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Locks the store of this test as another program would, until the returned lock is dropped.
    pub(crate) fn lock_store(&self) -> Locked<'_> {
        let address = format!("sqlite://{}", self.store().display());
        let connection = self.runtime.block_on(async {
            let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
            connection
        });
        Locked { cluster: self, connection: Some(connection) }
    }

    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> codex_k8s_tests::Answer {
        self.runtime.block_on(self.caller.send(method, path, body)).unwrap()
    }

    #[track_caller]
    pub(crate) fn create(&self, path: &str, object: &Value) -> Value {
        self.send(Method::POST, path, object).object().unwrap()
    }

    /// Creates namespaces and returns the uid of each.
    #[track_caller]
    pub(crate) fn create_namespace(&self, namespace: &Ns) -> String {
        let created = self.create("/api/v1/namespaces", &namespace.0);
        created["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Changes annotations of a namespace; `null` removes one.
    #[track_caller]
    pub(crate) fn annotate(&self, name: &str, annotations: &Value) {
        let patch = json!({"metadata": {"annotations": annotations}});
        self.send(Method::PATCH, &format!("/api/v1/namespaces/{name}"), &patch).object().unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Option<Value> {
        let answer = self.send(Method::GET, &format!("/api/v1/namespaces/{name}"), &Value::Null);
        (answer.code != 404).then(|| answer.object().unwrap())
    }

    pub(crate) fn lives(&self, name: &str) -> bool {
        self.read(name).is_some_and(|found| found["metadata"]["deletionTimestamp"].is_null())
    }

    /// Deletes a namespace and waits until it is gone.
    pub(crate) fn delete_wholly(&self, name: &str) {
        self.send(Method::DELETE, &format!("/api/v1/namespaces/{name}"), &Value::Null);
        soon(&format!("{name} is gone"), || self.read(name).is_none().then_some(()));
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store of this test.
    pub(crate) fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// Uses the store in another file.
    pub(crate) fn use_store(&mut self, file: PathBuf) {
        self.store = file;
    }

    /// An option for a policy; `text` follows its first two lines.
    pub(crate) fn policy(&self, text: &str) -> String {
        let file = self.file("policy.yaml");
        std::fs::write(&file, format!("apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n{text}"))
            .unwrap();
        format!("--policy={}", file.display())
    }

    /// The file of a policy without any setting.
    fn default_policy(&self) -> PathBuf {
        let file = self.file("default-policy.yaml");
        std::fs::write(&file, "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n").unwrap();
        file
    }

    /// A command of the garbage collector, on this machine with this cluster and store.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(playground());
        command
            .arg("guard")
            .args(args)
            .env("KUBECONFIG", self.control_plane.kubeconfig(&Identity::Admin).unwrap())
            .env("CODEX_K8S_GUARD_LOCAL", "true")
            .env("CODEX_K8S_GUARD_POLICY", self.default_policy())
            .env("CODEX_K8S_GUARD_AUDIT_STORE", format!("sqlite:{}", self.store().display()));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Sweeps, and reads the report.
    #[track_caller]
    pub(crate) fn sweep(&self, args: &[&str]) -> SweepOutcome {
        SweepOutcome::of(&self.run(&[&["sweep", "--output=json"], args].concat()))
    }

    /// Starts a sweep that pauses at a point, and waits until it is there.
    pub(crate) fn pause_sweeps(&self, point: Point, name: &str, args: &[&str]) -> Held<'_> {
        let file = self.file(&unique("go-on"));
        let process = self
            .command(&[&["sweep", "--output=json"], args].concat())
            .env("CODEX_K8S_FAULT", format!("{point}:{name}"))
            .env("CODEX_K8S_FAULT_FILE", &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reached = PathBuf::from(format!("{}.reached", file.display()));
        soon(&format!("{point} is reached"), || reached.exists().then_some(()));
        Held { file, process: Some(process), _cluster: self }
    }

    /// A daemon that sweeps every second; killed when it is dropped.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(&["--schedule=@every 1s"])
    }

    /// A daemon with extra arguments; killed when it is dropped.
    pub(crate) fn daemon_with(&self, args: &[&str]) -> Daemon {
        Daemon::start(self.command(&[&["daemon"], args].concat()))
    }

    /// A daemon whose first sweep pauses at a point, and the file whose creation resumes it.
    pub(crate) fn daemon_with_paused_sweeps(&self, point: Point) -> (Daemon, PathBuf) {
        let file = self.file(&unique("go-on"));
        let mut command = self.command(&["daemon", "--schedule=@every 1s"]);
        command.env("CODEX_K8S_FAULT", format!("{point}:")).env("CODEX_K8S_FAULT_FILE", &file);
        let daemon = Daemon::start(command);
        let reached = PathBuf::from(format!("{}.reached", file.display()));
        soon(&format!("{point} is reached"), || reached.exists().then_some(()));
        (daemon, file)
    }

    /// Runs a sweep that dies at a point.
    #[track_caller]
    pub(crate) fn die(&self, point: Point, name: &str, args: &[&str]) {
        let mut command = self.command(&[&["sweep", "--no-lease"], args].concat());
        let died = command.env("CODEX_K8S_FAULT", format!("{point}:{name}")).output().unwrap();
        assert_eq!(died.status.signal(), Some(6), "{point}: {}", String::from_utf8_lossy(&died.stderr));
    }

    /// Asserts that rows and cluster agree: each intention has one end, each deletion is reported once, and no live
    /// namespace is reported as deleted.
    #[track_caller]
    pub(crate) fn agrees(&self, deleted: &[String]) {
        let rows = self.rows_of(&Filter::default());
        let mut decisions = BTreeMap::<_, Vec<EventType>>::new();
        for row in &rows {
            let payload = &row.event.payload;
            let key = (payload.namespace.clone(), payload.decision_id.clone().unwrap());
            decisions.entry(key).or_default().push(row.event.event_type);
        }
        for (key, events) in &decisions {
            if events.contains(&EventType::CleanupIntended) {
                assert!(events.len() == 2 && events[1].ends_an_intention(), "{key:?}: {events:?}");
            } else {
                assert_eq!(events.len(), 1, "{key:?}: {events:?}");
            }
        }
        for name in deleted {
            let told = decisions
                .iter()
                .filter(|((of, _), events)| of == name && events.contains(&EventType::Cleaned));
            assert_eq!((told.count(), self.read(name)), (1, None), "{name}: {:?}", self.rows(name));
        }
        for row in rows.iter().filter(|row| row.event.event_type == EventType::Cleaned) {
            let payload = &row.event.payload;
            let there = self.read(&payload.namespace);
            let uid = there.and_then(|there| there["metadata"]["uid"].as_str().map(str::to_owned));
            assert_ne!(uid, payload.uid, "{} is told to be gone", payload.namespace);
        }
    }

    pub(crate) fn rows_of(&self, filter: &Filter) -> Vec<Row> {
        let address = format!("sqlite:{}", self.store().display()).parse().unwrap();
        self.runtime.block_on(async {
            let store = AuditStore::open(&address).await.unwrap();
            let rows = store.rows(filter).await.unwrap();
            store.close().await;
            rows
        })
    }

    /// Writes a row as the platform's worker does.
    pub(crate) fn append(&self, event_type: EventType, name: &str) {
        let address = format!("sqlite:{}", self.store().display()).parse().unwrap();
        let event = event(event_type, name);
        self.runtime.block_on(async {
            let store = AuditStore::open(&address).await.unwrap();
            store.append(&event).await.unwrap();
            store.close().await;
        });
    }

    /// The rows of a namespace: what happened, and the reason.
    pub(crate) fn rows(&self, name: &str) -> Vec<(EventType, String)> {
        let filter = Filter { namespace: Some(name.to_owned()), ..Filter::default() };
        let rows = self.rows_of(&filter).into_iter();
        rows.map(|row| (row.event.event_type, row.event.payload.reason.unwrap_or_default())).collect()
    }
}

/// A row as the platform's worker writes it.
pub(crate) fn event(event_type: EventType, name: &str) -> Event {
    let payload = Payload { namespace: name.to_owned(), run_id: format!("run-{name}"), ..Payload::default() };
    let (correlation_id, actor) = ("c".to_owned(), Actor::system("codex-k8s-worker"));
    Event { correlation_id, actor, event_type, payload, created_at: Timestamp::now() }
}

/// A store that another program has locked.
pub(crate) struct Locked<'a> {
    cluster: &'a Cluster,
    connection: Option<sqlx::SqliteConnection>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.cluster.runtime.block_on(connection.close()).unwrap();
        }
    }
}

/// A daemon.
pub(crate) struct Daemon {
    pub(crate) health: Health,
    process: Child,
    listen: String,
}

impl Daemon {
    /// Starts a daemon; the address that it serves at is added to its arguments.
    pub(crate) fn start(mut command: Command) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port().unwrap()).parse().unwrap();
        let listen = format!("--health-listen={address}");
        let process = command.arg(&listen).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { health: Health(address), process, listen }
    }

    /// Sends SIGTERM, and waits until it has exited.
    pub(crate) fn end(self) {
        self.signal();
        self.await_end();
    }

    /// Sends SIGTERM.
    pub(crate) fn signal(&self) {
        Process::started_with(&self.listen).unwrap().signal("TERM").unwrap();
    }

    /// Waits until it has exited.
    pub(crate) fn await_end(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A sweep that is paused at a point.
pub(crate) struct Held<'a> {
    file: PathBuf,
    process: Option<Child>,
    _cluster: &'a Cluster,
}

impl Held<'_> {
    /// Resumes the sweep, and waits for its end.
    pub(crate) fn go_on(mut self) -> SweepOutcome {
        std::fs::write(&self.file, "").unwrap();
        SweepOutcome::of(&self.process.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // A test that fails leaves no process behind.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The result of a sweep.
#[derive(Debug)]
pub(crate) struct SweepOutcome {
    pub(crate) code: i32,
    pub(crate) report: Value,
    pub(crate) told: String,
}

impl SweepOutcome {
    #[track_caller]
    pub(crate) fn of(output: &Output) -> Self {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { code: output.status.code().unwrap_or(-1), report, told }
    }

    pub(crate) fn line(&self, name: &str) -> Option<&Value> {
        self.report["namespaces"].as_array()?.iter().find(|line| line["namespace"] == name)
    }

    /// Verdict and reason of a namespace.
    #[track_caller]
    pub(crate) fn verdict(&self, name: &str) -> (&str, &str) {
        let line = self.line(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        (line["verdict"].as_str().unwrap(), line["reason"].as_str().unwrap())
    }

    /// The outcome for a namespace.
    #[track_caller]
    pub(crate) fn outcome(&self, name: &str) -> &str {
        let line = self.line(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        line["outcome"]["type"].as_str().unwrap_or_default()
    }
}

/// A time this many minutes from now, as the API server writes it.
pub(crate) fn minutes(minutes: i64) -> String {
    let now = Timestamp::now().round(Unit::Second).unwrap();
    now.checked_add(SignedDuration::from_mins(minutes)).unwrap().to_string()
}

/// A namespace to be created.
#[derive(Debug, Clone)]
pub(crate) struct Ns(pub(crate) Value);

impl Ns {
    /// A run namespace whose lease of an hour has ended an hour ago.
    pub(crate) fn expired(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    "codex-k8s.dev/managed-by": "codex-k8s-worker",
                    "codex-k8s.dev/namespace-purpose": "run",
                    "codex-k8s.dev/runtime-mode": "full-env",
                    "codex-k8s.dev/run-id": format!("run-{name}"),
                    "codex-k8s.dev/project-id": "p1",
                },
                "annotations": {
                    "codex-k8s.dev/requested-by": "jane",
                    "codex-k8s.dev/correlation-id": format!("c-{name}"),
                },
            },
        }))
        .lease("1h0m0s", &minutes(-120), &minutes(-60))
    }

    /// A run namespace whose lease lasts another hour.
    pub(crate) fn fresh(name: &str) -> Self {
        Self::expired(name).lease("1h0m0s", &minutes(0), &minutes(60))
    }

    pub(crate) fn lease(self, ttl: &str, updated_at: &str, expires_at: &str) -> Self {
        self.annotation("codex-k8s.dev/namespace-lease-ttl", ttl)
            .annotation("codex-k8s.dev/namespace-lease-updated-at", updated_at)
            .annotation("codex-k8s.dev/namespace-lease-expires-at", expires_at)
    }

    pub(crate) fn annotation(self, key: &str, value: &str) -> Self {
        self.with("annotations", key, value.into())
    }

    pub(crate) fn label(self, key: &str, value: &str) -> Self {
        self.with("labels", key, value.into())
    }

    pub(crate) fn without(self, place: &str, key: &str) -> Self {
        self.with(place, key, Value::Null)
    }

    fn with(mut self, place: &str, key: &str, value: Value) -> Self {
        let map = self.0["metadata"][place].as_object_mut().unwrap();
        if value.is_null() {
            map.remove(key);
        } else {
            map.insert(key.to_owned(), value);
        }
        self
    }
}
