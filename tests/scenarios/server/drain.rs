//! Shutdown without losing a request, and a certificate change without a shutdown.

use std::time::Duration;

use codex_k8s_webhook::server::Limits;
use http::StatusCode;
use tokio::time::timeout;

use crate::harness::{Server, TIMEOUT, limits, response, review};

#[tokio::test]
async fn draining_turns_readiness_off_serves_on_and_then_ends() {
    let server = Server::start(limits());
    let dialer = server.dialer();
    let mut kept = dialer.connect(server.address).await.unwrap();
    assert!(!kept.post("/validate", review("before")).await.unwrap().closes);
    assert!(server.readiness.missing().is_empty());
    server.shutdown.cancel();
    let reply = kept.post("/validate", review("during")).await.unwrap();
    assert_eq!((reply.status, reply.closes), (StatusCode::OK, true), "the client is told to leave");
    let mut late = dialer.connect(server.address).await.expect("connections are still taken");
    assert!(late.post("/validate", review("late")).await.unwrap().closes);
    assert_eq!(server.readiness.missing(), ["not draining"]);
    timeout(TIMEOUT, server.ended).await.expect("it ends").unwrap().unwrap();
    assert!(dialer.connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_is_being_decided_is_answered_before_the_server_ends() {
    let server = Server::start(Limits { drain_delay: Duration::ZERO, ..limits() });
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let waiting = tokio::spawn(async move { connection.post("/validate", review("wait")).await });
    timeout(TIMEOUT, server.reviewer.waiting.notified()).await.unwrap();
    server.shutdown.cancel();
    let refused = async { while server.dialer().connect(server.address).await.is_ok() {} };
    timeout(TIMEOUT, refused).await.expect("no more connections are taken");
    assert!(!server.ended.is_finished(), "the last request is waited for");
    server.reviewer.release.notify_one();
    let reply = timeout(TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(response(&reply.body)["allowed"], true);
    timeout(TIMEOUT, server.ended).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server_from_ending() {
    let limits =
        Limits { drain_delay: Duration::ZERO, drain_timeout: Duration::from_millis(200), ..limits() };
    let server = Server::start(limits);
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let waiting = tokio::spawn(async move { connection.post("/validate", review("wait")).await });
    timeout(TIMEOUT, server.reviewer.waiting.notified()).await.unwrap();
    server.shutdown.cancel();
    timeout(TIMEOUT, server.ended).await.expect("it ends").unwrap().unwrap();
    assert!(timeout(TIMEOUT, waiting).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections_while_old_ones_go_on() {
    let server = Server::start(limits());
    let dialer = server.dialer();
    let mut old = dialer.connect(server.address).await.unwrap();
    let first = old.certificate().unwrap().to_vec();
    server.install_new_certificate();
    let mut new = dialer.connect(server.address).await.unwrap();
    assert_ne!(new.certificate().unwrap(), first);
    for connection in [&mut old, &mut new] {
        assert_eq!(connection.post("/validate", review("1")).await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_old_one_in_force() {
    let server = Server::start(limits());
    let dialer = server.dialer();
    let first = dialer.connect(server.address).await.unwrap().certificate().unwrap().to_vec();
    let now = jiff::Timestamp::now();
    server.resolver.install(b"no certificate", b"no key", now).unwrap_err();
    let mut next = dialer.connect(server.address).await.unwrap();
    assert_eq!(next.certificate().unwrap(), first);
    assert_eq!(next.post("/validate", review("1")).await.unwrap().status, StatusCode::OK);
}
