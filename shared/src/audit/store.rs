//! The interface of audit stores.

use std::future::Future;

use jiff::Timestamp;

use super::{Event, EventType};
use crate::database::DatabaseError;

/// A row that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The number, in the order of writing.
    pub id: i64,
    /// The contents.
    pub event: Event,
}

/// A filter for rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Rows of this namespace.
    pub namespace: Option<String>,
    /// Rows of this run.
    pub run_id: Option<String>,
    /// Rows with this correlation id.
    pub correlation_id: Option<String>,
    /// Rows of this type.
    pub event_type: Option<EventType>,
    /// Rows that are not older than this.
    pub since: Option<Timestamp>,
    /// Rows that are older than this.
    pub until: Option<Timestamp>,
    /// Rows that were written after the row of this number, to follow new ones.
    pub after_id: Option<i64>,
    /// The maximum number of rows: the newest of them, or with `after_id` the next of them; `None` for all.
    pub limit: Option<u32>,
}

/// The result of writing a row at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The row was written.
    Written,
    /// The same stage of the same decision was already written.
    AlreadyThere,
}

/// A store that cannot be used. None of these errors means that a row was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be opened.
    #[error("failed to open the audit store {store}")]
    Open {
        /// The store.
        store: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is on a network file system, whose locks are not reliable.
    #[error(
        "{file} is on a {file_system} file system, which several machines can use at the same time, and SQLite's locks and \
         shared memory only work on one; choose a local disk or a block volume, or a PostgreSQL"
    )]
    NetworkFile {
        /// The file.
        file: String,
        /// The file system.
        file_system: String,
    },
    /// Another process holds the lock for longer than the timeout.
    #[error("the audit store is locked by another process; is another sweep at work on it?")]
    Locked(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is read-only.
    #[error("the audit store is read-only")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk is full.
    #[error("the audit store is full; `codex-k8s-guard audit prune` removes old rows")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file is not an audit store, or it is damaged.
    #[error("the audit store is damaged, or is no audit store; move it away and a new one is begun")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database cannot be used.
    #[error("the audit store cannot be used")]
    Database(#[source] DatabaseError),
    /// The address does not name the schema to create a table in.
    #[error(
        "{store} names no schema to make a table in; add ?schema=codex_k8s_guard, or another that is neither public nor \
         PostgreSQL's own"
    )]
    NoSchema {
        /// The store.
        store: String,
    },
    /// Any other error.
    #[error("failed to {act} the audit store")]
    Failed {
        /// The operation that failed.
        act: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Locked { .. } => Self::Locked(error.into()),
            DatabaseError::ReadOnly { .. } => Self::ReadOnly(error.into()),
            DatabaseError::Full { .. } => Self::Full(error.into()),
            error => Self::Database(error),
        }
    }
}

/// A store of audit rows. A row that is reported as written is durable.
pub trait Store: Send + Sync {
    /// Writes a row, unless the same stage of the same decision already exists.
    fn append(&self, event: &Event) -> impl Future<Output = Result<Appended, StoreError>> + Send;

    /// The rows that match a filter, the oldest first.
    fn rows(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// The intentions without an outcome, the oldest first.
    fn open_intentions(&self) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// The rows about prepared namespaces since this time without a row about the end of the namespace, the oldest
    /// first.
    fn open_namespaces(&self, since: Timestamp) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// Removes rows that are older than this, except open intentions. Returns the number of removed rows.
    fn prune(&self, before: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
