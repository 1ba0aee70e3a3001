//! Examples of the rules about rights and tokens, one file per file of rules.

pub(super) mod binding;
pub(super) mod elsewhere;
pub(super) mod everybody;
pub(super) mod role;
pub(super) mod secret;
pub(super) mod token;
