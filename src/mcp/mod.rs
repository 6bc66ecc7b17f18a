//! The protocol, both generations, one rmcp service per tenant.
//!
//! Per tenant, and not one for all: rmcp finds a session by its id alone, so that a shared service would
//! serve A's session to B's token. Where every tenant has a service of its own, B's service does not know
//! A's id, and no check has to be remembered. What HTTP status a refusal gets, nobody here knows, but for the few that
//! the protocol gives one itself.
//!
//! A request goes one of two ways to the same handler: `direct` takes a `tools/call` with nothing odd about it, rmcp's
//! transport everything else.

mod accept;
mod access;
mod context;
mod direct;
mod endpoint;
mod guard;
mod handler;
mod journal;
mod pipe;
mod refusal;
mod resources;
mod sessions;
mod sse;
mod subscriptions;
mod tasks;
mod weight;

pub(crate) use direct::only_text;
pub(crate) use endpoint::{EndpointSettings, Hosted, hosted, waits_for_news};
pub(crate) use weight::Scales;
