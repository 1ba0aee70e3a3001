//! Examples of the rules about the baseline, one file per file of rules.

pub(super) mod objects;
pub(super) mod quota;
