//! Raw requests to the API server, which are not retried or interpreted by a client library.

use std::time::Duration;

use anyhow::ensure;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The maximum number of retries of client-go when the API server requests them.
const RETRIES: u32 = 10;

/// A client that sends raw requests. It is bound to the runtime that it is created in.
#[derive(Clone)]
pub struct Caller {
    client: Client,
}

/// A response of the API server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The warnings, as in the header.
    pub warnings: Vec<String>,
    /// The object, or the Status.
    pub body: Value,
    /// The number of retries.
    pub retries: u32,
}

impl Answer {
    /// True if the request succeeded.
    pub const fn is_ok(&self) -> bool {
        self.code < 300
    }

    /// Returns the message of a Status.
    pub fn message(&self) -> &str {
        self.body.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the object.
    ///
    /// # Errors
    /// Returns an error if the request was refused.
    pub fn object(self) -> anyhow::Result<Value> {
        ensure!(self.is_ok(), "answered {} after {} retries: {}", self.code, self.retries, self.body);
        Ok(self.body)
    }
}

impl Caller {
    /// Creates a client with an identity.
    ///
    /// # Errors
    /// Returns an error if the client cannot be created.
    pub async fn new(control_plane: &ControlPlane, identity: &Identity) -> anyhow::Result<Self> {
        let mut config = control_plane.client_config(identity).await?;
        config.default_retry = false;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// Sends a request once. A PATCH is a merge patch; `null` means no body.
    ///
    /// # Errors
    /// Returns an error if there is no response.
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

    /// Sends a request like client-go, with up to ten retries after the delay that the API server requests, and only if
    /// it requests one.
    ///
    /// # Errors
    /// Returns an error if there is no response.
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
