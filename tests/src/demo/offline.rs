//! The offline part of the demo: a file is checked before anything is created.

use std::fs;
use std::process::Command;

use anyhow::ensure;

use super::{NAMESPACE, Show};
use crate::identity::Identity;
use crate::kubectl::Ran;

const FILE: &str = "job.yaml";

/// A Job with four mistakes: the host network, the ServiceAccount of another program, a privileged container and a
/// hostPath volume.
const WRONG: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: mistaken
  namespace: codex-issue-demo
spec:
  template:
    spec:
      hostNetwork: true
      serviceAccountName: codex-k8s-control-plane
      restartPolicy: Never
      containers:
      - name: c
        image: busybox:1.36
        securityContext:
          privileged: true
      volumes:
      - name: node
        hostPath:
          path: /var/run
";
/// The same Job without the mistakes.
const RIGHT: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: mistaken
  namespace: codex-issue-demo
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: c
        image: busybox:1.36
";
const RULES: [&str; 4] = ["error[JOB018]", "error[JOB004]", "error[JOB017]", "error[JOB019]"];

impl Show<'_> {
    pub(super) fn four_mistakes_in_a_file(&self) -> anyhow::Result<()> {
        self.stage.title("6. Four mistakes in a file: found without a cluster, fixed, and admitted")?;
        let told = self.checked(WRONG, 1)?;
        for rule in RULES {
            ensure!(told.contains(rule), "expected the Job to be denied by {rule}");
        }
        self.stage.say("(the same file, with the four mistakes fixed)")?;
        let told = self.checked(RIGHT, 0)?;
        ensure!(told.contains("admitted, mutated"), "expected the Job to be admitted");
        self.admitted("jane", &Identity::developer(), &["create", "-n", NAMESPACE, "-f", "-"], RIGHT)
    }

    /// Runs `check` on a file and returns its output, if the exit code is the expected one.
    fn checked(&self, text: &str, code: i32) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join(FILE), text)?;
        let args = ["check", FILE];
        self.stage.command("jane", "codex-k8s-guard", &args)?;
        let output = Command::new(self.playground)
            .arg("guard")
            .args(args)
            .env("CODEX_K8S_GUARD_POLICY", self.guard.file("policy.yaml"))
            .current_dir(folder.path())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let ran = Ran { success: output.status.success(), stdout, stderr };
        self.stage.write("0", ran.to_string().trim_end())?;
        self.stage.pause(1200);
        ensure!(output.status.code() == Some(code), "expected exit code {code}");
        Ok(ran.stdout)
    }
}
