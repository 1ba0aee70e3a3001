//! Certificate authority, leaf certificates and a rustls resolver that swaps them without a restart.
//!
//! [`authority`] and [`plan`] are pure: the clock is passed in. [`resolver`] serves the certificate in force; [`source`] watches
//! the files of a mounted Secret. No HTTP and no Kubernetes client live here.

pub mod authority;
pub mod observe;
pub mod plan;
pub mod resolver;
pub mod source;
pub mod trust;

pub use authority::{Authority, AuthorityError, KeyPairPem, Leaf};
pub use resolver::{InstallError, ReloadableResolver, Swap};
pub use source::FileSource;
