//! A filter of rows as SQL for both databases, and the conversion of the results.

use jiff::Timestamp;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Type};

use super::{Actor, Event, EventType, Filter, Payload, Row, StoreError};

/// The differences between the databases: columns, the path of a payload's fields, and the type that times are bound
/// as.
pub(super) struct Dialect<T> {
    pub(super) columns: &'static str,
    /// The prefix of a field's name in a path.
    pub(super) path: &'static str,
    pub(super) time: fn(Timestamp) -> T,
}

impl<T> Dialect<T> {
    /// Selects rows in no particular order.
    pub(super) fn select<DB: Database>(&self, table: &str, filter: &Filter) -> QueryBuilder<DB>
    where
        T: for<'q> Encode<'q, DB> + Type<DB>,
        String: for<'q> Encode<'q, DB> + Type<DB>,
        i64: for<'q> Encode<'q, DB> + Type<DB>,
    {
        let columns = self.columns;
        // Other events of the platform, and those of later versions, cannot be interpreted here.
        let mut query = QueryBuilder::new(format!("SELECT {columns} FROM {table} WHERE event_type IN ("));
        let mut known = query.separated(", ");
        for event_type in EventType::ALL {
            known.push_bind(event_type.as_str().to_owned());
        }
        query.push(")");
        let field = |name| format!(" AND payload ->> '{}{name}' = ", self.path);
        let texts = [
            (field("namespace"), filter.namespace.as_deref()),
            (field("run_id"), filter.run_id.as_deref()),
            (" AND correlation_id = ".to_owned(), filter.correlation_id.as_deref()),
            (" AND event_type = ".to_owned(), filter.event_type.map(EventType::as_str)),
        ];
        for (condition, text) in texts.into_iter().filter_map(|(condition, text)| Some((condition, text?))) {
            query.push(condition).push_bind(text.to_owned());
        }
        let times = [(" AND created_at >= ", filter.since), (" AND created_at < ", filter.until)];
        for (condition, time) in times.into_iter().filter_map(|(condition, time)| Some((condition, time?))) {
            query.push(condition).push_bind((self.time)(time));
        }
        if let Some(id) = filter.after_id {
            query.push(" AND id > ").push_bind(id).push(" ORDER BY id");
        } else {
            query.push(" ORDER BY id DESC");
        }
        if let Some(limit) = filter.limit {
            query.push(" LIMIT ").push_bind(i64::from(limit));
        }
        query
    }

    /// Selects the rows about prepared namespaces since a time, `$1`, without a row about the end of the namespace, the
    /// oldest first. Rows of the platform have no uid, and name a run instead.
    pub(super) fn open_namespaces(&self, table: &str) -> String {
        let field = |row: &str, name: &str| format!("{row}.payload ->> '{}{name}'", self.path);
        let equal = |name: &str| format!("{} = {}", field("ended", name), field("prepared", name));
        format!(
            "SELECT {columns} FROM {table} AS prepared WHERE event_type = '{prepared}' AND created_at >= $1 \
             AND NOT EXISTS (SELECT 1 FROM {table} AS ended WHERE ended.event_type IN ('{cleaned}', '{deleted}') \
             AND ended.created_at >= $1 AND {namespace} AND ({uid} OR ({prepared_uid} IS NULL AND {run} \
             AND ended.created_at >= prepared.created_at))) ORDER BY id",
            columns = self.columns,
            prepared = EventType::Prepared,
            cleaned = EventType::Cleaned,
            deleted = EventType::Deleted,
            namespace = equal("namespace"),
            uid = equal("uid"),
            prepared_uid = field("prepared", "uid"),
            run = equal("run_id"),
        )
    }
}

/// Converts rows. The result has the oldest row first.
pub(super) fn sorted<R>(
    stored: &[R],
    row: impl Fn(&R) -> Result<Row, StoreError>,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = stored.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable_by_key(|row| row.id);
    Ok(rows)
}

/// Converts a row. The time is passed in, because each database stores it differently.
pub(super) fn read<R: sqlx::Row>(
    stored: &R,
    created_at: Timestamp,
) -> Result<Row, Box<dyn std::error::Error + Send + Sync>>
where
    for<'c> &'c str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |column: &str| stored.try_get::<String, _>(column);
    let actor_id = stored.try_get::<Option<String>, _>("actor_id")?;
    let event = Event {
        correlation_id: text("correlation_id")?,
        actor: Actor { kind: text("actor_type")?, id: actor_id.unwrap_or_default() },
        event_type: text("event_type")?.parse()?,
        payload: Payload::from_others(&text("payload")?),
        created_at,
    };
    Ok(Row { id: stored.try_get("id")?, event })
}
