//! What SQL may do, asked by SQLite for every action as it prepares a statement.
//!
//! The host's own SQL may do all. An embedder's closure may do what belongs to its tenant. What an
//! agent wrote may do what stands below and nothing else; and so may a trigger or a view, whoever
//! sets it off, for an agent may have written it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::known::Known;
use crate::error::{ErrorKind, Result};

/// Tables of the host. SQLite's own begin with `sqlite_`.
const HOST_PREFIX: &str = "_fh_";
/// PRAGMAs that only tell, and only of the schema.
const PRAGMAS: &[&str] = &[
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    // Of FTS5, which looks whether somebody else wrote, and of ALTER TABLE, which looks whether a new CHECK holds.
    "data_version",
    "quick_check",
];
/// PRAGMAs that tell, and are let through only if they do not set: R-tree asks, and what is kept of
/// the schema.
const PRAGMAS_ASKED: &[&str] = &["page_size", "schema_version"];
/// Functions that reach outside, or that one call can keep busy for many seconds past any deadline.
const FUNCTIONS_DENIED: &[(&str, &str)] = &[
    ("load_extension", "load_extension is not available: SQLite has what is built in, and nothing else is loaded"),
    ("fts3_tokenizer", "fts3_tokenizer is not available: fts5 takes its tokenizer from CREATE VIRTUAL TABLE"),
    ("json_patch", "json_patch is not available: use json_set and json_remove"),
    ("jsonb_patch", "jsonb_patch is not available: use jsonb_set and jsonb_remove"),
    ("snippet", "snippet is not available: select the text, or substr() of it"),
    ("highlight", "highlight is not available: select the text, or substr() of it"),
    ("fts5_decode", "fts5_decode is not available: query the fts5 table itself"),
];
const MODULES: &[&str] = &["fts5", "rtree"];

/// On whose behalf SQL is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// The host itself.
    Host,
    /// A closure of the program that embeds the host.
    Embedder,
    /// Text that an agent sent.
    Tenant,
}

/// The rules of one connection, and what they last refused.
#[derive(Clone, Debug)]
pub(super) struct Authorizer(Arc<State>);

#[derive(Debug)]
struct State {
    mode: AtomicU8,
    altered: AtomicBool,
    viewed: AtomicBool,
    created: AtomicBool,
    defined: AtomicBool,
    refused: Mutex<Option<&'static str>>,
    known: Known,
}

impl Authorizer {
    pub(super) fn install(conn: &Connection) -> rusqlite::Result<Self> {
        let state = State {
            mode: AtomicU8::new(Mode::Host as u8),
            altered: false.into(),
            viewed: false.into(),
            created: false.into(),
            defined: false.into(),
            refused: Mutex::default(),
            known: Known::default(),
        };
        let authorizer = Self(Arc::new(state));
        let seen = authorizer.clone();
        conn.authorizer(Some(move |context: AuthContext<'_>| seen.decide(&context)))?;
        Ok(authorizer)
    }

    /// Runs `work` with `mode` in force; a refusal comes back with its reason.
    pub(super) fn during<T>(&self, mode: Mode, work: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Reset<'a>(&'a State);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.mode.store(Mode::Host as u8, Ordering::Relaxed);
            }
        }
        *self.refused() = None;
        self.0.mode.store(mode as u8, Ordering::Relaxed);
        let result = {
            let _reset = Reset(&self.0);
            self.0.known.during(work)
        };
        match result {
            Err(error) if error.kind() == ErrorKind::Forbidden => Err(match *self.refused() {
                Some(reason) => error.reworded(reason),
                None => error,
            }),
            result => result,
        }
    }

    /// Whether something was refused since the last `during` began: of a function SQLite tells it as a slip in
    /// the statement.
    pub(super) fn has_refused(&self) -> bool {
        self.refused().is_some()
    }

    /// Whether an agent's `ALTER TABLE` was let through since the last call: SQLite does not tell the
    /// new name, so that only a look at the schema shows whether it took one of ours.
    pub(super) fn take_altered(&self) -> bool {
        self.0.altered.swap(false, Ordering::Relaxed)
    }

    /// Whether an agent's `CREATE VIEW` was let through since the last call: only the whole schema shows
    /// how far its views unfold.
    pub(super) fn take_viewed(&self) -> bool {
        self.0.viewed.swap(false, Ordering::Relaxed)
    }

    /// Whether an agent made an object of the schema since the last call.
    pub(super) fn take_created(&self) -> bool {
        self.0.created.swap(false, Ordering::Relaxed)
    }

    /// Whether a change of the schema was let through since the last call, not counting the host's own.
    pub(super) fn take_defined(&self) -> bool {
        self.0.defined.swap(false, Ordering::Relaxed)
    }

    /// The schema became another with no statement that says so.
    pub(super) fn schema_replaced(&self) {
        self.0.known.schema_changes();
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, Option<&'static str>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, context: &AuthContext<'_>) -> Authorization {
        let mode = self.0.mode.load(Ordering::Relaxed);
        if defines(&context.action) {
            self.0.known.schema_changes();
            self.0.defined.fetch_or(mode != Mode::Host as u8, Ordering::Relaxed);
        }
        let verdict = if mode == Mode::Host as u8 {
            Ok(())
        } else if mode == Mode::Tenant as u8 || context.accessor.is_some() {
            if matches!(
                context.action,
                AuthAction::CreateTable { .. }
                    | AuthAction::CreateIndex { .. }
                    | AuthAction::CreateView { .. }
                    | AuthAction::CreateTrigger { .. }
                    | AuthAction::CreateVtable { .. }
            ) {
                self.0.created.store(true, Ordering::Relaxed);
            }
            match context.action {
                AuthAction::AlterTable { .. } => self.0.altered.store(true, Ordering::Relaxed),
                AuthAction::CreateView { .. } => self.0.viewed.store(true, Ordering::Relaxed),
                _ => {}
            }
            tenant(context)
        } else {
            embedder(context)
        };
        match verdict {
            Ok(()) => Authorization::Allow,
            Err(reason) => {
                *self.refused() = Some(reason);
                Authorization::Deny
            }
        }
    }
}

/// Whether it changes the schema: all that does so writes there.
fn defines(action: &AuthAction<'_>) -> bool {
    matches!(
        action,
        AuthAction::AlterTable { .. }
            | AuthAction::Insert { table_name: "sqlite_master" }
            | AuthAction::Delete { table_name: "sqlite_master" }
            | AuthAction::Update { table_name: "sqlite_master", .. }
    )
}

type Verdict = Result<(), &'static str>;

fn embedder(context: &AuthContext<'_>) -> Verdict {
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Err("ATTACH is not available: a tenant has one file"),
        AuthAction::Transaction { .. } => {
            Err("the transaction is the host's: BEGIN, COMMIT and ROLLBACK are not available")
        }
        AuthAction::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value),
        AuthAction::Function { function_name } => function(function_name),
        _ => Ok(()),
    }
}

fn tenant(context: &AuthContext<'_>) -> Verdict {
    use AuthAction as A;
    // Temporary objects would stay on a connection that the next call shares. ALTER TABLE looks through
    // their schema for names to mend, which is no harm: SQLite lets nobody else write there.
    let mends = matches!(context.action, A::Update { table_name: "sqlite_temp_master" | "sqlite_temp_schema", .. });
    let temporary = context.database_name == Some("temp") && !mends;
    let lasting = if temporary {
        Err("temporary objects are not available: use WITH in the statement, or an ordinary table")
    } else {
        Ok(())
    };
    match context.action {
        A::Select | A::Recursive => Ok(()),
        A::Read { table_name, .. } => {
            if table_name.eq_ignore_ascii_case("dbstat") {
                return Err("dbstat is not available: tenant_status tells the size of the database");
            }
            name(table_name)
        }
        A::Insert { table_name } | A::Delete { table_name } | A::Update { table_name, .. } => {
            lasting.and_then(|()| name(table_name))
        }
        A::CreateTable { table_name: named }
        | A::DropTable { table_name: named }
        | A::CreateView { view_name: named }
        | A::DropView { view_name: named }
        | A::AlterTable { table_name: named, .. }
        | A::Analyze { table_name: named }
        | A::Reindex { index_name: named } => lasting.and_then(|()| name(named)),
        A::CreateIndex { index_name: named, table_name }
        | A::DropIndex { index_name: named, table_name }
        | A::CreateTrigger { trigger_name: named, table_name }
        | A::DropTrigger { trigger_name: named, table_name } => {
            lasting.and_then(|()| name(named)).and_then(|()| name(table_name))
        }
        A::CreateVtable { table_name, module_name } | A::DropVtable { table_name, module_name } => {
            let known = MODULES.iter().any(|module| module.eq_ignore_ascii_case(module_name));
            if known {
                lasting.and_then(|()| name(table_name))
            } else {
                Err("of virtual tables only fts5 and rtree are available")
            }
        }
        A::Function { function_name } => function(function_name),
        A::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value),
        A::Transaction { .. } | A::Savepoint { .. } => Err(
            "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not available: one sql_execute call is one transaction already",
        ),
        A::Attach { .. } | A::Detach { .. } => {
            Err("ATTACH and VACUUM are not available: a tenant has one file, and what is deleted makes room in it")
        }
        _ => Err("this kind of statement is not available: SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER and DROP are"),
    }
}

/// Whether a name of a table or an index is one of the host's.
pub(super) fn is_hosts(named: &str) -> bool {
    // The index that SQLite makes for a primary key bears its table's name.
    let named = named.strip_prefix("sqlite_autoindex_").unwrap_or(named);
    named.get(..HOST_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST_PREFIX))
}

fn name(named: &str) -> Verdict {
    if is_hosts(named) { Err("names that begin with _fh_ belong to the host: choose another") } else { Ok(()) }
}

fn function(named: &str) -> Verdict {
    match FUNCTIONS_DENIED.iter().find(|(function, _)| function.eq_ignore_ascii_case(named)) {
        Some((_, why)) => Err(why),
        None => Ok(()),
    }
}

fn pragma(named: &str, value: Option<&str>) -> Verdict {
    let among = |list: &[&str]| list.iter().any(|pragma| pragma.eq_ignore_ascii_case(named));
    let known = among(PRAGMAS) || (value.is_none() && among(PRAGMAS_ASKED));
    if known {
        Ok(())
    } else {
        Err("this PRAGMA is not available; table_info, index_list and their like are, and sql_schema shows all tables")
    }
}
