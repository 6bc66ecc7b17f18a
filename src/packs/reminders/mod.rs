//! `reminder_set`, `reminder_list`, `reminder_cancel`, `inbox_read`, `inbox_ack`: messages to one's later self.

mod view;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};

use super::Packs;
use crate::error::{Error, Result};
use crate::tenant::Tenant;

/// Reminders and messages in one answer when the caller names no number, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

#[tool_router(router = reminder_tools, vis = "pub(super)")]
impl Packs {
    /// Set a reminder. When it is due, its message appears in inbox_read, also if nobody was connected.
    #[tool(annotations(
        title = "Set reminder",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn reminder_set(
        &self,
        tenant: Tenant,
        Parameters(view::Set { when, message, payload }): Parameters<view::Set>,
    ) -> Result<Json<view::Reminder>> {
        tenant.reminders().set(&when, &message, payload).await.map(|set| Json(set.into()))
    }

    /// List the reminders that are set, the next one first. When more exist, `next_cursor` is set.
    #[tool(annotations(title = "List reminders", read_only_hint = true, open_world_hint = false))]
    async fn reminder_list(
        &self,
        tenant: Tenant,
        Parameters(view::List { limit, cursor }): Parameters<view::List>,
    ) -> Result<Json<view::Reminders>> {
        let most = page(limit)?;
        let after = cursor.as_deref().map(view::after).transpose()?;
        let mut listed = tenant.reminders().list(after, most + 1).await?;
        let more = listed.len() > most;
        listed.truncate(most);
        let next_cursor = listed.last().filter(|_| more).map(view::cursor);
        Ok(Json(view::Reminders { reminders: listed.into_iter().map(Into::into).collect(), next_cursor }))
    }

    /// Cancel a reminder by its id. Messages already in the inbox stay.
    #[tool(annotations(
        title = "Cancel reminder",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn reminder_cancel(
        &self,
        tenant: Tenant,
        Parameters(view::Cancel { id }): Parameters<view::Cancel>,
    ) -> Result<Json<view::Cancelled>> {
        tenant.reminders().cancel(id).await?;
        Ok(Json(view::Cancelled { cancelled: id }))
    }

    /// Read the messages of reminders that came due, oldest first. They stay until inbox_ack.
    #[tool(annotations(title = "Read inbox", read_only_hint = true, open_world_hint = false))]
    async fn inbox_read(
        &self,
        tenant: Tenant,
        Parameters(view::Read { limit, after }): Parameters<view::Read>,
    ) -> Result<Json<view::Inbox>> {
        let most = page(limit)?;
        let mut read = tenant.reminders().inbox(after.unwrap_or(0), most + 1).await?;
        let more = read.len() > most;
        read.truncate(most);
        Ok(Json(view::Inbox { messages: read.into_iter().map(Into::into).collect(), more }))
    }

    /// Remove messages that have been dealt with from the inbox.
    #[tool(annotations(
        title = "Acknowledge messages",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn inbox_ack(
        &self,
        tenant: Tenant,
        Parameters(view::Ack { ids }): Parameters<view::Ack>,
    ) -> Result<Json<view::Acknowledged>> {
        if ids.is_empty() || ids.len() > PAGE_MAX {
            return Err(Error::invalid(format!("ids holds {} numbers: send 1 to {PAGE_MAX}", ids.len())));
        }
        Ok(Json(view::Acknowledged { acknowledged: tenant.reminders().acknowledge(ids).await? }))
    }
}

fn page(limit: Option<usize>) -> Result<usize> {
    match limit {
        None => Ok(PAGE),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(limit) => Err(Error::invalid(format!("limit is {limit}: choose 1 to {PAGE_MAX}"))),
    }
}
