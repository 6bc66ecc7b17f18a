//! The built-in tools. Each pack is written against [`Tenant`](crate::Tenant) as an embedder's tools
//! are, so that what an embedder can't do, they can't either.

mod itself;
mod kv;
mod memory;
mod reminders;
mod resources;
mod sql;
mod usage;

use rmcp::handler::server::router::tool::ToolRouter;

use crate::config::Pack;

pub(crate) use resources::JSON;
pub(crate) use sql::run_text;

/// The chosen packs, shared by all tenants: they keep no state of their own.
#[derive(Debug)]
pub(crate) struct Packs {
    chosen: Vec<Pack>,
    /// Their tools.
    pub tools: ToolRouter<Self>,
}

impl Packs {
    /// The tools of `chosen`.
    #[must_use]
    pub(crate) fn new(chosen: &[Pack]) -> Self {
        let mut tools = ToolRouter::new();
        for pack in chosen {
            match pack {
                Pack::Sql => tools.merge(Self::sql_tools()),
                Pack::Kv => tools.merge(Self::kv_tools()),
                Pack::Memory => tools.merge(Self::memory_tools()),
                Pack::Reminders => tools.merge(Self::reminder_tools()),
                Pack::Itself => tools.merge(Self::self_tools()),
            }
        }
        Self { chosen: chosen.to_vec(), tools }
    }

    /// Whether `pack` was chosen.
    #[must_use]
    pub(crate) fn has(&self, pack: Pack) -> bool {
        self.chosen.contains(&pack)
    }

    /// Whether no pack was chosen.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.tools.map.is_empty()
    }
}
