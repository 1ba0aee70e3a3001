//! The files that differ from the last commit: their problems are listed first, because one of them is the new one.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The changed and new files below a folder, by their paths from it; none where there is no `git`.
pub fn changed_files(root: &Path) -> BTreeSet<String> {
    let changed = git(root, &["diff", "--name-only", "--relative", "HEAD"]);
    let new = git(root, &["ls-files", "--others", "--exclude-standard"]);
    [changed, new]
        .into_iter()
        .flatten()
        .flat_map(|files| files.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok().filter(|_| output.status.success())
}
