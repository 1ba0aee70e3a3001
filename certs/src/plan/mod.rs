//! The rotation of authority and leaf, as a state machine whose only memory is the cluster's objects.
//!
//! [`plan`] evaluates the whole state and returns the next [`Step`]. Its caller writes one object, on the condition
//! that it has not changed, and reads the state again. So a caller may die after any step, and several may run at
//! once. The steps of a rotation:
//!
//! 1. create a new authority; the Secret keeps the certificate of the previous one, but not its key;
//! 2. publish both in the caBundles, and read them back;
//! 3. wait until every API server has had the time to load them;
//! 4. issue a leaf of the new authority, which replaces the previous one;
//! 5. wait until every replica is observed to serve it;
//! 6. remove the previous authority, from the Secret first, then from the caBundles.
//!
//! So a leaf is never served that the current caBundles do not verify. The same steps repair manual changes:
//! certificates that are trusted and served stay trusted until they are not served any more.

mod state;
#[cfg(test)]
mod tests;
mod write;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::trust::{self, Certificate, belongs, bundle, later, verifies};
pub(crate) use state::Cause;
pub use state::{
    AuthorityData, AuthorityWrite, Configuration, Confirmation, LeafData, Part, Refusal, Replica, Settings,
    State, Step, Stored, Wait,
};

/// The maximum number of other authorities that are kept although no replica was observed to serve a leaf of them.
const MAX_ADOPTED: usize = 4;

/// The next step.
pub fn plan(now: Timestamp, settings: &Settings, state: &State) -> Step {
    match Plan::new(now, settings, state) {
        Ok(plan) => plan.step(),
        Err(refusal) => Step::Refuse(refusal),
    }
}

struct Plan<'a> {
    settings: &'a Settings,
    state: &'a State,
    now: Timestamp,
    name: ServerName<'static>,
}

impl<'a> Plan<'a> {
    fn new(here: Timestamp, settings: &'a Settings, state: &'a State) -> Result<Self, Refusal> {
        let now = state.cluster_time;
        if here.duration_since(now).unsigned_abs() > settings.tolerance {
            return Err(Refusal::ClocksDiffer { here, there: now });
        }
        let name = settings.server_name().ok_or(Refusal::Nameless)?;
        match of_other_owner(state) {
            Some(part) => Err(Refusal::OtherOwner(part)),
            None => Ok(Self { settings, state, now, name }),
        }
    }

    fn step(&self) -> Step {
        let Stored::Ours(data) = &self.state.authority else { return self.begin_anew(Cause::Missing, &[]) };
        let mut known = Certificate::all(&data.certificate);
        known.truncate(1);
        let previous = Certificate::all(&data.previous);
        let usable = known.first().filter(|found| found.is_authority && belongs(&found.der, &data.key));
        match usable {
            Some(authority) if self.now < authority.not_after => {
                self.with(data, authority, previous).unwrap_or_else(Step::Refuse)
            }
            _ => {
                known.extend(previous);
                self.begin_anew(Cause::Broken, &known)
            }
        }
    }

    /// Creates a new authority because the previous one is lost. All trusted certificates stay trusted, because they
    /// may still be served unobserved.
    fn begin_anew(&self, because: Cause, known: &[Certificate]) -> Step {
        let mut trusted: Vec<_> = self.published().into_iter().chain(known.iter().cloned()).collect();
        trusted.retain(|found| found.is_trustworthy(self.now));
        trusted.sort_by_key(|found| (std::cmp::Reverse(found.not_before), found.der.to_vec()));
        trusted.dedup();
        let (needed, suspected): (Vec<_>, Vec<_>) =
            trusted.into_iter().partition(|found| self.verifies_for_what_is_shown(found));
        let previous: Vec<_> = needed.into_iter().chain(suspected.into_iter().take(MAX_ADOPTED)).collect();
        Step::WriteAuthority(AuthorityWrite { new: true, previous: bundle(&previous), because })
    }

    /// The next step if the authority can sign.
    fn with(
        &self,
        data: &AuthorityData,
        authority: &Certificate,
        previous: Vec<Certificate>,
    ) -> Result<Step, Refusal> {
        let made_at = authority.made_at();
        if later(self.now, self.settings.tolerance) < made_at {
            return Err(Refusal::BeforeTheAuthority { now: self.now, made_at });
        }
        let mut previous = previous;
        previous.retain(|found| found.is_trustworthy(self.now) && found != authority);
        let keep = |previous: &[Certificate], because| {
            Step::WriteAuthority(AuthorityWrite { new: false, previous: bundle(previous), because })
        };
        let adopted = self.only_published(authority, &previous);
        if !adopted.is_empty() {
            previous.extend(adopted);
            return Ok(keep(&previous, Cause::Adopted));
        }
        if bundle(&previous).as_bytes() != data.previous {
            return Ok(keep(&previous, Cause::Broken));
        }
        if previous.is_empty() && (data.rotate || authority.due_at() <= self.now) {
            let because = if data.rotate { Cause::Requested } else { Cause::Due };
            let previous = authority.pem();
            return Ok(Step::WriteAuthority(AuthorityWrite { new: true, previous, because }));
        }
        let step = self.publish(authority, &previous).or_else(|| self.issue(authority));
        Ok(step.unwrap_or_else(|| match self.awaits(authority, &previous) {
            Some(wait) => wait,
            None if !previous.is_empty() => keep(&[], Cause::Done),
            None => Step::Rest(self.next_due(authority)),
        }))
    }

    /// Publishes the caBundles until all configurations contain them, and confirms those that were read back.
    fn publish(&self, authority: &Certificate, previous: &[Certificate]) -> Option<Step> {
        let desired = authority.pem() + &bundle(previous);
        self.configurations().find_map(|(part, found)| {
            if found.bundles.iter().any(|bundle| bundle != desired.as_bytes()) {
                return Some(Step::Publish { part, bundle: desired.clone() });
            }
            let confirmation = Confirmation { generation: found.generation, since: self.now };
            self.confirmed(found).is_none().then_some(Step::Confirm { part, confirmation })
        })
    }

    /// Issues a leaf of this authority, as soon as every API server trusts it. The successor of a leaf of the same
    /// authority does not wait: otherwise another writer of the configurations could prevent it.
    fn issue(&self, authority: &Certificate) -> Option<Step> {
        let because = self.leaf_cause(authority)?;
        if matches!(because, Cause::Due | Cause::Requested) {
            return Some(Step::IssueLeaf(because));
        }
        let confirmed = self.configurations().filter_map(|(_, found)| self.confirmed(found)).max();
        let trusted_at = confirmed.map_or(self.now, |since| later(since, self.settings.propagation));
        Some(if self.now < trusted_at {
            Step::Wait { on: Wait::Propagation, until: Some(trusted_at) }
        } else {
            Step::IssueLeaf(because)
        })
    }

    fn leaf_cause(&self, authority: &Certificate) -> Option<Cause> {
        let Stored::Ours(data) = &self.state.leaf else { return Some(Cause::Missing) };
        let chain = self.stored_chain();
        let all = Certificate::all(&data.certificate);
        match all.first() {
            Some(leaf) if belongs(&leaf.der, &data.key) && self.has_every_name(&chain) => {
                let of_another = !verifies([authority], &chain, &self.name, self.now);
                let requested = data.rotate.then_some(Cause::Requested);
                let due = (leaf.due_at() <= self.now).then_some(Cause::Due);
                of_another.then_some(Cause::Trusted).or(requested).or(due)
            }
            _ => Some(Cause::Broken),
        }
    }

    /// The observation to wait for, before the previous authorities may be removed, and before the state counts as
    /// complete.
    fn awaits(&self, authority: &Certificate, previous: &[Certificate]) -> Option<Step> {
        let serves = |replica: &&Replica| match &replica.served {
            Some(chain) => verifies([authority], chain, &self.name, self.now),
            // A replica that is not ready and does not respond does not serve anything.
            None => !replica.ready,
        };
        if let Some(replica) = self.state.replicas.iter().find(|replica| !serves(replica)) {
            return Some(Step::Wait { on: Wait::Replica(replica.name.clone()), until: None });
        }
        let until = later(self.stored_leaf()?.made_at(), self.settings.linger);
        let lingers = !previous.is_empty() && self.now < until;
        lingers.then_some(Step::Wait { on: Wait::Linger, until: Some(until) })
    }

    fn next_due(&self, authority: &Certificate) -> Timestamp {
        let leaf = self.stored_leaf().map_or(self.now, |leaf| leaf.due_at());
        leaf.min(authority.due_at())
    }

    /// Authorities that are in the caBundles but not in the Secret, and without which a served chain cannot be
    /// verified: for example, because the Secret was restored from a backup.
    fn only_published(&self, authority: &Certificate, previous: &[Certificate]) -> Vec<Certificate> {
        let known = || previous.iter().chain([authority]);
        let orphans: Vec<_> = self
            .shown()
            .into_iter()
            .filter(|chain| !verifies(known(), chain, &self.name, self.now))
            .collect();
        let bundle_verifies =
            |found: &Certificate| orphans.iter().any(|chain| verifies([found], chain, &self.name, self.now));
        let mut adopted = self.published();
        adopted.retain(|found| !known().any(|one| one == found) && bundle_verifies(found));
        adopted.dedup();
        adopted
    }

    fn verifies_for_what_is_shown(&self, authority: &Certificate) -> bool {
        self.shown().iter().any(|chain| verifies([authority], chain, &self.name, self.now))
    }

    /// The chains that replicas serve, and the one that they will serve next.
    fn shown(&self) -> Vec<Vec<CertificateDer<'static>>> {
        let mut chains: Vec<_> =
            self.state.replicas.iter().filter_map(|replica| replica.served.clone()).collect();
        chains.push(self.stored_chain());
        chains.retain(|chain| !chain.is_empty());
        chains
    }

    fn stored_chain(&self) -> Vec<CertificateDer<'static>> {
        let Stored::Ours(data) = &self.state.leaf else { return Vec::new() };
        Certificate::all(&data.certificate).into_iter().map(|found| found.der).collect()
    }

    fn stored_leaf(&self) -> Option<Certificate> {
        let Stored::Ours(data) = &self.state.leaf else { return None };
        Certificate::all(&data.certificate).into_iter().next()
    }

    fn configurations(&self) -> impl Iterator<Item = (Part, &Configuration)> {
        self.state.configurations.iter().filter_map(|(part, found)| match found {
            Stored::Ours(configuration) => Some((*part, configuration)),
            // Deleting a configuration breaks the glass, and it stays deleted until it is registered again.
            Stored::Missing | Stored::OtherOwner => None,
        })
    }

    /// Every authority that a configuration trusts.
    fn published(&self) -> Vec<Certificate> {
        let mut all: Vec<_> = self
            .configurations()
            .flat_map(|(_, found)| found.bundles.iter().flat_map(|bundle| Certificate::all(bundle)))
            .filter(|found| found.is_trustworthy(self.now))
            .collect();
        all.sort_by_key(|found| found.der.to_vec());
        all.dedup();
        all
    }

    /// The time since when a configuration has been confirmed. A time in the future is ignored.
    fn confirmed(&self, configuration: &Configuration) -> Option<Timestamp> {
        let confirmation = configuration.confirmed?;
        let is_of_now = confirmation.generation == configuration.generation
            && confirmation.since <= later(self.now, self.settings.tolerance);
        is_of_now.then_some(confirmation.since)
    }

    fn has_every_name(&self, chain: &[CertificateDer<'static>]) -> bool {
        trust::is_good_for(chain, &self.settings.leaf)
    }
}

fn of_other_owner(state: &State) -> Option<Part> {
    let secrets = [
        (Part::Authority, state.authority == Stored::OtherOwner),
        (Part::Leaf, state.leaf == Stored::OtherOwner),
    ];
    let configurations =
        state.configurations.iter().map(|(part, found)| (*part, *found == Stored::OtherOwner));
    secrets
        .into_iter()
        .chain(configurations)
        .find(|(_, of_other_owner)| *of_other_owner)
        .map(|(part, _)| part)
}
