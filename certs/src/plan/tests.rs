//! Single cases of the state machine; the model tests sequences of everything.

use super::*;
use crate::authority::{Authority, BACKDATED, Leaf};

mod model;
mod world;

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn settings() -> Settings {
    Settings::of(Leaf::of_service("hook", "guard"))
}

/// An empty cluster.
fn nothing() -> State {
    State {
        cluster_time: now(),
        authority: Stored::Missing,
        leaf: Stored::Missing,
        configurations: vec![(Part::Mutating, Stored::Missing), (Part::Validating, Stored::Missing)],
        replicas: Vec::new(),
    }
}

/// An authority and its leaf, which are not published yet.
fn issued() -> State {
    let write = AuthorityWrite { new: true, previous: String::new(), because: Cause::Missing };
    let authority = settings().authority(now(), &write, None).unwrap();
    let leaf = settings().leaf(now(), &authority).unwrap();
    State { authority: Stored::Ours(authority), leaf: Stored::Ours(leaf), ..nothing() }
}

fn ours<T>(stored: &mut Stored<T>) -> &mut T {
    match stored {
        Stored::Ours(data) => data,
        Stored::Missing | Stored::OtherOwner => panic!("there is nothing of ours"),
    }
}

fn step(state: &State) -> Step {
    plan(state.cluster_time, &settings(), state)
}

#[test]
fn an_empty_install_namespace_gets_an_authority_first_and_its_leaf_right_after() {
    let mut state = nothing();
    let Step::WriteAuthority(write) = step(&state) else { panic!("{:?}", step(&state)) };
    assert_eq!(write, AuthorityWrite { new: true, previous: String::new(), because: Cause::Missing });
    state.authority = Stored::Ours(settings().authority(now(), &write, None).unwrap());
    assert_eq!(step(&state), Step::IssueLeaf(Cause::Missing), "no configuration, nobody to wait for");
}

#[test]
fn all_is_well_until_two_thirds_of_the_leafs_time_are_over() {
    let mut state = issued();
    let due = "2026-04-01T12:00:00Z".parse().unwrap();
    assert_eq!(step(&state), Step::Rest(due));
    state.cluster_time = due;
    assert_eq!(step(&state), Step::IssueLeaf(Cause::Due));
}

#[test]
fn a_secret_of_somebody_else_is_refused_and_named() {
    for part in [Part::Authority, Part::Leaf, Part::Mutating, Part::Validating] {
        let mut state = issued();
        match part {
            Part::Authority => state.authority = Stored::OtherOwner,
            Part::Leaf => state.leaf = Stored::OtherOwner,
            _ => state.configurations = vec![(part, Stored::OtherOwner)],
        }
        assert_eq!(step(&state), Step::Refuse(Refusal::OtherOwner(part)));
        assert!(Refusal::OtherOwner(part).to_string().starts_with(part.as_str()));
    }
}

#[test]
fn clocks_that_differ_or_lie_before_the_authority_are_refused_and_reported() {
    let mut state = issued();
    let there = state.cluster_time;
    let here = later(there, settings().tolerance);
    assert!(matches!(plan(here, &settings(), &state), Step::Rest(_)));
    let here = "2026-01-31T12:05:01Z".parse().unwrap();
    let refused = Refusal::ClocksDiffer { here, there };
    assert_eq!(
        refused.to_string(),
        "this machine's clock says 2026-01-31T12:05:01Z, the API server's 2026-01-31T12:00:00Z: set them right"
    );
    assert_eq!(plan(here, &settings(), &state), Step::Refuse(refused));
    state.cluster_time = "2026-01-31T11:54:59Z".parse().unwrap();
    let refused = Refusal::BeforeTheAuthority { now: state.cluster_time, made_at: now() };
    assert_eq!(step(&state), Step::Refuse(refused));
}

#[test]
fn a_leaf_of_other_names_or_with_another_key_is_replaced() {
    let mut state = issued();
    let renamed = Settings::of(Leaf::of_service("hook", "elsewhere"));
    assert_eq!(plan(now(), &renamed, &state), Step::IssueLeaf(Cause::Broken));
    ours(&mut state.leaf).key = ours(&mut issued().leaf).key.clone();
    assert_eq!(step(&state), Step::IssueLeaf(Cause::Broken));
}

#[test]
fn an_authority_that_cannot_sign_any_more_is_replaced_and_stays_trusted() {
    let whole = issued();
    let certificate = ours(&mut whole.clone().authority).certificate.clone();
    let broken: [fn(&mut AuthorityData); 3] = [
        |data| data.key.truncate(90),
        |data| data.key.clear(),
        |data| data.key = ours(&mut issued().authority).key.clone(),
    ];
    for break_it in broken {
        let mut state = whole.clone();
        break_it(ours(&mut state.authority));
        let Step::WriteAuthority(write) = step(&state) else { panic!("{:?}", step(&state)) };
        assert_eq!((write.new, write.because), (true, Cause::Broken));
        assert_eq!(write.previous.as_bytes(), certificate);
    }
}

#[test]
fn a_lost_authority_is_replaced_and_what_the_bundles_trust_stays_trusted() {
    let mut state = issued();
    let certificate = ours(&mut state.authority).certificate.clone();
    let configuration = Configuration { bundles: vec![certificate.clone()], ..Configuration::default() };
    state.authority = Stored::Missing;
    state.configurations = vec![(Part::Validating, Stored::Ours(configuration))];
    let Step::WriteAuthority(write) = step(&state) else { panic!("{:?}", step(&state)) };
    assert_eq!((write.new, write.because), (true, Cause::Missing));
    assert_eq!(write.previous.as_bytes(), certificate);
}

#[test]
fn an_authority_restored_from_a_backup_takes_in_whatever_signed_what_is_served() {
    let (mut state, mut newer) = (issued(), issued());
    let certificate = ours(&mut newer.authority).certificate.clone();
    let configuration = Configuration { bundles: vec![certificate.clone()], ..Configuration::default() };
    state.leaf = newer.leaf;
    state.configurations = vec![(Part::Validating, Stored::Ours(configuration))];
    let Step::WriteAuthority(write) = step(&state) else { panic!("{:?}", step(&state)) };
    assert_eq!((write.new, write.because), (false, Cause::Adopted));
    assert_eq!(write.previous.as_bytes(), certificate);
}

#[test]
fn an_authority_in_a_bundle_that_verifies_for_nothing_is_not_taken_in() {
    let mut state = issued();
    let mut bundle = ours(&mut state.authority).certificate.clone();
    bundle.extend(Authority::generate(now(), "codex-k8s-guard").unwrap().pem().certificate.bytes());
    let configuration = Configuration { bundles: vec![bundle], ..Configuration::default() };
    let desired = String::from_utf8(ours(&mut state.authority).certificate.clone()).unwrap();
    state.configurations = vec![(Part::Mutating, Stored::Ours(configuration))];
    assert_eq!(step(&state), Step::Publish { part: Part::Mutating, bundle: desired });
}

#[test]
fn a_replica_that_is_sent_requests_and_does_not_answer_is_waited_for() {
    let mut state = issued();
    let replica = |ready| Replica { name: "10.0.0.7:8443".to_owned(), ready, served: None };
    state.replicas = vec![replica(true)];
    let wait = Step::Wait { on: Wait::Replica("10.0.0.7:8443".to_owned()), until: None };
    assert_eq!(step(&state), wait);
    state.replicas = vec![replica(false)];
    assert!(matches!(step(&state), Step::Rest(_)));
}

#[test]
fn without_a_name_there_is_no_leaf() {
    assert_eq!(plan(now(), &Settings::of(Leaf::default()), &nothing()), Step::Refuse(Refusal::Nameless));
}

#[test]
fn a_leaf_is_backdated_and_never_outlives_its_authority() {
    let short = Settings { authority_lifetime: BACKDATED, ..settings() };
    let write = AuthorityWrite { new: true, previous: String::new(), because: Cause::Missing };
    let authority = short.authority(now(), &write, None).unwrap();
    let leaf = Certificate::all(&short.leaf(now(), &authority).unwrap().certificate).remove(0);
    assert_eq!((later(leaf.not_before, BACKDATED), leaf.not_after), (now(), later(now(), BACKDATED)));
    assert_eq!(leaf.made_at(), now());
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let state = issued();
    assert!(!format!("{state:?}").contains("PRIVATE"));
    assert!(!format!("{state:?}").contains("80, 82, 73, 86, 65, 84, 69"), "nor as bytes");
}
