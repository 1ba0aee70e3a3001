//! The address of a PostgreSQL database.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The supported parameters after the `?` besides `schema` and `target_session_attrs`, by libpq's names.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "dbname", "user", "application_name"];

/// A PostgreSQL database: `postgres://USER@HOST/DATABASE?sslmode=verify-full&sslrootcert=FILE`. Parts that are left
/// out are taken from libpq's variables (`PGPASSWORD`, `PGHOST`, ...) and password file. Neither `Display` nor
/// `Debug` shows a password.
///
/// Several hosts are separated by commas, `HOST:PORT,HOST:PORT`, and are tried in this order;
/// `?target_session_attrs=read-write` accepts only one that takes changes.
///
/// `?schema=NAME` names the schema of the tables; without it, they are found on the search path, as by any client.
#[derive(Clone)]
pub struct PgAddress(Arc<Parts>);

struct Parts {
    /// The address of the first host, without the password, the schema and the role of the server.
    shown: Url,
    /// The hosts as they are written, if there are several.
    hosts: Option<String>,
    schema: Option<String>,
    role: Role,
    /// The options for each host.
    options: Vec<PgConnectOptions>,
}

/// The role that a server must have, by libpq's values of `target_session_attrs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

impl Role {
    const ALL: [Self; 5] = [Self::Any, Self::ReadWrite, Self::ReadOnly, Self::Primary, Self::Standby];

    /// The value in an address.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }

    /// Returns true if a server has the role.
    pub(super) const fn fits(self, is_read_only: bool, is_standby: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !is_read_only,
            Self::ReadOnly => is_read_only,
            Self::Primary => !is_standby,
            Self::Standby => is_standby,
        }
    }
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
        let (hosts, first) = split_hosts(text);
        let mut url = Url::parse(&first).map_err(|why| error(format!("found no URL ({why})")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(error("found another scheme than postgres"));
        }
        structure(&url)?;
        let schema = take_parameter(&mut url, "schema");
        if schema.as_deref() == Some("") {
            return Err(error("found an empty schema"));
        }
        let role = role(&mut url)?;
        let mut shown = url.clone();
        // This only fails for an address without a host, which does not have a password.
        let _ = shown.set_password(None);
        take_parameter(&mut shown, "password");
        let options: PgConnectOptions = match url.as_str().parse() {
            Ok(options) => options,
            Err(_) => return Err(error("found a port or an sslmode that is none")),
        };
        // PgBouncer rejects this parameter, which only affects numbers with fractions.
        let options = options.extra_float_digits(None);
        protection(&options, &shown)?;
        if options.get_database().is_none() {
            return Err(error("found no name of a database"));
        }
        let options = match &hosts {
            Some(hosts) => each_host(&options, hosts, &shown)?,
            None => vec![options],
        };
        Ok(Self(Arc::new(Parts { shown, hosts, schema, role, options })))
    }
}

/// Returns the list of hosts, if there are several, and the address with the first of them only, because a URL has one
/// host.
fn split_hosts(text: &str) -> (Option<String>, String) {
    let whole = || (None, text.to_owned());
    let Some((scheme, rest)) = text.split_once("://") else { return whole() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    match hosts.split_once(',') {
        Some((first, _)) => (Some(hosts.to_owned()), format!("{scheme}://{user}{first}{tail}")),
        None => whole(),
    }
}

/// Returns the options for each host of a list.
fn each_host(
    options: &PgConnectOptions,
    hosts: &str,
    shown: &Url,
) -> Result<Vec<PgConnectOptions>, PgAddressError> {
    if shown.query_pairs().any(|(key, _)| matches!(&*key, "host" | "port")) {
        return Err(error("found a list of hosts, and host or port as parameters; name the hosts once"));
    }
    let each = hosts.split(',').map(|host| {
        let url = Url::parse(&format!("postgres://{host}/")).ok();
        let url = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        let url = url.ok_or_else(|| error("found a list with a host that is none"))?;
        let host: PgConnectOptions =
            url.as_str().parse().map_err(|_| error("found a list with a host that is none"))?;
        Ok(options.clone().host(host.get_host()).port(host.get_port()))
    });
    each.collect()
}

/// Takes the role of the server out of the address, or from libpq's variable.
fn role(url: &mut Url) -> Result<Role, PgAddressError> {
    let named = take_parameter(url, "target_session_attrs");
    let named = named.or_else(|| std::env::var("PGTARGETSESSIONATTRS").ok()).filter(|name| !name.is_empty());
    let Some(named) = named else { return Ok(Role::Any) };
    let known = Role::ALL.into_iter().find(|role| role.as_str() == named);
    known.ok_or_else(|| {
        let known = Role::ALL.map(Role::as_str).join(", ");
        error(format!("found a target_session_attrs that is none of {known}"))
    })
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
    for (key, value) in url.query_pairs() {
        if !PARAMETERS.contains(&&*key) && !matches!(&*key, "schema" | "password" | "target_session_attrs") {
            let known = PARAMETERS.join(", ");
            return Err(error(format!(
                "found a parameter that is none of schema, password, target_session_attrs, {known}"
            )));
        }
        if matches!(&*key, "host" | "port") && value.contains(',') {
            return Err(error(
                "found several hosts in a parameter; list them before the name of the database",
            ));
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
        let hosts: Vec<_> = self.0.options.iter().map(host_and_port).collect();
        let name = self.0.options.first().and_then(PgConnectOptions::get_database);
        format!("{}/{}", hosts.join(","), name.unwrap_or_default())
    }

    /// The user.
    pub(crate) fn user(&self) -> &str {
        self.0.options.first().map_or("", PgConnectOptions::get_username)
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

    /// The options for each host, in their order.
    pub(super) fn options(&self) -> &[PgConnectOptions] {
        &self.0.options
    }

    /// The role that the server must have.
    pub(super) fn role(&self) -> Role {
        self.0.role
    }
}

/// One server in a short form for messages.
pub(super) fn host_and_port(options: &PgConnectOptions) -> String {
    let host =
        options.get_socket().map_or_else(|| options.get_host().to_owned(), |s| s.display().to_string());
    format!("{host}:{}", options.get_port())
}

impl fmt::Display for PgAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.shown.clone();
        if self.0.role != Role::Any {
            shown.query_pairs_mut().append_pair("target_session_attrs", self.0.role.as_str());
        }
        if let Some(schema) = &self.0.schema {
            shown.query_pairs_mut().append_pair("schema", schema);
        }
        let Some(hosts) = &self.0.hosts else { return out.write_str(shown.as_str()) };
        let before = &shown[..url::Position::BeforeHost];
        write!(out, "{before}{hosts}{}", &shown[url::Position::AfterPort..])
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
        let parts = |address: &Self| {
            let Parts { shown, hosts, schema, role, .. } = &*address.0;
            (shown.clone(), hosts.clone(), schema.clone(), *role)
        };
        parts(self) == parts(other)
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
    fn an_address_lists_hosts_as_libpq_does() {
        let text =
            "postgres://gc:s3,c@one:5433,[::1],two/platform?target_session_attrs=read-write&schema=audit";
        let parsed = address(text);
        assert_eq!(parsed.to_string(), text.replace(":s3,c", ""));
        assert_eq!(address(&parsed.to_string()).to_string(), parsed.to_string());
        assert_eq!(parsed.database(), "one:5433,[::1]:5432,two:5432/platform");
        assert_eq!(parsed.role(), Role::ReadWrite);
        assert_ne!(address("postgres://gc@one,two/platform"), address("postgres://gc@one,three/platform"));
        assert!(parsed.options().iter().all(|options| options.get_username() == "gc"));
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
            ("postgres://gc:s3cret@one,/platform", "a host that is none"),
            ("postgres://gc:s3cret@one,two:port/platform", "a host that is none"),
            ("postgres://gc:s3cret@one,two/platform?host=three", "name the hosts once"),
            ("postgres:///platform?host=one,two&password=s3cret", "before the name of the database"),
            ("postgres://gc:s3cret@one/platform?target_session_attrs=master", "any, read-write"),
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
