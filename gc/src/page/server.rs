//! The HTTP server of the page.
//!
//! The page has no authentication: every client that reaches the port may read it. So it listens on loopback unless
//! it is configured to run behind a proxy. Requests for other hosts are rejected, so that another web page in the
//! same browser cannot read this one under a name of its own (DNS rebinding).

use std::net::IpAddr;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::uri::Authority;
use tokio::net::TcpListener;

use super::gather::Requests;
use super::json::Status;
use super::query::Query;
use super::view;

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The host names that requests may use.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These names, in addition to every IP address and `localhost`.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Returns true if a request is for one of these hosts. An IP address cannot be rebound, because it is not
    /// resolved from a name.
    fn are_meant(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let authority = match (hosts.next(), hosts.next(), uri.authority()) {
            (Some(host), None, None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
            (None, _, Some(authority)) => Some(authority.clone()),
            _ => None,
        };
        authority.is_some_and(|authority| {
            let host = authority.host().to_ascii_lowercase();
            let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
            let name = host.strip_suffix('.').unwrap_or(&host);
            is_address || name == "localhost" || self.0.iter().any(|known| known == name)
        })
    }
}

/// Serves the page forever.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(listener: TcpListener, hosts: Hosts, requests: Requests) -> std::io::Result<()> {
    let pages = Router::new().route("/", get(page)).route("/status.json", get(status)).with_state(requests);
    axum::serve(listener, app(hosts, pages)).await
}

fn app(hosts: Hosts, pages: Router) -> Router {
    let nothing =
        || async { (StatusCode::NOT_FOUND, "there is one page here, at /, and its data at /status.json\n") };
    pages.fallback(nothing).layer(from_fn_with_state(hosts, guarded))
}

async fn page(State(requests): State<Requests>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let status = if query.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let Some((model, now)) = requests.ask().await else { return ending() };
    (status, Html(view::page(&model, &query, now))).into_response()
}

async fn status(State(requests): State<Requests>, RawQuery(query): RawQuery) -> Response {
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong.join("\n") + "\n").into_response(),
    };
    let Some((model, _)) = requests.ask().await else { return ending() };
    match serde_json::to_string(&Status::new(&model, &query)) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "this process is about to end\n").into_response()
}

async fn guarded(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = if hosts.are_meant(request.headers(), request.uri()) {
        next.run(request).await
    } else {
        let message =
            "this page is not served under that name; --admin-host names those that it is served under\n";
        (StatusCode::MISDIRECTED_REQUEST, message).into_response()
    };
    let fixed = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    // It contains a hash, which is a valid header value.
    if let Ok(policy) = HeaderValue::from_str(view::content_security_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    fn app_of_test() -> Router {
        app(Hosts::new(["Guard.example.org".to_owned()]), Router::new().route("/", get(|| async { "page" })))
    }

    async fn ask(method: &str, path: &str, hosts: &[&str]) -> Response {
        let request =
            hosts.iter().fold(http::Request::builder(), |request, host| request.header(HOST, *host));
        app_of_test().oneshot(request.method(method).uri(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn only_requests_for_our_name_or_address_get_an_answer() {
        for (hosts, status) in [
            (&["localhost:8081"][..], 200),
            (&["127.0.0.1:8081"], 200),
            (&["[::1]:8081"], 200),
            (&["LOCALHOST."], 200),
            (&["guard.example.org"], 200),
            (&["GUARD.example.org:443"], 200),
            (&["evil.example.org"], 421),
            (&["127.0.0.1.evil.example.org"], 421),
            (&["guard.example.org.evil.example"], 421),
            (&["evil.example.org:8081"], 421),
            (&["localhost", "localhost"], 421),
            (&["not a host"], 421),
            (&[""], 421),
            (&[], 421),
        ] {
            assert_eq!(ask("GET", "/", hosts).await.status(), status, "{hosts:?}");
        }
    }

    #[tokio::test]
    async fn the_page_is_read_and_nothing_else_can_be_done_to_it() {
        for (method, path, status) in [
            ("GET", "/", 200),
            ("HEAD", "/", 200),
            ("POST", "/", 405),
            ("DELETE", "/", 405),
            ("GET", "/favicon.ico", 404),
        ] {
            assert_eq!(ask(method, path, &["localhost"]).await.status(), status, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn every_answer_says_what_a_browser_may_not_do_with_it() {
        for (path, host) in [("/", "localhost"), ("/nothing", "localhost"), ("/", "evil.example.org")] {
            let answer = ask("GET", path, &[host]).await;
            let header = |name| answer.headers()[name].to_str().unwrap();
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("referrer-policy"), "no-referrer");
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
            assert!(
                policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"),
                "{policy}"
            );
        }
    }
}
