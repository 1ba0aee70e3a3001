//! Too many, too slow or too idle connections: shed with an answer, or cut off, but never kept for ever.

use std::time::Duration;

use codex_k8s_webhook::server::Limits;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Server, TIMEOUT, large_review, limits, response, review};

#[tokio::test]
async fn requests_over_the_cap_are_reported_to_come_back() {
    let server = Server::start(Limits { in_flight: 1, ..limits() });
    let dialer = server.dialer();
    let (mut first, mut second) =
        (dialer.connect(server.address).await.unwrap(), dialer.connect(server.address).await.unwrap());
    let waiting = tokio::spawn(async move { first.post("/validate", review("wait")).await });
    timeout(TIMEOUT, server.reviewer.waiting.notified()).await.unwrap();
    let told = second.post("/validate", review("one too many")).await.unwrap();
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((told.retry_after.as_deref(), told.closes), (Some("1"), true));
    server.reviewer.release.notify_one();
    let answered = timeout(TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(response(&answered.body)["uid"], "wait", "what was taken is answered");
    let mut third = dialer.connect(server.address).await.unwrap();
    assert_eq!(third.post("/validate", review("next")).await.unwrap().status, StatusCode::OK);
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="in_flight"} 1"#));
}

#[tokio::test]
async fn large_reviews_wait_for_each_other_and_small_ones_do_not_wait_for_them() {
    let server = Server::start(Limits { in_flight: 1, ..limits() });
    let dialer = server.dialer();
    let mut deciding = Vec::new();
    for _ in 0..4 {
        let mut connection = dialer.connect(server.address).await.unwrap();
        deciding.push(tokio::spawn(async move { connection.post("/validate", large_review("wait")).await }));
        timeout(TIMEOUT, server.reviewer.waiting.notified()).await.unwrap();
    }
    let mut fifth = dialer.connect(server.address).await.unwrap();
    let late = timeout(TIMEOUT, fifth.post("/validate?timeout=300ms", large_review("late")));
    let late = late.await.expect("it does not begin after its deadline").unwrap();
    assert_eq!((late.status, late.retry_after.as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("1")));
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="large"} 1"#));
    let mut other = dialer.connect(server.address).await.unwrap();
    for uid in ["1", "2", "3"] {
        let answered = timeout(TIMEOUT, other.post("/validate", review(uid))).await.unwrap().unwrap();
        assert_eq!(response(&answered.body)["uid"], uid);
    }
    for waiting in deciding {
        server.reviewer.release.notify_one();
        let answered = timeout(TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(response(&answered.body)["uid"], "wait");
    }
    let mut next = dialer.connect(server.address).await.unwrap();
    assert_eq!(next.post("/validate", large_review("next")).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_large_review_that_panics_or_is_not_decided_is_answered_like_any_other() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    for (uid, code) in [("panic", 500), ("hang", 429)] {
        let answered = timeout(TIMEOUT, connection.post("/validate?timeout=300ms", large_review(uid)));
        let answer = response(&answered.await.expect("it is answered").unwrap().body);
        assert_eq!((&answer["uid"], &answer["status"]["code"]), (&json!(uid), &json!(code)));
    }
}

#[tokio::test]
async fn connections_over_the_cap_are_reported_to_come_back_until_one_has_closed() {
    let server = Server::start(Limits { connections: 1, ..limits() });
    let dialer = server.dialer();
    let mut first = dialer.connect(server.address).await.unwrap();
    assert_eq!(first.post("/validate", review("1")).await.unwrap().status, StatusCode::OK);
    let mut second = dialer.connect(server.address).await.unwrap();
    let shed = second.post("/validate", review("2")).await.unwrap();
    assert_eq!(shed.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((shed.retry_after.as_deref(), shed.closes), (Some("1"), true));
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="connections"} 1"#));
    drop((first, second));
    let admitted = async {
        loop {
            let mut next = dialer.connect(server.address).await.unwrap();
            if next.post("/validate", review("3")).await.unwrap().status == StatusCode::OK {
                return;
            }
        }
    };
    timeout(TIMEOUT, admitted).await.expect("a connection that has closed makes room");
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_cut_off() {
    let server = Server::start(Limits { handshake: Duration::from_millis(100), ..limits() });
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let read = timeout(TIMEOUT, silent.read(&mut [0; 16])).await.expect("it is cut off");
    assert_eq!(read.unwrap_or(0), 0, "without a word");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_time() {
    let server = Server::start(Limits { idle: Duration::from_millis(200), ..limits() });
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    assert_eq!(connection.post("/validate", review("1")).await.unwrap().status, StatusCode::OK);
    timeout(TIMEOUT, connection.closed()).await.expect("it is closed");
}

#[tokio::test]
async fn a_connection_that_never_sends_a_request_is_closed_after_the_idle_time() {
    let server = Server::start(Limits { idle: Duration::from_millis(200), ..limits() });
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    timeout(TIMEOUT, connection.closed()).await.expect("it is closed");
}

#[tokio::test]
async fn a_request_that_is_not_decided_is_given_up_within_the_clients_timeout() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let answered = timeout(TIMEOUT, connection.post("/validate?timeout=300ms", review("hang")));
    let answer = response(&answered.await.expect("it is given up").unwrap().body);
    assert_eq!((&answer["uid"], &answer["allowed"]), (&json!("hang"), &json!(false)));
    assert_eq!(answer["status"]["code"], 429);
    assert_eq!(answer["status"]["reason"], "TooManyRequests");
    let details = &answer["status"]["details"];
    assert_eq!(*details, json!({"uid": "hang"}), "no delay that would put a controller to sleep");
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="timeout"} 1"#));
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_within_the_clients_timeout() {
    let server = Server::start(limits());
    let mut raw = server.dialer().connect_raw(server.address).await.unwrap();
    let head = "POST /validate?timeout=300ms HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    raw.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(TIMEOUT, raw.read_exact(&mut answer)).await.expect("it is given up").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="slow_body"} 1"#));
}

#[tokio::test]
async fn headers_of_absurd_length_are_refused_and_the_server_goes_on() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let request = Request::post("/validate")
        .header(CONTENT_TYPE, "application/json")
        .header("x-padding", "x".repeat(1 << 20))
        .body(review("1").into())
        .unwrap();
    if let Ok(reply) = connection.send(request).await {
        assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let mut next = server.dialer().connect(server.address).await.unwrap();
    assert_eq!(next.post("/validate", review("2")).await.unwrap().status, StatusCode::OK);
}
