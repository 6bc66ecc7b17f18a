//! A multi-tenant host for the Model Context Protocol: one actor and one SQLite file per tenant.
//!
//! ```no_run
//! use freehold::{Host, Tenant};
//! use rmcp::handler::server::wrapper::{Json, Parameters};
//! use rmcp::{ServerHandler, schemars, tool, tool_router};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, schemars::JsonSchema)]
//! struct Note {
//!     body: String,
//! }
//!
//! #[derive(Serialize, schemars::JsonSchema)]
//! struct Saved {
//!     id: i64,
//! }
//!
//! struct Notes;
//!
//! #[tool_router(server_handler)]
//! impl Notes {
//!     /// Keep a note.
//!     #[tool]
//!     async fn add(&self, tenant: Tenant, Parameters(note): Parameters<Note>) -> freehold::Result<Json<Saved>> {
//!         tenant
//!             .write(move |tx| {
//!                 tx.execute("INSERT INTO note (body) VALUES (?1)", [note.body])?;
//!                 Ok(Json(Saved { id: tx.last_insert_rowid() }))
//!             })
//!             .await
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Host::new(|_tenant| Notes)
//!         .migrations([freehold::Migration {
//!             name: "0001_note".into(),
//!             sql: "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT".into(),
//!         }])
//!         .run()
//! }
//! ```
//!
//! `--transport stdio` serves it on a pipe, `serve --dev` to two tenants over Streamable HTTP, with the
//! tool untouched.
//!
//! # The map
//!
//! A request goes one way: `http` → `auth` → `tenant` (registry) → `mcp` → your tool →
//! [`Tenant::write`] → the actor → SQLite → the reply. A file imports only what stands above it in
//! `tests/tidy.rs`, which is where the layers are law. What is *absent* on purpose: a method that takes a
//! tenant's name where a tool can reach it; a path that is not built from a [`TenantId`]; a reply that
//! leaves before its commit; SQLite on a thread of the runtime; a queue without an end.

mod ask;
mod auth;
mod catalog;
mod cli;
mod clock;
mod config;
mod db;
mod drain;
mod error;
mod host;
mod http;
mod id;
mod mcp;
mod packs;
mod tasks;
mod telemetry;
mod tenant;
#[cfg(feature = "testing")]
mod testing;

pub use ask::Ask;
pub use auth::{Authenticate, Principal, Scope, Scopes, Verdict};
#[cfg(feature = "testing")]
pub use clock::HeldClock;
pub use clock::{Clock, SystemClock};
pub use config::{AuthSettings, Class, Durability, Limits, Overrides, Pack, PublicUrl, Settings, TenantSettings};
pub use db::Migration;
pub use drain::Drain;
pub use error::{Bound, Error, ErrorKind, Result};
pub use host::{Host, Service, serve};
pub use id::TenantId;
pub use rusqlite;
pub use tasks::{TaskContext, Tasks};
pub use tenant::{List, Tenant};
#[cfg(feature = "testing")]
pub use testing::TestHost;

/// The migrations in these files, in this order, as [`Host::migrations`] takes them. Paths begin at the
/// folder of the calling crate's `Cargo.toml`.
///
/// ```ignore
/// Host::new(|_tenant| Notes).migrations(freehold::migrations!["migrations/0001_note.sql"])
/// ```
#[macro_export]
macro_rules! migrations {
    ($($file:literal),* $(,)?) => {
        [$($crate::Migration {
            name: ::std::borrow::Cow::Borrowed($file),
            sql: ::std::borrow::Cow::Borrowed(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file))),
        }),*]
    };
}
