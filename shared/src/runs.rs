//! The runs in the platform's database, which is only read, never written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use crate::database::{
    Act, Column, Database, DatabaseError, Moment, PgAddress, Session, Table, query, quoted,
};
use crate::identity::is_uuid;

mod stored;

pub use stored::read_run;

/// The default timeout of the database.
const TIMEOUT: Duration = Duration::from_secs(10);
const TABLE: &str = "agent_runs";
/// The columns that are read (contract.md, section 6).
const FORM: [Column; 3] =
    [Column("id", "uuid"), Column("status", "text"), Column("finished_at", "timestamp with time zone")];
/// The number of runs in one query.
const BATCH: usize = 500;

/// A run in the platform's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The status, unchanged.
    pub status: String,
    /// The end, if the run has ended.
    pub finished_at: Option<Timestamp>,
}

/// Runs that could not be read. Callers must not delete anything on the basis of them.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The database cannot be used.
    #[error("the platform's runs cannot be read; without them nothing may be deleted")]
    Database(#[from] DatabaseError),
    /// The table is empty.
    #[error(
        "{table} of the database {database} holds no run at all, so that it is not the platform's; nothing may be \
         deleted by it; name the platform's database"
    )]
    Empty {
        /// The database.
        database: String,
        /// The table.
        table: String,
    },
}

/// The platform's table of runs.
#[derive(Debug, Clone)]
pub struct PlatformRuns {
    database: Database,
    table: String,
}

impl PlatformRuns {
    /// Opens the table `agent_runs`: in the schema of the address, or on the search path, as the platform's own
    /// programs do. The privilege to SELECT from it is enough.
    ///
    /// # Errors
    /// [`RunsError`]: if the database cannot be used, the table is of another form, or it is empty.
    pub async fn open(address: &PgAddress) -> Result<Self, RunsError> {
        Self::open_with_timeout(address, TIMEOUT).await
    }

    /// As [`open`](Self::open), with another timeout of the database.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with_timeout(address: &PgAddress, timeout: Duration) -> Result<Self, RunsError> {
        let database = Database::open(address, Session::ReadOnly, timeout).await?;
        let Some(table) = Table::find(&database, TABLE).await? else {
            let (database, table) = (address.database(), TABLE.to_owned());
            let advice = "name the platform's database; nothing may be deleted by this one";
            return Err(DatabaseError::NoTable { database, table, advice }.into());
        };
        table.must_have(&database, &FORM)?;
        let runs = Self { database, table: table.name };
        runs.must_hold_some().await?;
        Ok(runs)
    }

    /// The runs of these ids, by id. An id is the value of a namespace's label; one that is not a UUID is never the
    /// id of a run.
    ///
    /// # Errors
    /// [`RunsError`]. A run that is missing from a successful result is not in the database.
    pub async fn of(&self, ids: &[&str]) -> Result<BTreeMap<String, RunRow>, RunsError> {
        let ids: BTreeSet<&str> = ids.iter().copied().filter(|id| is_uuid(id)).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut found = BTreeMap::new();
        for batch in ids.chunks(BATCH) {
            found.extend(self.batch(batch).await?);
        }
        if found.is_empty() {
            self.must_hold_some().await?;
        }
        Ok(found)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn batch(&self, ids: &[&str]) -> Result<Vec<(String, RunRow)>, DatabaseError> {
        let select = format!(
            "SELECT id::text AS id, status, finished_at FROM {} WHERE id = ANY($1::text[]::uuid[])",
            self.table
        );
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        let rows = || async {
            let query = query(AssertSqlSafe(select.clone())).bind(ids.clone());
            query.fetch_all(&mut *self.database.begin().await?).await?.iter().map(row).collect()
        };
        self.database.act(&self.act(), rows).await
    }

    async fn must_hold_some(&self) -> Result<(), RunsError> {
        let select = format!("SELECT EXISTS (SELECT 1 FROM {}) AS some", self.table);
        let some = || async {
            let query = query(AssertSqlSafe(select.clone()));
            query.fetch_one(&mut *self.database.begin().await?).await?.try_get("some")
        };
        if self.database.act(&self.act(), some).await? {
            return Ok(());
        }
        let (database, table) = (self.database.asker().database.clone(), self.table.clone());
        Err(RunsError::Empty { database, table })
    }

    fn act(&self) -> Act {
        let user = quoted(&self.database.asker().user);
        Act { name: "read the platform's runs", grant: format!("GRANT SELECT ON {} TO {user}", self.table) }
    }
}

fn row(stored: &PgRow) -> Result<(String, RunRow), sqlx::Error> {
    let finished_at = stored.try_get::<Option<Moment>, _>("finished_at")?.map(|moment| moment.0);
    Ok((stored.try_get("id")?, RunRow { status: stored.try_get("status")?, finished_at }))
}
