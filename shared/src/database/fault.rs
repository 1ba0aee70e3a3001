//! The errors of a database, and the fix of each.

use std::borrow::Cow;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server does not respond.
    #[error("failed to reach the database {database}; does it run, and does the network let us through?")]
    Unreachable {
        /// The database.
        database: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// An operation did not finish in time.
    #[error(
        "the database {database} was not done within {timeout:?}; look at its load, and at what pg_stat_activity says is waiting"
    )]
    Slow {
        /// The database.
        database: String,
        /// The timeout.
        timeout: Duration,
        /// The error with which the database ended the operation, if it did.
        #[source]
        source: Option<Source>,
    },
    /// Another session holds a lock.
    #[error(
        "another session of the database {database} has held a lock for {timeout:?}; pg_stat_activity and pg_locks tell which"
    )]
    Locked {
        /// The database.
        database: String,
        /// The timeout.
        timeout: Duration,
        /// The error of the database.
        #[source]
        source: Source,
    },
    /// The user, the password, the database or the client's address is not accepted.
    #[error(
        "the database {database} does not let {user} in; check user, password (PGPASSWORD), the database's name, and pg_hba.conf"
    )]
    SignIn {
        /// The database.
        database: String,
        /// The user.
        user: String,
        /// The error of the database.
        #[source]
        source: Source,
    },
    /// TLS is not available, or the certificate is not the expected one.
    #[error(
        "failed to agree on TLS with the database {database}; check sslmode, sslrootcert, and that its certificate is for this host"
    )]
    Tls {
        /// The database.
        database: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// All connections are in use.
    #[error("the database {database} takes no more connections; end some, or raise max_connections")]
    Busy {
        /// The database.
        database: String,
        /// The error of the database.
        #[source]
        source: Source,
    },
    /// The database is read-only.
    #[error(
        "the database {database} is read-only: a standby, or default_transaction_read_only is on; name the primary"
    )]
    ReadOnly {
        /// The database.
        database: String,
        /// The error of the database.
        #[source]
        source: Source,
    },
    /// The server has another role than the address requests.
    #[error("the database {database} is {found}; target_session_attrs={expected} requests another server")]
    Role {
        /// The database.
        database: String,
        /// The role of the server.
        found: &'static str,
        /// The requested role.
        expected: &'static str,
    },
    /// None of several hosts can be used.
    #[error("no host of the database {database} can be used: {}", each(causes))]
    NoHost {
        /// The database.
        database: String,
        /// The error of each host.
        causes: Vec<DatabaseError>,
    },
    /// A pooler in front of the database, or the database itself, rejects the connection as not well-formed.
    #[error(
        "a pooler such as PgBouncer in front of the database {database} refused the connection; see its log"
    )]
    Pooler {
        /// The database.
        database: String,
        /// The error of the pooler.
        #[source]
        source: Source,
    },
    /// A pooler hands every statement to another session.
    #[error(
        "PgBouncer in front of the database {database} allows no transactions; set pool_mode = transaction or session for \
         this database"
    )]
    StatementPooling {
        /// The database.
        database: String,
        /// The error of the pooler.
        #[source]
        source: Source,
    },
    /// The disk or the memory is full.
    #[error("the database {database} is full: its disk or its memory; give it more, or remove old rows")]
    Full {
        /// The database.
        database: String,
        /// The error of the database.
        #[source]
        source: Source,
    },
    /// A privilege is missing.
    #[error("the user {user} of the database {database} may not {act}; let it: {grant}")]
    Forbidden {
        /// The database.
        database: String,
        /// The user.
        user: String,
        /// The operation.
        act: &'static str,
        /// The SQL that grants the privilege.
        grant: String,
        /// The error of the database.
        #[source]
        source: Option<Source>,
    },
    /// A table does not exist.
    #[error("the database {database} has no table {table}; {advice}")]
    NoTable {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// The fix.
        advice: &'static str,
    },
    /// A table exists, but has another form.
    #[error(
        "the table {table} of the database {database} is not of the platform's form: found {found}; expected {expected}; nothing was written"
    )]
    Form {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// The difference.
        found: String,
        /// The expected form.
        expected: String,
    },
    /// Any other error.
    #[error("the database {database} failed to {act}")]
    Failed {
        /// The database.
        database: String,
        /// The operation.
        act: &'static str,
        /// The error of the database.
        #[source]
        source: Source,
    },
}

/// The errors of several hosts, each with its causes.
fn each(errors: &[DatabaseError]) -> String {
    let chain = |error: &DatabaseError| {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |&error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    errors.iter().map(chain).collect::<Vec<_>>().join(" | ")
}

impl DatabaseError {
    /// Returns true if the error can be part of a failover, so that another server, or the same one a little later, can
    /// be used.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ReadOnly { .. } | Self::Role { .. } | Self::Pooler { .. } => {
                true
            }
            // A host that has gone does not even refuse, and a pool waits for one that refuses.
            Self::Slow { source, .. } => {
                source.as_ref().is_none_or(|source| source.is::<tokio::time::error::Elapsed>())
            }
            Self::NoHost { causes, .. } => causes.iter().any(Self::may_pass),
            _ => false,
        }
    }
}

/// The context of an error: user, database, purpose and timeout.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) timeout: Duration,
}

/// An operation, and the privilege that it needs as SQL.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) grant: String,
}

impl Asker {
    /// Maps an error of an operation to its meaning.
    pub(super) fn fault(&self, act: &Act, error: sqlx::Error) -> DatabaseError {
        let database = self.database.clone();
        let state = error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Cow::into_owned);
        match (state.as_deref(), error) {
            (Some(state), error) => self.refusal(act, state, error.into()),
            (None, sqlx::Error::Tls(source)) => DatabaseError::Tls { database, source },
            // Errors of rustls, and certificates that cannot be read, are reported as invalid data.
            (None, sqlx::Error::Io(source)) if source.kind() == std::io::ErrorKind::InvalidData => {
                DatabaseError::Tls { database, source: source.into() }
            }
            (None, sqlx::Error::Io(source)) => DatabaseError::Unreachable { database, source: source.into() },
            (None, sqlx::Error::PoolTimedOut) => self.slow(None),
            (None, error) => DatabaseError::Failed { database, act: act.name, source: error.into() },
        }
    }

    pub(super) fn slow(&self, source: Option<Source>) -> DatabaseError {
        DatabaseError::Slow { database: self.database.clone(), timeout: self.timeout, source }
    }

    /// Maps an SQLSTATE to its meaning.
    fn refusal(&self, act: &Act, state: &str, source: Source) -> DatabaseError {
        let (database, user, timeout) = (self.database.clone(), self.user.clone(), self.timeout);
        match state {
            // cannot connect now; shut down or crashed; connection exceptions
            "57P03" | "57P01" | "57P02" | "57P05" | "25P03" => {
                DatabaseError::Unreachable { database, source }
            }
            "08P01" if source.to_string().contains("statement pooling mode") => {
                DatabaseError::StatementPooling { database, source }
            }
            "08P01" => DatabaseError::Pooler { database, source },
            _ if state.starts_with("08") => DatabaseError::Unreachable { database, source },
            "57014" => self.slow(Some(source)),
            // lock not available; deadlock
            "55P03" | "40P01" => DatabaseError::Locked { database, timeout, source },
            "25006" => DatabaseError::ReadOnly { database, source },
            // disk full; out of memory; file system and device errors map to the same error
            "53100" | "53200" => DatabaseError::Full { database, source },
            "53300" => DatabaseError::Busy { database, source },
            // wrong password; wrong user or client address; no such database
            "28P01" | "28000" | "3D000" => DatabaseError::SignIn { database, user, source },
            "42501" => {
                let (act, grant) = (act.name, act.grant.clone());
                DatabaseError::Forbidden { database, user, act, grant, source: Some(source) }
            }
            _ => DatabaseError::Failed { database, act: act.name, source },
        }
    }
}
