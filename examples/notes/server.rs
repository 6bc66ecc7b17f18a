//! The tools: add, find, remove. Removing asks the user first.

use freehold::rusqlite::params;
use freehold::{Ask, Error, Host, Tenant, migrations};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::schemars::{self, JsonSchema};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct NewNote {
    /// What to keep, up to 10,000 characters.
    body: String,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// Only notes with this tag.
    tag: Option<String>,
    /// At most so many, 50 unless told.
    limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
struct Which {
    /// A note's id.
    id: i64,
}

#[derive(Serialize, JsonSchema)]
struct Note {
    id: i64,
    body: String,
}

#[derive(Serialize, JsonSchema)]
struct Notes {
    notes: Vec<Note>,
}

/// What happened to a note.
#[derive(Serialize, JsonSchema)]
struct Done {
    id: i64,
}

/// One per tenant, made when the tenant is opened.
struct NoteServer {
    tool_router: ToolRouter<Self>,
}

/// The host of it.
pub(crate) fn host() -> Host {
    Host::new(|_tenant| NoteServer { tool_router: NoteServer::tool_router() })
        .migrations(migrations!("examples/notes/migrations"))
        .packs([])
}

#[tool_router]
impl NoteServer {
    /// Keep a note.
    #[tool(annotations(destructive_hint = false))]
    async fn note_add(&self, tenant: Tenant, Parameters(new): Parameters<NewNote>) -> freehold::Result<Json<Done>> {
        let added = tenant.write(move |tx| {
            tx.execute("INSERT INTO note (body) VALUES (?1)", [new.body])?;
            let id = tx.last_insert_rowid();
            let mut tag = tx.prepare_cached("INSERT OR IGNORE INTO tag (note, name) VALUES (?1, ?2)")?;
            for name in new.tags {
                tag.execute(params![id, name])?;
            }
            Ok(Json(Done { id }))
        });
        // Returns when the note is on the disk.
        added.await
    }

    /// Find notes, the newest first.
    #[tool(annotations(read_only_hint = true))]
    async fn note_find(&self, tenant: Tenant, Parameters(search): Parameters<Search>) -> freehold::Result<Json<Notes>> {
        let found = tenant.read(move |conn| {
            let mut select = conn.prepare_cached(
                "SELECT id, body FROM note
                 WHERE ?1 IS NULL OR id IN (SELECT note FROM tag WHERE name = ?1)
                 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = select.query_map(params![search.tag, search.limit.unwrap_or(50).min(500)], |row| {
                Ok(Note { id: row.get(0)?, body: row.get(1)? })
            })?;
            let notes = rows.collect::<Result<_, _>>()?;
            Ok(Json(Notes { notes }))
        });
        found.await
    }

    /// Remove a note for good. The user is asked first.
    #[tool]
    async fn note_remove(
        &self,
        tenant: Tenant,
        ask: Ask,
        Parameters(Which { id }): Parameters<Which>,
    ) -> freehold::Result<Json<Done>> {
        ask.confirm("remove", format!("Remove note {id}? This can't be undone.")).await?;
        let removed = tenant.write(move |tx| match tx.execute("DELETE FROM note WHERE id = ?1", [id])? {
            0 => Err(Error::invalid(format!("there is no note {id}: find its id with note_find"))),
            _ => Ok(Json(Done { id })),
        });
        removed.await
    }
}

// Without `router = …` the macro builds the router anew for every request: some µs a tool.
#[tool_handler(router = self.tool_router)]
impl ServerHandler for NoteServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("notes", env!("CARGO_PKG_VERSION")))
            .with_instructions("Notes that stay, private to this account.")
    }
}
