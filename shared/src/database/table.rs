//! Checks that a table has the expected form. The table is never changed.

use sqlx::Row as _;

use super::connection::{Database, query};
use super::fault::{Act, DatabaseError};

/// A required column: its name and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str);

/// A table that exists, with its columns.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The name with its schema, each in quotes.
    pub(crate) name: String,
    oid: i64,
    columns: Vec<FoundColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundColumn {
    name: String,
    kind: String,
    not_null: bool,
    has_default: bool,
}

const FIND: &str = "SELECT class.oid::bigint AS oid, format('%I.%I', namespace.nspname, class.relname) AS name, \
    class.relkind IN ('r', 'p') AS is_table, has_table_privilege(class.oid, 'SELECT') AS readable \
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace \
    WHERE class.oid = to_regclass($1)";
const COLUMNS: &str = "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS kind, attnotnull AS not_null, \
    atthasdef OR attidentity <> '' AS has_default FROM pg_attribute \
    WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
const HAS_INDEX: &str = "SELECT EXISTS (SELECT 1 FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid \
    WHERE indrelid = $1::bigint::oid AND indisunique AND indisvalid AND class.relname = $2) AS has";

/// An identifier, quoted for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Finds a table: in the schema of the address, or on the session's search path.
    pub(crate) async fn find(database: &Database, name: &'static str) -> Result<Option<Self>, DatabaseError> {
        let schema = match database.address().schema() {
            Some(schema) => format!("{}.{name}", quoted(schema)),
            None => name.to_owned(),
        };
        let user = quoted(&database.asker().user);
        let act = Act { name: "look for tables", grant: format!("GRANT USAGE ON SCHEMA ... TO {user}") };
        let find =
            || async { query(FIND).bind(schema.clone()).fetch_optional(&mut *database.begin().await?).await };
        let Some(found) = database.act(&act, find).await? else { return Ok(None) };
        let text = |error| database.asker().fault(&act, error);
        let table: String = found.try_get("name").map_err(text)?;
        if !found.try_get::<bool, _>("readable").map_err(text)? {
            return Err(DatabaseError::Forbidden {
                database: database.asker().database.clone(),
                user: database.asker().user.clone(),
                act: "read",
                grant: format!("GRANT SELECT ON {table} TO {user}"),
                source: None,
            });
        }
        let oid: i64 = found.try_get("oid").map_err(text)?;
        if !found.try_get::<bool, _>("is_table").map_err(text)? {
            return Err(form(database, &table, "a view or the like".to_owned(), "a table".to_owned()));
        }
        let columns = || async { query(COLUMNS).bind(oid).fetch_all(&mut *database.begin().await?).await };
        let columns = database.act(&act, columns).await?;
        let columns = columns.iter().map(column).collect::<Result<_, _>>().map_err(text)?;
        Ok(Some(Self { name: table, oid, columns }))
    }

    /// Returns an error if one of these columns is missing or has another type.
    pub(crate) fn must_have(&self, database: &Database, columns: &[Column]) -> Result<(), DatabaseError> {
        for Column(name, kind) in columns {
            let found = match self.columns.iter().find(|found| found.name == *name) {
                None => format!("no column {name}"),
                Some(found) if found.kind != *kind => format!("the column {name} of type {}", found.kind),
                Some(_) => continue,
            };
            return Err(form(database, &self.name, found, format!("{name} of type {kind}")));
        }
        Ok(())
    }

    /// Returns an error if a row with only these columns could not be inserted.
    pub(crate) fn must_take(
        &self,
        database: &Database,
        given: &[&str],
        maybe: &str,
    ) -> Result<(), DatabaseError> {
        for column in &self.columns {
            let name = &column.name;
            let (found, expected) = if name == maybe && column.not_null {
                (format!("the column {name} NOT NULL"), format!("{name} nullable"))
            } else if column.not_null && !column.has_default && !given.contains(&name.as_str()) {
                (
                    format!("the column {name} NOT NULL without a default"),
                    "none but the platform's".to_owned(),
                )
            } else {
                continue;
            };
            return Err(form(database, &self.name, found, expected));
        }
        Ok(())
    }

    /// Returns true if there is a unique index of this name.
    pub(crate) async fn has_index(&self, database: &Database, index: &str) -> Result<bool, DatabaseError> {
        let act = Act { name: "look for indexes", grant: String::new() };
        let found = || async {
            let query = query(HAS_INDEX).bind(self.oid).bind(index.to_owned());
            query.fetch_one(&mut *database.begin().await?).await?.try_get("has")
        };
        database.act(&act, found).await
    }
}

fn column(row: &sqlx::postgres::PgRow) -> Result<FoundColumn, sqlx::Error> {
    Ok(FoundColumn {
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        not_null: row.try_get("not_null")?,
        has_default: row.try_get("has_default")?,
    })
}

fn form(database: &Database, table: &str, found: String, expected: String) -> DatabaseError {
    let (database, table) = (database.asker().database.clone(), table.to_owned());
    DatabaseError::Form { database, table, found, expected }
}
