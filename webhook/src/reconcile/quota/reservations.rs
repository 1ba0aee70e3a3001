//! Planning of reservations, which limit the namespaces and agent Jobs that work at the same time.
//!
//! A namespace works once its gate is open, and the gate opens only when the namespace holds a reservation in every
//! scope that the policy limits. A Job works once its suspension is lifted, which happens only when the Job holds a
//! reservation in the scope of its project. A reservation is a Lease whose name consists of its scope and its number:
//! the process that creates it has reserved the number, because etcd lets only one create it. [`plan`] returns the next
//! step for a candidate from the cached reservations, and is called again after each step.
//!
//! The cache may be stale, and other processes may work for the same holder. The limits are exact all the same,
//! because:
//!
//! - A candidate that does not work yet takes only numbers below the limit, and none while a number at or above the
//!   limit is held: a lowered limit evicts no holder, and the holders above it move down before a new one is admitted. A
//!   candidate that already works takes any number.
//! - Once all reservations of a holder exist, each is marked as confirmed, and only then does the holder start to work.
//!   An unconfirmed reservation is given back, in the cached version, if another scope turns out to be full. Confirming
//!   changes the version, so that only one of the two happens.
//! - Of two reservations of one holder in a scope, the lower one stays and is confirmed before the other is deleted.
//! - In all other cases, a reservation is released only when its holder is gone or, for a Job, has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub(crate) use codex_k8s_shared::quota::Id;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;

/// A holder of a reservation, or a candidate for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Holder {
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
    /// Parses a holder: `NAMESPACE` for a namespace, `NAMESPACE/NAME` for a Job.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::Job { namespace: namespace.to_owned(), name: name.to_owned() },
            None => Self::Namespace(text.to_owned()),
        }
    }

    /// True if an object of this name can exist. A Lease from another writer may contain any name, and an object whose
    /// name is invalid does not exist.
    pub(crate) fn can_exist(&self) -> bool {
        match self {
            Self::Namespace(name) => is_object_name(name),
            Self::Job { namespace, name } => is_object_name(namespace) && is_object_name(name),
        }
    }

    /// True for a Job.
    pub(crate) const fn is_job(&self) -> bool {
        matches!(self, Self::Job { .. })
    }
}

/// True if a text is a DNS subdomain, like the names of objects.
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

/// A reservation: a number in a scope that a holder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The scope and the number.
    pub id: Id,
    /// The name of the holder.
    pub holder: Holder,
    /// The uid of the holder, which identifies it.
    pub uid: String,
    /// The stored Lease; `None` while it is being created.
    pub stored: Option<Stored>,
    /// True if the reservation is never given back, because the holder works or is about to.
    pub confirmed: bool,
}

/// The identity and the version of a stored Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The uid of the Lease.
    pub uid: String,
    /// The version, which grows with every change in the cluster.
    pub version: u64,
}

/// A candidate for reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name.
    pub holder: Holder,
    /// The uid.
    pub uid: String,
    /// The creation time. Older candidates come first.
    pub created: Timestamp,
    /// True if the candidate already works.
    pub open: bool,
    /// The scopes, widest first, with their limits if they have one.
    pub scopes: Vec<(Scope, Option<u32>)>,
}

impl Candidate {
    fn limited(&self) -> impl Iterator<Item = (&Scope, String, u32)> {
        self.scopes.iter().filter_map(|(scope, max)| Some((scope, scope.stem(), (*max)?)))
    }

    /// True if any of its scopes is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited().next().is_some()
    }
}

/// The next step for a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The candidate has all its reservations.
    Done,
    /// Create this reservation.
    Create(Id),
    /// Mark this reservation as confirmed, in the cached version.
    Confirm(Reservation),
    /// Delete this reservation, in the cached version, because it is not needed.
    Delete(Reservation),
    /// A scope is full.
    Exceeded {
        /// The scope.
        scope: Scope,
        /// Its limit.
        max: u32,
    },
}

/// The cached reservations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held(BTreeMap<String, BTreeMap<u32, Reservation>>);

impl Held {
    /// Returns all reservations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// Returns the reservations of a scope.
    pub(crate) fn of_scope(&self, stem: &str) -> impl Iterator<Item = &Reservation> {
        self.0.get(stem).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns the reservations of a holder.
    pub(crate) fn of_holder(&self, uid: &str) -> impl Iterator<Item = &Reservation> {
        self.iter().filter(move |reservation| reservation.uid == uid)
    }

    /// Caches a reservation, unless a newer version of it is cached.
    pub(crate) fn insert(&mut self, reservation: Reservation) {
        let version =
            |reservation: &Reservation| reservation.stored.as_ref().map_or(0, |stored| stored.version);
        let numbers = self.0.entry(reservation.id.stem.clone()).or_default();
        if numbers.get(&reservation.id.number).is_none_or(|known| version(known) <= version(&reservation)) {
            numbers.insert(reservation.id.number, reservation);
        }
    }

    /// Removes a reservation from the cache.
    pub(crate) fn remove(&mut self, id: &Id) {
        if let Some(numbers) = self.0.get_mut(&id.stem) {
            numbers.remove(&id.number);
            if numbers.is_empty() {
                self.0.remove(&id.stem);
            }
        }
    }

    /// Merges a complete list of the stored reservations as of a version. Cached reservations that are being created or
    /// are newer stay.
    pub(crate) fn merge(&mut self, list: Vec<Reservation>, version: u64) {
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

    /// Returns the number of free reservations in a scope.
    fn free(&self, stem: &str, max: u32) -> usize {
        let Some(numbers) = self.0.get(stem) else { return usize::try_from(max).unwrap_or(usize::MAX) };
        let above = numbers.keys().next_back().is_some_and(|highest| *highest >= max);
        if above { 0 } else { usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(numbers.len()) }
    }
}

/// Returns the next step for a candidate. `ahead` are the older pending candidates.
pub(crate) fn plan<'a>(held: &Held, who: &Candidate, ahead: impl Iterator<Item = &'a Candidate>) -> Step {
    duplicate(held, who)
        .or_else(|| in_another_scope(held, who))
        .or_else(|| missing(held, who, ahead))
        .or_else(|| unconfirmed(held, who).map(|reservation| Step::Confirm(reservation.clone())))
        .unwrap_or(Step::Done)
}

fn duplicate(held: &Held, who: &Candidate) -> Option<Step> {
    who.limited().find_map(|(_, stem, _)| {
        let own = held.own(&stem, &who.uid);
        let [lowest, .., other] = own.as_slice() else { return None };
        other.stored.as_ref()?;
        Some(if lowest.confirmed { Step::Delete((*other).clone()) } else { Step::Confirm((*lowest).clone()) })
    })
}

/// Releases the reservation of a slot in its old project after the slot was handed to another project.
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

fn missing<'a>(held: &Held, who: &Candidate, ahead: impl Iterator<Item = &'a Candidate>) -> Option<Step> {
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

/// The reservations that are left after those of the candidates ahead.
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

/// Returns the pending candidates that would be admitted now, in the order of the queue, and the holders whose number
/// is at or above a limit that a candidate waits for, if they can move down.
pub(crate) fn next_in_queue<'a>(
    held: &Held,
    waiting: impl Iterator<Item = &'a Candidate>,
) -> BTreeSet<Holder> {
    let mut room = Room { held, promised: BTreeMap::new() };
    let mut next = BTreeSet::new();
    for who in waiting {
        if room.admit(who).is_ok() {
            next.insert(who.holder.clone());
        }
        for (_, stem, max) in who.limited() {
            let above = held.of_scope(&stem).filter(|reservation| reservation.number() >= max);
            if held.lowest_free(&stem) < max {
                next.extend(above.map(|reservation| reservation.holder.clone()));
            }
        }
    }
    next
}

#[cfg(test)]
mod tests;
