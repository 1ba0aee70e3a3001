//! Generated parts of documents: written by a test, or compared with its output.

use std::fs;
use std::path::Path;

/// Compares the text between the comments `<!-- name -->` and `<!-- /name -->` of a document, or writes it.
#[track_caller]
pub(crate) fn document(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (found, after) = rest.split_once(&format!("<!-- /{name} -->\n")).unwrap();
    if writes() {
        let written = format!("{before}<!-- {name} -->\n{expected}<!-- /{name} -->\n{after}");
        fs::write(&path, written).unwrap();
    } else {
        assert_eq!(found, expected, "{file}: if this is meant, run `make generate`");
    }
}

/// Returns true if generated text must be written.
pub(crate) fn writes() -> bool {
    std::env::var_os("CODEX_K8S_GUARD_WRITE_SNAPSHOTS").is_some()
}
