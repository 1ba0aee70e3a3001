//! Rows in an SQLite file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use codex_k8s_shared::audit::{Appended, EventType, Filter, SqliteStore, Store, StoreError};

use crate::harness::{told, without_roots_powers};
use crate::suite::{behaves, decisions_are_reported_once_between, event};

async fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_with_timeout(file, Duration::from_millis(200)).await
}

#[tokio::test]
async fn sqlite_behaves_as_every_store() {
    let folder = tempfile::tempdir().unwrap();
    behaves(&open(&folder.path().join("audit.db")).await.unwrap()).await;
}

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
    store.close().await;
    let again = open(&file).await.unwrap();
    assert_eq!(again.rows(&Filter::default()).await.unwrap().len(), 1);
    assert_eq!(
        again.append(&event(EventType::Cleaned, "n", Some("d"), 1)).await.unwrap(),
        Appended::AlreadyThere
    );
}

#[tokio::test]
async fn two_processes_report_a_decision_once_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let timeout = Duration::from_secs(30);
    let stores = [
        SqliteStore::open_with_timeout(&file, timeout).await.unwrap(),
        SqliteStore::open_with_timeout(&file, timeout).await.unwrap(),
    ];
    decisions_are_reported_once_between(&stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_open_an_empty_file_at_once_all_get_a_store() {
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.db");
        let opened = (0..8).map(|_| {
            let file = file.clone();
            tokio::spawn(async move { SqliteStore::open(&file).await })
        });
        for store in futures::future::join_all(opened).await {
            store.unwrap().unwrap().append(&event(EventType::Cleaned, "n", None, 0)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_locked_file_says_so_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let mut holder = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let refused = store.append(&event(EventType::Cleaned, "n", None, 0)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Locked(_)) && refused.to_string().contains("another sweep"),
        "{refused}"
    );
    sqlx::query("SELECT 1").execute(&mut *holder).await.unwrap();
    holder.rollback().await.unwrap();
    assert!(store.rows(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_is_no_store_is_reported_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let text = "this is a note, and no database at all. ".repeat(200);
    fs::write(&file, &text).unwrap();
    let refused = open(&file).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged(_)), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open(&folder.path().join("absent/audit.db")).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Open { store, .. } if store.ends_with("absent/audit.db")),
        "{refused:?}"
    );
}

#[test]
fn a_file_that_may_not_be_written_is_reported_and_left_as_it_is() {
    without_roots_powers(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.db");
        let store = open(&file).await.unwrap();
        store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
        store.close().await;
        let before = fs::read(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        let refused = match open(&file).await {
            Ok(store) => store.append(&event(EventType::Cleaned, "n", Some("e"), 0)).await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(matches!(refused, StoreError::ReadOnly(_)), "{}", told(&refused));
        assert!(refused.to_string().contains("read-only"), "{refused}");
        assert_eq!(fs::read(&file).unwrap(), before);
    });
}

#[test]
fn a_folder_that_may_not_be_written_is_reported_and_nothing_is_made_in_it() {
    without_roots_powers(async {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let refused = open(&folder.path().join("audit.db")).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Open { store, .. } if store.ends_with("audit.db")),
            "{}",
            told(&refused)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    });
}

#[tokio::test]
async fn a_file_in_which_nothing_more_fits_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    store.append(&event(EventType::Cleaned, "n", Some("d"), 0)).await.unwrap();
    // After the largest rowid SQLite answers as when the disk is full.
    let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("UPDATE sqlite_sequence SET seq = 9223372036854775807").execute(&other).await.unwrap();
    other.close().await;
    let refused = store.append(&event(EventType::Cleaned, "n", Some("e"), 0)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Full(_)) && refused.to_string().contains("audit prune"),
        "{}",
        told(&refused)
    );
    assert_eq!(store.rows(&Filter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_damaged_in_its_middle_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    let store = open(&file).await.unwrap();
    for decision in 0..200 {
        store.append(&event(EventType::Cleaned, "n", Some(&format!("d-{decision}")), 0)).await.unwrap();
    }
    store.close().await;
    let mut bytes = fs::read(&file).unwrap();
    let (page, pages) = (4096, bytes.len() / 4096);
    assert!(pages > 12, "{pages} pages");
    // The first pages of the tables come first; rows and indexes follow.
    bytes[page * (pages / 2)..page * (pages - 1)].fill(0xa5);
    fs::write(&file, &bytes).unwrap();
    let store = open(&file).await.unwrap();
    let refused = store.rows(&Filter::default()).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Damaged(_)) && refused.to_string().contains("move it away"),
        "{}",
        told(&refused)
    );
    store.close().await;
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn a_file_that_a_later_version_has_changed_serves_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.db");
    open(&file).await.unwrap().close().await;
    let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    for later in [
        "ALTER TABLE flow_events ADD COLUMN shard INTEGER",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (2, 'shards', TRUE, x'', 1)",
    ] {
        sqlx::query(later).execute(&other).await.unwrap();
    }
    other.close().await;
    behaves(&open(&file).await.unwrap()).await;
}
