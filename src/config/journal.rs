//! `[journal]`: what of each tool call is kept in the tenant's own file.

use serde::{Deserialize, Serialize};

/// The journal of tool calls, which `freehold tenant calls` prints.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    /// Whether calls are kept at all.
    pub enabled: bool,
    /// Calls kept for each tenant: the newest ones, about 200 bytes each.
    pub entries: u32,
    /// What is kept of a call's arguments.
    pub arguments: Arguments,
}

/// What is kept of a call's arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arguments {
    /// Nothing.
    None,
    /// Their names.
    #[default]
    Keys,
    /// All of them, up to 4,096 bytes: secrets that agents pass stand in the file then.
    Full,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { enabled: true, entries: 10_000, arguments: Arguments::Keys }
    }
}
