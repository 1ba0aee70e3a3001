//! Our schedules against the library of the CronJob controller, and against the expressions that a real API server
//! accepts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use codex_k8s_gc::schedule::Schedule;
use codex_k8s_tests::{ControlPlane, Identity};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

/// Zones whose clocks change by whole hours, at whole hours: if they change at a quarter to three, as on the Chatham
/// Islands, the library skips an hour that exists.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Sydney",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "America/Santiago",
];
const TIMES: usize = 6;

#[derive(Debug)]
struct Question {
    zone: &'static str,
    from: i64,
    expression: String,
}

fn field(least: u32, most: u32, names: &'static [&'static str]) -> BoxedStrategy<String> {
    let value = move || {
        let number = (least..=most).prop_map(|number| number.to_string()).boxed();
        if names.is_empty() {
            number
        } else {
            prop_oneof![3 => number, 1 => proptest::sample::select(names).prop_map(str::to_owned)].boxed()
        }
    };
    let range = (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let part = prop_oneof![
        4 => value(),
        2 => range.clone(),
        1 => (range, 1_u32..9).prop_map(|(range, step)| format!("{range}/{step}")),
        1 => (value(), 1_u32..9).prop_map(|(value, step)| format!("{value}/{step}")),
        1 => (1_u32..9).prop_map(|step| format!("*/{step}")),
    ];
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => Just("?".to_owned()),
        5 => proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(",")),
    ]
    .boxed()
}

fn expression() -> impl Strategy<Value = String> {
    const MONTHS: &[&str] = &["JAN", "feb", "Mar", "jun", "oct", "DEC"];
    const WEEKDAYS: &[&str] = &["SUN", "mon", "Wed", "sat"];
    let fields = (
        field(0, 59, &[]),
        field(0, 23, &[]),
        field(1, 31, &[]),
        field(1, 12, MONTHS),
        field(0, 6, WEEKDAYS),
    );
    let named =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 1h30m"];
    prop_oneof![
        12 => fields.prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}")),
        1 => proptest::sample::select(named.to_vec()).prop_map(str::to_owned),
    ]
}

/// Times over twenty years, with emphasis on the hours around each change of the clocks.
fn questions(count: usize) -> Vec<Question> {
    let mut runner = TestRunner::deterministic();
    let near_a_change =
        (0..ZONES.len(), 0_usize..40, -90_000_i64..10_000).prop_map(|(zone, index, seconds)| {
            let begin = "2020-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
            let zone = jiff::tz::TimeZone::get(ZONES[zone]).unwrap();
            let change = zone.following(begin).nth(index).map(|change| change.timestamp().as_second());
            change.unwrap_or(begin.as_second()) + seconds
        });
    let from = prop_oneof![1_577_836_800_i64..2_208_988_800, near_a_change];
    let strategy = (0..ZONES.len(), from, expression());
    (0..count)
        .map(|_| {
            let (zone, from, expression) = strategy.new_tree(&mut runner).unwrap().current();
            Question { zone: ZONES[zone], from, expression }
        })
        .collect()
}

fn ask(questions: &[Question]) -> Vec<String> {
    let mut oracle = Command::new("go")
        .args(["run", "./schedule-oracle"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = oracle.stdin.take().unwrap();
    let lines = questions.iter().map(|it| format!("{}\t{}\t{TIMES}\t{}\n", it.zone, it.from, it.expression));
    let text = lines.collect::<Vec<_>>().concat();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = oracle.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn ours(question: &Question) -> String {
    let Ok(schedule) = question.expression.parse::<Schedule>() else { return "refused".to_owned() };
    let schedule = schedule.in_zone(question.zone).unwrap();
    let from = Timestamp::from_second(question.from).unwrap();
    let times = schedule.upcoming(from).take(TIMES).map(|time| time.as_second().to_string());
    times.collect::<Vec<_>>().join(" ")
}

#[test]
fn our_times_are_those_of_the_cron_job_controllers_library() {
    let questions = questions(6000);
    let answers = ask(&questions);
    assert_eq!(answers.len(), questions.len());
    let mut differences = Vec::new();
    let mut never = 0;
    for (question, theirs) in questions.iter().zip(answers) {
        let ours = ours(question);
        // The library accepts schedules that never fire, and gives up after five years.
        if theirs.is_empty() {
            never += 1;
            continue;
        }
        if ours != theirs && !ours.starts_with(&theirs) {
            differences.push(format!("{question:?}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    assert!(never < questions.len() / 20, "{never} of {} never come", questions.len());
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}

#[test]
fn what_we_refuse_the_api_server_refuses_too_and_what_it_takes_we_take() {
    let control_plane = ControlPlane::start(Path::new(env!("CARGO_BIN_EXE_playground"))).unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    let takes = |expression: &str| {
        let job = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "default"},
            "spec": {"schedule": expression, "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}}}});
        let ran =
            kubectl.run_with_input(&["create", "--dry-run=server", "-f", "-"], &job.to_string()).unwrap();
        assert!(ran.succeeded() || ran.stderr.contains("spec.schedule"), "{ran}");
        ran.succeeded()
    };
    // Both accept, or both refuse.
    for expression in [
        "*/15 * * * *",
        "0 0 1 jan sun",
        "0 0 ? * mon-fri",
        "5/20 3-5/2 1,15 * 0-6",
        "@hourly",
        "@midnight",
        "@every 5m",
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "5-3 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "@never",
        "@Hourly",
        "TZ=UTC 0 0 * * *",
        "* * * foo *",
        "-1 * * * *",
        "0 0 * * 8",
    ] {
        assert_eq!(expression.parse::<Schedule>().is_ok(), takes(expression), "{expression:?}");
    }
    // We accept 7 for Sunday, which a CronJob calls only 0; and we refuse slips that it accepts but that cannot be
    // intended.
    assert!("0 0 * * 7".parse::<Schedule>().is_ok() && !takes("0 0 * * 7"));
    for slip in ["1,,2 * * * *", "+5 * * * *", "*-5 * * * *", "59 23 31 2 *"] {
        assert!(slip.parse::<Schedule>().is_err() && takes(slip), "{slip:?}");
    }
}
