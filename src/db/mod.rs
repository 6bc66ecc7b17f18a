//! What a tenant's file is: where it lies, how it is opened, what may be said to it.
//!
//! Everything here is synchronous and runs on the executor's threads. Invariants:
//! - a path is built from a [`TenantId`](crate::TenantId) and from nothing else;
//! - no other module names a PRAGMA, a path inside the data directory or a connection flag;
//! - SQL that an agent wrote runs under [`Mode::Tenant`] and inside a deadline, or not at all.

mod authorizer;
mod error;
mod layout;
mod limits;
mod migrate;
mod open;
mod readers;
mod watch;
mod writer;

pub use authorizer::Mode;
pub use layout::DataDir;
pub use migrate::{Migration, Migrations};
pub use open::{Database, FileSettings, open_catalog};
pub use readers::{ReaderThreads, Readers};
pub use watch::Watch;
pub use writer::{WriteJob, Writer};
