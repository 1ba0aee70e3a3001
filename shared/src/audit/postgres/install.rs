//! An audit table of this product, where the platform's does not exist.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::{PostgresStore, TABLE, TIMEOUT};
use crate::audit::StoreError;
use crate::audit::migrations::{unmigrated, up_to_date};
use crate::database::{Act, Database, DatabaseError, PgAddress, Session, quoted};

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
        let pool = database.pool.clone();
        let mut connection = database.act(&act, pool.acquire()).await?.detach();
        let made = database.act(&act, make(&mut connection, schema)).await;
        // The connection ends with this process at the latest.
        let _ = connection.close().await;
        database.pool.close().await;
        if !made? {
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
    connection.lock().await.map_err(unmigrated)?;
    let conflict = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NULL";
    let conflict = sqlx::query_scalar(conflict)
        .bind(format!("{name}.{TABLE}"))
        .bind(format!("{name}._sqlx_migrations"))
        .fetch_one(&mut *connection);
    if conflict.await? {
        return Ok(false);
    }
    let there =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)").bind(schema);
    if !there.fetch_one(&mut *connection).await? {
        run(connection, format!("CREATE SCHEMA {name}")).await?;
    }
    run(connection, format!("SET search_path = {name}")).await?;
    up_to_date(&MIGRATIONS).set_locking(false).run(&mut *connection).await.map_err(unmigrated)?;
    Ok(true)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
