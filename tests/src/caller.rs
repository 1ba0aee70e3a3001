//! Requests to the API server, sent raw, so that nothing is retried or evaluated on the way.

use std::time::Duration;

use anyhow::ensure;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// How often client-go sends a request again, at most, when it is asked to.
const RETRIES: u32 = 10;

/// One who sends requests. It belongs to the runtime that it is made in.
#[derive(Clone)]
pub struct Caller {
    client: Client,
}

/// What the API server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The warnings, as the header carries them.
    pub warnings: Vec<String>,
    /// The object, or the Status.
    pub body: Value,
    /// How often the request was sent again.
    pub retries: u32,
}

impl Answer {
    /// Whether it was done.
    pub const fn is_ok(&self) -> bool {
        self.code < 300
    }

    /// The message of a Status.
    pub fn message(&self) -> &str {
        self.body.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object.
    ///
    /// # Errors
    /// If the answer is a refusal.
    pub fn object(self) -> anyhow::Result<Value> {
        ensure!(self.is_ok(), "answered {} after {} retries: {}", self.code, self.retries, self.body);
        Ok(self.body)
    }
}

impl Caller {
    /// One who speaks as an identity.
    ///
    /// # Errors
    /// If its client cannot be made.
    pub async fn new(control_plane: &ControlPlane, identity: &Identity) -> anyhow::Result<Self> {
        let mut config = control_plane.client_config(identity).await?;
        config.default_retry = false;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// Sends a request once. A PATCH is a merge patch; without a body, nothing is sent.
    ///
    /// # Errors
    /// If nothing is answered.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let content_type =
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(Body::from(bytes))?;
        let response = self.client.send(request).await?;
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let warnings = response.headers().get_all("warning").iter().filter_map(|value| value.to_str().ok());
        let warnings = warnings.map(str::to_owned).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Ok(Answer { code, retry_after, warnings, body, retries: 0 })
    }

    /// Sends a request as client-go does: again, up to ten times, after the delay that the API server asks for, and
    /// only if it asks for one.
    ///
    /// # Errors
    /// If nothing is answered.
    pub async fn send_like_client_go(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let mut retries = 0;
        loop {
            let answer = self.send(method.clone(), path, body).await?;
            let asked = answer.retry_after.filter(|_| answer.code == 429 || answer.code >= 500);
            match asked.filter(|_| retries < RETRIES) {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => return Ok(Answer { retries, ..answer }),
            }
            retries += 1;
        }
    }
}
