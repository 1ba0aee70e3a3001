//! The address of a PostgreSQL database.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The supported parameters after the `?` besides `schema`, by libpq's names.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "dbname", "user", "application_name"];

/// A PostgreSQL database: `postgres://USER@HOST/DATABASE?sslmode=verify-full&sslrootcert=FILE`. Parts that are left
/// out are taken from libpq's variables (`PGPASSWORD`, `PGHOST`, ...) and password file. Neither `Display` nor
/// `Debug` shows a password.
///
/// `?schema=NAME` names the schema of the tables; without it, they are found on the search path, as by any client.
#[derive(Clone)]
pub struct PgAddress(Arc<Parts>);

struct Parts {
    /// The address without the password and the schema.
    shown: Url,
    schema: Option<String>,
    options: PgConnectOptions,
}

/// An invalid address of a database. The error never contains the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE")]
pub struct PgAddressError(String);

fn error(found: impl Into<String>) -> PgAddressError {
    PgAddressError(found.into())
}

impl FromStr for PgAddress {
    type Err = PgAddressError;

    fn from_str(text: &str) -> Result<Self, PgAddressError> {
        let mut url = Url::parse(text).map_err(|why| error(format!("found no URL ({why})")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(error("found another scheme than postgres"));
        }
        structure(&url)?;
        let schema = take_parameter(&mut url, "schema");
        if schema.as_deref() == Some("") {
            return Err(error("found an empty schema"));
        }
        let mut shown = url.clone();
        // This only fails for an address without a host, which does not have a password.
        let _ = shown.set_password(None);
        take_parameter(&mut shown, "password");
        let options: PgConnectOptions = match url.as_str().parse() {
            Ok(options) => options,
            Err(_) => return Err(error("found a port or an sslmode that is none")),
        };
        protection(&options, &shown)?;
        if options.get_database().is_none() {
            return Err(error("found no name of a database"));
        }
        Ok(Self(Arc::new(Parts { shown, schema, options })))
    }
}

/// Rejects text that is not an address because of a password with reserved characters.
fn structure(url: &Url) -> Result<(), PgAddressError> {
    if url.fragment().is_some() {
        return Err(error("found a #; in a password write it as %23"));
    }
    if url.path().trim_start_matches('/').contains(['/', '@']) {
        return Err(error(
            "found a / or @ in the name of the database; in a password write them as %2F and %40",
        ));
    }
    if url.host_str().is_some_and(|host| host.contains(',')) {
        return Err(error("found several hosts; name one"));
    }
    for (key, _) in url.query_pairs() {
        if !PARAMETERS.contains(&&*key) && !matches!(&*key, "schema" | "password") {
            let known = PARAMETERS.join(", ");
            return Err(error(format!("found a parameter that is none of schema, password, {known}")));
        }
    }
    Ok(())
}

/// Rejects settings that protect less than their names promise. Public authorities are trusted in addition to
/// `sslrootcert`, so that without a check of the host name, any site's certificate would be accepted.
fn protection(options: &PgConnectOptions, url: &Url) -> Result<(), PgAddressError> {
    let has_root = url.query_pairs().any(|(key, _)| key == "sslrootcert")
        || std::env::var_os("PGSSLROOTCERT").is_some_and(|file| !file.is_empty());
    match options.get_ssl_mode() {
        PgSslMode::Allow => {
            Err(error("found sslmode=allow, which protects nothing; use require or verify-full"))
        }
        PgSslMode::VerifyCa => Err(error("found sslmode=verify-ca, which any host passes; use verify-full")),
        PgSslMode::Require if has_root => {
            Err(error("found sslrootcert, which sslmode=require does not look at; use verify-full"))
        }
        _ => Ok(()),
    }
}

fn take_parameter(url: &mut Url, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let taken = pairs.iter().rev().find(|(key, _)| key == name)?.1.clone();
    url.set_query(None);
    let rest = pairs.into_iter().filter(|(key, _)| key != name);
    for (key, value) in rest {
        url.query_pairs_mut().append_pair(&key, &value);
    }
    Some(taken)
}

impl PgAddress {
    /// The schema.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.0.schema.as_deref()
    }

    /// The database in a short form for messages: `HOST:PORT/DATABASE`.
    pub fn database(&self) -> String {
        let options = &self.0.options;
        let host =
            options.get_socket().map_or_else(|| options.get_host().to_owned(), |s| s.display().to_string());
        format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
    }

    /// The user.
    pub(crate) fn user(&self) -> &str {
        self.0.options.get_username()
    }

    /// The error of a TLS file of the address that cannot be read.
    pub(super) fn unreadable(&self) -> Option<std::io::Error> {
        let files = self
            .0
            .shown
            .query_pairs()
            .filter(|(key, _)| matches!(&**key, "sslrootcert" | "sslcert" | "sslkey"));
        let mut faults = files.filter_map(|(_, file)| {
            let error = std::fs::File::open(&*file).err()?;
            Some(std::io::Error::new(error.kind(), format!("{file}: {error}")))
        });
        faults.next()
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0.options
    }
}

impl fmt::Display for PgAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.shown.clone();
        if let Some(schema) = &self.0.schema {
            shown.query_pairs_mut().append_pair("schema", schema);
        }
        out.write_str(shown.as_str())
    }
}

impl fmt::Debug for PgAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PgAddress({self})")
    }
}

/// Compares everything except the password.
impl PartialEq for PgAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.shown == other.0.shown && self.0.schema == other.0.schema
    }
}

impl Eq for PgAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PgAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_shows_everything_but_its_password() {
        for (text, shown) in [
            ("postgres://gc:s3cret@db:5433/platform", "postgres://gc@db:5433/platform"),
            (
                "postgresql://gc:s3c%23ret@db/platform?sslmode=verify-full&sslrootcert=/ca.pem&schema=audit",
                "postgresql://gc@db/platform?sslmode=verify-full&sslrootcert=%2Fca.pem&schema=audit",
            ),
            (
                "postgres://db/platform?user=gc&password=s3cret&sslmode=require",
                "postgres://db/platform?user=gc&sslmode=require",
            ),
            (
                "postgres:///platform?host=/run/postgresql&password=s3cret",
                "postgres:///platform?host=%2Frun%2Fpostgresql",
            ),
        ] {
            let parsed = address(text);
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(address(shown).to_string(), shown, "what is shown is read");
            assert!(!format!("{parsed:?}").contains("s3c"), "{parsed:?}");
        }
    }

    #[test]
    fn an_address_reports_database_user_and_schema() {
        let parsed = address("postgres://gc:s3cret@db:5433/platform?schema=codex_k8s_guard");
        assert_eq!((parsed.database().as_str(), parsed.user()), ("db:5433/platform", "gc"));
        assert_eq!(parsed.schema(), Some("codex_k8s_guard"));
        assert_eq!(address("postgres://gc@db/platform").schema(), None);
    }

    #[test]
    fn what_is_no_address_is_refused_without_the_text_which_may_hold_a_password() {
        for (text, why) in [
            ("postgres://gc:s3#cret@db/platform", "no URL"),
            ("postgres://gc:12#s3cret@db/platform", "%23"),
            ("postgres://gc:12/s3cret@db/platform", "%2F"),
            ("postgres://gc:12?s3cret@db/platform", "parameter"),
            ("postgres://gc:s3cret@db:port/platform", "no URL"),
            ("mysql://gc:s3cret@db/platform", "scheme"),
            ("postgres://gc:s3cret@one,two/platform", "several hosts"),
            ("postgres://gc:s3cret@db/platform?slmode=verify-full", "parameter"),
            ("postgres://gc:s3cret@db/platform?sslmode=full", "an sslmode that is none"),
            ("postgres://gc:s3cret@db/platform?sslmode=allow", "use require or verify-full"),
            ("postgres://gc:s3cret@db/platform?sslmode=verify-ca&sslrootcert=/ca", "use verify-full"),
            ("postgres://gc:s3cret@db/platform?sslmode=require&sslrootcert=/ca", "use verify-full"),
            ("postgres://gc:s3cret@db/platform?schema=", "empty schema"),
        ] {
            let error = text.parse::<PgAddress>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("expected postgres://"), "{text}: {error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
