//! Activity of the namespace watch. It does not depend on events: the API server sends a bookmark every minute, so a
//! quiet cluster counts as active and a hanging one does not.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use tower::service_fn;

/// Wraps a client so that `on_activity` is called when a watch is opened, and for all data that it receives. A refused
/// watch does not count.
pub(super) fn with_activity(client: Client, on_activity: impl Fn() + Send + Sync + 'static) -> Client {
    let namespace = client.default_namespace().to_owned();
    let on_activity: Arc<dyn Fn() + Send + Sync> = Arc::new(on_activity);
    let send = move |request: Request<Body>| {
        let (client, on_activity) = (client.clone(), Arc::clone(&on_activity));
        async move {
            let watches = is_watch(&request);
            let response = client.send(request).await?;
            let is_activity = watches && response.status().is_success();
            if is_activity {
                on_activity();
            }
            Ok::<Response<_>, kube::Error>(response.map(|body| {
                body.map_frame(move |frame| {
                    if is_activity {
                        on_activity();
                    }
                    frame
                })
            }))
        }
    };
    Client::new(service_fn(send), namespace)
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt;
    use futures::channel::mpsc;
    use http_body_util::BodyExt;

    use super::*;

    /// Starts an API server that answers with a status, and then with the data from a channel.
    fn server(status: u16) -> (Client, mpsc::UnboundedSender<&'static str>) {
        let (said, says) = mpsc::unbounded::<&'static str>();
        let mut body = Some(axum::body::Body::from_stream(says.map(Ok::<_, Infallible>)));
        let answer = move |_: Request<Body>| {
            std::future::ready(Response::builder().status(status).body(body.take().unwrap_or_default()))
        };
        (Client::new(service_fn(answer), "default"), said)
    }

    async fn open(client: &Client, path: &str) -> Response<Body> {
        client.send(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    fn counting(client: Client) -> (Client, Arc<AtomicUsize>) {
        let count = Arc::<AtomicUsize>::default();
        let counts = Arc::clone(&count);
        let on_activity = move || {
            counts.fetch_add(1, Ordering::Relaxed);
        };
        (with_activity(client, on_activity), count)
    }

    #[tokio::test]
    async fn a_watch_is_watched_when_it_opens_and_with_each_bookmark_and_not_in_between() {
        let (client, server) = server(200);
        let (client, on_activity) = counting(client);
        let mut watch = open(&client, "/api/v1/namespaces?watch=true&timeoutSeconds=290").await.into_body();
        assert_eq!(on_activity.load(Ordering::Relaxed), 1);
        for expected in 2..5 {
            server.unbounded_send("{\"type\":\"BOOKMARK\"}\n").unwrap();
            watch.frame().await.unwrap().unwrap();
            assert_eq!(on_activity.load(Ordering::Relaxed), expected);
        }
        drop(server);
        assert!(watch.frame().await.is_none());
        assert_eq!(on_activity.load(Ordering::Relaxed), 4, "its end is nothing that is heard");
    }

    #[tokio::test]
    async fn a_refused_watch_and_a_list_are_not_watched() {
        for (status, path) in [(403, "/api/v1/namespaces?watch=true"), (200, "/api/v1/namespaces?limit=100")]
        {
            let (client, server) = server(status);
            let (client, on_activity) = counting(client);
            server.unbounded_send("{}").unwrap();
            drop(server);
            let body = open(&client, path).await.into_body();
            assert_eq!(body.collect_bytes().await.unwrap(), "{}");
            assert_eq!(on_activity.load(Ordering::Relaxed), 0, "{status} {path}");
        }
    }
}
