//! Screenshots of the daemon's page, above namespaces as a platform has them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use crate::control_plane::free_port;
use crate::eventually::eventually;
use crate::{Chromium, Guard, Health, Identity};

const TIMEOUT: Duration = Duration::from_mins(1);
/// The part of the page that is shown: a glance, and the namespaces.
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 1610;
/// The policy: limits that are nearly reached, and leases short enough for one to end while you wait.
const POLICY: &str = "\
quotas: {cluster: {max: 12}, perProject: {max: 6}}
lease: {minTtl: 1s}
cleanup: {grace: 1s}
";
/// The names of the run namespaces, their projects and the lengths of their leases.
const NAMESPACES: [(&str, &str, &str); 9] = [
    ("codex-issue-1041", "shop", "2s"),
    ("codex-issue-1042", "shop", "6h"),
    ("codex-issue-1043", "shop", "8h"),
    ("codex-issue-1050", "search", "30m"),
    ("codex-issue-1051", "search", "24h"),
    ("codex-issue-1052", "search", "12h"),
    ("codex-issue-1053", "search", "1h"),
    ("codex-issue-1054", "search", "4h"),
    ("codex-issue-1060", "billing", "3s"),
];

/// The parts of a page that is worth a picture: the row of a deletion, and the state of the namespace that is held.
const EXPECTED: [&str; 2] = [">cleaned<", "looking into a failed migration"];

/// Writes screenshots of the page in the light and in the dark scheme.
pub(super) fn screenshots(playground: &Path, folder: &Path) -> anyhow::Result<()> {
    let guard = Guard::start_with_policy(playground, POLICY)?;
    create_namespaces(&guard)?;
    let page = start_daemon(&guard, playground)?;
    let mut browser = Chromium::start()?;
    browser.resize(WIDTH, HEIGHT)?;
    for scheme in ["light", "dark"] {
        browser.prefer(&[("prefers-color-scheme", scheme)])?;
        browser.open(&format!("http://{page}/"))?;
        browser.picture_of_top(WIDTH, HEIGHT, &folder.join(format!("page-{scheme}.png")))?;
    }
    Ok(())
}

fn create_namespaces(guard: &Guard) -> anyhow::Result<()> {
    let jane = guard.kubectl(&Identity::developer())?;
    for (name, project, ttl) in NAMESPACES {
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
             codex-k8s.dev/project-id: {project}\n  annotations:\n    \
             codex-k8s.dev/namespace-lease-ttl: {ttl}\n"
        );
        jane.succeed(&["create", "-f", "-"], &namespace)?;
    }
    let until = Timestamp::now() + SignedDuration::from_hours(20);
    let hold = format!("codex-k8s.dev/hold={until:.0} looking into a failed migration");
    guard.kubectl(&Identity::worker())?.succeed(&["annotate", "namespace", "codex-issue-1060", &hold], "")?;
    Ok(())
}

/// Starts a daemon that sweeps every few seconds, and waits until it has deleted a namespace.
fn start_daemon(guard: &Guard, playground: &Path) -> anyhow::Result<SocketAddr> {
    let page = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let health = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let policy = guard.file("policy.yaml").display().to_string();
    let args = [
        "guard".to_owned(),
        "daemon".to_owned(),
        "--schedule=@every 2s".to_owned(),
        format!("--policy={policy}"),
        format!("--admin-listen={page}"),
        format!("--health-listen={health}"),
        format!("--audit-store=sqlite:{}", guard.file("audit.db").display()),
    ];
    let kubeconfig = guard.control_plane.kubeconfig(&Identity::collector())?.display().to_string();
    let environment = vec![("KUBECONFIG".to_owned(), kubeconfig)];
    guard.control_plane.run("daemon", playground.to_owned(), args.to_vec(), environment)?;
    let shows = || {
        let text = Health(page).get("/").unwrap_or_default();
        EXPECTED.iter().all(|part| text.contains(part)).then_some(())
    };
    eventually("the page shows a deletion and a hold", TIMEOUT, shows)
        .with_context(|| guard.control_plane.log_tail("daemon"))?;
    Ok(page)
}
