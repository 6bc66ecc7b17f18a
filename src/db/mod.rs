//! What a tenant's file is: where it lies, how it is opened, what may be said to it.
//!
//! Everything here is synchronous and runs on the executor's threads. Invariants:
//! - a path is built from a [`TenantId`](crate::TenantId) and from nothing else;
//! - no other module names a PRAGMA, a path inside the data directory or a connection flag;
//! - SQL that an agent wrote runs under [`Mode::Tenant`] and inside a deadline, or not at all.

mod authorizer;
mod catalog_copy;
mod checkpoints;
mod copy;
mod erase;
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "files come in by import and by restore"))]
mod examine;
mod file;
mod first;
mod fleet;
mod functions;
mod group;
mod history;
mod known;
mod layout;
mod lazy;
mod limits;
mod look;
mod memory;
mod migrate;
mod open;
mod paced;
mod pause;
mod readers;
mod remove;
mod room;
mod search;
mod template;
mod unfold;
mod watch;
mod writer;

pub(crate) use authorizer::Mode;
pub use checkpoints::{Bookmark, Checkpoint, CheckpointKind, Restored};
pub(crate) use checkpoints::{Checkpoints, Prepared};
pub(crate) use copy::{Staged, StagedFolder, Staging, take_in};
pub(crate) use erase::{emptying_log, forgetting, overwriting};
pub(crate) use examine::Examination;
pub(crate) use file::Database;
pub(crate) use fleet::{Expected, Found};
pub(crate) use group::{Jobs, WriteJob};
pub(crate) use history::{
    Beside, Choice, Errand, Hole, Keep, Landing, Past, Piece, PieceKind, Rebuilt, Remains, Shipped, Window,
    let_go_elsewhere, rebuild, windows,
};
pub(crate) use known::searched;
pub(crate) use layout::DataDir;
pub(crate) use lazy::LazyWriter;
pub(crate) use look::look_into;
pub(crate) use memory::{held as held_memory, share as share_memory};
pub use migrate::Migration;
pub(crate) use migrate::Migrations;
pub(crate) use open::{FileSettings, open_catalog, open_catalog_copy, open_catalog_with};
pub(crate) use pause::{Pause, install as install_pause, rest as rest_thread};
pub(crate) use readers::{ReaderThreads, Readers};
pub(crate) use remove::{Removed, remove_tenant, sizes};
use search::Searched;
pub(crate) use search::check_terms;
pub(crate) use template::Template;
pub(crate) use unfold::check_statement;
pub(crate) use watch::{Caller, Waiting, Watch};
pub(crate) use writer::Writer;
