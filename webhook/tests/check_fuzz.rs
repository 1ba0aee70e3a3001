//! Fuzz test of the manifest reader of `check`: it never panics, and its positions are always in the text.
//!
//! A few thousand inputs per run; with `make fuzz`, for `CODEX_K8S_GUARD_FUZZ_SECONDS` seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use codex_k8s_webhook::check::{Document, Origin, read};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SEEDS: [&str; 4] = [
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n  labels: {\"a/b\": c, d: 'e'}\n---\n# two\napiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: Job\n  metadata: {name: j}\n",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"é\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"env\": []}]}}",
    "a: &a [x, *a]\nb: !!binary |\n  aGk=\nc: >-\n  folded\n  text\n? [complex, key]\n: {<<: *a}\n...\n%YAML 1.2\n---\nd\n",
    "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        command: [\"sh\", \"-c\", \"echo hello\"]\n",
];
const PIECES: [&[u8]; 20] = [
    b"---\n",
    b"\n",
    b"\t",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"&a ",
    b"*a",
    b"!!int ",
    b"|\n",
    b"#",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\r",
];
const PATHS: [&str; 5] = [
    "metadata.name",
    "metadata.labels[\"a/b\"]",
    "spec.containers[0].env",
    "spec[3][\"x\\\"]",
    "items[0].kind",
];

/// Inserts a fragment, removes bytes, or duplicates some.
fn changed(seed: usize, edits: &[(u8, u16, u8)]) -> Vec<u8> {
    let mut bytes = SEEDS[seed].as_bytes().to_vec();
    for (what, at, choice) in edits {
        let at = usize::from(*at) % (bytes.len() + 1);
        let end = (at + usize::from(*choice) % 16).min(bytes.len());
        match what % 4 {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let piece = PIECES[usize::from(*choice) % PIECES.len()];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn points_to_what_is_there(document: &Document) -> Result<(), TestCaseError> {
    for position in PATHS.iter().filter_map(|path| document.position(path)) {
        let text = position.source.text();
        prop_assert!(text.get(position.range.clone()).is_some(), "{position:?}");
        let (line, range) = position.in_line();
        prop_assert!(line.get(range).is_some(), "{position:?}");
        prop_assert!(position.line <= text.split('\n').count() && position.end_column() >= position.column);
    }
    Ok(())
}

fn is_read_or_refused(bytes: &[u8]) -> Result<(), TestCaseError> {
    let origin = if bytes.len().is_multiple_of(2) { Origin::Named } else { Origin::InFolder };
    match read("f.yaml", bytes, origin) {
        Ok(contents) => {
            prop_assert!(!(contents.documents.is_empty() && contents.passed_over.is_empty()));
            contents.documents.iter().try_for_each(points_to_what_is_there)
        }
        Err(error) => {
            prop_assert!(error.to_string().starts_with("f.yaml"), "{error}");
            Ok(())
        }
    }
}

#[test]
fn whatever_is_read_is_objects_or_an_error_that_names_the_file() {
    let seconds = std::env::var("CODEX_K8S_GUARD_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let edits = prop::collection::vec((any::<u8>(), any::<u16>(), any::<u8>()), 0..24);
    let manifests = (0..SEEDS.len(), edits);
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let mut tried = 0;
    loop {
        let config = Config { cases: 4096, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config)
            .run(&manifests, |(seed, edits)| is_read_or_refused(&changed(seed, &edits)));
        if let Err(error) = result {
            panic!("{error}");
        }
        tried += 4096;
        if Instant::now() >= end {
            break println!("{tried} manifests");
        }
    }
}
