//! A store of whichever kind a text names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;

use super::{Appended, Event, Filter, Row, SqliteStore, Store, StoreError};

/// Where audit rows are to be kept, as people write it: `sqlite:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A file on a local disk.
    Sqlite(PathBuf),
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}; expected sqlite:FILE, such as sqlite:/var/lib/codex-k8s-gc/audit.db")]
pub struct StoreAddressError {
    found: String,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        let error = || StoreAddressError { found: text.chars().take(80).collect() };
        let file = text.strip_prefix("sqlite:").ok_or_else(error)?;
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() { Err(error()) } else { Ok(Self::Sqlite(file.into())) }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(out, "sqlite:{}", file.display()),
        }
    }
}

/// An open store of either kind.
#[derive(Debug, Clone)]
pub enum AuditStore {
    /// A file.
    Sqlite(SqliteStore),
}

impl AuditStore {
    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with it.
    pub async fn open(address: &StoreAddress) -> Result<Self, StoreError> {
        match address {
            StoreAddress::Sqlite(file) => SqliteStore::open(file).await.map(Self::Sqlite),
        }
    }

    /// Closes it.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
        }
    }
}

impl Store for AuditStore {
    async fn append(&self, event: &Event) -> Result<Appended, StoreError> {
        match self {
            Self::Sqlite(store) => store.append(event).await,
        }
    }

    async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => store.rows(filter).await,
        }
    }

    async fn open_intentions(&self) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => store.open_intentions().await,
        }
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(store) => store.prune(before).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_file_with_or_without_slashes() {
        for text in ["sqlite:/var/audit.db", "sqlite:///var/audit.db"] {
            assert_eq!(text.parse(), Ok(StoreAddress::Sqlite("/var/audit.db".into())), "{text}");
        }
        assert_eq!("sqlite:audit.db".parse(), Ok(StoreAddress::Sqlite("audit.db".into())));
    }

    #[test]
    fn what_names_no_store_is_told_with_what_would() {
        for text in ["", "audit.db", "sqlite:", "mysql://h/d"] {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains("expected sqlite:FILE"), "{error}");
        }
    }
}
