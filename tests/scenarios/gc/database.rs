//! The platform's own PostgreSQL: its runs are part of the decision, its `flow_events` hold our rows, and without it
//! nothing is deleted.

use std::process::Stdio;

use codex_k8s_gc::fault::Point;
use codex_k8s_shared::policy::{Profile, RunPolicy};
use codex_k8s_tests::Postgres;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::harness::{Cluster, Ns, SweepOutcome, playground, unique};

const COLLECTOR: &str = "collector";

/// The platform's database, in which the collector may read the runs, and read and add events.
struct Platform<'a> {
    cluster: &'a Cluster,
    postgres: Postgres,
}

impl<'a> Platform<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let postgres = Postgres::start(playground()).unwrap();
        postgres.create_user(COLLECTOR).unwrap();
        let platform = Self { cluster, postgres };
        platform.create("platform");
        platform
    }

    /// Creates another database of the platform.
    fn create(&self, name: &str) {
        self.postgres.create_platform(name).unwrap();
        let grants = format!(
            "GRANT SELECT ON agent_runs TO {COLLECTOR}; GRANT INSERT, SELECT ON flow_events TO {COLLECTOR}; \
             GRANT USAGE ON SEQUENCE flow_events_id_seq TO {COLLECTOR}; \
             INSERT INTO agent_runs (correlation_id, status) VALUES ('another', 'running')"
        );
        self.postgres.sql(name, &grants).unwrap();
    }

    /// Creates a namespace of a run, which ended an hour ago if it has ended.
    fn namespace(&self, make: fn(&str) -> Ns, status: Option<&str>) -> String {
        let name = unique("codex-issue");
        let run = self.postgres.sql("platform", "SELECT gen_random_uuid()").unwrap();
        if let Some(status) = status {
            let ended = ["succeeded", "failed", "canceled"].contains(&status);
            let finished_at = if ended { "now() - interval '1 hour'" } else { "NULL" };
            let insert = format!(
                "INSERT INTO agent_runs (id, correlation_id, status, finished_at) VALUES ('{run}', '{name}', '{status}', {finished_at})"
            );
            self.postgres.sql("platform", &insert).unwrap();
        }
        self.cluster.create_namespace(&make(&name).label("codex-k8s.dev/run-id", &run));
        name
    }

    fn addresses(&self, database: &str) -> [String; 2] {
        let url = self.postgres.url(COLLECTOR, database);
        [format!("--audit-store={url}"), format!("--runs={url}")]
    }

    fn sweep(&self, args: &[&str]) -> SweepOutcome {
        let [store, runs] = self.addresses("platform");
        self.cluster.sweep(&[&[&*store, &runs], args].concat())
    }

    /// The events of a namespace, as the platform reads them.
    fn events(&self, name: &str) -> Vec<String> {
        let query = format!(
            "SELECT replace(event_type, 'run.namespace.', '') || ' ' || (payload ->> 'reason') FROM flow_events WHERE \
             payload ->> 'namespace' = '{name}' ORDER BY id"
        );
        let told = self.postgres.sql("platform", &query).unwrap();
        told.lines().map(str::to_owned).collect()
    }

    /// Locks a table until the returned lock is dropped.
    fn lock(&self, table: &str) -> Locked<'_> {
        let connection = self.cluster.block_on(async {
            let mut connection = PgConnection::connect(&self.postgres.admin_url("platform")).await.unwrap();
            let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
            connection.execute(AssertSqlSafe(lock)).await.unwrap();
            connection
        });
        Locked { cluster: self.cluster, connection: Some(connection) }
    }

    fn intentions(&self, database: &str) -> String {
        let query = "SELECT count(*) FROM flow_events WHERE event_type LIKE '%intended'";
        self.postgres.sql(database, query).unwrap()
    }
}

/// A table that is locked.
struct Locked<'a> {
    cluster: &'a Cluster,
    connection: Option<PgConnection>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.cluster.block_on(connection.close()).unwrap();
        }
    }
}

#[test]
fn runs_and_retention_decide_with_the_lease_and_rows_go_to_the_platforms_own_table() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let policy = cluster.policy(
        "cleanup: {retention: {fullEnv: {failed: {afterLease: 24h}, succeeded: {afterFinish: 1s}}}}\n",
    );
    let running = platform.namespace(Ns::expired, Some("running"));
    let waiting = platform.namespace(Ns::expired, Some("waiting_backpressure"));
    let unknown = platform.namespace(Ns::expired, None);
    let failed = platform.namespace(Ns::expired, Some("failed"));
    let canceled = platform.namespace(Ns::expired, Some("canceled"));
    let succeeded = platform.namespace(Ns::fresh, Some("succeeded"));
    let lives = platform.namespace(Ns::fresh, Some("running"));
    let swept = platform.sweep(&[&policy]);
    assert_eq!(swept.code, 0, "{}", swept.told);
    for (name, verdict, events) in [
        (&running, ("retain", "active_run_in_db"), &["cleanup_skipped active_run_in_db"][..]),
        (&waiting, ("retain", "active_run_in_db"), &["cleanup_skipped active_run_in_db"]),
        (&unknown, ("retain", "run_unknown_in_db"), &["cleanup_skipped run_unknown_in_db"]),
        (&failed, ("wait", "retained"), &[]),
        (&canceled, ("delete", "ttl_expired"), &["cleanup_intended ttl_expired", "cleaned ttl_expired"]),
        (&succeeded, ("delete", "run_finished"), &["cleanup_intended run_finished", "cleaned run_finished"]),
        (&lives, ("wait", "lease_lives"), &[]),
    ] {
        assert_eq!(swept.verdict(name), verdict);
        assert_eq!(platform.events(name), events, "{verdict:?}");
        assert_eq!(cluster.read(name).is_none(), verdict.0 == "delete", "{verdict:?}");
    }
    let finished = cluster.policy("cleanup: {unknownRun: finished}\n");
    assert_eq!(platform.sweep(&[&finished]).outcome(&unknown), "deleted");
    let [store, runs] = platform.addresses("platform");
    let explained = cluster.run(&["explain", &format!("ns/{running}"), &store, &runs]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.starts_with(&format!("{running}: retained: its run is running\n")), "{explained}");
}

#[test]
fn under_the_profile_of_a_a_full_env_namespace_goes_when_its_run_has_ended() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let cleanup = serde_json::to_string(&RunPolicy::of(Profile::A).cleanup).unwrap();
    // JSON is YAML.
    let policy = cluster.policy(&format!("cleanup: {cleanup}\n"));
    let running = platform.namespace(Ns::fresh, Some("running"));
    let unknown = platform.namespace(Ns::fresh, None);
    let ended = ["succeeded", "failed", "canceled"].map(|status| platform.namespace(Ns::fresh, Some(status)));
    let swept = platform.sweep(&[&policy]);
    assert_eq!(swept.code, 0, "{}", swept.told);
    for name in [&running, &unknown] {
        assert_eq!(swept.verdict(name), ("wait", "lease_lives"));
    }
    for name in &ended {
        assert_eq!(swept.verdict(name), ("delete", "run_finished"));
        assert_eq!(platform.events(name), ["cleanup_intended run_finished", "cleaned run_finished"]);
        assert_eq!(cluster.read(name), None);
    }
}

#[test]
fn sweeps_that_nothing_keeps_apart_write_the_rows_of_one_into_the_platforms_table() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let names: Vec<_> = (0..8).map(|_| platform.namespace(Ns::expired, Some("succeeded"))).collect();
    let [store, runs] = platform.addresses("platform");
    let mut command = cluster.command(&["sweep", "--no-lease", "--output=json", &store, &runs]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let sweeps: Vec<_> = (0..3).map(|_| command.spawn().unwrap()).collect();
    for sweep in sweeps {
        let swept = SweepOutcome::of(&sweep.wait_with_output().unwrap());
        assert_eq!(swept.code, 0, "{}", swept.told);
    }
    for name in &names {
        assert_eq!(platform.events(name), ["cleanup_intended ttl_expired", "cleaned ttl_expired"]);
        assert_eq!(cluster.read(name), None);
    }
}

#[test]
fn a_failover_in_the_middle_of_a_sweep_costs_no_row_and_nothing_is_deleted_without_one() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let names: Vec<_> = (0..8).map(|_| platform.namespace(Ns::expired, Some("succeeded"))).collect();
    let standby = platform.postgres.start_standby().unwrap();
    // Each commit waits for the standby, so that none is lost with the primary.
    for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        platform.postgres.sql("postgres", sql).unwrap();
    }
    let (one, two) = (platform.postgres.port(), standby.port());
    let url = format!(
        "postgres://{COLLECTOR}:{COLLECTOR}@127.0.0.1:{one},127.0.0.1:{two}/platform?target_session_attrs=read-write"
    );
    let addresses = [format!("--audit-store={url}"), format!("--runs={url}")];
    let held = cluster.pause_sweeps(Point::AfterIntended, &names[3], &[&addresses[0], &addresses[1]]);
    platform.postgres.stop().unwrap();
    standby.sql("postgres", "SELECT pg_promote()").unwrap();
    let swept = held.go_on();
    assert_eq!(swept.code, 0, "{}", swept.told);
    for name in &names {
        let rows = format!(
            "SELECT string_agg(event_type, ' ' ORDER BY id) FROM flow_events WHERE payload ->> 'namespace' = '{name}'"
        );
        let rows = standby.sql("platform", &rows).unwrap();
        assert_eq!(rows, "run.namespace.cleanup_intended run.namespace.cleaned", "{name}");
        assert_eq!(cluster.read(name), None);
    }
}

#[test]
fn without_a_database_that_is_whole_nothing_is_deleted_and_each_fault_says_what_it_is() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let name = platform.namespace(Ns::expired, Some("succeeded"));
    let full = "CREATE FUNCTION full_disk() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no space left on device' USING \
                ERRCODE = '53100'; END $$ LANGUAGE plpgsql; CREATE TRIGGER full_disk BEFORE INSERT ON flow_events FOR \
                EACH ROW EXECUTE FUNCTION full_disk()";
    let faults = [
        (
            "read_only",
            "ALTER ROLE collector IN DATABASE read_only SET default_transaction_read_only = on",
            "read-only",
        ),
        ("disk_full", full, "full"),
        ("no_runs", "TRUNCATE agent_runs", "holds no run at all"),
        ("no_table", "DROP TABLE agent_runs", "agent_runs"),
        ("other_form", "ALTER TABLE agent_runs DROP COLUMN status", "status"),
        ("no_events", "DROP TABLE flow_events", "flow_events"),
        ("no_rights", "REVOKE ALL ON flow_events FROM collector", "GRANT"),
    ];
    for (database, fault, told) in faults {
        platform.create(database);
        let copy = "INSERT INTO agent_runs (id, correlation_id, status) VALUES ('{}', 'c', 'succeeded')";
        let id = platform
            .postgres
            .sql("platform", "SELECT id FROM agent_runs WHERE status = 'succeeded'")
            .unwrap();
        platform.postgres.sql(database, &copy.replace("{}", &id)).unwrap();
        platform.postgres.sql(database, fault).unwrap();
        let [store, runs] = platform.addresses(database);
        let swept = cluster.sweep(&[&store, &runs]);
        assert_eq!(swept.code, 5, "{database}: {}", swept.told);
        assert!(
            swept.told.contains(told) && !swept.told.contains(":collector@"),
            "{database}: {}",
            swept.told
        );
        assert!(cluster.lives(&name), "{database}");
        if database != "no_events" {
            assert_eq!(platform.intentions(database), "0", "{database}");
        }
    }
    // Slow: the table is locked for longer than the timeout.
    let locked = platform.lock("flow_events");
    let swept = platform.sweep(&[]);
    assert_eq!(swept.code, 5, "{}", swept.told);
    assert!(cluster.lives(&name), "{}", swept.told);
    drop(locked);
    platform.postgres.stop().unwrap();
    let swept = platform.sweep(&[]);
    assert_eq!(swept.code, 5, "{}", swept.told);
    assert!(cluster.lives(&name));
    platform.postgres.start_again().unwrap();
    assert_eq!(platform.sweep(&[]).outcome(&name), "deleted");
    assert_eq!(platform.events(&name), ["cleanup_intended ttl_expired", "cleaned ttl_expired"]);
}

#[test]
fn a_database_that_knows_none_of_the_runs_trips_the_breaker() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let names: Vec<_> = (0..4).map(|_| platform.namespace(Ns::expired, None)).collect();
    let swept = platform.sweep(&["--allow-mass-deletion=1000"]);
    assert_eq!(swept.code, 3, "{}", swept.told);
    assert_eq!(swept.report["breaker"][0]["code"], "implausible_database", "{}", swept.report["breaker"]);
    assert!(names.iter().all(|name| platform.events(name).is_empty()), "what is wrong is not told");
}

#[test]
fn hostile_values_of_a_namespace_reach_the_platforms_table_as_values_and_nothing_else() {
    let cluster = Cluster::new();
    let platform = Platform::new(&cluster);
    let before = platform.postgres.sql("platform", "SELECT count(*) FROM agent_runs").unwrap();
    let long = "\u{20ac}".repeat(20_000);
    let texts = [
        "'); DELETE FROM flow_events; DROP TABLE agent_runs; --",
        "\"}, \"reason\": \"run_finished\", {\"",
        "a\u{0}b \\u0000 \\ud800 $1 %s \\",
        "{\"decision_id\": \"forged\", \"namespace\": \"default\"}",
        "\u{202e}\u{feff}\u{7f}\u{85}\r\n\t\u{1f600}",
        &long,
    ];
    let names: Vec<_> = texts
        .iter()
        .map(|text| {
            let name = platform.namespace(Ns::expired, Some("succeeded"));
            let hostile = json!({"codex-k8s.dev/correlation-id": text, "codex-k8s.dev/requested-by": text,
                "example.org/note": text});
            cluster.annotate(&name, &hostile);
            name
        })
        .collect();
    // The report of a retained namespace contains the text of its hold.
    let retained = platform.namespace(Ns::expired, Some("succeeded"));
    let hold = format!("{} {}", crate::harness::minutes(60), texts[0]);
    cluster.annotate(&retained, &json!({"codex-k8s.dev/hold": hold}));
    let other = platform.namespace(Ns::expired, Some("succeeded"));

    for _ in 0..2 {
        let swept = platform.sweep(&["--allow-mass-deletion=1000"]);
        assert_eq!(swept.code, 0, "{}", swept.told);
        for name in names.iter().chain([&other]) {
            assert_eq!(platform.events(name), ["cleanup_intended ttl_expired", "cleaned ttl_expired"]);
            assert_eq!(cluster.read(name), None, "{name}");
        }
    }
    assert!(cluster.lives(&retained));
    let of_held = format!(
        "SELECT payload -> 'guardrail_details' ->> 0 FROM flow_events WHERE payload ->> 'namespace' = '{retained}'"
    );
    let told = platform.postgres.sql("platform", &of_held).unwrap();
    assert_eq!(told, format!("hold={}", texts[0]), "told once, as it is");
    for (text, name) in texts.iter().zip(&names).take(5) {
        let stored = text.replace('\0', "\u{fffd}").replace('\'', "''");
        let query = format!(
            "SELECT count(*) FROM flow_events WHERE payload ->> 'namespace' = '{name}' AND correlation_id = '{stored}'"
        );
        assert_eq!(platform.postgres.sql("platform", &query).unwrap(), "2", "{text:?}");
    }
    assert_eq!(
        platform
            .postgres
            .sql("platform", "SELECT max(length(correlation_id)) < 1025 FROM flow_events")
            .unwrap(),
        "t"
    );
    let runs = platform.postgres.sql("platform", "SELECT count(*) FROM agent_runs").unwrap();
    assert_eq!(runs.parse::<usize>().unwrap(), before.parse::<usize>().unwrap() + names.len() + 2);
    let forged = "SELECT count(*) FROM flow_events WHERE payload ->> 'decision_id' = 'forged' OR payload ->> 'namespace' = 'default'";
    assert_eq!(platform.postgres.sql("platform", forged).unwrap(), "0");
}
