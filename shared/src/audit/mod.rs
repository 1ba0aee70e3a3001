//! Audit rows: each decision about a namespace, with its time and reason.
//!
//! The rows have the platform's form (`flow_events`, contract.md, section 6), so that one query returns the history
//! of a run, regardless of which program wrote it. An intention is written before the action, its outcome after it.

#[cfg(feature = "audit-stores")]
mod any;
pub mod decision;
mod event;
#[cfg(feature = "audit-stores")]
mod file_system;
#[cfg(feature = "audit-stores")]
mod migrations;
#[cfg(feature = "audit-stores")]
mod postgres;
#[cfg(feature = "audit-stores")]
mod select;
#[cfg(feature = "audit-stores")]
mod sqlite;
#[cfg(feature = "audit-stores")]
mod store;

#[cfg(feature = "audit-stores")]
pub use any::{AuditStore, StoreAddress};
pub use event::{Actor, Event, EventType, Payload};
#[cfg(feature = "audit-stores")]
pub use postgres::PostgresStore;
#[cfg(feature = "audit-stores")]
pub use sqlite::SqliteStore;
#[cfg(feature = "audit-stores")]
pub use store::{Appended, Filter, Row, Store, StoreError};
