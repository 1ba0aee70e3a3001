//! One whole run, as an input for the CLI.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::{TABLE, TIMEOUT};
use crate::database::{Act, Column, Database, DatabaseError, PgAddress, Session, Table, query, quoted};
use crate::identity::{ProjectId, RunId, is_uuid};

/// The columns that are read (contract.md, section 6).
const FORM: [Column; 4] = [
    Column("id", "uuid"),
    Column("correlation_id", "text"),
    Column("project_id", "uuid"),
    Column("run_payload", "jsonb"),
];

/// A run as it was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// The id.
    pub id: RunId,
    /// The id that all its rows share.
    pub correlation_id: String,
    /// The project; empty if there is none.
    pub project: ProjectId,
    /// The payload, as JSON.
    pub payload: String,
}

/// Reads a run from the platform's table `agent_runs`; `None` if there is none with this id. The privilege to SELECT
/// is enough.
///
/// # Errors
/// If the database cannot be used, or the table is of another form.
pub async fn read_run(address: &PgAddress, id: &RunId) -> Result<Option<StoredRun>, DatabaseError> {
    let database = Database::open(address, Session::ReadOnly, TIMEOUT).await?;
    let Some(table) = Table::find(&database, TABLE).await? else {
        let (database, table) = (address.database(), TABLE.to_owned());
        return Err(DatabaseError::NoTable { database, table, advice: "name the platform's database" });
    };
    table.must_have(&database, &FORM)?;
    if !is_uuid(id.as_str()) {
        return Ok(None);
    }
    let act = Act {
        name: "read a run",
        grant: format!("GRANT SELECT ON {} TO {}", table.name, quoted(&database.asker().user)),
    };
    let select = format!(
        "SELECT correlation_id, coalesce(project_id::text, '') AS project, run_payload::text AS payload FROM {} \
         WHERE id = $1::text::uuid",
        table.name
    );
    let found = || async {
        let query = query(AssertSqlSafe(select.clone())).bind(id.to_string());
        let found = query.fetch_optional(&mut *database.begin().await?).await?;
        found.map(|stored| run(id, &stored)).transpose()
    };
    let run = database.act(&act, found).await;
    database.close().await;
    run
}

fn run(id: &RunId, stored: &PgRow) -> Result<StoredRun, sqlx::Error> {
    Ok(StoredRun {
        id: id.clone(),
        correlation_id: stored.try_get("correlation_id")?,
        project: ProjectId::new(stored.try_get::<String, _>("project")?),
        payload: stored.try_get("payload")?,
    })
}
