//! The page: what run namespaces there are, what becomes of them, and why. Read-only, and without a script.
//!
//! [`view`] makes it of a [`Model`] and a [`Query`], and does nothing else. Around it, [`gather`] reads what is shown,
//! and [`server`] answers.
//!
//! What is not known is said to be unknown, with the reason: never as nothing, and never as 0.

pub mod gather;
mod model;
pub mod query;
pub mod quota;
pub mod server;
pub mod view;

pub use model::{Known, Listed, Model, Namespaces, State};
pub use query::Query;
