//! The observed state of a cluster's certificates, and the steps that change it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME, Leaf};

/// The settings of an installation's certificates.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The contents of the leaf. The API server uses the first name.
    pub leaf: Leaf,
    /// The common name of the authorities.
    pub authority_name: String,
    /// The lifetime of an authority: ten years. It is replaced after two thirds of that.
    pub authority_lifetime: Duration,
    /// The lifetime of a leaf: ninety days. It is replaced after two thirds of that.
    pub leaf_lifetime: Duration,
    /// The time that an API server may take to load a caBundle: one minute. API servers watch the configurations, and
    /// usually load them immediately.
    pub propagation: Duration,
    /// The minimum time for which an authority stays trusted after its last leaf was replaced: ten minutes. kubelet
    /// may take up to two minutes to mount a Secret in a Pod that is just starting.
    pub linger: Duration,
    /// The maximum difference between two clocks: five minutes.
    pub tolerance: Duration,
}

impl Settings {
    /// The default settings for a leaf.
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

    /// The name for which the API server verifies the leaf.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        match (self.leaf.dns_names.first(), self.leaf.addresses.first()) {
            (Some(name), _) => ServerName::try_from(name.clone()).ok(),
            (None, Some(&address)) => Some(ServerName::from(address)),
            (None, None) => None,
        }
    }
}

/// The state that determines the next step, observed at one time.
#[derive(Debug, Clone)]
pub struct State {
    /// The time of the API server. It is used because the API server verifies the certificates.
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

/// An object with one of our names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<T> {
    /// It does not exist.
    Missing,
    /// It is owned by another manager: our label is missing.
    OtherOwner,
    /// It is ours, even if its content is broken.
    Ours(T),
}

/// The content of the authority's Secret. Any field may be empty or broken.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthorityData {
    /// The certificate of the authority that signs leaves.
    pub certificate: Vec<u8>,
    /// Its private key, which is not stored anywhere else.
    pub key: Vec<u8>,
    /// The certificates of previous authorities whose leaves may still be served. Their keys are not kept.
    pub previous: Vec<u8>,
    /// True if a rotation is requested.
    pub rotate: bool,
}

/// The content of the leaf's Secret. Any field may be empty or broken.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LeafData {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// True if a rotation is requested.
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

/// The trust settings of a webhook configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The caBundle of each of its webhooks.
    pub bundles: Vec<Vec<u8>>,
    /// Its `metadata.generation`, which increases with each change of a webhook.
    pub generation: i64,
    /// The last confirmation of its content, from an annotation.
    pub confirmed: Option<Confirmation>,
}

/// A confirmation of a webhook configuration. It is written after its generation was read back, never together with
/// it. So the API servers have had at least the time since then to load it, however long the previous write took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The generation.
    pub generation: i64,
    /// The time, by the API server's clock.
    pub since: Timestamp,
}

/// A server behind the Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The address.
    pub name: String,
    /// True if the API server may send requests to it.
    pub ready: bool,
    /// The chain that it serves; `None` if it does not respond.
    pub served: Option<Vec<CertificateDer<'static>>>,
}

/// An object of the rotation.
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
    /// The name in a sentence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "the authority's Secret",
            Self::Leaf => "the leaf's Secret",
            Self::Mutating => "the mutating webhook configuration",
            Self::Validating => "the validating webhook configuration",
        }
    }
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Pause until a person has intervened.
    Refuse(Refusal),
    /// Write the authority's Secret.
    WriteAuthority(AuthorityWrite),
    /// Write a caBundle into a configuration.
    Publish {
        /// The configuration.
        part: Part,
        /// The caBundle, in PEM.
        bundle: String,
    },
    /// Confirm the content of a configuration.
    Confirm {
        /// The configuration.
        part: Part,
        /// The confirmation.
        confirmation: Confirmation,
    },
    /// Write a new leaf, signed by the current authority.
    IssueLeaf(Cause),
    /// Wait during a rotation: evaluate the state again at this time at the latest.
    Wait {
        /// The condition.
        on: Wait,
        /// The earliest time of the next step, if it is known.
        until: Option<Timestamp>,
    },
    /// Nothing to do until this time.
    Rest(Timestamp),
}

/// A write of the authority's Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityWrite {
    /// True for a new authority; false to keep the one that signs.
    pub new: bool,
    /// The previous authorities that must still be trusted, in PEM.
    pub previous: String,
    /// The cause.
    pub because: Cause,
}

/// The cause of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The object does not exist.
    Missing,
    /// The certificate cannot be used: it is truncated, expired, for other names, or of an authority that is not
    /// trusted any more.
    Broken,
    /// Two thirds of its lifetime have passed.
    Due,
    /// It was requested.
    Requested,
    /// A replica serves a leaf whose authority is only in the caBundle.
    Adopted,
    /// Every API server trusts the new authority.
    Trusted,
    /// No replica serves a leaf of the previous authority any more.
    Done,
}

impl Cause {
    /// The cause in a sentence.
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

/// The condition that a rotation waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The API servers may not have loaded the caBundle yet.
    Propagation,
    /// This replica does not serve a leaf of the new authority yet, or does not respond.
    Replica(String),
    /// The previous authority stays in the caBundle for Pods that are just starting.
    Linger,
}

/// The reason for which a rotation is paused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An object of our name is owned by another manager.
    #[error("{} is owned by another manager: it has no label of ours; delete it, or name another one", .0.as_str())]
    OtherOwner(Part),
    /// The clocks of this machine and the API server differ too much.
    #[error("this machine's clock says {here}, the API server's {there}: set them right")]
    ClocksDiffer {
        /// The time of this machine.
        here: Timestamp,
        /// The time of the API server.
        there: Timestamp,
    },
    /// The current time is before the creation of the authority.
    #[error(
        "it is {now}, and the authority was made at {made_at}: set the clocks right, or delete the authority's Secret"
    )]
    BeforeTheAuthority {
        /// The current time.
        now: Timestamp,
        /// The time when the authority was created.
        made_at: Timestamp,
    },
    /// There is no name to issue a leaf for.
    #[error("the leaf has no valid name: name a Service or an address")]
    Nameless,
}
