//! A file that is evaluated before anything is created.

use std::fs;
use std::process::Command;

use anyhow::ensure;

use super::{NAMESPACE, Show};
use crate::identity::Identity;
use crate::kubectl::Ran;

const FILE: &str = "job.yaml";

/// Four mistakes: it reaches the node's network, is another's account, is privileged, and mounts the node's files.
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
/// The same without them.
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
        self.stage.title("6. Four mistakes in a file, found without a cluster, mutated, and admitted")?;
        let told = self.checked(WRONG, 1)?;
        for rule in RULES {
            ensure!(told.contains(rule), "that was to be refused by {rule}");
        }
        self.stage.say("(the same file, with the four mutated)")?;
        let told = self.checked(RIGHT, 0)?;
        ensure!(told.contains("admitted, mutated"), "that was to be admitted");
        self.admitted("jane", &Identity::developer(), &["create", "-n", NAMESPACE, "-f", "-"], RIGHT)
    }

    /// What `check` prints of a file, once it has ended as it is to.
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
        ensure!(output.status.code() == Some(code), "that was to end with {code}");
        Ok(ran.stdout)
    }
}
