//! A webhook that authenticates its caller, behind an API server that presents a certificate.

use codex_k8s_tests::load::Dialer;
use codex_k8s_tests::{ControlPlane, Guard, Identity};
use hyper::body::Bytes;

use crate::harness::playground;

#[test]
fn the_api_server_is_let_in_by_its_certificate_and_no_one_else_is_answered() {
    let control_plane = ControlPlane::start_with_caller(playground()).unwrap();
    let guard = Guard::over(control_plane, playground()).unwrap();
    let jane = guard.kubectl(&Identity::developer()).unwrap();
    let name = "codex-issue-callers";
    let created = jane.run(&["create", "namespace", name, "-o", "yaml"]).unwrap();
    assert!(created.stdout.contains("codex-k8s.dev/managed-by: codex-k8s-worker"), "{created}");
    let refused = jane.run(&["label", "--overwrite", "namespace", name, "codex-k8s.dev/run-id=x"]).unwrap();
    assert!(!refused.succeeded() && refused.stderr.contains("NS003"), "{refused}");

    let authority = std::fs::read(guard.file("webhook-ca.crt")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answered = runtime.block_on(async {
        let mut connection = Dialer::trusting(&authority)?.connect(guard.webhook.address).await?;
        connection.post("/validate", Bytes::from_static(b"{}")).await
    });
    assert!(answered.is_err(), "one without a certificate was answered: {answered:?}");
}
