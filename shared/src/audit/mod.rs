//! Audit rows: what was decided about which namespace, when, and why.
//!
//! The rows are the platform's own (`flow_events`, contract.md, section 6), so that one query tells the story of a run
//! whoever did what in it. What is to be done is written before it is done; what came of it, after.

#[cfg(feature = "audit-stores")]
mod any;
mod event;
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
pub use any::{AuditStore, StoreAddress, StoreAddressError};
pub use event::{Actor, Event, EventType, Payload};
#[cfg(feature = "audit-stores")]
pub use postgres::PostgresStore;
#[cfg(feature = "audit-stores")]
pub use sqlite::SqliteStore;
#[cfg(feature = "audit-stores")]
pub use store::{Appended, Filter, Row, Store, StoreError};
