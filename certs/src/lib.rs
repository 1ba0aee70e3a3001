//! Certificate authority, leaf certificates and a rustls resolver that swaps them without a restart.
//!
//! [`authority`] and [`plan`] are pure: the clock is passed in. [`resolver`] serves the certificate in force; [`source`] watches
//! the files of a mounted Secret; [`callers`] says who may call. No HTTP and no Kubernetes client live here.

pub mod authority;
pub mod callers;
pub mod observe;
pub mod plan;
pub mod resolver;
pub mod source;
pub mod trust;

pub use authority::{Authority, AuthorityError, KeyPairPem, Leaf};
pub use callers::{Callers, CallersError};
pub use resolver::{InstallError, ReloadableResolver, Swap};
pub use source::FileSource;
