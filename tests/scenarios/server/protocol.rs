//! The answer to each kind of request.

use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;

use codex_k8s_webhook::server::{Alpn, Limits};

use crate::harness::{Server, limits, response, review};

#[tokio::test]
async fn a_review_is_answered_with_its_uid() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    for path in ["/mutate", "/validate", "/validate?timeout=3s"] {
        let reply = connection.post(path, review("1234")).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(response(&reply.body), json!({"uid": "1234", "allowed": true}));
        assert!(!reply.closes, "the connection is kept alive");
    }
}

#[tokio::test]
async fn a_body_that_is_no_review_is_a_bad_request_that_says_why() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    for (body, why) in [
        ("", "EOF while parsing"),
        ("[]", "expected"),
        ("null", "expected"),
        (r#"{"kind":"AdmissionReview"}"#, r#"apiVersion: found "", expected "admission.k8s.io/v1""#),
        (r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, "admission.k8s.io/v1beta1"),
        (r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, "request: found nothing"),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"","operation":"CREATE"}}"#,
            "request.uid: found nothing",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE"}}"#,
            "request.object: found nothing",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"PATCH"}}"#,
            "unknown variant `PATCH`",
        ),
    ] {
        let reply = connection.post("/validate", Bytes::from_static(body.as_bytes())).await.unwrap();
        let told = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(told.contains(why), "{body}: {told}");
    }
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="malformed"} 9"#));
}

#[tokio::test]
async fn other_content_types_methods_and_paths_are_refused() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let request = |method: Method, path: &str, content_type: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(review("1")))
            .unwrap()
    };
    for (method, path, content_type, status) in [
        (Method::POST, "/validate", "application/yaml", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/validate", "application/jsonp", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/validate", "Application/JSON; charset=utf-8", StatusCode::OK),
        (Method::GET, "/validate", "application/json", StatusCode::METHOD_NOT_ALLOWED),
        (Method::PUT, "/mutate", "application/json", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/", "application/json", StatusCode::NOT_FOUND),
        (Method::POST, "/metrics", "application/json", StatusCode::NOT_FOUND),
    ] {
        let reply = connection.send(request(method.clone(), path, content_type)).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path} {content_type}");
    }
}

#[tokio::test]
async fn a_body_of_eight_mebibytes_is_read_and_a_longer_one_is_too_large() {
    let server = Server::start(limits());
    let longest = Limits::default().body;
    let of_length = |length: usize| {
        let mut body = review("long").to_vec();
        body.resize(length, b' ');
        Bytes::from(body)
    };
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let reply = connection.post("/validate", of_length(longest)).await.unwrap();
    assert_eq!((reply.status, response(&reply.body)["uid"].as_str()), (StatusCode::OK, Some("long")));
    let reply = connection.post("/validate", of_length(longest + 1)).await.unwrap();
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.body, "the body is longer than 8388608 bytes");
    assert!(server.counted(r#"codex_k8s_webhook_requests_refused_total{reason="too_large"} 1"#));
}

#[tokio::test]
async fn a_rule_that_panics_refuses_its_own_request_and_no_other() {
    let server = Server::start(limits());
    let mut connection = server.dialer().connect(server.address).await.unwrap();
    let reply = connection.post("/mutate", review("panic")).await.unwrap();
    let answer = response(&reply.body);
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((&answer["uid"], &answer["allowed"]), (&json!("panic"), &json!(false)));
    assert_eq!(
        (&answer["status"]["code"], &answer["status"]["reason"]),
        (&json!(500), &json!("InternalError"))
    );
    let reply = connection.post("/mutate", review("next")).await.unwrap();
    assert_eq!(response(&reply.body)["allowed"], true, "the same connection goes on");
    assert!(server.counted("codex_k8s_webhook_panics_total 1"));
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let server = Server::start(Limits { alpn: Alpn::Both, ..limits() });
    let reply = server.dialer().post_over_http2(server.address, "/validate", review("h2")).await.unwrap();
    assert_eq!(response(&reply.body), json!({"uid": "h2", "allowed": true}));
    let server = Server::start(limits());
    let refused = server.dialer().post_over_http2(server.address, "/validate", review("h2")).await;
    assert!(format!("{:#}", refused.unwrap_err()).contains("handshake"), "it is not offered here");
}
