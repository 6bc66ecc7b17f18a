//! The pack `self`: `tenant_status`, `checkpoint_create`, `checkpoint_list`, `checkpoint_restore`,
//! `checkpoint_delete`. What the account uses, and how an agent undoes its own mistakes.

mod view;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};

use super::{Packs, usage};
use crate::ask::Ask;
use crate::db::{Bookmark, Checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Tenant;

#[tool_router(router = self_tools, vis = "pub(super)")]
impl Packs {
    /// Show what this account uses and may use, and what its calls came to today.
    #[tool(annotations(title = "Show status", read_only_hint = true, open_world_hint = false))]
    async fn tenant_status(
        &self,
        tenant: Tenant,
        Parameters(view::Nothing {}): Parameters<view::Nothing>,
    ) -> Result<Json<usage::Status>> {
        Ok(Json(usage::read(&tenant).await?))
    }

    /// Keep a copy of all this account's data, to go back to with checkpoint_restore. Do it before large changes.
    #[tool(annotations(
        title = "Create checkpoint",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn checkpoint_create(
        &self,
        tenant: Tenant,
        Parameters(view::Create { label }): Parameters<view::Create>,
    ) -> Result<Json<view::Created>> {
        Ok(Json(view::Created::of(&tenant.checkpoint(label.as_deref()).await?)))
    }

    /// List the checkpoints, the newest first. A restore leaves one of kind undo: what it replaced.
    #[tool(annotations(title = "List checkpoints", read_only_hint = true, open_world_hint = false))]
    async fn checkpoint_list(
        &self,
        tenant: Tenant,
        Parameters(view::Nothing {}): Parameters<view::Nothing>,
    ) -> Result<Json<view::Listed>> {
        Ok(Json(view::Listed::of(&tenant.checkpoints().await?)))
    }

    /// Put all this account's data (tables, keys, memories, reminders) back to a checkpoint; the user is asked first.
    /// What it replaces is kept as a checkpoint too: restore that to undo.
    #[tool(annotations(
        title = "Restore checkpoint",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn checkpoint_restore(
        &self,
        tenant: Tenant,
        ask: Ask,
        Parameters(view::Restore { bookmark, replace_everything }): Parameters<view::Restore>,
    ) -> Result<Json<view::Back>> {
        let bookmark = Bookmark::parse(&bookmark)?;
        let there = tenant.checkpoints().await?;
        let checkpoint = there.iter().find(|one| one.bookmark == bookmark).ok_or_else(|| not_there(bookmark))?;
        let what = consequence(checkpoint);
        if ask.can_elicit() {
            ask.confirm("restore", format!("Go back to {what}")).await?;
        } else if !replace_everything {
            return Err(Error::invalid(format!(
                "nothing was changed: this client can't ask its user. If the user wants to go back to {what} \
                 call again with replace_everything: true"
            )));
        }
        Ok(Json(view::Back::of(&tenant.restore(bookmark).await?)))
    }

    /// Delete a checkpoint for good.
    #[tool(annotations(
        title = "Delete checkpoint",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn checkpoint_delete(
        &self,
        tenant: Tenant,
        Parameters(view::Delete { bookmark }): Parameters<view::Delete>,
    ) -> Result<Json<view::Deleted>> {
        let gone = Bookmark::parse(&bookmark)?;
        match tenant.delete_checkpoint(gone).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(not_there(gone)),
            done => done.map(|()| Json(view::Deleted { deleted: bookmark })),
        }
    }
}

/// What the user agrees to.
fn consequence(Checkpoint { bookmark, label, .. }: &Checkpoint) -> String {
    let called = label.as_ref().map_or_else(String::new, |label| format!(" (\"{label}\")"));
    format!(
        "the checkpoint of {}{called}? All that was saved since then is replaced: tables, keys, memories, reminders. \
         It is kept as a checkpoint, so that this can be undone.",
        view::time(*bookmark)
    )
}

fn not_there(bookmark: Bookmark) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no checkpoint {bookmark}: checkpoint_list shows those there are"))
}
