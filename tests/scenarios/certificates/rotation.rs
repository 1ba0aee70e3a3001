//! Rotation under load, with a reconciler that dies at each step of it.

use std::os::unix::process::ExitStatusExt;

use codex_k8s_tests::eventually;

use crate::harness::*;

#[test]
fn authority_and_leaf_rotate_while_requests_go_through_and_none_fails() {
    let turn = installation();
    let at = turn.at;
    let _reconciler = at.reconcile(&[]);
    at.await_whole();
    let (authority, leaf) = (at.part(AUTHORITY, "ca.crt"), at.part(LEAF, "tls.crt"));
    let open = at.failed_open();
    let load = Load::start(at);
    at.ask(LEAF);
    let renewed = || (at.part(LEAF, "tls.crt") != leaf).then_some(());
    eventually("there is a new leaf", TIMEOUT, renewed).unwrap();
    at.await_whole();
    assert_eq!(at.part(AUTHORITY, "ca.crt"), authority, "the authority stays");
    at.ask(AUTHORITY);
    let renewed = || (at.part(AUTHORITY, "ca.crt") != authority).then_some(());
    eventually("there is a new authority", TIMEOUT, renewed).unwrap();
    at.await_whole();
    load.end("rotation of leaf and authority");
    assert_eq!(at.failed_open(), open, "the mutating webhooks were asked as well");
}

#[test]
fn a_reconciler_that_dies_at_any_step_of_a_rotation_is_followed_by_one_that_ends_it_and_no_request_fails() {
    let turn = installation();
    let at = turn.at;
    drop(at.reconcile(&[]));
    let load = Load::start(at);
    for written in ["authority", "bundle", "confirmation", "leaf"] {
        for side in ["before", "after"] {
            let authority = at.part(AUTHORITY, "ca.crt");
            at.ask(AUTHORITY);
            let died = at.die(&format!("{side}-{written}"));
            let told = String::from_utf8_lossy(&died.stderr);
            assert_eq!(died.status.signal(), Some(6), "{side}-{written}: {told}");
            let _reconciler = at.reconcile(&[]);
            let renewed = || (at.part(AUTHORITY, "ca.crt") != authority).then_some(());
            eventually("there is a new authority", TIMEOUT, renewed).unwrap();
            at.await_whole();
        }
    }
    load.end("eight reconcilers that die");
}

#[test]
fn two_reconcilers_side_by_side_end_one_rotation() {
    let turn = installation();
    let at = turn.at;
    let (_one, _other) = (at.reconcile(&[]), at.reconcile(&[]));
    at.await_whole();
    let authority = at.part(AUTHORITY, "ca.crt");
    let load = Load::start(at);
    at.ask(AUTHORITY);
    let renewed = || (at.part(AUTHORITY, "ca.crt") != authority).then_some(());
    eventually("there is a new authority", TIMEOUT, renewed).unwrap();
    at.await_whole();
    load.end("two reconcilers");
}
