//! The plain port: `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The conditions for receiving requests. `/readyz` shows the name of each condition that is not met.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<RwLock<BTreeMap<&'static str, bool>>>,
}

const DRAINING: &str = "not draining";

impl Readiness {
    /// Starts with these conditions, none of which is met yet.
    pub fn waiting_for(conditions: &[&'static str]) -> Self {
        let conditions = conditions.iter().map(|&name| (name, false)).chain([(DRAINING, true)]).collect();
        Self { conditions: Arc::new(RwLock::new(conditions)) }
    }

    /// Sets a condition.
    pub fn set(&self, name: &'static str, holds: bool) {
        self.conditions.write().unwrap_or_else(PoisonError::into_inner).insert(name, holds);
    }

    /// Ends the readiness for good.
    pub fn drain(&self) {
        self.set(DRAINING, false);
    }

    /// Returns the conditions that are not met.
    pub fn missing(&self) -> Vec<&'static str> {
        let conditions = self.conditions.read().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().filter(|(_, holds)| !**holds).map(|(name, _)| *name).collect()
    }
}

/// Renders the metrics in the `OpenMetrics` text format.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct App {
    readiness: Readiness,
    render: Render,
}

/// Serves the plain port until `stop`.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    readiness: Readiness,
    render: Render,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let app = router(readiness, render);
    axum::serve(TcpListener::from_std(listener)?, app).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

fn router(readiness: Readiness, render: Render) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(App { readiness, render })
}

async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let missing = app.readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let lines = missing.iter().flat_map(|name| ["not ready: ", name, "\n"]).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn exposition(State(app): State<App>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], (app.render)())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing_and_never_returns_after_draining() {
        let readiness = Readiness::waiting_for(&["cache", "certificate"]);
        assert_eq!(readiness.missing(), ["cache", "certificate"]);
        readiness.set("cache", true);
        readiness.set("certificate", true);
        assert!(readiness.missing().is_empty());
        readiness.drain();
        assert_eq!(readiness.missing(), ["not draining"]);
    }
}
