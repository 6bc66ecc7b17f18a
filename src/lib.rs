//! A multi-tenant host for the Model Context Protocol: one actor and one SQLite file per tenant.
//!
//! The smallest program:
//!
//! ```no_run
//! use freehold::{Host, Tenant};
//! use rmcp::{tool, tool_router};
//!
//! struct Greeter;
//!
//! #[tool_router(server_handler)]
//! impl Greeter {
//!     /// Say hello.
//!     #[tool]
//!     async fn hello(&self, tenant: Tenant) -> String {
//!         format!("Hello from {}", tenant.id())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Host::new(|_tenant| Greeter).run()
//! }
//! ```
//!
//! `serve --transport stdio` serves it on a pipe, `serve --dev` to two tenants over Streamable HTTP, with the
//! tool untouched. Any `rmcp` server is hosted as it is, one instance a tenant.
//!
//! # State
//!
//! A tool that wants state takes one more argument. Its tests need no port and no folder of their own:
//!
//! ```
//! use freehold::{Host, Migration, Tenant};
//! use rmcp::handler::server::wrapper::{Json, Parameters};
//! use rmcp::{schemars, tool, tool_router};
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
//! fn host() -> Host {
//!     // In a program of one's own: .migrations(freehold::migrations!("migrations"))
//!     Host::new(|_tenant| Notes).migrations([Migration {
//!         name: "0001_note.sql".into(),
//!         sql: "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT".into(),
//!     }])
//! }
//!
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> freehold::Result<()> {
//! let host = freehold::TestHost::start(host(), |_settings| {})?;
//! host.create_tenant("acme")?;
//! host.create_tenant("globex")?;
//! let kept = host.call("acme", "add", serde_json::json!({ "body": "milk" })).await;
//! assert_eq!(kept["result"]["structuredContent"]["id"], 1);
//! let theirs = host.call("globex", "add", serde_json::json!({ "body": "bread" })).await;
//! assert_eq!(theirs["result"]["structuredContent"]["id"], 1, "another file, another count");
//! # host.close().await;
//! # Ok(()) }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! `write` returns when the commit is durable. What a tool may ask for as an argument: [`Tenant`] (state),
//! [`Ask`] (questions to the user), [`Tasks`] (work that outlives its call), and all that rmcp has.
//!
//! # What rmcp's macros leave to know
//!
//! - `#[tool_handler]` without `router = self.tool_router`, and `#[tool_router(server_handler)]` with it, build the
//!   router anew for each request: right for a handful of tools, a fifth of the speed for fifty. A server of some
//!   size keeps a `ToolRouter` in a field; `examples/notes` shows it.
//! - A tool's `Err(String)` is a refusal that the model reads; an `Err(ErrorData)` is an error of the protocol that
//!   most clients don't show to it. [`Error`] is whichever its kind says.
//! - Arguments that don't fit come back as a refusal, an unknown tool as -32602.
//! - The future of a call is dropped when its caller has left. What has to be finished all the same belongs into
//!   one `write`, or into a task.
//!
//! # The map
//!
//! A request goes one way: `http` → `auth` → `tenant` (registry) → `mcp` → your tool →
//! [`Tenant::write`] → the actor → SQLite → the reply. A file imports only what stands above it in
//! `tests/tidy.rs`, which is where the layers are law. What is *absent* on purpose: a method that takes a
//! tenant's name where a tool can reach it; a path that is not built from a [`TenantId`]; a reply that
//! leaves before its commit; SQLite on a thread of the runtime; a queue without an end.

mod admin;
mod archive;
mod ask;
mod auth;
mod catalog;
mod cli;
mod clock;
mod config;
mod db;
mod drain;
mod embed;
mod error;
mod hex;
mod host;
mod http;
mod id;
mod mcp;
mod packs;
mod random;
mod store;
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
pub use config::{
    AddressBlock, AllowedOrigin, Arguments, AuditSettings, AuthSettings, Class, CollectorUrl, ConnectionSettings,
    CorsSettings, Durability, HistorySettings, IssuerSettings, JournalSettings, Limits, LogFilter, Origin, Overrides,
    Pack, PublicUrl, Ratio, RemoteSettings, RemoteUrl, Settings, TenantMap, TenantSettings, TlsSettings,
    TracesSettings,
};
pub use db::{Bookmark, Checkpoint, CheckpointKind, Migration, Restored};
pub use drain::Drain;
pub use error::{Bound, Error, ErrorKind, Result};
pub use host::{Host, Service, serve};
pub use id::TenantId;
pub use rusqlite;
pub use store::call::Call;
pub use store::kv::{KvEntry, KvSet};
pub use store::usage::UsageDay;
pub use tasks::{TaskContext, Tasks};
pub use tenant::{Handles, InboxMessage, Kv, KvOn, List, Reminder, Reminders, Tenant, Usage, Used};
#[cfg(feature = "testing")]
pub use testing::TestHost;

#[doc(hidden)]
pub mod __embed {
    pub use crate::embed::*;
}

/// The `.sql` files of a folder, in the order of their names, as [`Host::migrations`] takes them. The path
/// begins at the folder of the calling crate's `Cargo.toml`; the files become part of the program.
///
/// ```ignore
/// Host::new(|_tenant| Notes).migrations(freehold::migrations!("migrations"))
/// ```
///
/// A file's number is its place in the list: name them `0001_note.sql`, `0002_tag.sql` and so on, and never
/// change one that a tenant may have. Cargo sees that a file changed and not that one was added: in a `build.rs`,
/// `println!("cargo:rerun-if-changed=migrations")` tells it.
///
/// With a comma in it, the list is the files' own:
///
/// ```
/// let list = freehold::migrations!["examples/notes/migrations/0001_note.sql", "examples/notes/migrations/0002_tag.sql"];
/// assert_eq!(list.len(), 2);
/// let folder = freehold::migrations!("examples/notes/migrations");
/// assert_eq!(folder[1].name, "0002_tag.sql");
/// assert_eq!(folder[1].sql, list[1].sql);
/// ```
#[macro_export]
macro_rules! migrations {
    ($folder:literal) => {{
        #[derive($crate::__embed::RustEmbed)]
        #[folder = $folder]
        #[crate_path = "freehold::__embed"]
        struct Folder;
        $crate::__embed::migrations::<Folder>()
    }};
    ($($file:literal),* $(,)?) => {
        [$($crate::Migration {
            name: ::std::borrow::Cow::Borrowed($file),
            sql: ::std::borrow::Cow::Borrowed(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file))),
        }),*]
    };
}
