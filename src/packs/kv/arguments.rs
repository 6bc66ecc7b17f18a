//! What the kv tools take and give, as a model sees it.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::rfc3339;
use crate::store::kv::KvEntry;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    /// 1 to 512 bytes.
    pub(super) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    found: bool,
    /// Absent if not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Found {
    pub(super) fn of(entry: Option<KvEntry>) -> Self {
        match entry {
            Some(KvEntry { value, version, expires_at, .. }) => {
                Self { found: true, value: Some(value), version: Some(version), expires_at: expires_at.map(rfc3339) }
            }
            None => Self { found: false, value: None, version: None, expires_at: None },
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// 1 to 512 bytes, such as user:7:name.
    pub(super) key: String,
    /// Any JSON.
    pub(super) value: Value,
    /// Gone after so many seconds.
    pub(super) ttl_seconds: Option<u64>,
    pub(super) if_version: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stored {
    pub(super) version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    pub(super) key: String,
    pub(super) if_version: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// False if it was not there.
    pub(super) deleted: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) prefix: Option<String>,
    /// At most this many, 1 or more; 100 if not given.
    pub(super) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Keys {
    keys: Vec<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Key {
    key: String,
    value: Value,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Keys {
    pub(super) fn of(entries: Vec<KvEntry>, next_cursor: Option<String>) -> Self {
        let key = |KvEntry { key, value, version, expires_at }| Key {
            key,
            value,
            version,
            expires_at: expires_at.map(rfc3339),
        };
        Self { keys: entries.into_iter().map(key).collect(), next_cursor }
    }
}
