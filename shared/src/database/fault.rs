//! What a database's refusals mean, and how each is fixed.

use std::borrow::Cow;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Nobody answers.
    #[error("failed to reach the database {database}; does it run, and does the network let us through?")]
    Unreachable {
        /// Which database.
        database: String,
        /// Why not.
        #[source]
        source: Source,
    },
    /// It does not get done.
    #[error(
        "the database {database} was not done within {timeout:?}; look at its load, and at what pg_stat_activity says is waiting"
    )]
    Slow {
        /// Which database.
        database: String,
        /// How long it was waited for.
        timeout: Duration,
        /// What ended the waiting, if it was the database.
        #[source]
        source: Option<Source>,
    },
    /// Somebody else holds what is needed.
    #[error(
        "another session of the database {database} has held a lock for {timeout:?}; pg_stat_activity and pg_locks tell which"
    )]
    Locked {
        /// Which database.
        database: String,
        /// How long it was waited for.
        timeout: Duration,
        /// What it says.
        #[source]
        source: Source,
    },
    /// Wrong user, password, database, or place to come from.
    #[error(
        "the database {database} does not let {user} in; check user, password (PGPASSWORD), the database's name, and pg_hba.conf"
    )]
    SignIn {
        /// Which database.
        database: String,
        /// Who asked.
        user: String,
        /// What it says.
        #[source]
        source: Source,
    },
    /// No protected connection, or not to whom it should be.
    #[error(
        "failed to agree on TLS with the database {database}; check sslmode, sslrootcert, and that its certificate is for this host"
    )]
    Tls {
        /// Which database.
        database: String,
        /// What does not fit.
        #[source]
        source: Source,
    },
    /// All its connections are taken.
    #[error("the database {database} takes no more connections; end some, or raise max_connections")]
    Busy {
        /// Which database.
        database: String,
        /// What it says.
        #[source]
        source: Source,
    },
    /// It takes no changes.
    #[error(
        "the database {database} is read-only: a standby, or default_transaction_read_only is on; name the primary"
    )]
    ReadOnly {
        /// Which database.
        database: String,
        /// What it says.
        #[source]
        source: Source,
    },
    /// Nothing more fits.
    #[error("the database {database} is full: its disk or its memory; give it more, or remove old rows")]
    Full {
        /// Which database.
        database: String,
        /// What it says.
        #[source]
        source: Source,
    },
    /// A right is missing.
    #[error("the user {user} of the database {database} may not {act}; let it: {grant}")]
    Forbidden {
        /// Which database.
        database: String,
        /// Who asked.
        user: String,
        /// What was to be done.
        act: &'static str,
        /// The SQL that allows it.
        grant: String,
        /// What it says.
        #[source]
        source: Option<Source>,
    },
    /// A table is not there.
    #[error("the database {database} has no table {table}; {advice}")]
    NoTable {
        /// Which database.
        database: String,
        /// Which table.
        table: String,
        /// What to do.
        advice: &'static str,
    },
    /// A table is there, and is another one.
    #[error(
        "the table {table} of the database {database} is not of the platform's form: found {found}; expected {expected}; nothing was written"
    )]
    Form {
        /// Which database.
        database: String,
        /// Which table.
        table: String,
        /// What is different.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Anything else.
    #[error("the database {database} failed to {act}")]
    Failed {
        /// Which database.
        database: String,
        /// What was to be done.
        act: &'static str,
        /// What it says.
        #[source]
        source: Source,
    },
}

/// Who asks which database for what, and with which patience: what an error tells beside its cause.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) timeout: Duration,
}

/// An act, and the right that it needs as SQL.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    pub(crate) grant: String,
}

impl Asker {
    /// What an error means that stopped an act.
    pub(super) fn fault(&self, act: &Act, error: sqlx::Error) -> DatabaseError {
        let database = self.database.clone();
        let state = error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Cow::into_owned);
        match (state.as_deref(), error) {
            (Some(state), error) => self.refusal(act, state, error.into()),
            (None, sqlx::Error::Tls(source)) => DatabaseError::Tls { database, source },
            // What rustls objects to, and a certificate that cannot be read, come as data that makes no sense.
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

    /// The meaning of an SQLSTATE.
    fn refusal(&self, act: &Act, state: &str, source: Source) -> DatabaseError {
        let (database, user, timeout) = (self.database.clone(), self.user.clone(), self.timeout);
        match state {
            // cannot connect now; shut down or crashed; connection exceptions
            "57P03" | "57P01" | "57P02" | "57P05" | "25P03" => {
                DatabaseError::Unreachable { database, source }
            }
            _ if state.starts_with("08") => DatabaseError::Unreachable { database, source },
            "57014" => self.slow(Some(source)),
            // lock not available; deadlock
            "55P03" | "40P01" => DatabaseError::Locked { database, timeout, source },
            "25006" => DatabaseError::ReadOnly { database, source },
            // disk full; out of memory; file system and device errors end the same way
            "53100" | "53200" => DatabaseError::Full { database, source },
            "53300" => DatabaseError::Busy { database, source },
            // wrong password; wrong user or place; no such database
            "28P01" | "28000" | "3D000" => DatabaseError::SignIn { database, user, source },
            "42501" => {
                let (act, grant) = (act.name, act.grant.clone());
                DatabaseError::Forbidden { database, user, act, grant, source: Some(source) }
            }
            _ => DatabaseError::Failed { database, act: act.name, source },
        }
    }
}
