//! The release: its archives, the manifest for krew, and the workflows that publish it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};

use codex_k8s_tests::binaries::{self, Binaries};
use codex_k8s_tests::helm::helm;
use codex_k8s_tests::release::{
    Artefact, PLATFORMS, Pages, Platform, VERSION, checksums, manifest, of_program, repacked,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

/// Stands for a program: it prints its name and arguments.
const PROGRAM: &[u8] = b"#!/bin/sh\necho \"${0##*/} $*\"\n";
const LICENSE: &[u8] = include_bytes!("../../LICENSE");

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn pages() -> Pages {
    Pages::generate(Path::new(env!("CARGO_BIN_EXE_playground"))).unwrap()
}

fn packed(platform: Platform, pages: &Pages) -> Artefact {
    let bytes = of_program(platform, PROGRAM, pages, &[("LICENSE", LICENSE)]).unwrap();
    Artefact { name: platform.archive(), bytes }
}

/// The modes and contents of an archive's files, by their paths.
fn files(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
        files.insert(entry.path().unwrap().display().to_string(), (header.mode().unwrap(), bytes));
    }
    files
}

#[test]
fn an_archive_has_the_program_its_pages_and_its_completions_and_the_same_bytes_each_time() {
    let [archive, again] = [(); 2].map(|()| packed(PLATFORMS[0], &pages()));
    assert_eq!(archive.sha256(), again.sha256());
    let files = files(&archive.bytes);
    let file = |path: &str| &files[&format!("codex-k8s-guard-{VERSION}-linux-amd64/{path}")];
    assert_eq!(file("codex-k8s-guard"), &(0o755, PROGRAM.to_vec()));
    assert_eq!(file("LICENSE"), &(0o644, LICENSE.to_vec()));
    for path in
        ["completions/codex-k8s-guard.bash", "completions/_codex-k8s-guard", "man/man1/codex-k8s-guard.1"]
    {
        let text = String::from_utf8(file(path).1.clone()).unwrap();
        assert!(text.contains("codex\\-k8s\\-guard") || text.contains("codex-k8s-guard"), "{path}: {text}");
    }
    assert!(String::from_utf8_lossy(&file("man/man1/codex-k8s-guard-check.1").1).contains("manifests/"));
}

/// An installation by a person: krew verifies the digest, unpacks, and links the program as `kubectl-guard`.
#[test]
fn krew_installs_the_archive_of_this_platform_as_kubectl_guard() {
    let pages = Pages::default();
    let archives: Vec<_> = PLATFORMS.iter().map(|platform| (*platform, packed(*platform, &pages))).collect();
    let described: Vec<_> = archives.iter().map(|(platform, archive)| (*platform, archive)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let (_, own) = archives.iter().find(|(it, _)| (it.os, it.arch) == ("linux", arch)).unwrap();
    fs::write(file("guard.yaml"), manifest(&described)).unwrap();
    fs::write(file(&own.name), &own.bytes).unwrap();
    let krew = || {
        let mut command = Command::new(binaries::krew().unwrap());
        let install = ["install", "--manifest", "guard.yaml", "--archive", &own.name].map(OsString::from);
        command.args(install).current_dir(folder.path());
        command.env("KREW_ROOT", file("krew")).env("KREW_NO_UPGRADE_CHECK", "1").output().unwrap()
    };
    let ran = krew();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let path = std::env::join_paths([file("krew/bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
    let kubectl = Binaries::find().unwrap().path("kubectl");
    let ran = Command::new(kubectl).args(["guard", "explain", "NS001"]).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(said, "kubectl-guard explain NS001\n", "{}", String::from_utf8_lossy(&ran.stderr));

    fs::remove_dir_all(file("krew")).unwrap();
    fs::write(file(&own.name), [own.bytes.as_slice(), b"more"].concat()).unwrap();
    let refused = krew();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("checksum"), "{said}");
}

#[test]
fn sha256sum_accepts_the_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let artefacts = PLATFORMS.map(|platform| packed(platform, &Pages::default()));
    for Artefact { name, bytes } in &artefacts {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("checksums.txt"), checksums(&artefacts)).unwrap();
    let check = || {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "checksums.txt"]).current_dir(folder.path()).output().unwrap()
    };
    let ran = check();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout).matches(": OK\n").count(), PLATFORMS.len());
    fs::write(folder.path().join(&artefacts[1].name), "other").unwrap();
    assert!(!check().status.success());
}

#[test]
fn a_packed_chart_has_the_same_bytes_whenever_it_was_packed() {
    let chart = |time: u64| {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in [("guard/Chart.yaml", "name: guard"), ("guard/values.yaml", "a: 1")] {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(time);
            header.set_mode(0o600);
            header.set_size(text.len().try_into().unwrap());
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    };
    assert_ne!(chart(1), chart(2));
    let [first, second] = [1, 2].map(|time| repacked(&chart(time)).unwrap());
    assert_eq!(first, second);
    let files = files(&first);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["guard/Chart.yaml", "guard/values.yaml"]);
    assert_eq!(files["guard/values.yaml"], (0o644, b"a: 1".to_vec()));
}

/// Runs `playground release` on what is built below a folder.
fn release(folder: &Path, out: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_playground"));
    command.args(["release", "--built", ".", "--out", out, "--source"]).arg(root()).args(args);
    command.current_dir(folder).output().unwrap()
}

#[test]
fn a_release_of_the_same_programs_is_the_same_and_a_tagged_one_must_have_every_platform() {
    let folder = tempfile::tempdir().unwrap();
    let target = PLATFORMS[0].target;
    let program = folder.path().join(format!("build/{target}/release/codex-k8s-guard"));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    // The smallest header of a static Linux program for amd64.
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20], elf[52], elf[54], elf[58]) = (2, 62, 1, 64, 56, 64);
    fs::write(&program, elf).unwrap();
    fs::write(folder.path().join(format!("{target}.cdx.json")), "{}").unwrap();
    let [first, second] = ["first", "second"].map(|out| {
        let ran = release(folder.path(), out, &[]);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success() && said.contains("darwin/arm64 is not built here"), "{said}");
        fs::read_to_string(folder.path().join(out).join("checksums.txt")).unwrap()
    });
    assert_eq!(first, second);
    let names: Vec<_> = first.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let name = format!("codex-k8s-guard-{VERSION}");
    let expected = ["-linux-amd64.tar.gz", "-linux-amd64.cdx.json", "-image.tar", ".tgz"];
    let expected = expected.map(|end| format!("{name}{end}")).into_iter().chain(["guard.yaml".to_owned()]);
    assert_eq!(names, expected.collect::<Vec<_>>());
    let chart = folder.path().join("first").join(format!("{name}.tgz")).display().to_string();
    let rendered = helm(&["template", "guard", &chart], "", None).unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));

    // The changelog is read first: until it has a section of this version, that is what is missing.
    let own = format!("v{VERSION}");
    for (tag, problems) in
        [("v9.9.9", ["--tag: Invalid value"; 2]), (&own, ["CHANGELOG.md", "every platform"])]
    {
        let refused = release(folder.path(), "third", &["--tag", tag]);
        let said = String::from_utf8_lossy(&refused.stderr);
        let is_named = problems.iter().any(|problem| said.contains(problem));
        assert!(!refused.status.success() && is_named, "{said}");
    }
    assert!(!folder.path().join("third").exists(), "a refused release writes nothing");
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

#[test]
fn the_chart_and_the_crates_have_one_version() {
    let chart = yaml("deploy/chart/Chart.yaml");
    assert_eq!([&chart["version"], &chart["appVersion"]], [VERSION; 2]);
}

fn workflows() -> Vec<String> {
    let folder = fs::read_dir(root().join(".github/workflows")).unwrap();
    folder.map(|file| format!(".github/workflows/{}", file.unwrap().file_name().display())).collect()
}

#[test]
fn actionlint_accepts_the_workflows() {
    let ran = Command::new(binaries::actionlint().unwrap())
        .arg("-no-color")
        .args(workflows())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

#[test]
fn each_job_of_a_workflow_lists_its_rights_and_each_action_is_pinned_to_a_commit() {
    let all = workflows();
    assert!(all.len() >= 2, "{all:?}");
    for file in all {
        let workflow = yaml(&file);
        assert_eq!(workflow["permissions"].as_object().map(serde_json::Map::len), Some(0), "{file}");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["permissions"].is_object() && job["timeout-minutes"].is_u64(), "{file}: {name}");
            for action in job["steps"].as_array().unwrap().iter().filter_map(|step| step["uses"].as_str()) {
                let (_, commit) = action.split_once('@').unwrap();
                let is_commit = commit.len() == 40 && commit.chars().all(|char| char.is_ascii_hexdigit());
                assert!(is_commit, "{file}: {name}: {action}");
            }
        }
    }
}

#[test]
fn the_workflow_runs_targets_of_make_that_there_are() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut number = 0;
    for file in workflows() {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for line in text.lines().filter_map(|line| line.split_once("run: make ")) {
            let target = line.1.split(' ').next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{file}: {target}");
            number += 1;
        }
    }
    assert!(number >= 3, "{number}");
}
