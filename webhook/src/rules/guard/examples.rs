//! Examples of the rules about the other objects in a run namespace, one file per file of rules.

pub(super) mod baseline;
pub(super) mod binding;
pub(super) mod elsewhere;
pub(super) mod everybody;
pub(super) mod quota;
pub(super) mod role;
pub(super) mod secret;
pub(super) mod token;
