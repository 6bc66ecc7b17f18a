//! `kv_get`, `kv_set`, `kv_delete`, `kv_list`: JSON values by key.

mod arguments;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};

use self::arguments::{Deleted, Found, Get, Keys, List, Remove, Set, Stored};
use super::Packs;
use crate::clock::rfc3339;
use crate::error::{Error, Result};
use crate::store::kv::KvSet;
use crate::tenant::Tenant;

/// Keys in one answer where the caller names no number.
const LIST_DEFAULT: usize = 100;

#[tool_router(router = kv_tools, vis = "pub(super)")]
impl Packs {
    /// Get the JSON value of a key, with its version.
    #[tool(annotations(title = "Get key", read_only_hint = true, open_world_hint = false))]
    async fn kv_get(&self, tenant: Tenant, Parameters(Get { key }): Parameters<Get>) -> Result<Json<Found>> {
        Ok(Json(Found::of(tenant.kv().get(&key).await?)))
    }

    /// Set a key to any JSON value, durably. With if_version, only if the key is still at that version (0: absent).
    #[tool(annotations(
        title = "Set key",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn kv_set(&self, tenant: Tenant, Parameters(set): Parameters<Set>) -> Result<Json<Stored>> {
        let Set { key, value, ttl_seconds, if_version } = set;
        let (version, expires_at) = tenant.kv().set(&key, value, KvSet { ttl_seconds, if_version }).await?;
        Ok(Json(Stored { version, expires_at: expires_at.map(rfc3339) }))
    }

    /// Delete a key. With if_version, only if the key is still at that version.
    #[tool(annotations(
        title = "Delete key",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn kv_delete(&self, tenant: Tenant, Parameters(gone): Parameters<Remove>) -> Result<Json<Deleted>> {
        Ok(Json(Deleted { deleted: tenant.kv().delete(&gone.key, gone.if_version).await? }))
    }

    /// List keys and their values in order, those that begin with prefix. When there are more, `next_cursor` is
    /// set: call again with the same prefix and that cursor.
    #[tool(annotations(title = "List keys", read_only_hint = true, open_world_hint = false))]
    async fn kv_list(&self, tenant: Tenant, Parameters(list): Parameters<List>) -> Result<Json<Keys>> {
        let prefix = list.prefix.unwrap_or_default();
        let most = match list.limit {
            Some(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
            None => Some(LIST_DEFAULT),
        };
        let most = most.ok_or_else(|| Error::invalid("limit is below 1: ask for 1 key or more"))?;
        let question: [&[u8]; 2] = [b"kv_list", prefix.as_bytes()];
        let after = match &list.cursor {
            Some(cursor) => Some(tenant.unseal(&question, cursor).await?),
            None => None,
        };
        let after = after.map(String::from_utf8).transpose();
        let after = after.map_err(|_| Error::internal("a cursor that was sealed here holds no key"))?;
        let (entries, more) = tenant.kv().list(&prefix, after.as_deref(), most).await?;
        let next_cursor = match entries.last().filter(|_| more) {
            Some(last) => Some(tenant.seal(&question, last.key.as_bytes()).await?),
            None => None,
        };
        Ok(Json(Keys::of(entries, next_cursor)))
    }
}
