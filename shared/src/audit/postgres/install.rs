//! An audit table of this product, where the platform's does not exist.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::{PostgresStore, TABLE, TIMEOUT};
use crate::audit::StoreError;
use crate::audit::migrations::{unmigrated, up_to_date};
use crate::database::{Act, Database, DatabaseError, PgAddress, Session, query, quoted};

/// The number that sessions lock while they create or migrate a schema: `codex-k8` in ASCII.
const LOCK: i64 = 0x636f_6465_782d_6b38;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

impl PostgresStore {
    /// Creates the schema of the address with a table `flow_events`, or migrates one that this function created
    /// earlier; then opens it. Only this function creates anything in a database, and only where that is explicitly
    /// requested: an address without `schema`, the schema `public`, and a schema with a `flow_events` of another owner
    /// are errors.
    ///
    /// # Errors
    /// [`StoreError`]; in this case nothing was created.
    pub async fn install(address: &PgAddress) -> Result<Self, StoreError> {
        Self::install_with_timeout(address, TIMEOUT).await
    }

    /// As [`install`](Self::install), with another timeout.
    ///
    /// # Errors
    /// [`StoreError`]; in this case nothing was created.
    pub async fn install_with_timeout(address: &PgAddress, timeout: Duration) -> Result<Self, StoreError> {
        let schema = match address.schema() {
            Some(schema) if schema != "public" && !schema.starts_with("pg_") => schema,
            _ => return Err(StoreError::NoSchema { store: address.to_string() }),
        };
        let database = Database::open(address, Session::Durable, timeout).await?;
        let act = act(&database, address);
        let create = || async {
            let mut transaction = database.begin().await?;
            let made = make(&mut transaction, schema).await?;
            // The names of the migrations' statements would stay behind on the session.
            transaction.clear_cached_statements().await?;
            database.commit(transaction).await?;
            Ok(made)
        };
        let created = database.act(&act, create).await;
        database.close().await;
        if !created? {
            let table = format!("{schema}.{TABLE}");
            return Err(DatabaseError::Form {
                database: address.database(),
                table,
                found: "a table that this program did not make".to_owned(),
                expected: "none; name another schema".to_owned(),
            }
            .into());
        }
        Self::open_with_timeout(address, timeout).await
    }
}

fn act(database: &Database, address: &PgAddress) -> Act {
    let user = quoted(&database.asker().user);
    let name = address.database();
    let name = quoted(name.rsplit('/').next().unwrap_or_default());
    Act { name: "make a schema", grant: format!("GRANT CREATE ON DATABASE {name} TO {user}") }
}

/// Creates schema and table, or migrates them. Returns false if the schema is not one of this product.
async fn make(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    let name = quoted(schema);
    // If two processes install at the same time, one waits here for the other.
    query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    let found = query(
        "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NULL AS conflict, \
         EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $3) AS there",
    );
    let found = found
        .bind(format!("{name}.{TABLE}"))
        .bind(format!("{name}._sqlx_migrations"))
        .bind(schema.to_owned());
    let found = found.fetch_one(&mut *connection).await?;
    if found.try_get("conflict")? {
        return Ok(false);
    }
    if !found.try_get::<bool, _>("there")? {
        run(connection, format!("CREATE SCHEMA {name}")).await?;
    }
    run(connection, format!("SET LOCAL search_path = {name}")).await?;
    up_to_date(&MIGRATIONS).set_locking(false).run(&mut *connection).await.map_err(unmigrated)?;
    Ok(true)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
