//! The tenant: a mailbox, an actor that owns one file, and a reply that leaves after the commit.
//!
//! ```text
//! Tenant::write ─ post → mailbox (bounded) → actor ─ writer, if it is at home → executor → Writer::group
//!       ↑                                                                                    │
//!       └───────────────────────────── oneshot, after COMMIT ────────────────────────────────┘
//! Tenant::read ─ a slot (bounded) → executor → a reader connection
//! ```
//!
//! Sends go one way, so that bounded mailboxes can't deadlock: nothing here sends to the registry or to
//! another tenant. A caller learns whether its work *never began* ([`Busy`](crate::ErrorKind::Busy),
//! safe to repeat) or *failed*.

mod actor;
mod behind;
mod caller;
mod checkpoints;
mod closing;
mod executor;
mod handle;
mod handles;
mod job;
mod journal;
mod kv;
mod meter;
mod news;
mod quota;
mod rate;
mod registry;
mod reminders;
mod seal;
#[cfg(test)]
mod tests;
mod tops;
mod usage;

pub use caller::Tenant;
pub(crate) use executor::{Credit, Executor};
pub(crate) use handle::{Handle, Surroundings};
pub use handles::Handles;
pub use kv::{Kv, KvOn};
pub(crate) use meter::Meter;
pub use news::List;
pub(crate) use news::{Heard, News, SCHEMA, USAGE};
pub(crate) use quota::{Place, Running, Stream};
pub(crate) use registry::{Files, Registry, Residency, Resident};
pub use reminders::{InboxMessage, Reminder, Reminders};
pub(crate) use reminders::{OnReminder, fire, said};
pub(crate) use tops::Tops;
pub use usage::{Usage, Used};
