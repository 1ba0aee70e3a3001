//! Handling of one request: limits, protocol, panic isolation. The reviewer makes the decision.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::engine::{Engine, Lookup};
use crate::metrics::Metrics;
use crate::review::{self, AdmissionRequest, Denial, DenialCode, Entry, Outcome};

/// Decides reviews.
pub trait Reviewer: Send + Sync + 'static {
    /// Decides one review. The client does not wait beyond the deadline.
    fn review(
        &self,
        entry: Entry,
        request: &AdmissionRequest<'_>,
        deadline: tokio::time::Instant,
    ) -> impl Future<Output = Outcome> + Send;
}

impl<L: Lookup> Reviewer for Engine<L> {
    fn review(
        &self,
        entry: Entry,
        request: &AdmissionRequest<'_>,
        deadline: tokio::time::Instant,
    ) -> impl Future<Output = Outcome> + Send {
        self.review(entry, request, deadline)
    }
}

struct App<R> {
    reviewer: Arc<R>,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
    large: Large,
    body: usize,
    default_timeout: Duration,
    draining: CancellationToken,
}

/// The limits of large reviews, separate from those of the others: large reviews wait only for each other.
struct Large {
    /// Permits for reviews that wait or are being decided.
    permits: Semaphore,
    /// The memory for bodies, in KiB.
    memory: Arc<Semaphore>,
}

/// A body of at most this length is decided on the thread that reads it, within a millisecond or two. The largest
/// review of the platform has a few KiB. A longer one is decided on a blocking thread.
const SMALL: usize = 64 * 1024;
/// Maximum number of large reviews that wait. Each holds a connection meanwhile.
const MAX_LARGE_REVIEWS: usize = 64;
/// A large review takes at least this share of the memory: at most four are decided at a time.
const LARGE_SHARES: usize = 4;
const KIB: usize = 1024;

/// Time reserved before the client's timeout, so that the answer still arrives.
const MARGIN: Duration = Duration::from_millis(100);

/// Returns the routes for kube-apiserver.
pub fn router<R: Reviewer>(
    reviewer: Arc<R>,
    metrics: Arc<Metrics>,
    limits: &Limits,
    draining: CancellationToken,
) -> Router {
    let app = Arc::new(App {
        reviewer,
        metrics,
        in_flight: Semaphore::new(limits.in_flight),
        large: Large {
            permits: Semaphore::new(MAX_LARGE_REVIEWS),
            memory: Arc::new(Semaphore::new(limits.body.div_ceil(KIB))),
        },
        body: limits.body,
        default_timeout: limits.request,
        draining,
    });
    Router::new()
        .route(
            "/mutate",
            post(|State(app): State<Arc<App<R>>>, request: Request| answer(app, Entry::Mutate, request)),
        )
        .route(
            "/validate",
            post(|State(app): State<Arc<App<R>>>, request: Request| answer(app, Entry::Validate, request)),
        )
        .with_state(app)
}

async fn answer<R: Reviewer>(app: Arc<App<R>>, entry: Entry, request: Request) -> Response {
    let http1 = request.version() < Version::HTTP_2;
    let length = request.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let is_small = length.is_some_and(|length| length <= SMALL);
    let permits = if is_small { &app.in_flight } else { &app.large.permits };
    let mut response = if let Ok(_permit) = permits.try_acquire() {
        app.metrics.in_flight.inc();
        let timeout = timeout(request.uri().query()).unwrap_or(app.default_timeout);
        let deadline = tokio::time::Instant::now() + timeout.saturating_sub(MARGIN).max(MARGIN);
        let response = if is_small {
            admit(&app, entry, request, deadline).await
        } else {
            admit_large(&app, entry, request, length, deadline).await
        };
        app.metrics.in_flight.dec();
        response
    } else {
        app.metrics.refused(if is_small { "in_flight" } else { "large" });
        overloaded()
    };
    if http1 && app.draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn admit<R: Reviewer>(app: &App<R>, entry: Entry, request: Request, deadline: Deadline) -> Response {
    match read_in_time(app, request, deadline).await {
        Ok(body) => decide(app, entry, &body, deadline, deadline).await,
        Err(response) => response,
    }
}

/// Handles a large review like [`admit`], but on a blocking thread, and only when there is memory for it: until then
/// its body is not read. A review that has not begun at the deadline is not decided. It does not wait for the gate,
/// because others would wait behind it.
async fn admit_large<R: Reviewer>(
    app: &Arc<App<R>>,
    entry: Entry,
    request: Request,
    length: Option<usize>,
    deadline: Deadline,
) -> Response {
    let kib = length.unwrap_or(app.body).clamp(app.body / LARGE_SHARES, app.body).div_ceil(KIB);
    let share = Arc::clone(&app.large.memory).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
    let Ok(Ok(share)) = tokio::time::timeout_at(deadline, share).await else {
        app.metrics.refused("large");
        return overloaded();
    };
    let body = match read_in_time(app, request, deadline).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let (app, runtime) = (Arc::clone(app), tokio::runtime::Handle::current());
    let decided = tokio::task::spawn_blocking(move || {
        let _until_it_ends = share;
        runtime.block_on(decide(&app, entry, &body, deadline, tokio::time::Instant::now()))
    });
    decided.await.unwrap_or_else(|error| {
        tracing::error!(%error, "failed to decide a large review");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the webhook failed on this request; see its log")
    })
}

type Deadline = tokio::time::Instant;

/// Returns the body, or the answer to a request without one.
async fn read_in_time<R>(app: &App<R>, request: Request, deadline: Deadline) -> Result<Bytes, Response> {
    if !is_json(&request) {
        app.metrics.refused("content_type");
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json"));
    }
    let Ok(read) = tokio::time::timeout_at(deadline, read(request, app.body)).await else {
        app.metrics.refused("slow_body");
        return Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"));
    };
    read.map_err(|(reason, response)| {
        app.metrics.refused(reason);
        response
    })
}

/// Decides a review until the deadline. A review that is too early waits for its gate until `gate`.
async fn decide<R: Reviewer>(
    app: &App<R>,
    entry: Entry,
    body: &[u8],
    deadline: Deadline,
    gate: Deadline,
) -> Response {
    let begun = Instant::now();
    let parsed = match review::parse(body) {
        Ok(parsed) => parsed,
        Err(error) => {
            app.metrics.refused("malformed");
            return plain(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    let decided = AssertUnwindSafe(app.reviewer.review(entry, &parsed, gate)).catch_unwind();
    let outcome = match tokio::time::timeout_at(deadline, decided).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => {
            app.metrics.panics.inc();
            tracing::error!(uid = %parsed.uid, "a rule panicked; the request is refused");
            failed(DenialCode::Internal, "the webhook failed on this request; see its log")
        }
        Err(_) => {
            app.metrics.refused("timeout");
            failed(DenialCode::TooManyRequests, "the webhook did not decide in time; try again")
        }
    };
    let answer = review::encode(entry, &parsed.uid, &outcome);
    app.metrics.took(entry, begun.elapsed());
    json(answer)
}

fn failed(code: DenialCode, message: &str) -> Outcome {
    let denial = Denial { code, message: message.to_owned(), retry_after_seconds: None, causes: Vec::new() };
    Outcome { denial: Some(denial), audit: vec![("decision", "failed".to_owned())], ..Outcome::default() }
}

fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}

async fn read(request: Request, longest: usize) -> Result<Bytes, (&'static str, Response)> {
    match Limited::new(request.into_body(), longest).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {longest} bytes");
            Err(("too_large", plain(StatusCode::PAYLOAD_TOO_LARGE, &message)))
        }
        Err(_) => Err(("broken_body", plain(StatusCode::BAD_REQUEST, "the body ended too early"))),
    }
}

/// Parses `?timeout=3s` as kube-apiserver sends it: a whole number of seconds or milliseconds.
fn timeout(query: Option<&str>) -> Option<Duration> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let duration: codex_k8s_shared::lease::GoDuration = value.parse().ok()?;
    Some(Duration::from(duration).min(Duration::from_secs(30)))
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Body::from(message.to_owned()));
    *response.status_mut() = status;
    response
}

/// Answers 429 with `Retry-After`: kube-apiserver then retries by itself, within the webhook's timeout.
pub(super) fn overloaded() -> Response {
    let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "too many requests at a time");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_timeout_is_read_and_nonsense_is_not() {
        assert_eq!(timeout(Some("timeout=3s")), Some(Duration::from_secs(3)));
        assert_eq!(timeout(Some("a=b&timeout=1500ms")), Some(Duration::from_millis(1500)));
        assert_eq!(timeout(Some("timeout=99h")), Some(Duration::from_secs(30)));
        for query in [None, Some(""), Some("timeout="), Some("timeout=-1s"), Some("timeout=3")] {
            assert_eq!(timeout(query), None, "{query:?}");
        }
    }
}
