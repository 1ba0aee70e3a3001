//! A cluster in miniature: objects with versions, API servers and replicas that lag behind, and actors.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::super::*;
use crate::authority::Leaf;
use crate::resolver::ReloadableResolver;

/// A stored object: its content and its resourceVersion.
#[derive(Debug, Clone)]
pub(super) struct Object<T> {
    pub(super) version: u64,
    pub(super) stored: Stored<T>,
}

impl<T> Object<T> {
    const fn new(stored: Stored<T>) -> Self {
        Self { version: 0, stored }
    }

    /// An unconditional write.
    pub(super) fn put(&mut self, stored: Stored<T>) {
        self.version += 1;
        self.stored = stored;
    }

    /// A write on the condition that the object still has the version that was read.
    fn put_if(&mut self, seen: u64, data: T) {
        if seen == self.version {
            assert!(!matches!(self.stored, Stored::OtherOwner), "an object of another manager was written");
            self.put(Stored::Ours(data));
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) listed: bool,
    pub(super) answers: bool,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// The caBundles that an API server trusts, and the time since when there are newer ones.
type View = (Vec<Vec<u8>>, Option<Timestamp>);

/// An actor: its decision, and the versions that it read.
#[derive(Debug, Clone)]
struct Decided {
    step: Step,
    at: Timestamp,
    authority: Option<AuthorityData>,
    versions: [u64; 4],
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    pub(super) authority: Object<AuthorityData>,
    pub(super) leaf: Object<LeafData>,
    pub(super) configurations: [Object<Configuration>; 2],
    /// The view of each API server, by configuration.
    views: [[View; 2]; 2],
    pub(super) servers: Vec<Server>,
    /// The previous contents of the leaf's Secret, and the times when they were replaced.
    history: VecDeque<(Timestamp, LeafData)>,
    actors: [Option<Decided>; 2],
    pub(super) ahead: [Duration; 2],
}

const PARTS: [Part; 2] = [Part::Mutating, Part::Validating];
/// The time that kubelet may take to mount a Secret in a Pod that starts.
const MOUNTING: Duration = Duration::from_mins(2);

impl World {
    /// An installation at rest.
    pub(super) fn installed() -> Self {
        let hours = |hours| Duration::from_hours(hours);
        let configuration = || {
            Object::new(Stored::Ours(Configuration { bundles: vec![vec![]; 3], ..Configuration::default() }))
        };
        let server = || Server { listed: true, answers: true, chain: Vec::new() };
        let mut world = Self {
            now: super::now(),
            settings: Settings {
                authority_lifetime: hours(24 * 30),
                leaf_lifetime: hours(24 * 9),
                ..Settings::of(Leaf::of_service("hook", "guard"))
            },
            authority: Object::new(Stored::Missing),
            leaf: Object::new(Stored::Missing),
            configurations: [configuration(), configuration()],
            views: Default::default(),
            servers: vec![server(), server(), server()],
            history: VecDeque::new(),
            actors: [None, None],
            ahead: [Duration::ZERO; 2],
        };
        world.settle();
        world
    }

    pub(super) fn observe(&self) -> State {
        let configurations =
            PARTS.into_iter().zip(&self.configurations).map(|(part, found)| (part, found.stored.clone()));
        let replicas = self.servers.iter().enumerate().filter(|(_, server)| server.listed);
        State {
            cluster_time: self.now,
            authority: self.authority.stored.clone(),
            leaf: self.leaf.stored.clone(),
            configurations: configurations.collect(),
            replicas: replicas
                .map(|(number, server)| Replica {
                    name: format!("replica {number}"),
                    ready: true,
                    served: server.answers.then(|| server.chain.clone()),
                })
                .collect(),
        }
    }

    /// An actor reads the state and decides.
    pub(super) fn decide(&mut self, actor: usize) -> Step {
        let state = self.observe();
        let step = plan(later(self.now, self.ahead[actor]), &self.settings, &state);
        let authority = match state.authority {
            Stored::Ours(data) => Some(data),
            Stored::Missing | Stored::OtherOwner => None,
        };
        let [first, second] = &self.configurations;
        let versions = [self.authority.version, self.leaf.version, first.version, second.version];
        self.actors[actor] = Some(Decided { step: step.clone(), at: self.now, authority, versions });
        step
    }

    /// An actor dies.
    pub(super) fn crash(&mut self, actor: usize) {
        self.actors[actor] = None;
    }

    /// An actor carries out its decision, however old it is.
    pub(super) fn act(&mut self, actor: usize) {
        let Some(Decided { step, at, authority, versions }) = self.actors[actor].take() else { return };
        let [of_authority, of_leaf, of_first, of_second] = versions;
        match step {
            Step::WriteAuthority(write) => {
                let data = self.settings.authority(at, &write, authority.as_ref()).unwrap();
                self.authority.put_if(of_authority, data);
            }
            Step::IssueLeaf(_) => {
                self.remember();
                let data = self.settings.leaf(at, &authority.unwrap()).unwrap();
                self.leaf.put_if(of_leaf, data);
            }
            Step::Publish { part, bundle } => self.configure(part, [of_first, of_second], |found| {
                found.bundles.fill(bundle.clone().into_bytes());
                found.generation += 1;
            }),
            Step::Confirm { part, confirmation } => {
                self.configure(part, [of_first, of_second], |found| found.confirmed = Some(confirmation));
            }
            Step::Refuse(_) | Step::Wait { .. } | Step::Rest(_) => {}
        }
    }

    fn configure(&mut self, part: Part, versions: [u64; 2], change: impl Fn(&mut Configuration)) {
        let configurations = PARTS.into_iter().zip(versions).zip(&mut self.configurations);
        for ((_, version), object) in configurations.filter(|((one, _), _)| *one == part) {
            if let Stored::Ours(found) = &object.stored {
                let mut changed = found.clone();
                change(&mut changed);
                object.put_if(version, changed);
            }
        }
        self.mark_views();
    }

    /// Records the leaf before it is replaced, because kubelet may still mount it for some time.
    fn remember(&mut self) {
        if let Stored::Ours(data) = &self.leaf.stored {
            self.history.push_front((self.now, data.clone()));
            self.history.truncate(4);
        }
    }

    /// Marks the views of the API servers as outdated after a change of a configuration.
    pub(super) fn mark_views(&mut self) {
        for view in &mut self.views {
            for ((seen, behind), object) in view.iter_mut().zip(&self.configurations) {
                let stale = bundles(&object.stored) != *seen;
                *behind = if stale { behind.or(Some(self.now)) } else { None };
            }
        }
    }

    /// An API server loads the configurations.
    pub(super) fn catch_up(&mut self, api_server: usize) {
        for (view, object) in self.views[api_server].iter_mut().zip(&self.configurations) {
            *view = (bundles(&object.stored), None);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.mark_views();
        self.now = later(self.now, time);
        for api_server in 0..2 {
            let behind = self.views[api_server].iter().filter_map(|(_, behind)| *behind).min();
            if behind.is_some_and(|since| later(since, self.settings.propagation) <= self.now) {
                self.catch_up(api_server);
            }
        }
    }

    /// A replica reads its files, as kubelet has mounted them.
    pub(super) fn read(&mut self, replica: usize) {
        if let Stored::Ours(data) = self.leaf.stored.clone() {
            self.install(replica, &data);
        }
    }

    fn install(&mut self, replica: usize, data: &LeafData) {
        let resolver = ReloadableResolver::empty();
        if resolver.install(&data.certificate, &data.key, self.now).is_ok() {
            let chain = Certificate::all(&data.certificate);
            self.servers[replica].chain = chain.into_iter().map(|found| found.der).collect();
        }
    }

    /// A Pod is gone, and does not receive requests any more.
    pub(super) fn leave(&mut self, replica: usize) {
        self.servers[replica].listed = false;
    }

    /// A Pod has started with the files that kubelet mounted, which may be slightly outdated.
    pub(super) fn join(&mut self, replica: usize) {
        let recent = |(until, _): &&(Timestamp, LeafData)| self.now <= later(*until, MOUNTING);
        let old = self.history.iter().find(recent).map(|(_, data)| data.clone());
        self.read(replica);
        if let Some(old) = old {
            self.install(replica, &old);
        }
        self.servers[replica].listed = true;
    }

    /// Returns true if every API server's view of every configuration verifies every listed replica.
    pub(super) fn every_handshake_works(&self) -> bool {
        let name = self.settings.server_name().unwrap();
        let trusted: BTreeSet<_> = self.views.iter().flatten().flat_map(|(bundles, _)| bundles).collect();
        let listed = self.servers.iter().filter(|server| server.listed);
        let served: BTreeSet<_> =
            listed.map(|server| server.chain.iter().map(|der| der.to_vec()).collect::<Vec<_>>()).collect();
        trusted.iter().all(|bundle| {
            let trusted = Certificate::all(bundle);
            served.iter().all(|chain| {
                let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
                verifies(&trusted, &chain, &name, self.now)
            })
        })
    }

    pub(super) fn leaf_is_nearly_over(&self) -> bool {
        let soon = later(self.now, Duration::from_hours(36));
        let over = |chain: &[CertificateDer<'static>]| {
            chain.first().is_none_or(|leaf| {
                let pem = trust::encode(leaf);
                Certificate::all(pem.as_bytes()).iter().any(|found| found.not_after < soon)
            })
        };
        self.servers.iter().any(|server| over(&server.chain))
    }

    /// Runs all actors normally until there is nothing to do. Returns the number of steps.
    pub(super) fn settle(&mut self) -> usize {
        self.settle_watched(|_| {})
    }

    pub(super) fn settle_watched(&mut self, mut watch: impl FnMut(&Self)) -> usize {
        (self.actors, self.ahead) = ([None, None], [Duration::ZERO; 2]);
        for server in &mut self.servers {
            server.answers = true;
        }
        for steps in 0..200 {
            match self.decide(0) {
                Step::Rest(_) => return steps,
                Step::Refuse(refusal) => panic!("{refusal}"),
                _ => self.act(0),
            }
            watch(self);
            (0..self.servers.len()).for_each(|replica| self.read(replica));
            watch(self);
            self.pass(Duration::from_secs(20));
            watch(self);
        }
        panic!("no rest after 200 steps: {:?}", self.decide(0));
    }
}

fn bundles(stored: &Stored<Configuration>) -> Vec<Vec<u8>> {
    match stored {
        Stored::Ours(found) => found.bundles.clone(),
        // No webhook is called.
        Stored::Missing | Stored::OtherOwner => Vec::new(),
    }
}
