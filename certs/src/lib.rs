//! Certificate authority, leaf certificates and a rustls resolver that swaps them without a restart.
//!
//! [`authority`] and [`plan`] are pure: the time is passed in. [`resolver`] serves the current certificate;
//! [`source`] watches the files of a mounted Secret; [`callers`] authenticates clients. This crate contains neither
//! HTTP nor a Kubernetes client.

pub(crate) mod authority;
pub(crate) mod callers;
pub mod observe;
pub mod plan;
pub mod resolver;
pub mod source;
pub mod trust;

pub use authority::{Authority, AuthorityError, KeyPairPem, Leaf};
pub use callers::Callers;
pub use resolver::ReloadableResolver;
pub use source::FileSource;
