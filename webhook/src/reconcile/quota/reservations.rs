//! NamespaceQuota: which namespaces and which agent Jobs may work at once.
//!
//! A namespace works once its gate is open, and its gate opens only when it holds a quota reservation in every scope that the
//! policy limits; a Job works once its suspension is lifted, and that is lifted only when it holds a quota reservation among those
//! of its project. A reservation is a Lease of a name that only its scope and its number make: who creates it has it, and
//! etcd lets one create it. [`plan`] says the next thing to do for who is to have one, from what is known of the
//! reservations; it is asked again after each.
//!
//! What is known may be old, and others may be at work for the same holder. What keeps that exact:
//!
//! - One that does not work yet takes numbers below the limit only, and none while a number at or above it is held: a
//!   limit that was lowered evicts nobody, and those above it move down before anybody new comes in. One that works
//!   already takes any number, for it is there.
//! - Once all reservations of a holder are taken, each is marked as confirmed, and only then does it come to work. One that is
//!   not confirmed yet is given back, in the version that is known, when another scope next_in_queue out to be full: marking
//!   changes the version, so that only one of both happens.
//! - Of two reservations of one holder the lower stays, and is confirmed before the other goes.
//! - Otherwise a reservation is only released when its holder is known to be gone, or, if it is a Job, to have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use codex_k8s_shared::quota::Id;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;

/// Who has a reservation, or is to have one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A namespace.
    Namespace(String),
    /// A Job.
    Job {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Holder {
    /// Whom a text names: a namespace by its name, a Job by that of its namespace, a slash and its own.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::Job { namespace: namespace.to_owned(), name: name.to_owned() },
            None => Self::Namespace(text.to_owned()),
        }
    }

    /// Whether the API server can know an object of this name. A Lease that others have written may name anything; what
    /// cannot be requested does not exist.
    pub fn can_exist(&self) -> bool {
        match self {
            Self::Namespace(name) => is_object_name(name),
            Self::Job { namespace, name } => is_object_name(namespace) && is_object_name(name),
        }
    }

    /// Whether it is a Job.
    pub const fn is_job(&self) -> bool {
        matches!(self, Self::Job { .. })
    }
}

/// Whether a text is a DNS subdomain, as the names of objects are.
fn is_object_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => out.write_str(name),
            Self::Job { namespace, name } => write!(out, "{namespace}/{name}"),
        }
    }
}

/// A reservation: the number of a scope that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Which of the reservations.
    pub id: Id,
    /// Who has it, by name.
    pub holder: Holder,
    /// The holder's uid, which is what has the reservation.
    pub uid: String,
    /// The Lease as it is stored; `None` while it is being created.
    pub stored: Option<Stored>,
    /// Whether it is never given back: the holder works, or is about to.
    pub confirmed: bool,
}

/// Which object a Lease is, and in which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its own uid.
    pub uid: String,
    /// Its version, which grows with every change of anything.
    pub version: u64,
}

/// Who is to have a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is, by name.
    pub holder: Holder,
    /// Its uid.
    pub uid: String,
    /// When it was created: who is older comes first.
    pub created: Timestamp,
    /// Whether it works already.
    pub open: bool,
    /// Its scopes, widest first, and the limits of those that have one.
    pub scopes: Vec<(Scope, Option<u32>)>,
}

impl Candidate {
    fn limited(&self) -> impl Iterator<Item = (&Scope, String, u32)> {
        self.scopes.iter().filter_map(|(scope, max)| Some((scope, scope.stem(), (*max)?)))
    }

    /// Whether any of its scopes is limited.
    pub fn is_limited(&self) -> bool {
        self.limited().next().is_some()
    }
}

/// The next thing to do for a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It has its reservations.
    Done,
    /// Create this reservation.
    Create(Id),
    /// Mark this reservation as confirmed, in the version that is known.
    Confirm(Reservation),
    /// Delete this reservation, in the version that is known: it is had without need.
    Delete(Reservation),
    /// There is no reservation for it.
    Exceeded {
        /// Where not.
        scope: Scope,
        /// How many reservations there are.
        max: u32,
    },
}

/// The reservations that are known to be held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<String, BTreeMap<u32, Reservation>>);

impl Held {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// The reservation of an id.
    pub fn get(&self, id: &Id) -> Option<&Reservation> {
        self.0.get(&id.stem).and_then(|numbers| numbers.get(&id.number))
    }

    /// The reservations of a scope.
    pub fn of_scope(&self, stem: &str) -> impl Iterator<Item = &Reservation> {
        self.0.get(stem).into_iter().flat_map(BTreeMap::values)
    }

    /// The reservations of a holder.
    pub fn of_holder(&self, uid: &str) -> impl Iterator<Item = &Reservation> {
        self.iter().filter(move |reservation| reservation.uid == uid)
    }

    /// Notes a reservation, unless a newer version of it is known.
    pub fn insert(&mut self, reservation: Reservation) {
        let version =
            |reservation: &Reservation| reservation.stored.as_ref().map_or(0, |stored| stored.version);
        let numbers = self.0.entry(reservation.id.stem.clone()).or_default();
        if numbers.get(&reservation.id.number).is_none_or(|known| version(known) <= version(&reservation)) {
            numbers.insert(reservation.id.number, reservation);
        }
    }

    /// Forgets a reservation.
    pub fn remove(&mut self, id: &Id) {
        if let Some(numbers) = self.0.get_mut(&id.stem) {
            numbers.remove(&id.number);
            if numbers.is_empty() {
                self.0.remove(&id.stem);
            }
        }
    }

    /// Takes over a complete list of what is stored, as of a version. What is being created, or is newer, stays.
    pub fn merge(&mut self, list: Vec<Reservation>, version: u64) {
        let listed: BTreeSet<Id> = list.iter().map(|reservation| reservation.id.clone()).collect();
        let is_older = |reservation: &Reservation| {
            reservation.stored.as_ref().is_some_and(|stored| stored.version <= version)
        };
        let gone: Vec<Id> = self
            .iter()
            .filter(|reservation| is_older(reservation))
            .map(|reservation| reservation.id.clone())
            .collect();
        for id in gone.iter().filter(|id| !listed.contains(id)) {
            self.remove(id);
        }
        for reservation in list {
            self.insert(reservation);
        }
    }

    fn own(&self, stem: &str, uid: &str) -> Vec<&Reservation> {
        self.of_scope(stem).filter(|reservation| reservation.uid == uid).collect()
    }

    fn lowest_free(&self, stem: &str) -> u32 {
        let mut numbers = self.0.get(stem).into_iter().flat_map(BTreeMap::keys);
        (0..u32::MAX).find(|number| numbers.next() != Some(number)).unwrap_or(u32::MAX)
    }

    /// How many may still come into a scope.
    fn free(&self, stem: &str, max: u32) -> usize {
        let Some(numbers) = self.0.get(stem) else { return usize::try_from(max).unwrap_or(usize::MAX) };
        let above = numbers.keys().next_back().is_some_and(|highest| *highest >= max);
        if above { 0 } else { usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(numbers.len()) }
    }
}

/// The next thing to do for a candidate. `ahead` are those that wait and are older.
pub fn plan<'a>(held: &Held, who: &Candidate, ahead: impl Iterator<Item = &'a Candidate>) -> Step {
    one_of_two(held, who)
        .or_else(|| in_another_scope(held, who))
        .or_else(|| what_is_lacking(held, who, ahead))
        .or_else(|| unconfirmed(held, who).map(|reservation| Step::Confirm(reservation.clone())))
        .unwrap_or(Step::Done)
}

fn one_of_two(held: &Held, who: &Candidate) -> Option<Step> {
    who.limited().find_map(|(_, stem, _)| {
        let own = held.own(&stem, &who.uid);
        let [lowest, .., other] = own.as_slice() else { return None };
        other.stored.as_ref()?;
        Some(if lowest.confirmed { Step::Delete((*other).clone()) } else { Step::Confirm((*lowest).clone()) })
    })
}

/// A slot that was handed to another project leaves its reservation in the old one.
fn in_another_scope(held: &Held, who: &Candidate) -> Option<Step> {
    let stems: Vec<_> = who.scopes.iter().map(|(scope, _)| scope.stem()).collect();
    let mut own = held.of_holder(&who.uid).filter(|reservation| reservation.stored.is_some());
    own.find(|reservation| !stems.contains(&reservation.id.stem))
        .map(|reservation| Step::Delete(reservation.clone()))
}

fn unconfirmed<'a>(held: &'a Held, who: &Candidate) -> Option<&'a Reservation> {
    let own = who.limited().flat_map(|(_, stem, _)| held.own(&stem, &who.uid)).collect::<Vec<_>>();
    own.into_iter().find(|reservation| !reservation.confirmed && reservation.stored.is_some())
}

fn what_is_lacking<'a>(
    held: &Held,
    who: &Candidate,
    ahead: impl Iterator<Item = &'a Candidate>,
) -> Option<Step> {
    let mut room = Room { held, promised: BTreeMap::new() };
    if !who.open {
        for other in ahead {
            let _ = room.admit(other);
        }
        if let Err((scope, max)) = room.admit(who) {
            let given_back = unconfirmed(held, who).map(|reservation| Step::Delete(reservation.clone()));
            return Some(given_back.unwrap_or(Step::Exceeded { scope, max }));
        }
    }
    who.limited().find_map(|(_, stem, max)| {
        let number = held.lowest_free(&stem);
        let moves_down = |own: &Reservation| own.number() >= max && number < max;
        let wants = held.own(&stem, &who.uid).first().is_none_or(|own| moves_down(own));
        wants.then_some(Step::Create(Id { stem, number }))
    })
}

impl Reservation {
    const fn number(&self) -> u32 {
        self.id.number
    }
}

/// The reservations that are left once those ahead have theirs.
struct Room<'a> {
    held: &'a Held,
    promised: BTreeMap<String, usize>,
}

impl Room<'_> {
    fn admit(&mut self, who: &Candidate) -> Result<(), (Scope, u32)> {
        let lacking: Vec<_> =
            who.limited().filter(|(_, stem, _)| self.held.own(stem, &who.uid).is_empty()).collect();
        for (scope, stem, max) in &lacking {
            let promised = self.promised.get(stem).copied().unwrap_or_default();
            if self.held.free(stem, *max) <= promised {
                return Err(((*scope).clone(), *max));
            }
        }
        for (_, stem, _) in lacking {
            *self.promised.entry(stem).or_default() += 1;
        }
        Ok(())
    }
}

/// Those that would get in now, of those that wait, in their order; and of those whose number lies at or
/// above a limit that somebody waits for, where they could move down.
pub fn next_in_queue<'a>(held: &Held, waiting: impl Iterator<Item = &'a Candidate>) -> BTreeSet<Holder> {
    let mut room = Room { held, promised: BTreeMap::new() };
    let mut theirs = BTreeSet::new();
    for who in waiting {
        if room.admit(who).is_ok() {
            theirs.insert(who.holder.clone());
        }
        for (_, stem, max) in who.limited() {
            let above = held.of_scope(&stem).filter(|reservation| reservation.number() >= max);
            if held.lowest_free(&stem) < max {
                theirs.extend(above.map(|reservation| reservation.holder.clone()));
            }
        }
    }
    theirs
}

#[cfg(test)]
mod tests;
