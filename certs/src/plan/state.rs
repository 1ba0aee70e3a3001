//! What is seen of a cluster's certificates, and what is done about it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME, Leaf};

/// How the certificates of an installation are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the leaf is for: its first name is the one that the API server calls.
    pub leaf: Leaf,
    /// The name of the authorities.
    pub authority_name: String,
    /// How long an authority is valid: ten years. Its successor comes after two thirds of that.
    pub authority_lifetime: Duration,
    /// How long a leaf is valid: ninety days. Its successor comes after two thirds of that.
    pub leaf_lifetime: Duration,
    /// How long every API server may take to trust what is in a caBundle: one minute. They watch the configurations,
    /// and usually take a moment.
    pub propagation: Duration,
    /// How long an authority is trusted after the last leaf of it was replaced, at least: ten minutes. kubelet takes up
    /// to two to bring a Secret into a Pod that it is just starting.
    pub linger: Duration,
    /// How far two clocks may be apart: five minutes.
    pub tolerance: Duration,
}

impl Settings {
    /// The defaults, for a leaf.
    pub fn of(leaf: Leaf) -> Self {
        Self {
            leaf,
            authority_name: "codex-k8s-guard".to_owned(),
            authority_lifetime: AUTHORITY_LIFETIME,
            leaf_lifetime: LEAF_LIFETIME,
            propagation: Duration::from_mins(1),
            linger: Duration::from_mins(10),
            tolerance: Duration::from_mins(5),
        }
    }

    /// The name that the API server asks the leaf for.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        match (self.leaf.dns_names.first(), self.leaf.addresses.first()) {
            (Some(name), _) => ServerName::try_from(name.clone()).ok(),
            (None, Some(&address)) => Some(ServerName::from(address)),
            (None, None) => None,
        }
    }
}

/// Everything that decides what is to be done, as it was seen at one time.
#[derive(Debug, Clone)]
pub struct State {
    /// What the API server's clock says. It is the clock that counts: certificates are verified by it.
    pub cluster_time: Timestamp,
    /// The Secret of the authority.
    pub authority: Stored<AuthorityData>,
    /// The Secret of the leaf.
    pub leaf: Stored<LeafData>,
    /// The webhook configurations.
    pub configurations: Vec<(Part, Stored<Configuration>)>,
    /// Every replica that an API server may call.
    pub replicas: Vec<Replica>,
}

/// An object of a name that is ours to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<T> {
    /// There is none.
    Missing,
    /// Somebody else made it: it lacks our label.
    OtherOwner,
    /// It is ours, whatever is in it by now.
    Ours(T),
}

/// What the authority's Secret holds. Any of it may be empty or broken.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthorityData {
    /// The certificate of the authority that signs leaves.
    pub certificate: Vec<u8>,
    /// Its private key. It is nowhere else.
    pub key: Vec<u8>,
    /// The certificates of those before it whose leaves may still be served. Their keys are gone.
    pub previous: Vec<u8>,
    /// Somebody asks for a successor.
    pub rotate: bool,
}

/// What the leaf's Secret holds. Any of it may be empty or broken.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LeafData {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Somebody asks for a successor.
    pub rotate: bool,
}

impl fmt::Debug for AuthorityData {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthorityData").field("rotate", &self.rotate).finish_non_exhaustive()
    }
}

impl fmt::Debug for LeafData {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LeafData").field("rotate", &self.rotate).finish_non_exhaustive()
    }
}

/// What a webhook configuration says about trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The caBundle of each of its webhooks.
    pub bundles: Vec<Vec<u8>>,
    /// Its `metadata.generation`: another one with each change of a webhook.
    pub generation: i64,
    /// When it was last seen to say what it is to say, as it notes itself.
    pub confirmed: Option<Confirmation>,
}

/// A note on a webhook configuration. It is written after its generation was read back, never together with it: so
/// the API servers have had at least since then to take it up, however long the write before it was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Of which generation.
    pub generation: i64,
    /// Since when, by the API server's clock.
    pub since: Timestamp,
}

/// A server behind the Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its address.
    pub name: String,
    /// Whether the API server may be sent there.
    pub ready: bool,
    /// The chain that it shows; `None` if it does not answer.
    pub served: Option<Vec<CertificateDer<'static>>>,
}

/// An object that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The Secret of the authority.
    Authority,
    /// The Secret of the leaf.
    Leaf,
    /// The mutating webhook configuration.
    Mutating,
    /// The validating webhook configuration.
    Validating,
}

impl Part {
    /// In a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "the authority's Secret",
            Self::Leaf => "the leaf's Secret",
            Self::Mutating => "the mutating webhook configuration",
            Self::Validating => "the validating webhook configuration",
        }
    }
}

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing may be done until a human has looked.
    Refuse(Refusal),
    /// Write the authority's Secret.
    WriteAuthority(AuthorityWrite),
    /// Write a caBundle into a configuration.
    Publish {
        /// Which.
        part: Part,
        /// In PEM.
        bundle: String,
    },
    /// Note on a configuration that it says what it is to say.
    Confirm {
        /// Which.
        part: Part,
        /// What to note.
        confirmation: Confirmation,
    },
    /// Write a new leaf, of the authority that signs.
    IssueLeaf(Cause),
    /// A rotation is under way, and something takes its time: look again, at this moment at the latest.
    Wait {
        /// For what.
        on: Wait,
        /// Until when nothing can be done, if that is known.
        until: Option<Timestamp>,
    },
    /// All is well until this moment.
    Rest(Timestamp),
}

/// How the authority's Secret is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityWrite {
    /// Whether a new authority takes over; else the one that signs goes on.
    pub new: bool,
    /// Those before it that are still to be trusted, in PEM.
    pub previous: String,
    /// Why.
    pub because: Cause,
}

/// Why something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is none, or it was deleted.
    Missing,
    /// It cannot be used: truncated, over, for other names, or of an authority that is trusted no more.
    Broken,
    /// Two thirds of its time are over.
    Due,
    /// Somebody asked for it.
    Requested,
    /// A leaf is served whose authority only the caBundle knows.
    Adopted,
    /// A new authority has taken over, and every API server trusts it.
    Trusted,
    /// Nothing of the authority before is served any more.
    Done,
}

impl Cause {
    /// In a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "there is none",
            Self::Broken => "it cannot be used",
            Self::Due => "two thirds of its time are over",
            Self::Requested => "it was asked for",
            Self::Adopted => "a leaf is served whose authority only the caBundle knows",
            Self::Trusted => "every API server trusts the new authority by now",
            Self::Done => "nothing of the authority before is served any more",
        }
    }
}

/// What a rotation waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The API servers may not have taken up the caBundle yet.
    Propagation,
    /// This replica does not show a leaf of the new authority yet, or does not answer.
    Replica(String),
    /// The authority before lingers, for Pods that are just starting.
    Linger,
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Objects of our names are somebody else's.
    #[error("{} is owned by another manager: it has no label of ours; delete it, or name another one", .0.as_str())]
    OtherOwner(Part),
    /// This machine's clock and the API server's are too far apart.
    #[error("this machine's clock says {here}, the API server's {there}: set them right")]
    ClocksDiffer {
        /// What this machine says.
        here: Timestamp,
        /// What the API server says.
        there: Timestamp,
    },
    /// The clocks say a time before the authority was made.
    #[error(
        "it is {now}, and the authority was made at {made_at}: set the clocks right, or delete the authority's Secret"
    )]
    BeforeTheAuthority {
        /// What the clocks say.
        now: Timestamp,
        /// When the authority was made.
        made_at: Timestamp,
    },
    /// There is no name to issue a leaf for.
    #[error("the leaf has no valid name: name a Service or an address")]
    Nameless,
}
