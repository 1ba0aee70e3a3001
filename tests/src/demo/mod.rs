//! The demo: the main features, with plain kubectl, on a real control plane.

mod offline;

use std::fmt::Display;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use crate::eventually::eventually;
use crate::guard::Guard;
use crate::identity::Identity;
use crate::kubectl::Ran;
use crate::review::{WORKER_JOB, WORKER_NAMESPACE};

/// The policy: the defaults, but with short leases and a short grace period, so that the demo does not take hours.
const POLICY: &str = "lease: {minTtl: 1s}\ncleanup: {grace: 1s}\n";

const NAMESPACE: &str = "codex-issue-demo";
const SHORT: &str = "codex-issue-short";
const RUN_NAMESPACE: &str = "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47";

/// Runs the demo, and stops at the first step with an unexpected result.
///
/// # Errors
/// Returns an error if the cluster does not start, or a step has an unexpected result.
pub fn run(playground: &Path) -> anyhow::Result<()> {
    let stage = Stage { lively: stdout().is_terminal() };
    stage.say("Starting etcd, kube-apiserver, kube-controller-manager and the webhook ...")?;
    let guard = Guard::start_with_policy(playground, POLICY)?;
    let show = Show { guard: &guard, stage: &stage, playground };
    show.a_namespace_that_ends_soon()?;
    show.a_namespace_by_name_alone()?;
    show.the_baseline()?;
    show.the_workers_job()?;
    show.an_agents_job()?;
    show.refusals()?;
    show.four_mistakes_in_a_file()?;
    show.a_sweep()?;
    drop(guard);
    stage.title("Done. All programs were stopped.")
}

/// The output of the demo: coloured and paced on a terminal, plain in a pipe.
struct Stage {
    lively: bool,
}

impl Stage {
    fn write(&self, colour: &str, text: impl Display) -> anyhow::Result<()> {
        let mut out = stdout().lock();
        if self.lively {
            writeln!(out, "\x1b[{colour}m{text}\x1b[0m")?;
        } else {
            writeln!(out, "{text}")?;
        }
        out.flush()?;
        Ok(())
    }

    fn title(&self, text: &str) -> anyhow::Result<()> {
        self.write("1;36", format_args!("\n{text}"))?;
        self.pause(900);
        Ok(())
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        self.write("2", text)
    }

    fn command(&self, who: &str, program: &str, args: &[&str]) -> anyhow::Result<()> {
        self.write("1", format_args!("{who}$ {program} {}", args.join(" ")))?;
        self.pause(500);
        Ok(())
    }

    /// Pauses on a terminal, because people read more slowly than kubectl writes.
    fn pause(&self, milliseconds: u64) {
        if self.lively {
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
    }
}

struct Show<'a> {
    guard: &'a Guard,
    stage: &'a Stage,
    playground: &'a Path,
}

impl Show<'_> {
    fn kubectl(&self, who: &str, identity: &Identity, args: &[&str], input: &str) -> anyhow::Result<Ran> {
        self.stage.command(who, "kubectl", args)?;
        let ran = self.guard.kubectl(identity)?.run_with_input(args, input)?;
        self.stage.write("0", ran.to_string().trim_end())?;
        self.stage.pause(700);
        Ok(ran)
    }

    fn admitted(&self, who: &str, identity: &Identity, args: &[&str], input: &str) -> anyhow::Result<()> {
        let ran = self.kubectl(who, identity, args, input)?;
        ensure!(ran.succeeded(), "expected the request to be admitted");
        Ok(())
    }

    fn refused(
        &self,
        who: &str,
        identity: &Identity,
        args: &[&str],
        input: &str,
        rule: &str,
    ) -> anyhow::Result<()> {
        let ran = self.kubectl(who, identity, args, input)?;
        ensure!(!ran.succeeded() && ran.stderr.contains(rule), "expected the request to be denied by {rule}");
        Ok(())
    }

    /// Runs the garbage collector with its own ServiceAccount, and returns its output.
    fn collector(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = Command::new(self.playground)
            .arg("guard")
            .args(args)
            .env("KUBECONFIG", self.guard.control_plane.kubeconfig(&Identity::collector())?)
            .env("CODEX_K8S_GUARD_LOCAL", "true")
            .env("CODEX_K8S_GUARD_POLICY", self.guard.file("policy.yaml"))
            .env("CODEX_K8S_GUARD_AUDIT_STORE", format!("sqlite:{}", self.guard.file("audit.db").display()))
            .output()?;
        let told = String::from_utf8_lossy(&ran.stdout).into_owned();
        ensure!(
            ran.status.success(),
            "the garbage collector failed:\n{told}{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        Ok(told)
    }

    fn shown(&self, args: &[&str], words: &[&str]) -> anyhow::Result<()> {
        self.stage.command("collector", "codex-k8s-guard", args)?;
        let told = self.collector(args)?;
        self.stage.write("0", told.trim_end())?;
        self.stage.pause(1200);
        for word in words {
            ensure!(told.contains(word), "expected {word:?} in the output");
        }
        Ok(())
    }

    fn a_namespace_that_ends_soon(&self) -> anyhow::Result<()> {
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {SHORT}\n  annotations:\n    \
             codex-k8s.dev/namespace-lease-ttl: 2s\n"
        );
        let created =
            self.guard.kubectl(&Identity::developer())?.run_with_input(&["create", "-f", "-"], &namespace)?;
        ensure!(created.succeeded(), "{created}");
        Ok(())
    }

    fn a_sweep(&self) -> anyhow::Result<()> {
        self.stage.title("7. The garbage collector deletes expired namespaces, and no others")?;
        self.stage
            .say(&format!("({SHORT} was created at the start of the demo with a lease of two seconds)"))?;
        let due = || self.collector(&["sweep", "--dry-run"]).is_ok_and(|told| told.contains("would delete"));
        eventually("its lease has ended", Duration::from_secs(30), || due().then_some(()))?;
        self.shown(&["sweep", "--dry-run"], &[SHORT, "would delete", "its lease lives until"])?;
        self.shown(&["sweep"], &["1 due, 1 deleted"])?;
        self.shown(&["audit", "list", SHORT], &["cleanup_intended", "cleaned", "ttl_expired"])?;
        self.shown(&["explain", &format!("ns/{SHORT}")], &["does not exist: it was deleted at"])?;
        self.shown(&["explain", &format!("ns/{NAMESPACE}")], &["retained until", "its lease lives until"])
    }

    fn a_namespace_by_name_alone(&self) -> anyhow::Result<()> {
        self.stage.title("1. A developer creates a run namespace with only a name")?;
        let jane = Identity::developer();
        let sent = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n");
        self.stage.say(&format!("The request:\n{sent}"))?;
        self.admitted("jane", &jane, &["create", "-f", "-"], &sent)?;
        self.stage.say("The stored object:")?;
        self.admitted("jane", &jane, &["get", "namespace", NAMESPACE, "-o", "yaml"], "")
    }

    fn the_baseline(&self) -> anyhow::Result<()> {
        self.stage
            .title("2. The baseline is created; the first Job waits for it and runs under its quota")?;
        let jane = Identity::developer();
        let name = "codex-issue-baseline";
        self.admitted("jane", &jane, &["create", "namespace", name], "")?;
        let create = ["create", "job", "first", "--image=busybox:1.36", "-n", name, "--", "true"];
        self.admitted("jane", &jane, &create, "")?;
        let kinds = "serviceaccount,role,rolebinding,resourcequota,limitrange";
        let ours = ["get", kinds, "-n", name, "-l", "codex-k8s.dev/managed-by"];
        self.admitted("jane", &jane, &ours, "")?;
        let used =
            ["get", "resourcequota", "codex-run-quota", "-n", name, "-o", "jsonpath={.status.used.pods}"];
        let kubectl = self.guard.kubectl(&jane)?;
        let counted = || kubectl.run(&used).is_ok_and(|ran| ran.stdout == "1").then_some(());
        eventually("the Pod of the first Job is counted", Duration::from_secs(30), counted)?;
        self.admitted("jane", &jane, &["describe", "resourcequota", "codex-run-quota", "-n", name], "")
    }

    fn the_workers_job(&self) -> anyhow::Result<()> {
        self.stage.title("3. The platform's worker creates a run, without any change to the worker")?;
        let worker = Identity::worker();
        self.admitted("worker", &worker, &["create", "-f", "-"], WORKER_NAMESPACE)?;
        self.admitted("worker", &worker, &["create", "-f", "-"], WORKER_JOB)?;
        let columns = "custom-columns=JOB:.metadata.name,DEADLINE:.spec.activeDeadlineSeconds,TTL:.spec.ttlSecondsAfterFinished,ACCOUNT:.spec.template.spec.serviceAccountName";
        self.admitted("worker", &worker, &["get", "jobs", "-n", RUN_NAMESPACE, "-o", columns], "")
    }

    fn an_agents_job(&self) -> anyhow::Result<()> {
        self.stage.title("4. The agent creates a Job of its own, which is mutated to belong to the run")?;
        let agent = Identity::agent(NAMESPACE);
        let create = ["create", "job", "unit-tests", "--image=busybox:1.36", "-n", NAMESPACE, "--", "true"];
        self.admitted("agent", &agent, &create, "")?;
        self.admitted("agent", &agent, &["get", "job", "unit-tests", "-n", NAMESPACE, "-o", "yaml"], "")
    }

    fn refusals(&self) -> anyhow::Result<()> {
        self.stage.title("5. Seven denied requests, each with the reason and the fix")?;
        let (jane, agent) = (Identity::developer(), Identity::agent(NAMESPACE));
        let label = ["label", "--overwrite", "namespace", NAMESPACE, "codex-k8s.dev/run-id=other"];
        self.refused("jane", &jane, &label, "", "NS003")?;
        self.refused("jane", &jane, &["delete", "namespace", NAMESPACE], "", "NS015")?;
        let adopt = ["label", "namespace", "default", "codex-k8s.dev/managed-by=codex-k8s-worker"];
        self.refused("worker", &Identity::worker(), &adopt, "", "NS008")?;
        let expiry = "codex-k8s.dev/namespace-lease-expires-at=2999-01-01T00:00:00Z";
        let extend = ["annotate", "--overwrite", "namespace", NAMESPACE, expiry];
        self.refused("agent", &agent, &extend, "", "LEASE005")?;
        let escape = ["create", "-n", NAMESPACE, "-f", "-"];
        self.stage.say("(a Job with hostNetwork: true and serviceAccountName: codex-k8s-control-plane)")?;
        self.refused("agent", &agent, &escape, ESCAPE, "JOB018")?;
        let more = r#"{"spec":{"hard":{"pods":"1000"}}}"#;
        let lift = ["patch", "resourcequota", "codex-run-quota", "-n", NAMESPACE, "-p", more];
        self.refused("agent", &agent, &lift, "", "BASE001")?;
        let account = format!("--serviceaccount={NAMESPACE}:codex-runner");
        let bind = ["create", "rolebinding", "more", "--clusterrole=edit", &account, "-n", NAMESPACE];
        self.refused("agent", &agent, &bind, "", "RBAC002")
    }
}

const ESCAPE: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: escape
spec:
  template:
    spec:
      hostNetwork: true
      serviceAccountName: codex-k8s-control-plane
      restartPolicy: Never
      containers:
      - name: c
        image: busybox:1.36
";
