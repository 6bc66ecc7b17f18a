//! The host's own tables in a tenant's file, as functions over a connection.
//!
//! They know no tenant, no caller and no clock: bounds and the time are handed in.

pub(crate) mod call;
pub(crate) mod handle;
pub(crate) mod kv;
pub(crate) mod memory;
pub(crate) mod meta;
pub(crate) mod present;
pub(crate) mod usage;
