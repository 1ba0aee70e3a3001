//! The state machine under random events: several actors that die or are slow, wrong clocks, delays and manual
//! changes.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::world::World;

/// An event in normal operation.
#[derive(Debug, Clone)]
enum Event {
    Decide(usize),
    Act(usize),
    Crash(usize),
    /// A clock becomes wrong, or correct again.
    Clock(usize, u64),
    Read(usize),
    CatchUp(usize),
    Pass(u64),
    /// A replica responds to the API servers, but not to an observer.
    Hide(usize, bool),
    Leave(usize),
    Join(usize),
    AskForAuthority,
    AskForLeaf,
}

/// A manual change of the objects.
#[derive(Debug, Clone)]
enum Vandalism {
    Delete(usize),
    Truncate(usize, usize),
    Garble(usize),
    /// A Secret is restored to its state at the beginning.
    Restore(usize),
    /// A caBundle is emptied, or replaced by another.
    Bundle(usize, bool),
    /// A configuration is deleted and registered again, without a caBundle.
    Register(usize),
    /// A confirmation has a time in the future.
    Prophesy(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..2_usize).prop_map(Event::Decide),
        6 => (0..2_usize).prop_map(Event::Act),
        1 => (0..2_usize).prop_map(Event::Crash),
        1 => (0..2_usize, prop_oneof![Just(0), Just(200), Just(86_400 * 4000)])
            .prop_map(|(actor, ahead)| Event::Clock(actor, ahead)),
        4 => (0..3_usize).prop_map(Event::Read),
        2 => (0..2_usize).prop_map(Event::CatchUp),
        4 => (1..90_u64).prop_map(Event::Pass),
        3 => (90..43_200_u64).prop_map(Event::Pass),
        1 => (0..3_usize, any::<bool>()).prop_map(|(replica, hidden)| Event::Hide(replica, hidden)),
        1 => (0..3_usize).prop_map(Event::Leave),
        1 => (0..3_usize).prop_map(Event::Join),
        1 => Just(Event::AskForAuthority),
        1 => Just(Event::AskForLeaf),
    ]
}

fn vandalism() -> impl Strategy<Value = Vandalism> {
    prop_oneof![
        (0..2_usize).prop_map(Vandalism::Delete),
        (0..2_usize, 0..700_usize).prop_map(|(object, length)| Vandalism::Truncate(object, length)),
        (0..2_usize).prop_map(Vandalism::Garble),
        (0..2_usize).prop_map(Vandalism::Restore),
        (0..2_usize, any::<bool>()).prop_map(|(object, empty)| Vandalism::Bundle(object, empty)),
        (0..2_usize).prop_map(Vandalism::Register),
        (0..2_usize).prop_map(Vandalism::Prophesy),
    ]
}

impl World {
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Decide(actor) => drop(self.decide(actor)),
            Event::Act(actor) => self.act(actor),
            Event::Crash(actor) => self.crash(actor),
            Event::Clock(actor, ahead) => self.ahead[actor] = Duration::from_secs(ahead),
            // A replica on an unreachable node does not get new files either.
            Event::Read(replica) if !self.servers[replica].answers => {}
            Event::Read(replica) => self.read(replica),
            Event::CatchUp(api_server) => self.catch_up(api_server),
            Event::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
            Event::Hide(replica, hidden) => self.servers[replica].answers = !hidden,
            Event::Leave(replica) => self.leave(replica),
            Event::Join(replica) => self.join(replica),
            Event::AskForAuthority => {
                if let Stored::Ours(mut data) = self.authority.stored.clone() {
                    data.rotate = true;
                    self.authority.put(Stored::Ours(data));
                }
            }
            Event::AskForLeaf => {
                if let Stored::Ours(mut data) = self.leaf.stored.clone() {
                    data.rotate = true;
                    self.leaf.put(Stored::Ours(data));
                }
            }
        }
    }

    fn vandalize(&mut self, vandalism: &Vandalism, old: &State) {
        match *vandalism {
            Vandalism::Delete(0) => self.authority.put(Stored::Missing),
            Vandalism::Delete(_) => self.leaf.put(Stored::Missing),
            Vandalism::Restore(0) => self.authority.put(old.authority.clone()),
            Vandalism::Restore(_) => self.leaf.put(old.leaf.clone()),
            Vandalism::Truncate(object, length) => self.break_secret(object, |text| text.truncate(length)),
            Vandalism::Garble(object) => self.break_secret(object, |text| text.fill(b'?')),
            Vandalism::Bundle(object, empty) => self.break_configuration(object, |found| {
                found.generation += 1;
                found.bundles[0] = if empty { Vec::new() } else { b"not PEM at all".to_vec() };
            }),
            Vandalism::Register(object) => {
                let bundles = vec![Vec::new(); 3];
                let anew = Configuration { bundles, generation: 1, confirmed: None };
                self.configurations[object].put(Stored::Ours(anew));
            }
            Vandalism::Prophesy(object) => self.break_configuration(object, |found| {
                let since = "2090-01-01T00:00:00Z".parse().unwrap();
                found.confirmed = Some(Confirmation { generation: found.generation, since });
            }),
        }
        self.mark_views();
    }

    /// Breaks each part of a Secret in the same way.
    fn break_secret(&mut self, object: usize, break_it: impl Fn(&mut Vec<u8>)) {
        match (object, self.authority.stored.clone(), self.leaf.stored.clone()) {
            (0, Stored::Ours(mut data), _) => {
                [&mut data.certificate, &mut data.key, &mut data.previous].into_iter().for_each(break_it);
                self.authority.put(Stored::Ours(data));
            }
            (1, _, Stored::Ours(mut data)) => {
                [&mut data.certificate, &mut data.key].into_iter().for_each(break_it);
                self.leaf.put(Stored::Ours(data));
            }
            _ => {}
        }
    }

    fn break_configuration(&mut self, object: usize, break_it: impl Fn(&mut Configuration)) {
        if let Stored::Ours(mut found) = self.configurations[object].stored.clone() {
            break_it(&mut found);
            self.configurations[object].put(Stored::Ours(found));
        }
    }

    /// Returns true if the private key of the authority is in its Secret, and nowhere else.
    fn keeps_its_secret(&self) -> bool {
        let Stored::Ours(authority) = &self.authority.stored else { return true };
        let is_secret = |text: &[u8]| text.windows(7).any(|window| window == b"PRIVATE");
        let published = self.configurations.iter().any(|object| match &object.stored {
            Stored::Ours(found) => found.bundles.iter().any(|bundle| is_secret(bundle)),
            Stored::Missing | Stored::OtherOwner => false,
        });
        let in_leaf = match &self.leaf.stored {
            Stored::Ours(leaf) => {
                is_secret(&leaf.key) && leaf.key == authority.key || is_secret(&leaf.certificate)
            }
            Stored::Missing | Stored::OtherOwner => false,
        };
        !published && !in_leaf && !is_secret(&authority.previous) && !is_secret(&authority.certificate)
    }

    /// At rest: one authority, trusted by both configurations, and nothing of any other.
    fn is_whole(&self) -> bool {
        let (Stored::Ours(authority), Stored::Ours(leaf)) = (&self.authority.stored, &self.leaf.stored)
        else {
            return false;
        };
        let trusted = self.configurations.iter().all(|object| match &object.stored {
            Stored::Ours(found) => found.bundles.iter().all(|bundle| *bundle == authority.certificate),
            Stored::Missing | Stored::OtherOwner => false,
        });
        trusted && authority.previous.is_empty() && !authority.rotate && !leaf.rotate
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_dies_dawdles_and_lags_every_handshake_works_and_rotation_ends(
        events in prop::collection::vec(event(), 40..160),
    ) {
        let mut world = World::installed();
        for (number, event) in events.iter().enumerate() {
            world.happen(event);
            prop_assert!(world.every_handshake_works(), "after event {number}: {event:?}");
            prop_assert!(world.keeps_its_secret());
            if world.leaf_is_nearly_over() {
                world.settle_watched(|world| assert!(world.every_handshake_works(), "while settling"));
            }
        }
        world.settle_watched(|world| assert!(world.every_handshake_works(), "while settling at the end"));
        prop_assert!(world.is_whole());
    }

    #[test]
    fn whatever_humans_break_is_whole_again_in_a_bounded_number_of_steps(
        mixed in prop::collection::vec((event(), prop::option::weighted(0.2, vandalism())), 20..80),
    ) {
        let mut world = World::installed();
        let old = world.observe();
        for (event, vandalism) in &mixed {
            world.happen(event);
            if let Some(vandalism) = vandalism {
                world.vandalize(vandalism, &old);
            }
            prop_assert!(world.keeps_its_secret());
        }
        let steps = world.settle();
        prop_assert!(steps < 120, "{steps} steps");
        prop_assert!(world.is_whole(), "not whole");
        world.pass(world.settings.propagation);
        prop_assert!(world.every_handshake_works(), "a handshake fails");
    }

    #[test]
    fn nothing_is_written_while_any_object_is_somebody_elses(
        object in 0..4_usize,
        events in prop::collection::vec(event(), 20..60),
    ) {
        let mut world = World::installed();
        match object {
            0 => world.authority.put(Stored::OtherOwner),
            1 => world.leaf.put(Stored::OtherOwner),
            other => world.configurations[other - 2].put(Stored::OtherOwner),
        }
        let versions = |world: &World| {
            let [first, second] = &world.configurations;
            [world.authority.version, world.leaf.version, first.version, second.version]
        };
        let before = versions(&world);
        for event in events.iter().filter(|event| !matches!(event, Event::AskForAuthority | Event::AskForLeaf)) {
            world.happen(event);
        }
        prop_assert_eq!(versions(&world), before);
    }
}

#[test]
fn a_rotation_that_was_requested_for_takes_each_step_once_and_in_order() {
    let mut world = World::installed();
    world.happen(&Event::AskForAuthority);
    let mut steps: Vec<&str> = Vec::new();
    while !matches!(steps.last(), Some(&"rest")) {
        let step = world.decide(0);
        let name = match &step {
            Step::WriteAuthority(write) => {
                if write.new {
                    "create"
                } else {
                    "drop"
                }
            }
            Step::Publish { .. } => "publish",
            Step::Confirm { .. } => "confirm",
            Step::IssueLeaf(Cause::Trusted) => "issue",
            Step::Wait { on: Wait::Propagation, .. } => "wait for API servers",
            Step::Wait { on: Wait::Replica(_), .. } => "wait for replicas",
            Step::Wait { on: Wait::Linger, .. } => "linger",
            Step::Rest(_) => "rest",
            Step::IssueLeaf(_) | Step::Refuse(_) => panic!("{step:?}"),
        };
        if steps.last() == Some(&name) && name == "wait for replicas" {
            (0..3).for_each(|replica| world.read(replica));
        }
        if steps.last() != Some(&name) {
            steps.push(name);
        }
        world.act(0);
        world.pass(Duration::from_secs(20));
    }
    assert_eq!(
        steps,
        [
            "create",
            "publish",
            "confirm",
            "publish",
            "confirm",
            "wait for API servers",
            "issue",
            "wait for replicas",
            "linger",
            "drop",
            "publish",
            "confirm",
            "publish",
            "confirm",
            "rest"
        ]
    );
}
