//! `tenant://schema`, `tenant://usage`, `tenant://memory/{id}`: what a client may read without a tool.

use rmcp::model::{Resource, ResourceTemplate};
use serde::Serialize;

use super::{Packs, memory, sql, usage};
use crate::config::Pack;
use crate::error::{Error, Result};
use crate::tenant::{SCHEMA, Tenant, USAGE};

/// Before the id of a note.
const MEMORY: &str = "tenant://memory/";
/// The name of the note `id`.
pub(super) fn memory_uri(id: i64) -> String {
    format!("{MEMORY}{id}")
}

/// What all of them are.
pub(crate) const JSON: &str = "application/json";

impl Packs {
    /// The resources of the chosen packs, in this order at every call.
    #[must_use]
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let about = |uri, name, said| Resource::new(uri, name).with_description(said).with_mime_type(JSON);
        let mut listed = Vec::new();
        if self.has(Pack::Sql) {
            listed.push(about(SCHEMA, "schema", "Tables and views of this account's database"));
        }
        if !self.is_empty() {
            listed.push(about(USAGE, "usage", "What this account uses and may use"));
        }
        listed
    }

    /// Those whose name has a place for something.
    #[must_use]
    pub(crate) fn resource_templates(&self) -> Vec<ResourceTemplate> {
        let note = || {
            let named = ResourceTemplate::new(format!("{MEMORY}{{id}}"), "memory");
            named.with_description("A remembered note by its id").with_mime_type(JSON)
        };
        self.has(Pack::Memory).then(note).into_iter().collect()
    }

    /// Whether `uri` is one that the chosen packs answer.
    #[must_use]
    pub(crate) fn answers(&self, uri: &str) -> bool {
        match uri {
            SCHEMA => self.has(Pack::Sql),
            USAGE => !self.is_empty(),
            _ => uri.starts_with(MEMORY) && self.has(Pack::Memory),
        }
    }

    /// What `uri` holds, as JSON; `None` when there is no such thing.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub(crate) async fn read_resource(&self, tenant: &Tenant, uri: &str) -> Result<Option<String>> {
        match uri {
            SCHEMA => text(&sql::read_schema(tenant).await?),
            USAGE => text(&usage::read(tenant).await?),
            _ => match uri.strip_prefix(MEMORY).and_then(|id| id.parse().ok()) {
                Some(id) => memory::read(tenant, id).await?.as_ref().map_or(Ok(None), text),
                None => Ok(None),
            },
        }
    }
}

fn text(value: &impl Serialize) -> Result<Option<String>> {
    let failed = |error| Error::internal("a resource can't be written").with_source(error);
    serde_json::to_string(value).map(Some).map_err(failed)
}
