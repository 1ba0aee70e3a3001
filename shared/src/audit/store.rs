//! Where rows are kept.

use std::future::Future;

use jiff::Timestamp;

use super::{Event, EventType};
use crate::database::DatabaseError;

/// A row that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number, in the order of writing.
    pub id: i64,
    /// What it says.
    pub event: Event,
}

/// Which rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this namespace.
    pub namespace: Option<String>,
    /// Of this run.
    pub run_id: Option<String>,
    /// Of this correlation id.
    pub correlation_id: Option<String>,
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
    /// Written after the row of this number: for who follows.
    pub after_id: Option<i64>,
    /// So many at most, the newest of them; `None` for all.
    pub limit: Option<u32>,
}

/// What became of a row that was to be written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was written.
    Written,
    /// Somebody has written the same stage of the same decision already.
    AlreadyThere,
}

/// Why a store cannot be used. None of these is ever taken for "written".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("failed to open the audit store {store}")]
    Open {
        /// Which store.
        store: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file on a network file system, whose locks cannot be relied on.
    #[error(
        "{file} lies on a {file_system} file system, whose locks SQLite cannot rely on; choose a local disk, or a PostgreSQL"
    )]
    NetworkFile {
        /// The file.
        file: String,
        /// The file system.
        file_system: String,
    },
    /// Another process holds it for longer than we wait.
    #[error("the audit store is locked by another process; is another sweep at work on it?")]
    Locked(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be written to.
    #[error("the audit store is read-only")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing more fits.
    #[error("the audit store is full; `codex-k8s-guard audit prune` removes old rows")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is no audit store, or a broken one.
    #[error("the audit store is damaged, or is no audit store; move it away and a new one is begun")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A database cannot be used.
    #[error("the audit store cannot be used")]
    Database(#[source] DatabaseError),
    /// A table is to be made, and it is not said where.
    #[error(
        "{store} names no schema to make a table in; add ?schema=codex_k8s_guard, or another that is neither public nor \
         PostgreSQL's own"
    )]
    NoSchema {
        /// Which store.
        store: String,
    },
    /// Anything else.
    #[error("failed to {act} the audit store")]
    Failed {
        /// What was being done.
        act: &'static str,
        /// Why it could not be.
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

/// A store of rows. What it says is written is durable.
pub trait Store: Send + Sync {
    /// Writes a row, unless the same stage of the same decision is there already.
    fn append(&self, event: &Event) -> impl Future<Output = Result<Appended, StoreError>> + Send;

    /// The rows that a filter lets through, the oldest first.
    fn rows(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// The intentions of which nobody has said yet what came of them, the oldest first.
    fn open_intentions(&self) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// Removes rows that are older than this, but no open intention. How many.
    fn prune(&self, before: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
