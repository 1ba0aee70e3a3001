//! Examples of the rules about run namespaces, one file per file of rules.

pub(super) mod adoption;
pub(super) mod claims;
pub(super) mod creation;
pub(super) mod deletion;
pub(super) mod hold;
pub(super) mod identity;
pub(super) mod lease;
pub(super) mod metadata;
pub(super) mod privileges;
pub(super) mod quota;
pub(super) mod security;
