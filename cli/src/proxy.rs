//! The proxy to the API server, chosen like client-go does: the kubeconfig's `proxy-url`, otherwise the variables
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
//!
//! `NO_PROXY` has no specification. Go's rules are used, because all other clients of the cluster follow them. The
//! client library has rules of its own, so its proxy is always replaced with this one.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use http::Uri;
use ipnet::IpNet;

/// The default port of a SOCKS proxy.
const SOCKS_PORT: u16 = 1080;

/// Returns the proxy for requests to an API server. The variables do not matter if the kubeconfig names a proxy.
pub(crate) fn proxy(
    server: &Uri,
    named: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Uri>> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return parse(named).map(Some).with_context(|| format!("proxy-url: Invalid value: {named:?}"));
    }
    // The first one that is not empty, as Go reads them.
    let any_of = |upper: &str, lower: &str| {
        [upper, lower].into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
    };
    let is_https = server.scheme_str() == Some("https");
    let (upper, lower) = if is_https { ("HTTPS_PROXY", "https_proxy") } else { ("HTTP_PROXY", "http_proxy") };
    let Some(text) = any_of(upper, lower) else { return Ok(None) };
    // In a CGI program, the header `Proxy` of a request becomes HTTP_PROXY.
    ensure!(
        is_https || variable("REQUEST_METHOD").is_none_or(|method| method.is_empty()),
        "HTTP_PROXY: Forbidden: REQUEST_METHOD is set, so the value may come from a request"
    );
    let no_proxy = NoProxy::new(&any_of("NO_PROXY", "no_proxy").unwrap_or_default());
    if no_proxy.includes(server) {
        return Ok(None);
    }
    // The value is not printed, because it may contain a password.
    parse(&text).map(Some).with_context(|| format!("{upper}: Invalid value"))
}

/// Parses the address of a proxy; without a scheme, it is an HTTP proxy.
fn parse(text: &str) -> anyhow::Result<Uri> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let proxy: Uri = with_scheme.parse().context("must be a URL")?;
    match proxy.scheme_str() {
        Some("http" | "https") => Ok(proxy),
        // In both, the proxy resolves the host name, as in Go.
        Some("socks5" | "socks5h") => socks(&proxy),
        _ => anyhow::bail!("must have the scheme http, https, socks5 or socks5h"),
    }
}

fn socks(proxy: &Uri) -> anyhow::Result<Uri> {
    let authority = proxy.authority().context("must have a host")?;
    ensure!(!authority.as_str().contains('@'), "must not have a user, which is not supported for SOCKS");
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(SOCKS_PORT));
    Ok(format!("socks5://{host}:{port}").parse()?)
}

/// The hosts of `NO_PROXY`.
#[derive(Debug)]
struct NoProxy(Vec<Entry>);

/// An entry of `NO_PROXY`. Ports are compared as text.
#[derive(Debug)]
enum Entry {
    /// Every host.
    All,
    /// The addresses of a network.
    Network(IpNet),
    /// An address, with any port or with one.
    Address(IpAddr, Option<String>),
    /// A domain with its leading dot.
    Domain {
        suffix: String,
        /// True if the domain itself is included, in addition to its subdomains.
        itself: bool,
        port: Option<String>,
    },
}

impl NoProxy {
    fn new(text: &str) -> Self {
        Self(text.split(',').filter_map(|entry| Entry::parse(&entry.trim().to_lowercase())).collect())
    }

    /// Returns true if requests to a server must not use a proxy.
    fn includes(&self, server: &Uri) -> bool {
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        let default_port = if server.scheme_str() == Some("https") { 443 } else { 80 };
        let port = server.port_u16().unwrap_or(default_port).to_string();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        is_loopback || self.0.iter().any(|entry| entry.includes(&host.to_lowercase(), address, &port))
    }
}

impl Entry {
    /// Parses an entry in lower case. An entry without a host is ignored.
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = split_port(text).map_or((text, None), |(host, port)| (host, Some(port)));
        let port = port.filter(|port| !port.is_empty()).map(str::to_owned);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let domain = if host.starts_with("*.") { host.get(1..)? } else { host };
        match domain {
            "" => None,
            _ if domain.starts_with('.') => {
                Some(Self::Domain { suffix: domain.to_owned(), itself: false, port })
            }
            _ => Some(Self::Domain { suffix: format!(".{domain}"), itself: true, port }),
        }
    }

    fn includes(&self, host: &str, address: Option<IpAddr>, port: &str) -> bool {
        let has_port = |of: &Option<String>| of.as_deref().is_none_or(|of| of == port);
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(listed, of) => address == Some(*listed) && has_port(of),
            Self::Domain { suffix, itself, port: of } => {
                let is_itself = *itself && suffix.strip_prefix('.') == Some(host);
                address.is_none() && (host.ends_with(suffix.as_str()) || is_itself) && has_port(of)
            }
        }
    }
}

/// Splits `HOST:PORT` and `[ADDRESS]:PORT`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return Some((host, rest.strip_prefix(':')?));
    }
    text.split_once(':').filter(|(_, port)| !port.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the proxy under these variables.
    fn under(server: &str, variables: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let found = proxy(&server.parse().unwrap(), None, variable)?;
        Ok(found.map(|found| found.to_string()))
    }

    /// The table that is compared with Go's package: `NO_PROXY`, the server, and true if it is reached directly.
    const CASES: &str = include_str!("proxy_cases.txt");

    #[test]
    fn no_proxy_is_read_as_client_go_reads_it() {
        let mut count = 0;
        for line in CASES.lines().filter(|line| !line.starts_with('#')) {
            let [no_proxy, server, is_direct] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
            let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)];
            let found = under(server, &variables).unwrap();
            assert_eq!(found.is_none(), is_direct == "direct", "{line}");
            count += 1;
        }
        assert!(count > 40, "{count} cases");
    }

    #[test]
    fn the_scheme_of_the_server_selects_the_variable_and_upper_case_comes_first() {
        let variables = [
            ("HTTPS_PROXY", "https.test:1"),
            ("http_proxy", "socks5h://[fd00::1]"),
            ("https_proxy", "low:1"),
        ];
        for (server, expected) in [
            ("https://api.test:6443", "http://https.test:1/"),
            ("http://api.test", "socks5://[fd00::1]:1080/"),
        ] {
            assert_eq!(under(server, &variables).unwrap().as_deref(), Some(expected));
        }
        let empty = [("HTTPS_PROXY", ""), ("https_proxy", "low:1")];
        assert_eq!(under("https://api.test", &empty).unwrap().as_deref(), Some("http://low:1/"));
        assert_eq!(under("https://api.test", &[("HTTP_PROXY", "plain:1")]).unwrap(), None);
        assert_eq!(under("https://api.test", &[("ALL_PROXY", "plain:1")]).unwrap(), None);
    }

    #[test]
    fn a_proxy_that_a_request_may_have_set_is_refused() {
        let variables = [("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "p:2"), ("REQUEST_METHOD", "GET")];
        assert!(under("http://api.test", &variables).unwrap_err().to_string().contains("REQUEST_METHOD"));
        assert_eq!(under("https://api.test", &variables).unwrap().as_deref(), Some("http://p:2/"));
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_is_used_for_every_server_and_must_be_one() {
        let variable = |name: &str| (name == "NO_PROXY").then(|| "*".to_owned());
        let server = "https://127.0.0.1:6443".parse().unwrap();
        let named = |named| proxy(&server, Some(named), variable);
        assert_eq!(named("http://proxy:3128").unwrap().unwrap(), "http://proxy:3128");
        assert_eq!(named("").unwrap(), None);
        for (bad, message) in [
            ("ftp://proxy", "must have the scheme http, https, socks5 or socks5h"),
            ("socks5://user:secret@proxy", "must not have a user"),
            ("http://", "must be a URL"),
        ] {
            let error = format!("{:#}", named(bad).unwrap_err());
            assert!(error.contains("proxy-url: Invalid value") && error.contains(message), "{error}");
        }
    }
}
