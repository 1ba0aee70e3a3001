//! Checks of names, prose and layout that neither rustfmt nor clippy makes.
//!
//! Each check is a pure function over parsed files. [`findings`] compares the figures with `limits.toml`, which holds
//! the present ones: a figure above its limit fails, and so does one below it, so that the limits only fall.
//! [`repository`] reads the files, [`changes`] lists the changed ones.

pub mod arrows;
pub mod changes;
pub mod circles;
pub mod config;
pub mod figures;
pub mod findings;
pub mod functions;
pub mod identifiers;
pub mod modules;
pub mod problem;
pub mod prose;
pub mod repository;
pub mod source;
pub mod summaries;
