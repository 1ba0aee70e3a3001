//! A small pool of connections, with a timeout for each operation.

use std::future::Future;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::address::PgAddress;
use super::fault::{Act, Asker, DatabaseError};

/// The size of the pool. More connections would only wait for each other.
const CONNECTIONS: u32 = 4;

/// The kind of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// For writes that are on the disk when they are reported as done.
    Durable,
    /// For reads only.
    ReadOnly,
}

/// A database that has responded.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    asker: Asker,
    address: PgAddress,
}

impl Database {
    /// Connects. Each operation is limited by `timeout`.
    pub(crate) async fn open(
        address: &PgAddress,
        session: Session,
        timeout: Duration,
    ) -> Result<Self, DatabaseError> {
        let settings = settings(session, timeout);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(timeout)
            .after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(connection).await.map(drop)
                })
            })
            .connect_lazy_with(address.options().clone());
        let (database, user) = (address.database(), address.user().to_owned());
        let opened = Self { pool, asker: Asker { database, user, timeout }, address: address.clone() };
        if let Some(source) = address.unreadable() {
            return Err(DatabaseError::Tls { database: address.database(), source: source.into() });
        }
        // A pool retries, and does not report the cause.
        opened.try_to_connect().await?;
        Ok(opened)
    }

    async fn try_to_connect(&self) -> Result<(), DatabaseError> {
        let act =
            Act { name: "connect", grant: format!("GRANT CONNECT ON DATABASE ... TO {}", self.asker.user) };
        match timeout(self.asker.timeout, PgConnection::connect_with(self.address.options())).await {
            Ok(Ok(connection)) => {
                drop(connection.close().await);
                Ok(())
            }
            Ok(Err(error)) => Err(self.asker.fault(&act, error)),
            Err(elapsed) => Err(self.asker.slow(Some(elapsed.into()))),
        }
    }

    /// Runs an operation, with a limit on its duration.
    pub(crate) async fn act<T>(
        &self,
        act: &Act,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        // The database itself cancels a statement; this limit is for one that does not respond any more.
        match timeout(self.asker.timeout.saturating_mul(3), work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(sqlx::Error::PoolTimedOut)) => {
                self.try_to_connect().await?;
                Err(self.asker.slow(None))
            }
            Ok(Err(error)) => Err(self.asker.fault(act, error)),
            Err(elapsed) => Err(self.asker.slow(Some(elapsed.into()))),
        }
    }

    pub(crate) const fn asker(&self) -> &Asker {
        &self.asker
    }

    pub(crate) const fn address(&self) -> &PgAddress {
        &self.address
    }
}

/// The settings of a session. The lock timeout is shorter than the statement timeout, so that the error shows which
/// one it was. Rows that a row-level policy would hide are an error instead of absent. JIT compilation is off because
/// it takes longer than any of our queries.
fn settings(session: Session, timeout: Duration) -> String {
    let milliseconds = |timeout: Duration| timeout.as_millis().clamp(1, 86_400_000);
    let own = match session {
        // A server that waits for its standbys would continue to do so.
        Session::Durable => {
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
        }
        Session::ReadOnly => "SET default_transaction_read_only = on",
    };
    format!(
        "SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET row_security = off; SET jit = off; {own}",
        milliseconds(timeout),
        milliseconds(timeout.saturating_mul(2)),
        milliseconds(timeout.saturating_mul(4)),
    )
}
