//! An audit store of either kind, chosen by its address.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;

use super::{Appended, Event, Filter, PostgresStore, Row, SqliteStore, Store, StoreError};
use crate::database::{PgAddress, PgAddressError};

/// The address of an audit store, as users write it: `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A file on a local disk.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PgAddress),
}

/// An invalid address of an audit store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreAddressError {
    /// An unsupported kind of store. The error does not contain the text, because it may hold a password.
    #[error(
        "found no address of a store; expected sqlite:FILE, such as sqlite:/var/lib/codex-k8s-gc/audit.db, or \
         postgres://USER@HOST/DATABASE"
    )]
    Kind,
    /// An invalid address of a PostgreSQL database.
    #[error(transparent)]
    Postgres(#[from] PgAddressError),
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return Ok(Self::Postgres(text.parse()?));
        }
        let file = text.strip_prefix("sqlite:").ok_or(StoreAddressError::Kind)?;
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() { Err(StoreAddressError::Kind) } else { Ok(Self::Sqlite(file.into())) }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(out, "sqlite:{}", file.display()),
            Self::Postgres(address) => address.fmt(out),
        }
    }
}

/// An open audit store of either kind.
#[derive(Debug, Clone)]
pub enum AuditStore {
    /// A file.
    Sqlite(SqliteStore),
    /// A table of a database.
    Postgres(PostgresStore),
}

impl AuditStore {
    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with it.
    pub async fn open(address: &StoreAddress) -> Result<Self, StoreError> {
        match address {
            StoreAddress::Sqlite(file) => SqliteStore::open(file).await.map(Self::Sqlite),
            StoreAddress::Postgres(address) => PostgresStore::open(address).await.map(Self::Postgres),
        }
    }

    /// Opens a store to read it. `None` if it is a file that does not exist: it is not created, because a user who only
    /// reads could own a file that the collector cannot write.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with it.
    pub async fn open_existing(address: &StoreAddress) -> Result<Option<Self>, StoreError> {
        match address {
            StoreAddress::Sqlite(file) => Ok(SqliteStore::open_existing(file).await?.map(Self::Sqlite)),
            StoreAddress::Postgres(_) => Self::open(address).await.map(Some),
        }
    }

    /// Closes the store.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl Store for AuditStore {
    async fn append(&self, event: &Event) -> Result<Appended, StoreError> {
        match self {
            Self::Sqlite(store) => store.append(event).await,
            Self::Postgres(store) => store.append(event).await,
        }
    }

    async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => store.rows(filter).await,
            Self::Postgres(store) => store.rows(filter).await,
        }
    }

    async fn open_intentions(&self) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => store.open_intentions().await,
            Self::Postgres(store) => store.open_intentions().await,
        }
    }

    async fn open_namespaces(&self, since: Timestamp) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => store.open_namespaces(since).await,
            Self::Postgres(store) => store.open_namespaces(since).await,
        }
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(store) => store.prune(before).await,
            Self::Postgres(store) => store.prune(before).await,
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
    fn an_address_names_a_database_and_does_not_show_the_password() {
        for text in ["postgres://gc:s3cret@db/platform", "postgresql://gc:s3cret@db/platform"] {
            let address: StoreAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text.replace(":s3cret", ""));
            assert!(!format!("{address:?}").contains("s3cret"));
        }
        let error = "postgres://gc:s3cret@db/platform?sslmode=allow".parse::<StoreAddress>().unwrap_err();
        assert!(
            error.to_string().contains("sslmode=allow") && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn what_names_no_store_is_reported_with_what_would() {
        for text in ["", "audit.db", "sqlite:", "mysql://h/d"] {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains("expected sqlite:FILE"), "{error}");
        }
    }
}
