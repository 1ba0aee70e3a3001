//! A limit on connections that still answers: a client beyond the limit gets 429 instead of a closed connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use axum_server::accept::Accept;
use http::Request;
use tower::Service;

use super::handler::overloaded;
use crate::metrics::Metrics;

/// An acceptor that counts open connections.
#[derive(Clone)]
pub(super) struct CappedAcceptor<A> {
    inner: A,
    open: Arc<AtomicUsize>,
    cap: usize,
    metrics: Arc<Metrics>,
}

impl<A> CappedAcceptor<A> {
    pub(super) fn new(inner: A, cap: usize, metrics: Arc<Metrics>) -> Self {
        Self { inner, open: Arc::default(), cap, metrics }
    }
}

/// An open connection. It counts until its service is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<A, I, S> Accept<I, S> for CappedAcceptor<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
    A::Stream: 'static,
    A::Service: 'static,
{
    type Stream = A::Stream;
    type Service = CappedService<A::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let (open, shed) = (Open(Arc::clone(&self.open)), before >= self.cap);
        let (accepted, metrics) = (self.inner.accept(stream, service), Arc::clone(&self.metrics));
        Box::pin(async move {
            let (stream, inner) = accepted.await?;
            Ok((stream, CappedService { inner, shed, metrics, _open: Arc::new(open) }))
        })
    }
}

/// The service of one connection.
#[derive(Clone)]
pub(super) struct CappedService<S> {
    inner: S,
    shed: bool,
    metrics: Arc<Metrics>,
    _open: Arc<Open>,
}

impl<S, B> Service<Request<B>> for CappedService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.shed {
            self.metrics.refused("connections");
            return Answer::Shed(Some(overloaded()));
        }
        Answer::Served(Box::pin(self.inner.call(request)))
    }
}

/// The answer of a connection.
pub(super) enum Answer<F> {
    Served(Pin<Box<F>>),
    Shed(Option<Response<Body>>),
}

impl<F, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Served(served) => served.as_mut().poll(context),
            Self::Shed(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}
