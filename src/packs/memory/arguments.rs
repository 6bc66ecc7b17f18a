//! What the memory tools take and give, as a model sees it.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;
use crate::store::memory::Note;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Save {
    /// What to remember, in plain words.
    pub(super) text: String,
    /// Up to 16.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Where it comes from.
    pub(super) source: Option<String>,
    /// Forgotten after so many seconds.
    pub(super) ttl_seconds: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Saved {
    pub(super) id: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// Words in any order; "in double quotes" for an exact phrase.
    pub(super) query: String,
    /// Only notes with all of these.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// At most this many, 1 or more; 10 if not given.
    pub(super) limit: Option<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Hits {
    /// Best first.
    notes: Vec<Hit>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Hit {
    score: f64,
    #[serde(flatten)]
    note: Told,
}

impl Hits {
    pub(super) fn of(found: Vec<(Note, f64)>) -> Self {
        let hit = |(note, score): (Note, f64)| Hit { score: (score * 1e6).round() / 1e6, note: Told::of(note) };
        Self { notes: found.into_iter().map(hit).collect() }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Only notes with all of these.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// At most this many, 1 or more; 20 if not given.
    pub(super) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Notes {
    notes: Vec<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl Notes {
    pub(super) fn of(notes: Vec<Note>, next_cursor: Option<String>) -> Self {
        Self { notes: notes.into_iter().map(Told::of).collect(), next_cursor }
    }
}

/// A note as it is told.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Told {
    id: i64,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Told {
    pub(super) fn of(note: Note) -> Self {
        let Note { id, text, tags, source, created_at, expires_at } = note;
        Self { id, text, tags, source, created_at: rfc3339(created_at), expires_at: expires_at.map(rfc3339) }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    pub(super) id: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Forgotten {
    /// False if there was no such note.
    pub(super) forgotten: bool,
}
