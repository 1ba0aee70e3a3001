//! Parts of documents that are written by a test, or compared with what it would write.

use std::fs;
use std::path::Path;

/// Compares what stands between the comments `<!-- name -->` and `<!-- /name -->` of a document, or writes it.
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

/// Whether what is generated is to be written.
pub(crate) fn writes() -> bool {
    std::env::var_os("CODEX_K8S_GUARD_WRITE_SNAPSHOTS").is_some()
}
