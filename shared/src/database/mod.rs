//! A PostgreSQL database that is managed elsewhere: its address, connections, timeouts and errors.

mod address;
mod connection;
mod fault;
mod moment;
mod table;

pub use address::PgAddress;
pub(crate) use address::PgAddressError;
pub(crate) use connection::{Database, Session, query};
pub(crate) use fault::Act;
pub use fault::DatabaseError;
pub(crate) use moment::Moment;
pub(crate) use table::{Column, Table, quoted};
