//! A PostgreSQL that tests share, with a database for each; and a thread without root's powers.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use codex_k8s_shared::audit::{PostgresStore, StoreError};
use codex_k8s_shared::database::PgAddress;
use codex_k8s_tests::Postgres;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Timeout where nothing blocks: enough on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout where something blocks; connecting alone takes a fifth of it on a busy machine.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

/// Starts a PostgreSQL of one test.
pub(crate) fn start() -> Postgres {
    Postgres::start(Path::new(env!("CARGO_BIN_EXE_playground"))).unwrap()
}

/// The PostgreSQL that tests share. It ends with the last of them.
pub(crate) fn shared() -> Arc<Postgres> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let started = Arc::new(start());
        // No test of this one crashes the machine, and many create databases.
        started.configure("fsync = off\n").unwrap();
        started.sql("postgres", "SELECT pg_reload_conf()").unwrap();
        *shared = Arc::downgrade(&started);
        started
    })
}

/// A name that no other test uses, for a database or a user.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A database, and a user without any right in it.
pub(crate) struct TestDatabase {
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) database: String,
    pub(crate) user: String,
}

impl TestDatabase {
    /// A database with nothing in it.
    pub(crate) fn empty() -> Self {
        let (postgres, database, user) = (shared(), unique("db"), unique("user"));
        postgres.create_database(&database).unwrap();
        postgres.create_user(&user).unwrap();
        Self { postgres, database, user }
    }

    /// A database with the platform's tables in it.
    pub(crate) fn platform() -> Self {
        let (postgres, database, user) = (shared(), unique("platform"), unique("user"));
        postgres.create_platform(&database).unwrap();
        postgres.create_user(&user).unwrap();
        Self { postgres, database, user }
    }

    /// A database with the platform's tables, in which the user has the guard's rights on the audit rows.
    pub(crate) fn granted() -> Self {
        let db = Self::platform();
        db.sql(
            "GRANT INSERT, SELECT ON flow_events TO USER; GRANT USAGE ON SEQUENCE flow_events_id_seq TO USER",
        );
        db
    }

    /// Has the superuser run SQL; `USER` is the user.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.database, &sql.replace("USER", &self.user)).unwrap()
    }

    /// The number of rows.
    #[track_caller]
    pub(crate) fn count(&self) -> String {
        self.sql("SELECT count(*) FROM flow_events")
    }

    /// The user's address, with optional parameters.
    pub(crate) fn address(&self, parameters: &str) -> PgAddress {
        address(&format!("{}{parameters}", self.postgres.url(&self.user, &self.database)))
    }

    /// The address of the superuser, who owns the tables.
    pub(crate) fn owners_address(&self) -> PgAddress {
        address(&self.postgres.admin_url(&self.database))
    }

    /// Opens the store as the user.
    pub(crate) async fn open(&self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open_with_timeout(&self.address(""), TIMEOUT).await
    }

    /// Opens the store as the user, with a short timeout.
    pub(crate) async fn open_hastily(&self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open_with_timeout(&self.address(""), SHORT).await
    }
}

pub(crate) fn address(text: &str) -> PgAddress {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The error with all its causes.
pub(crate) fn told(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a test on a thread that may not write where the mode of a file forbids it, even if this is root's.
pub(crate) fn without_roots_powers(test: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(|| {
        let mut powers = capabilities(None).unwrap();
        powers.effective -= CapabilitySet::DAC_OVERRIDE;
        set_capabilities(None, powers).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
