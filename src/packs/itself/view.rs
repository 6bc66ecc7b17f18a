//! Checkpoints as a model reads and names them.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;
use crate::db::{Bookmark, Checkpoint, CheckpointKind, Restored};

/// It takes no arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// What it is for, to find it again.
    pub(super) label: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    /// From checkpoint_list.
    pub(super) bookmark: String,
    /// Only where the client can't ask its user: the user has agreed that everything since then is replaced.
    #[serde(default)]
    pub(super) replace_everything: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delete {
    /// From checkpoint_list.
    pub(super) bookmark: String,
}

/// A checkpoint.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Created {
    bookmark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    created_at: String,
    bytes: u64,
    /// `named`, `undo` or `automatic`.
    kind: String,
}

impl Created {
    pub(super) fn of(Checkpoint { bookmark, label, bytes }: &Checkpoint) -> Self {
        let kind = match bookmark.kind() {
            CheckpointKind::Named => "named",
            CheckpointKind::Undo => "undo",
            CheckpointKind::Automatic => "automatic",
        };
        Self {
            bookmark: bookmark.to_string(),
            label: label.clone(),
            created_at: time(*bookmark),
            bytes: *bytes,
            kind: kind.to_owned(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    checkpoints: Vec<Created>,
}

impl Listed {
    pub(super) fn of(checkpoints: &[Checkpoint]) -> Self {
        Self { checkpoints: checkpoints.iter().map(Created::of).collect() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Back {
    restored: String,
    /// The bookmark of what was replaced.
    undo: String,
}

impl Back {
    pub(super) fn of(Restored { restored, undo }: &Restored) -> Self {
        Self { restored: restored.to_string(), undo: undo.to_string() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    pub(super) deleted: String,
}

/// When it was made, to the second.
pub(super) fn time(bookmark: Bookmark) -> String {
    rfc3339(bookmark.at_ms() / 1_000)
}
