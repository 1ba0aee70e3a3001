//! Audit rows in an SQLite file: the store that needs no set-up.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite};
use tokio::time::{Instant, sleep};

use super::file_system::network_file_system;
use super::migrations::{unmigrated, up_to_date};
use super::select::{self, Dialect};
use super::{Appended, Event, EventType, Filter, Row, Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The default timeout for locks of other processes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between attempts to lock the folder.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
/// The size of the pool. Only one connection writes at a time anyway.
const CONNECTIONS: u32 = 4;

/// Audit rows in a file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens a file, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with the file.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Self::open_with_timeout(file, TIMEOUT).await
    }

    /// As [`open`](Self::open), with another timeout for locks of other processes.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with the file.
    pub async fn open_with_timeout(file: &Path, timeout: Duration) -> Result<Self, StoreError> {
        Self::open_or_create(file, timeout, true).await
    }

    /// Opens a file, if it exists.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with the file.
    pub async fn open_existing(file: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |source: std::io::Error| StoreError::Open {
            store: file.display().to_string(),
            source: source.into(),
        };
        if !file.try_exists().map_err(failed)? {
            return Ok(None);
        }
        Self::open_or_create(file, TIMEOUT, false).await.map(Some)
    }

    async fn open_or_create(file: &Path, timeout: Duration, create: bool) -> Result<Self, StoreError> {
        if let Some(file_system) = network_file_system(&absolute(file)) {
            return Err(StoreError::NetworkFile { file: file.display().to_string(), file_system });
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // A row must be on the disk before the action that it announces.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(timeout);
        let failed = |source: sqlx::Error| {
            classified(source, |source| StoreError::Open { store: file.display().to_string(), source })
        };
        let _alone = one_at_a_time(&absolute(file), timeout).await;
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(timeout.saturating_mul(2).max(Duration::from_secs(1)))
            .connect_with(options)
            .await
            .map_err(failed)?;
        up_to_date(&MIGRATIONS).run(&pool).await.map_err(unmigrated).map_err(failed)?;
        Ok(Self { pool })
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Locks the folder against other processes that open a store in it, until the result is dropped. SQLite's own locks
/// cover neither the switch to its journal nor a migration, and two processes that find an empty file would both fill
/// it. Without the lock after `timeout`, opening continues, and errors of SQLite apply.
async fn one_at_a_time(file: &Path, timeout: Duration) -> Option<File> {
    let folder = File::open(file.parent()?).ok()?;
    let give_up = Instant::now() + timeout;
    while let Err(TryLockError::WouldBlock) = folder.try_lock() {
        if Instant::now() >= give_up {
            return None;
        }
        sleep(BETWEEN_TRIES).await;
    }
    Some(folder)
}

fn absolute(file: &Path) -> PathBuf {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    folder.and_then(|folder| Some(folder.join(whole.file_name()?))).unwrap_or(whole)
}

/// Maps SQLite's primary result codes to errors.
fn classified(
    error: sqlx::Error,
    otherwise: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> StoreError,
) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    let primary = code.map(|code| code & 0xff);
    let source = Box::new(error);
    match primary {
        Some(5 | 6) => StoreError::Locked(source),
        Some(8) => StoreError::ReadOnly(source),
        Some(13) => StoreError::Full(source),
        Some(11 | 26) => StoreError::Damaged(source),
        _ => otherwise(source),
    }
}

fn failed(act: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| classified(error, |source| StoreError::Failed { act, source })
}

const COLUMNS: &str = "id, correlation_id, actor_type, actor_id, event_type, payload, created_at";
const DIALECT: Dialect<i64> = Dialect { columns: COLUMNS, path: "$.", time: Timestamp::as_microsecond };

impl Store for SqliteStore {
    async fn append(&self, event: &Event) -> Result<Appended, StoreError> {
        let payload = serde_json::to_string(&event.payload)
            .map_err(|source| StoreError::Failed { act: "write to", source: source.into() })?;
        let written = sqlx::query(
            "INSERT INTO flow_events (correlation_id, actor_type, actor_id, event_type, payload, created_at) \
             VALUES ($1, $2, NULLIF($3, ''), $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(&event.correlation_id)
        .bind(&event.actor.kind)
        .bind(&event.actor.id)
        .bind(event.event_type.as_str())
        .bind(payload)
        .bind(event.created_at.as_microsecond())
        .execute(&self.pool)
        .await
        .map_err(failed("write to"))?;
        Ok(if written.rows_affected() == 0 { Appended::AlreadyThere } else { Appended::Written })
    }

    async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, StoreError> {
        let mut query = DIALECT.select::<Sqlite>("flow_events", filter);
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed("read"))?;
        select::sorted(&rows, row)
    }

    async fn open_intentions(&self) -> Result<Vec<Row>, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM flow_events AS intended WHERE event_type = $1 AND NOT EXISTS (SELECT 1 FROM \
             flow_events AS ended WHERE ended.event_type IN ($2, $3, $4) AND ended.payload ->> '$.decision_id' = \
             intended.payload ->> '$.decision_id') ORDER BY id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(EventType::CleanupIntended.as_str())
            .bind(EventType::Cleaned.as_str())
            .bind(EventType::CleanupFailed.as_str())
            .bind(EventType::CleanupSkipped.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(failed("read"))?;
        rows.iter().map(row).collect()
    }

    async fn open_namespaces(&self, since: Timestamp) -> Result<Vec<Row>, StoreError> {
        let select = DIALECT.open_namespaces("flow_events");
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(since.as_microsecond());
        let rows = query.fetch_all(&self.pool).await.map_err(failed("read"))?;
        rows.iter().map(row).collect()
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let open: Vec<i64> = self.open_intentions().await?.iter().map(|row| row.id).collect();
        let mut query = sqlx::QueryBuilder::new("DELETE FROM flow_events WHERE created_at < ");
        query.push_bind(before.as_microsecond());
        for id in open {
            query.push(" AND id <> ").push_bind(id);
        }
        let pruned = query.build().execute(&self.pool).await.map_err(failed("prune"))?;
        Ok(pruned.rows_affected())
    }
}

fn row(stored: &SqliteRow) -> Result<Row, StoreError> {
    read(stored).map_err(StoreError::Damaged)
}

fn read(stored: &SqliteRow) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
    select::read(stored, Timestamp::from_microsecond(stored.try_get("created_at")?)?)
}
