//! `memory_save`, `memory_search`, `memory_list`, `memory_forget`: notes that are found again by their words.

mod arguments;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};
use serde::Serialize;

use self::arguments::{Forget, Forgotten, Hits, List, Notes, Save, Saved, Search, Told};
use super::Packs;
use super::resources::memory_uri;
use crate::db::Mode;
use crate::error::{Error, Result};
use crate::store::memory::{self, Most, NewNote};
use crate::tenant::Tenant;

/// Notes in one answer where the caller names no number: of a search, of a list.
const DEFAULTS: (usize, usize) = (10, 20);

#[tool_router(router = memory_tools, vis = "pub(super)")]
impl Packs {
    /// Remember a note for later conversations, durably.
    #[tool(annotations(
        title = "Save memory",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn memory_save(&self, tenant: Tenant, Parameters(save): Parameters<Save>) -> Result<Json<Saved>> {
        let Save { text, tags, source, ttl_seconds } = save;
        let (limits, now) = (tenant.limits().clone(), tenant.clock().unix_seconds());
        let note = NewNote { text, tags, source, ttl_seconds };
        let id = tenant.write_as(Mode::Host, move |tx| memory::save(tx, &limits, now, note)).await?;
        tenant.notify(memory_uri(id));
        Ok(Json(Saved { id }))
    }

    /// Find remembered notes by their words, the best first; newer ones weigh more.
    #[tool(annotations(title = "Search memory", read_only_hint = true, open_world_hint = false))]
    async fn memory_search(&self, tenant: Tenant, Parameters(search): Parameters<Search>) -> Result<Json<Hits>> {
        let Search { query, tags, limit } = search;
        let (most, now) = (most(&tenant, limit, DEFAULTS.0)?, tenant.clock().unix_seconds());
        let found = tenant.read_as(Mode::Host, move |conn| memory::search(conn, now, &query, tags, most)).await?;
        Ok(Json(Hits::of(found)))
    }

    /// List remembered notes, the newest first. When there are more, `next_cursor` is set: call again with the
    /// same tags and that cursor.
    #[tool(annotations(title = "List memory", read_only_hint = true, open_world_hint = false))]
    async fn memory_list(&self, tenant: Tenant, Parameters(list): Parameters<List>) -> Result<Json<Notes>> {
        let List { tags, limit, cursor } = list;
        let (most, now) = (most(&tenant, limit, DEFAULTS.1)?, tenant.clock().unix_seconds());
        let wanted = tags.join("\0");
        let question: [&[u8]; 2] = [b"memory_list", wanted.as_bytes()];
        let before = match &cursor {
            Some(cursor) => {
                let place: [u8; 8] = tenant
                    .unseal(&question, cursor)
                    .await?
                    .try_into()
                    .map_err(|_| Error::internal("a cursor that was sealed here holds no id"))?;
                Some(i64::from_be_bytes(place))
            }
            None => None,
        };
        let (notes, more) = tenant.read_as(Mode::Host, move |conn| memory::list(conn, now, tags, before, most)).await?;
        let next_cursor = match notes.last().filter(|_| more) {
            Some(last) => Some(tenant.seal(&question, &last.id.to_be_bytes()).await?),
            None => None,
        };
        Ok(Json(Notes::of(notes, next_cursor)))
    }

    /// Forget a note for good: it is erased from the database.
    #[tool(annotations(
        title = "Forget memory",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn memory_forget(
        &self,
        tenant: Tenant,
        Parameters(Forget { id }): Parameters<Forget>,
    ) -> Result<Json<Forgotten>> {
        let forgotten = tenant.write_as(Mode::Host, move |tx| memory::forget(tx, id)).await?;
        if forgotten {
            tenant.notify(memory_uri(id));
        }
        Ok(Json(Forgotten { forgotten }))
    }
}

/// The note `id`, unless there is none.
pub(super) async fn read(tenant: &Tenant, id: i64) -> Result<Option<impl Serialize>> {
    let now = tenant.clock().unix_seconds();
    Ok(tenant.read_as(Mode::Host, move |conn| memory::get(conn, now, id)).await?.map(Told::of))
}

fn most(tenant: &Tenant, limit: Option<i64>, default: usize) -> Result<Most> {
    let asked = match limit {
        Some(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
        None => Some(default),
    };
    let asked = asked.ok_or_else(|| Error::invalid("limit is below 1: ask for 1 note or more"))?;
    let limits = tenant.limits();
    let bytes = usize::try_from(limits.result_bytes.as_u64()).unwrap_or(usize::MAX);
    Ok(Most { notes: asked.min(limits.result_rows), bytes })
}
