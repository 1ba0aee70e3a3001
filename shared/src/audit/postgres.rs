//! Audit rows in PostgreSQL: in the platform's own table, which is never altered, or in a schema of this product.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{AssertSqlSafe, Row as _};

use super::select::{self, Dialect};
use super::{Appended, Event, EventType, Filter, Payload, Row, Store, StoreError};
use crate::database::{
    Act, Column, Database, DatabaseError, Moment, PgAddress, Session, Table, query, quoted,
};

mod install;

/// The default timeout of the database.
const TIMEOUT: Duration = Duration::from_secs(10);
const TABLE: &str = "flow_events";
/// The platform's form of the table (contract.md, section 6).
const FORM: [Column; 7] = [
    Column("id", "bigint"),
    Column("correlation_id", "text"),
    Column("actor_type", "text"),
    Column("actor_id", "text"),
    Column("event_type", "text"),
    Column("payload", "jsonb"),
    Column("created_at", "timestamp with time zone"),
];
/// The columns that each of our rows sets.
const GIVEN: [&str; 6] = ["correlation_id", "actor_type", "actor_id", "event_type", "payload", "created_at"];
/// The index that only a table of this product has.
const UNIQUE: &str = "flow_events_of_a_decision";
/// The maximum length of a correlation id. A longer one would not fit into the platform's index on it.
const LONGEST: usize = 1024;
/// The number of rows that are removed in one statement.
const BATCH: u64 = 5_000;

const COLUMNS: &str =
    "id, correlation_id, actor_type, actor_id, event_type, payload::text AS payload, created_at";
const DIALECT: Dialect<Moment> = Dialect { columns: COLUMNS, path: "", time: Moment };

/// Audit rows in a database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    database: Database,
    /// The name of the table, quoted for SQL.
    table: String,
    /// The `ON CONFLICT` clause, if the table has our unique index.
    on_conflict: &'static str,
}

impl PostgresStore {
    /// Opens the existing table `flow_events`: in the schema of the address, or on the search path, as the platform's
    /// own programs do. Creates nothing; [`install`](Self::install) does that.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with the database.
    pub(crate) async fn open(address: &PgAddress) -> Result<Self, StoreError> {
        Self::open_with_timeout(address, TIMEOUT).await
    }

    /// As [`open`](Self::open), with another timeout for a connection or a lock. A statement may take twice as long.
    ///
    /// # Errors
    /// [`StoreError`], which says what is wrong with the database.
    pub async fn open_with_timeout(address: &PgAddress, timeout: Duration) -> Result<Self, StoreError> {
        let database = Database::open(address, Session::Durable, timeout).await?;
        let Some(table) = Table::find(&database, TABLE).await? else {
            let advice = if address.schema().is_some() {
                "`codex-k8s-guard audit install` makes it"
            } else {
                "is it the platform's? `codex-k8s-guard audit install` makes one in a schema of ours, which the address \
                 then names: ?schema=codex_k8s_guard"
            };
            let table =
                address.schema().map_or_else(|| TABLE.to_owned(), |schema| format!("{schema}.{TABLE}"));
            return Err(DatabaseError::NoTable { database: address.database(), table, advice }.into());
        };
        table.must_have(&database, &FORM)?;
        table.must_take(&database, &GIVEN, "actor_id")?;
        let on_conflict = if table.has_index(&database, UNIQUE).await? {
            " ON CONFLICT (event_type, (payload ->> 'decision_id')) WHERE payload ->> 'decision_id' IS NOT NULL \
             DO NOTHING"
        } else {
            ""
        };
        Ok(Self { database, table: table.name, on_conflict })
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn act(&self, name: &'static str, rights: &str) -> Act {
        let (table, user) = (&self.table, quoted(&self.database.asker().user));
        let numbers = if rights.contains("INSERT") {
            format!("; GRANT USAGE ON SEQUENCE {table}_id_seq TO {user}")
        } else {
            String::new()
        };
        Act { name, grant: format!("GRANT {rights} ON {table} TO {user}{numbers}") }
    }

    async fn write(&self, event: &Event) -> Result<bool, sqlx::Error> {
        let decision = event.payload.decision_id.as_deref();
        let mut transaction = self.database.begin().await?;
        if let Some(decision) = decision {
            let lock = query("SELECT pg_advisory_xact_lock($1)").bind(lock_of(event.event_type, decision));
            lock.execute(&mut *transaction).await?;
        }
        let insert = format!(
            "INSERT INTO {table} (correlation_id, actor_type, actor_id, event_type, payload, created_at) \
             SELECT $1, $2, NULLIF($3, ''), $4, $5::text::jsonb, $6 WHERE NOT EXISTS (SELECT 1 FROM {table} \
             WHERE correlation_id = $1 AND event_type = $4 AND payload ->> 'decision_id' = $7){on_conflict}",
            table = self.table,
            on_conflict = self.on_conflict,
        );
        let written = query(AssertSqlSafe(insert))
            .bind(correlation(&event.correlation_id))
            .bind(storable(&event.actor.kind))
            .bind(storable(&event.actor.id))
            .bind(event.event_type.as_str())
            .bind(json(&event.payload).map_err(|error| sqlx::Error::Encode(error.into()))?)
            .bind(Moment(event.created_at))
            .bind(decision.map(storable))
            .execute(&mut *transaction)
            .await?;
        self.database.commit(transaction).await?;
        Ok(written.rows_affected() == 1)
    }

    /// Removes one batch of our oldest rows. Rows of the platform have no decision id.
    async fn prune_batch(&self, before: Timestamp, open: &[i64]) -> Result<u64, StoreError> {
        let delete = format!(
            "DELETE FROM {table} WHERE id = ANY(ARRAY(SELECT id FROM {table} WHERE event_type = ANY($1) \
             AND created_at < $2 AND payload ->> 'decision_id' IS NOT NULL AND id <> ALL($3) LIMIT {BATCH}))",
            table = self.table
        );
        let delete = || async {
            let mut transaction = self.database.begin().await?;
            let delete = query(AssertSqlSafe(delete.clone()));
            let delete = delete.bind(names(|_| true)).bind(Moment(before)).bind(open.to_vec());
            let deleted = delete.execute(&mut *transaction).await?.rows_affected();
            self.database.commit(transaction).await?;
            Ok(deleted)
        };
        Ok(self.database.act(&self.act("remove audit rows", "DELETE"), delete).await?)
    }
}

/// The number that sessions lock while they write the same stage of the same decision.
fn lock_of(event_type: EventType, decision: &str) -> i64 {
    let mut digest = Sha256::new();
    for part in ["codex-k8s-guard", event_type.as_str(), decision] {
        digest.update(part);
        digest.update([0]);
    }
    digest.finalize().iter().take(8).fold(0, |number: i64, byte| (number << 8) | i64::from(*byte))
}

/// A text without NUL, which PostgreSQL cannot store.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn correlation(id: &str) -> String {
    let id = storable(id);
    id.get(..id.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned()
}

fn json(payload: &Payload) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(payload)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value = serde_json::from_str(&text)?;
    make_storable(&mut value);
    serde_json::to_string(&value)
}

fn make_storable(value: &mut Value) {
    match value {
        Value::String(text) => *text = storable(text),
        Value::Array(items) => items.iter_mut().for_each(make_storable),
        Value::Object(fields) => fields.values_mut().for_each(make_storable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn names(which: impl Fn(&EventType) -> bool) -> Vec<String> {
    EventType::ALL.into_iter().filter(which).map(|event_type| event_type.as_str().to_owned()).collect()
}

impl Store for PostgresStore {
    /// On a table without our index, rows of the same decision must also have the same correlation id, because that
    /// is the column that the platform's indexes cover.
    async fn append(&self, event: &Event) -> Result<Appended, StoreError> {
        let act = self.act("write audit rows", "INSERT, SELECT");
        let written = self.database.act(&act, || self.write(event)).await?;
        Ok(if written { Appended::Written } else { Appended::AlreadyThere })
    }

    async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, StoreError> {
        let correlation_id = filter.correlation_id.as_deref().map(correlation);
        let filter = Filter { correlation_id, ..filter.clone() };
        let rows = || async {
            let mut query = DIALECT.select::<Postgres>(&self.table, &filter);
            let query = query.build().persistent(false);
            query.fetch_all(&mut *self.database.begin().await?).await
        };
        let rows = self.database.act(&self.act("read audit rows", "SELECT"), rows).await?;
        select::sorted(&rows, row)
    }

    async fn open_intentions(&self) -> Result<Vec<Row>, StoreError> {
        // The outcome of each intention is found with the index on correlation ids, starting at the time of the
        // intention minus an hour for clocks that differ. LIMIT keeps the planner from reading all outcomes.
        let select = format!(
            "SELECT {COLUMNS} FROM {table} AS intended WHERE event_type = $1 AND (SELECT 1 FROM {table} AS ended \
             WHERE ended.correlation_id = intended.correlation_id \
             AND ended.created_at >= intended.created_at - interval '1 hour' AND ended.event_type = ANY($2) \
             AND ended.payload ->> 'decision_id' = intended.payload ->> 'decision_id' LIMIT 1) IS NULL ORDER BY id",
            table = self.table
        );
        let rows = || async {
            let query = query(AssertSqlSafe(select.clone()));
            let query = query
                .bind(EventType::CleanupIntended.as_str())
                .bind(names(|event_type| event_type.ends_an_intention()));
            query.fetch_all(&mut *self.database.begin().await?).await
        };
        let rows = self.database.act(&self.act("read audit rows", "SELECT"), rows).await?;
        rows.iter().map(row).collect()
    }

    async fn open_namespaces(&self, since: Timestamp) -> Result<Vec<Row>, StoreError> {
        let select = DIALECT.open_namespaces(&self.table);
        let rows = || async {
            let query = query(AssertSqlSafe(select.clone())).bind(Moment(since));
            query.fetch_all(&mut *self.database.begin().await?).await
        };
        let rows = self.database.act(&self.act("read audit rows", "SELECT"), rows).await?;
        rows.iter().map(row).collect()
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let open: Vec<i64> = self.open_intentions().await?.iter().map(|row| row.id).collect();
        let mut pruned = 0;
        loop {
            let batch = self.prune_batch(before, &open).await?;
            pruned += batch;
            if batch < BATCH {
                return Ok(pruned);
            }
        }
    }
}

fn row(stored: &PgRow) -> Result<Row, StoreError> {
    read(stored).map_err(StoreError::Damaged)
}

fn read(stored: &PgRow) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
    select::read(stored, stored.try_get::<Moment, _>("created_at")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_cannot_store_is_replaced_and_nothing_else() {
        let error = Some("a\0b \\u0000 c".to_owned());
        let payload = Payload { error, namespace: "n\0".to_owned(), ..Payload::default() };
        let stored = Payload::from_others(&json(&payload).unwrap());
        assert_eq!(stored.error.as_deref(), Some("a\u{fffd}b \\u0000 c"));
        assert_eq!(stored.namespace, "n\u{fffd}");
        let plain = Payload { error: Some("\u{fffd} as it was".to_owned()), ..Payload::default() };
        assert_eq!(Payload::from_others(&json(&plain).unwrap()), plain);
    }

    #[test]
    fn a_correlation_id_is_cut_where_the_index_on_it_would_refuse_it() {
        assert_eq!(correlation("c-1"), "c-1");
        assert_eq!(correlation(&"é".repeat(600)), "é".repeat(512));
        let once = correlation(&"€".repeat(600));
        assert_eq!((once.len(), correlation(&once) == once), (1023, true));
    }

    #[test]
    fn each_stage_of_each_decision_has_a_lock_of_its_own() {
        let lock = lock_of(EventType::Cleaned, "d1");
        assert_eq!(lock, lock_of(EventType::Cleaned, "d1"));
        assert_ne!(lock, lock_of(EventType::CleanupFailed, "d1"));
        assert_ne!(lock, lock_of(EventType::Cleaned, "d2"));
    }
}
