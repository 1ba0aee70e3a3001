//! A PostgreSQL that is owned by another manager: how it is named, reached and waited for, and what its refusals mean.

mod address;
mod connection;
mod fault;
mod moment;
mod table;

pub use address::{PgAddress, PgAddressError};
pub(crate) use connection::{Database, Session};
pub(crate) use fault::Act;
pub use fault::DatabaseError;
pub(crate) use moment::Moment;
pub(crate) use table::{Column, Table, quoted};
