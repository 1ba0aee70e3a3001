//! Tests of the planning of reservations, and that limits stay exact with several concurrent processes.

use proptest::prelude::*;

use super::*;

impl Held {
    fn get(&self, id: &Id) -> Option<&Reservation> {
        self.0.get(&id.stem).and_then(|numbers| numbers.get(&id.number))
    }
}

fn candidate(name: &str, limits: [Option<u32>; 3]) -> Candidate {
    let [cluster, project, requester] = Scope::of(Some("p1"), Some("jane"));
    let [a, b, c] = limits;
    Candidate {
        holder: Holder::Namespace(name.to_owned()),
        uid: format!("uid-{name}"),
        created: Timestamp::UNIX_EPOCH,
        open: false,
        scopes: vec![(cluster, a), (project, b), (requester, c)],
    }
}

fn id(stem: &str, number: u32) -> Id {
    Id { stem: stem.to_owned(), number }
}

fn reservation(stem: &str, number: u32, name: &str, confirmed: bool) -> Reservation {
    let stored = Some(Stored { uid: format!("lease-{number}"), version: 7 });
    Reservation {
        id: id(stem, number),
        holder: Holder::Namespace(name.to_owned()),
        uid: format!("uid-{name}"),
        stored,
        confirmed,
    }
}

fn held(reservations: impl IntoIterator<Item = Reservation>) -> Held {
    let mut held = Held::default();
    reservations.into_iter().for_each(|reservation| held.insert(reservation));
    held
}

fn alone(held: &Held, who: &Candidate) -> Step {
    plan(held, who, std::iter::empty())
}

#[test]
fn a_holder_is_reported_by_its_text() {
    for text in ["codex-run-1", "codex-run-1/unit-tests", ""] {
        assert_eq!(Holder::parse(text).to_string(), text);
    }
    assert!(Holder::parse("codex-run-1/unit-tests").is_job() && !Holder::parse("codex-run-1").is_job());
}

#[test]
fn jobs_and_namespaces_of_one_project_take_no_reservations_from_each_other() {
    let (namespace, jobs) = (candidate("a", [None, Some(1), None]), Scope::of_jobs(Some("p1")));
    let job = Candidate {
        holder: Holder::parse("a/j"),
        uid: "uid-j".to_owned(),
        scopes: vec![(jobs.clone(), Some(1))],
        ..namespace.clone()
    };
    let project = namespace.scopes[1].0.stem();
    let full = held([reservation(&project, 0, "a", true)]);
    assert_eq!(alone(&full, &namespace), Step::Done);
    assert_eq!(alone(&full, &job), Step::Create(id(&jobs.stem(), 0)));
    let other = held([reservation(&jobs.stem(), 0, "b/k", true)]);
    assert_eq!(alone(&other, &job), Step::Exceeded { scope: jobs, max: 1 });
    assert_eq!(alone(&other, &namespace), Step::Create(id(&project, 0)));
}

#[test]
fn a_namespace_takes_the_lowest_number_of_each_scope_and_then_holds() {
    let who = candidate("a", [Some(3), Some(2), None]);
    let project = who.scopes[1].0.stem();
    let mut held = held([reservation("cluster", 0, "x", true), reservation("cluster", 2, "y", true)]);
    let ask = |held: &Held| plan(held, &who, std::iter::empty());
    assert_eq!(ask(&held), Step::Create(id("cluster", 1)));
    held.insert(reservation("cluster", 1, "a", false));
    assert_eq!(ask(&held), Step::Create(id(&project, 0)));
    held.insert(reservation(&project, 0, "a", false));
    for (stem, number) in [("cluster", 1), (&*project, 0)] {
        assert_eq!(ask(&held), Step::Confirm(reservation(stem, number, "a", false)));
        held.insert(reservation(stem, number, "a", true));
    }
    assert_eq!(ask(&held), Step::Done);
    assert_eq!(alone(&Held::default(), &candidate("a", [None; 3])), Step::Done);
}

#[test]
fn a_full_scope_refuses_and_what_was_taken_elsewhere_is_given_back() {
    let who = candidate("a", [Some(3), Some(1), None]);
    let (scope, project) = (who.scopes[1].0.clone(), who.scopes[1].0.stem());
    let full = reservation(&project, 0, "x", true);
    assert_eq!(alone(&held([full.clone()]), &who), Step::Exceeded { scope: scope.clone(), max: 1 });
    let taken = reservation("cluster", 2, "a", false);
    assert_eq!(alone(&held([full.clone(), taken.clone()]), &who), Step::Delete(taken));
    // Another process may be about to open the gate.
    let confirmed = reservation("cluster", 2, "a", true);
    assert_eq!(alone(&held([full, confirmed]), &who), Step::Exceeded { scope, max: 1 });
    let none = candidate("a", [Some(0), None, None]);
    assert_eq!(alone(&Held::default(), &none), Step::Exceeded { scope: Scope::Cluster, max: 0 });
}

#[test]
fn the_older_candidate_comes_first() {
    let limits = [Some(2), None, None];
    let (older, oldest, who) = (candidate("b", limits), candidate("c", limits), candidate("a", limits));
    let held = held([reservation("cluster", 1, "x", true)]);
    let ask = |ahead: &[&Candidate]| plan(&held, &who, ahead.iter().copied());
    assert_eq!(ask(&[]), Step::Create(id("cluster", 0)));
    assert_eq!(ask(&[&older]), Step::Exceeded { scope: Scope::Cluster, max: 2 });
    assert_eq!(
        next_in_queue(&held, [&oldest, &older, &who].into_iter()),
        BTreeSet::from([Holder::parse("c")])
    );
    // A candidate that cannot be admitted anyway, because its project is full, does not block the others.
    let stuck = candidate("d", [Some(2), Some(0), None]);
    assert_eq!(ask(&[&stuck]), Step::Create(id("cluster", 0)));
}

#[test]
fn a_lowered_limit_evicts_no_one_and_lets_no_one_in_before_those_above_it_have_moved_down() {
    let limits = [Some(2), None, None];
    let held = held([reservation("cluster", 1, "x", true), reservation("cluster", 3, "y", true)]);
    let who = candidate("a", limits);
    assert_eq!(alone(&held, &who), Step::Exceeded { scope: Scope::Cluster, max: 2 });
    assert_eq!(next_in_queue(&held, [&who].into_iter()), BTreeSet::from([Holder::parse("y")]));
    let works = Candidate { open: true, ..candidate("y", limits) };
    assert_eq!(alone(&held, &works), Step::Create(id("cluster", 0)));
    let mut moved = held.clone();
    moved.insert(reservation("cluster", 0, "y", true));
    assert_eq!(alone(&moved, &works), Step::Delete(reservation("cluster", 3, "y", true)));
}

#[test]
fn one_that_works_already_gets_a_number_above_the_limit_if_need_be() {
    let works = Candidate { open: true, ..candidate("a", [Some(1), None, None]) };
    assert_eq!(alone(&held([reservation("cluster", 0, "x", true)]), &works), Step::Create(id("cluster", 1)));
}

#[test]
fn of_two_reservations_the_lower_is_confirmed_before_the_other_is_released() {
    let who = candidate("a", [Some(5), None, None]);
    let (low, high) = (reservation("cluster", 1, "a", false), reservation("cluster", 3, "a", true));
    assert_eq!(alone(&held([low.clone(), high.clone()]), &who), Step::Confirm(low.clone()));
    let low = Reservation { confirmed: true, ..low };
    assert_eq!(alone(&held([low, high.clone()]), &who), Step::Delete(high));
}

#[test]
fn a_slot_leaves_its_reservation_in_the_project_that_it_had() {
    let who = candidate("a", [None, Some(5), None]);
    let old = reservation("project-p0-00000000", 1, "a", true);
    assert_eq!(alone(&held([old.clone()]), &who), Step::Delete(old));
}

#[test]
fn a_list_replaces_what_is_older_than_it_and_nothing_else() {
    let at = |number, version| Reservation {
        stored: Some(Stored { uid: "l".to_owned(), version }),
        ..reservation("cluster", number, "a", false)
    };
    let being_created = Reservation { stored: None, ..reservation("cluster", 3, "a", false) };
    let mut known = held([at(0, 5), at(1, 9), at(2, 6), being_created]);
    known.merge(vec![at(2, 4), at(4, 8)], 8);
    let numbers: Vec<_> =
        known.iter().map(|reservation| (reservation.id.number, reservation.stored.is_some())).collect();
    assert_eq!(numbers, [(1, true), (2, true), (3, false), (4, true)]);
    assert_eq!(known.get(&id("cluster", 2)).unwrap().stored.as_ref().unwrap().version, 6);
}

/// A simulation of the stored reservations and of the requests to them.
#[derive(Debug, Default)]
struct Etcd {
    reservations: Held,
    version: u64,
}

impl Etcd {
    fn write(&mut self, mut reservation: Reservation, uid: Option<String>) {
        self.version += 1;
        let uid = uid.unwrap_or_else(|| format!("lease-{}", self.version));
        reservation.stored = Some(Stored { uid, version: self.version });
        self.reservations.remove(&reservation.id);
        self.reservations.insert(reservation);
    }

    fn create(&mut self, id: &Id, who: &Candidate) {
        let reservation = Reservation {
            id: id.clone(),
            holder: who.holder.clone(),
            uid: who.uid.clone(),
            stored: None,
            confirmed: who.open,
        };
        if self.reservations.get(id).is_none() {
            self.write(reservation, None);
        }
    }

    fn is_current(&self, reservation: &Reservation) -> bool {
        self.reservations.get(&reservation.id).is_some_and(|stored| stored.stored == reservation.stored)
    }

    fn confirm(&mut self, reservation: &Reservation) {
        if self.is_current(reservation) {
            let uid = reservation.stored.as_ref().map(|stored| stored.uid.clone());
            self.write(Reservation { confirmed: true, ..reservation.clone() }, uid);
        }
    }

    fn delete(&mut self, reservation: &Reservation) {
        if self.is_current(reservation) {
            self.version += 1;
            self.reservations.remove(&reservation.id);
        }
    }
}

#[derive(Debug)]
struct World {
    etcd: Etcd,
    /// The cache of each process.
    processes: Vec<Held>,
    candidates: Vec<Candidate>,
    /// The number of times that each was deleted or ended, and was created again.
    lives: Vec<u32>,
}

const LIMITS: [Option<u32>; 3] = [Some(4), Some(2), None];

impl World {
    /// Eight candidates in two projects, of which four can work: namespaces, or Jobs in one namespace.
    fn of(jobs: bool) -> Self {
        let candidates = (0..8).map(|number| {
            let name = format!("{}n{number}", if jobs { "run/" } else { "" });
            let project = if number % 3 == 0 { "p1" } else { "p2" };
            let scopes = if jobs {
                vec![(Scope::of_jobs(Some(project)), Some(2))]
            } else {
                Scope::of(Some(project), None).into_iter().zip(LIMITS).collect()
            };
            Candidate { holder: Holder::parse(&name), scopes, uid: name.clone(), ..candidate(&name, LIMITS) }
        });
        Self {
            etcd: Etcd::default(),
            processes: vec![Held::default(); 3],
            candidates: candidates.collect(),
            lives: vec![0; 8],
        }
    }

    /// Sends one request of a process for a candidate.
    fn step(&mut self, process: usize, candidate: usize) {
        let Self { etcd, processes, candidates, .. } = self;
        let (known, who) = (&mut processes[process], &mut candidates[candidate]);
        match plan(known, who, std::iter::empty()) {
            Step::Done => who.open = true,
            Step::Create(id) => {
                etcd.create(&id, who);
                refresh(etcd, known, &id);
            }
            Step::Confirm(reservation) => {
                etcd.confirm(&reservation);
                refresh(etcd, known, &reservation.id);
            }
            Step::Delete(reservation) => {
                etcd.delete(&reservation);
                refresh(etcd, known, &reservation.id);
            }
            Step::Exceeded { .. } => {}
        }
    }

    /// Deletes a holder and creates it again under its name. The old one is not reconciled any more.
    fn replace(&mut self, candidate: usize) {
        self.lives[candidate] += 1;
        let who = &mut self.candidates[candidate];
        who.open = false;
        who.uid = format!("{}-{}", who.holder, self.lives[candidate]);
    }

    /// Releases the reservations of holders that are gone, as far as a process has cached them.
    fn release(&mut self, process: usize) {
        let alive: BTreeSet<_> = self.candidates.iter().map(|candidate| candidate.uid.clone()).collect();
        let known = &mut self.processes[process];
        let gone: Vec<_> =
            known.iter().filter(|reservation| !alive.contains(&reservation.uid)).cloned().collect();
        for reservation in gone {
            self.etcd.delete(&reservation);
            refresh(&self.etcd, known, &reservation.id);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut working = BTreeMap::<String, u32>::new();
        for candidate in self.candidates.iter().filter(|candidate| candidate.open) {
            for (_, stem, max) in candidate.limited() {
                let count = working.entry(stem.clone()).or_default();
                *count += 1;
                prop_assert!(*count <= max, "{} work in {stem}", *count);
                let own = self.etcd.reservations.own(&stem, &candidate.uid);
                prop_assert!(
                    !own.is_empty(),
                    "{} works without a quota reservation in {stem}",
                    candidate.holder
                );
            }
        }
        Ok(())
    }
}

fn refresh(etcd: &Etcd, known: &mut Held, id: &Id) {
    known.remove(id);
    if let Some(found) = etcd.reservations.get(id) {
        known.insert(found.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_more_work_than_there_are_reservations_whatever_several_processes_do(
        jobs in any::<bool>(),
        acts in prop::collection::vec((0u8..20, 0usize..3, 0usize..8), 0..300),
    ) {
        let mut world = World::of(jobs);
        for (act, process, candidate) in acts {
            match act {
                0 => world.replace(candidate),
                1 => world.release(process),
                2 => world.processes[process] = Held::default(),
                3 => {
                    let list: Vec<_> = world.etcd.reservations.iter().cloned().collect();
                    world.processes[process].merge(list, world.etcd.version);
                }
                _ => world.step(process, candidate),
            }
            world.check()?;
        }
    }

    #[test]
    fn whatever_was_done_the_free_reservations_are_taken_in_the_end_and_none_is_held_twice(
        jobs in any::<bool>(),
        acts in prop::collection::vec((0u8..20, 0usize..3, 0usize..8), 0..200),
    ) {
        let mut world = World::of(jobs);
        for (act, process, candidate) in acts {
            match act {
                0 => world.replace(candidate),
                1 => world.processes[process] = Held::default(),
                _ => world.step(process, candidate),
            }
        }
        // One process continues alone, with an up-to-date cache.
        let (list, version) = (world.etcd.reservations.iter().cloned().collect(), world.etcd.version);
        world.processes[0].merge(list, version);
        world.release(0);
        for _ in 0..12 {
            (0..8).for_each(|candidate| world.step(0, candidate));
        }
        world.check()?;
        let working = world.candidates.iter().filter(|candidate| candidate.open).count();
        // A candidate that was about to be admitted when another process gave back one of its reservations keeps the
        // other until it can be admitted, because it cannot be known that no process still assumes both.
        let on_the_doorstep = world.candidates.iter().filter(|candidate| {
            let mut reservations = world.etcd.reservations.of_holder(&candidate.uid);
            !candidate.open && reservations.any(|reservation| reservation.confirmed)
        });
        let waiting: BTreeSet<_> = on_the_doorstep.map(|candidate| candidate.uid.clone()).collect();
        prop_assert!(waiting.is_empty() || !jobs, "a Job has one reservation, and nothing to wait for");
        prop_assert!(working + waiting.len() >= 4, "{working} work, and {waiting:?} may");
        for candidate in world.candidates.iter().filter(|candidate| !waiting.contains(&candidate.uid)) {
            let reservations = world.etcd.reservations.of_holder(&candidate.uid).count();
            let each = if jobs { 1 } else { 2 };
            prop_assert_eq!(reservations, if candidate.open { each } else { 0 }, "{}", candidate.holder);
        }
    }
}

#[test]
fn a_holder_of_a_name_that_no_object_has_cannot_exist() {
    for text in ["codex-run-1", "a.b-c.d", "codex-run-1/job.1", "0"] {
        assert!(Holder::parse(text).can_exist(), "{text}");
    }
    let long = "a".repeat(254);
    for text in [
        "", "/", "a/", "/a", "..", "a/..", "a/../b", "a b", "a?b", "a%2e", "A", "-a", "a-", "a\n", "\u{e9}",
        &long,
    ] {
        assert!(!Holder::parse(text).can_exist(), "{text:?}");
    }
}
