//! A proxy in front of the API server that injects faults, which a healthy API server does not have.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::json;

/// The part of a request that a fault can depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
}

/// The handling of a request.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Forward the request.
    Pass,
    /// Forward the request with another path.
    PassAs(String),
    /// Respond with this code, and with `Retry-After` if there is a delay.
    Answer(u16, Option<u32>),
    /// Forward the request, but respond with this code, so that the client does not see that it succeeded.
    LoseAnswer(u16),
}

/// Decides how a request is handled.
pub type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

/// The proxy. It ends with the runtime that it was started in.
#[derive(Clone)]
pub struct FaultProxy {
    client: Client,
    rule: Arc<Mutex<Rule>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    address: SocketAddr,
}

impl FaultProxy {
    /// Starts the proxy in front of the API server of a client, with the rights of the client.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub async fn start(
        client: Client,
        rule: impl FnMut(&Asked) -> Fate + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let proxy =
            Self { client, rule: Arc::new(Mutex::new(Box::new(rule))), asked: Arc::default(), address };
        let app = Router::new().fallback(handle).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(proxy)
    }

    /// Returns a kubeconfig for the proxy.
    pub fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        })
        .to_string()
    }

    /// Returns the requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fate(&self, method: &Method, uri: &Uri) -> Fate {
        let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let asked = Asked { method: method.clone(), path };
        let fate = (self.rule.lock().unwrap_or_else(PoisonError::into_inner))(&asked);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        fate
    }

    async fn pass(&self, request: Request, path: &str) -> anyhow::Result<Response> {
        let (parts, body) = request.into_parts();
        let mut forwarded = http::Request::builder().method(parts.method).uri(path);
        for name in ["accept", "content-type"] {
            if let Some(value) = parts.headers.get(name) {
                forwarded = forwarded.header(name, value);
            }
        }
        let body = body.collect().await?.to_bytes();
        let answer = self.client.send(forwarded.body(Body::from(body.to_vec()))?).await?;
        let (parts, body) = answer.into_parts();
        let mut headers = HeaderMap::new();
        for name in ["content-type", "date", "retry-after"] {
            if let Some(value) = parts.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
        Ok((parts.status, headers, body.collect().await?.to_bytes()).into_response())
    }
}

fn status(code: u16, retry_after: Option<u32>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", seconds.into());
    }
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    let reason = if code == 410 { "Expired" } else { "InternalError" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": format!("a fault: {code}")});
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, headers, body.to_string()).into_response()
}

async fn handle(State(proxy): State<FaultProxy>, request: Request) -> Response {
    let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let fate = proxy.fate(request.method(), request.uri());
    let passed = match fate {
        Fate::Answer(code, retry_after) => return status(code, retry_after),
        Fate::Pass => proxy.pass(request, &asked).await,
        Fate::PassAs(path) => proxy.pass(request, &path).await,
        Fate::LoseAnswer(code) => proxy.pass(request, &asked).await.map(|_| status(code, None)),
    };
    passed.unwrap_or_else(|error| {
        let told = format!("{error:#}");
        (StatusCode::BAD_GATEWAY, told).into_response()
    })
}
