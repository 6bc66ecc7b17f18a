//! The packs' resources beside the embedder's: theirs come first, and a further page is the embedder's alone.

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResponse, ReadResourceResult,
    ResourceContents,
};

use crate::packs::{JSON, Packs};
use crate::tenant::Tenant;

/// Puts the packs' before what the embedder listed on its first page.
pub(super) fn join(packs: &Packs, listed: &mut ListResourcesResult) {
    listed.resources.splice(0..0, packs.resources());
}

/// As [`join`].
pub(super) fn join_templates(packs: &Packs, listed: &mut ListResourceTemplatesResult) {
    listed.resource_templates.splice(0..0, packs.resource_templates());
}

/// What `uri`, which the packs answer, holds.
///
/// # Errors
/// -32002, or -32602 from 2026-07-28 on (SEP-2164): there is no such resource. Else what the tenant says.
pub(super) async fn read(packs: &Packs, tenant: &Tenant, uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let Some(text) = packs.read_resource(tenant, uri).await? else {
        return Err(ErrorData::resource_not_found(
            "there is no such resource; memory_list tells which notes there are",
            None,
        ));
    };
    let mut read = ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]);
    read.cache_scope = Some(CacheScope::Private);
    Ok(read.into())
}
