//! A small pool of connections, with a timeout for each operation, that follows a failover.
//!
//! Every operation is a transaction that sets what it needs for itself, and no statement has a name. So nothing stays
//! behind on a session that a pooler such as PgBouncer hands to another client after each transaction.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqlSafeStr, Transaction};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::address::{PgAddress, Role, host_and_port};
use super::fault::{Act, Asker, DatabaseError};

/// The size of the pool. More connections would only wait for each other.
const CONNECTIONS: u32 = 4;
/// The time that an operation waits for a failover, as a multiple of its timeout: two minutes by default. Managed
/// databases need one to two minutes for it, Patroni and operators less.
const FAILOVER: u32 = 12;
/// The pause before the servers are tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

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
    /// The pool of the current server.
    pool: Arc<RwLock<PgPool>>,
    /// Held while the servers are tried.
    reconnecting: Arc<Mutex<()>>,
    /// True once a change was committed: only then does a read-only server mean a failover.
    has_written: Arc<AtomicBool>,
    session: Session,
    asker: Asker,
    address: PgAddress,
}

/// Prepares a query without a name for the statement.
pub(crate) fn query(sql: impl SqlSafeStr) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

impl Database {
    /// Connects. Each operation is limited by `timeout`.
    pub(crate) async fn open(
        address: &PgAddress,
        session: Session,
        timeout: Duration,
    ) -> Result<Self, DatabaseError> {
        if let Some(source) = address.unreadable() {
            return Err(DatabaseError::Tls { database: address.database(), source: source.into() });
        }
        let (database, user) = (address.database(), address.user().to_owned());
        let asker = Asker { database, user, timeout };
        let options = find(address, &asker).await?;
        let pool = Arc::new(RwLock::new(pool(options, timeout)));
        Ok(Self {
            pool,
            reconnecting: Arc::default(),
            has_written: Arc::default(),
            session,
            asker,
            address: address.clone(),
        })
    }

    /// Begins a transaction with the settings of the session.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        // The server's default may be a level under which the row of the previous holder of a lock is not visible. A
        // default of read-only is left alone, because it may fence off an old primary.
        let begin = match self.session {
            Session::Durable => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Session::ReadOnly => "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY",
        };
        let mut transaction = self.current().begin_with(begin).await?;
        let settings = AssertSqlSafe(settings(self.session, self.asker.timeout));
        sqlx::raw_sql(settings).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// Commits a transaction.
    pub(crate) async fn commit(
        &self,
        transaction: Transaction<'static, Postgres>,
    ) -> Result<(), sqlx::Error> {
        transaction.commit().await?;
        self.has_written.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Runs an operation, with a limit on its duration. If the server is gone or has become read-only, the operation is
    /// repeated on the server that takes its place. It must therefore be one transaction, and must change nothing if
    /// it was already done.
    pub(crate) async fn act<T, F>(&self, act: &Act, work: impl Fn() -> F) -> Result<T, DatabaseError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let give_up = Instant::now() + self.asker.timeout.saturating_mul(FAILOVER);
        loop {
            let used = self.current();
            let error = match self.once(act, work()).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            self.follow(&used, error, give_up).await?;
        }
    }

    async fn once<T>(
        &self,
        act: &Act,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        // The database itself cancels a statement; this limit is for one that does not respond any more.
        match timeout(self.asker.timeout.saturating_mul(3), work).await {
            Ok(Ok(done)) => Ok(done),
            // A pool retries, and does not report the cause.
            Ok(Err(sqlx::Error::PoolTimedOut)) => {
                find(&self.address, &self.asker).await?;
                Err(self.asker.slow(None))
            }
            // Another operation has just replaced the pool, because of a failover.
            Ok(Err(sqlx::Error::PoolClosed)) => Err(self.asker.slow(None)),
            Ok(Err(error)) => Err(self.asker.fault(act, error)),
            Err(elapsed) => Err(self.asker.slow(Some(elapsed.into()))),
        }
    }

    /// Waits for a server to replace the one that was used. Returns the error if it is not one of a failover, or if no
    /// server can be used in time.
    async fn follow(
        &self,
        used: &PgPool,
        mut error: DatabaseError,
        give_up: Instant,
    ) -> Result<(), DatabaseError> {
        let passes = |error: &DatabaseError| match error {
            DatabaseError::ReadOnly { .. } => self.has_written.load(Ordering::Relaxed),
            error => error.may_pass(),
        };
        while passes(&error) && Instant::now() < give_up {
            sleep(RETRY_DELAY).await;
            match self.reconnect(used).await {
                Ok(()) => return Ok(()),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// Replaces the pool that was used, unless another operation has already done so.
    async fn reconnect(&self, used: &PgPool) -> Result<(), DatabaseError> {
        let _alone = self.reconnecting.lock().await;
        if !std::ptr::eq(self.current().options(), used.options()) {
            return Ok(());
        }
        let options = find(&self.address, &self.asker).await?;
        let new = pool(options, self.asker.timeout);
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = new;
        // Operations in progress return their connections first.
        let used = used.clone();
        tokio::spawn(async move { used.close().await });
        Ok(())
    }

    fn current(&self) -> PgPool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        self.current().close().await;
    }

    pub(crate) const fn asker(&self) -> &Asker {
        &self.asker
    }

    pub(crate) const fn address(&self) -> &PgAddress {
        &self.address
    }
}

fn pool(options: PgConnectOptions, timeout: Duration) -> PgPool {
    PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(timeout).connect_lazy_with(options)
}

/// Finds the first server of the address that lets us in and has the requested role.
async fn find(address: &PgAddress, asker: &Asker) -> Result<PgConnectOptions, DatabaseError> {
    let mut causes = Vec::new();
    for options in address.options() {
        let name = options.get_database().unwrap_or_default();
        let asker = Asker { database: format!("{}/{name}", host_and_port(options)), ..asker.clone() };
        match try_to_connect(options, address.role(), &asker).await {
            Ok(()) => return Ok(options.clone()),
            Err(error) => causes.push(error),
        }
    }
    match causes.pop() {
        Some(cause) if causes.is_empty() => Err(cause),
        last => {
            causes.extend(last);
            Err(DatabaseError::NoHost { database: asker.database.clone(), causes })
        }
    }
}

async fn try_to_connect(options: &PgConnectOptions, role: Role, asker: &Asker) -> Result<(), DatabaseError> {
    let act = Act { name: "connect", grant: format!("GRANT CONNECT ON DATABASE ... TO {}", asker.user) };
    let connected = async {
        let mut connection = PgConnection::connect_with(options).await?;
        let found = match role {
            Role::Any => None,
            _ => Some(found_role(&mut connection).await?),
        };
        drop(connection.close().await);
        Ok(found)
    };
    let found = match timeout(asker.timeout, connected).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(asker.fault(&act, error)),
        Err(elapsed) => return Err(asker.slow(Some(elapsed.into()))),
    };
    match found {
        Some((is_read_only, is_standby)) if !role.fits(is_read_only, is_standby) => {
            let found = match (is_read_only, is_standby) {
                (_, true) => "a standby",
                (true, false) => "read-only",
                (false, false) => "a primary that takes changes",
            };
            Err(DatabaseError::Role { database: asker.database.clone(), found, expected: role.as_str() })
        }
        _ => Ok(()),
    }
}

/// Returns whether a server is read-only, and whether it is a standby.
async fn found_role(connection: &mut PgConnection) -> Result<(bool, bool), sqlx::Error> {
    let roles =
        "SELECT current_setting('transaction_read_only') AS read_only, pg_is_in_recovery()::text AS standby";
    let row = sqlx::raw_sql(roles).fetch_one(connection).await?;
    Ok((row.try_get::<String, _>("read_only")? == "on", row.try_get::<String, _>("standby")? == "true"))
}

/// The settings of a transaction. The lock timeout is shorter than the statement timeout, so that the error shows which
/// one it was. Rows that a row-level policy would hide are an error instead of absent. JIT compilation is off because
/// it takes longer than any of our queries.
fn settings(session: Session, timeout: Duration) -> String {
    let milliseconds = |timeout: Duration| timeout.as_millis().clamp(1, 86_400_000);
    let own = match session {
        // A server that waits for its standbys would continue to do so.
        Session::Durable => {
            "SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
        }
        Session::ReadOnly => "",
    };
    format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL row_security = off; SET LOCAL jit = off; {own}",
        milliseconds(timeout),
        milliseconds(timeout.saturating_mul(2)),
        milliseconds(timeout.saturating_mul(4)),
    )
}
