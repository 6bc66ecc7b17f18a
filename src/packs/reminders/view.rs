//! Reminders and messages as a model reads and writes them: times are text, in UTC.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tenant::{self, said};

/// What to be reminded of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// "in 2h", "2030-01-31T09:00:00+01:00", "every 15m", or five cron fields and a time zone: "0 9 * * 1-5 Europe/Berlin".
    pub when: String,
    /// What to be reminded of.
    pub message: String,
    /// Any JSON to get back with the message.
    pub payload: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// 1 to 200; 50 if left out.
    pub limit: Option<usize>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    /// The reminder's id.
    pub id: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// 1 to 200; 50 if left out.
    pub limit: Option<usize>,
    /// Only messages after this id.
    pub after: Option<i64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ack {
    /// Ids of messages from inbox_read.
    pub ids: Vec<i64>,
}

/// A reminder.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reminder {
    id: i64,
    /// When it is due next, in UTC.
    due_at: String,
    message: String,
    /// As it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// How it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<String>,
    /// Deliveries that failed so far.
    #[serde(skip_serializing_if = "is_zero")]
    attempts: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reminders {
    pub reminders: Vec<Reminder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cancelled {
    /// The reminder that is no more.
    pub cancelled: i64,
}

/// A reminder that came due.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Message {
    /// For inbox_ack.
    id: i64,
    /// The id of the reminder.
    reminder: i64,
    message: String,
    /// As it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// When it was due, in UTC.
    due_at: String,
    delivered_at: String,
    /// Why the program that should have acted on it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Inbox {
    pub messages: Vec<Message>,
    /// Whether there are further ones: call again with `after`.
    pub more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Acknowledged {
    /// How many messages were removed.
    pub acknowledged: usize,
}

impl From<tenant::Reminder> for Reminder {
    fn from(set: tenant::Reminder) -> Self {
        let tenant::Reminder { id, message, payload, repeats, due_at, attempts } = set;
        Self { id, due_at: said(due_at), message, payload, repeats, attempts }
    }
}

impl From<tenant::InboxMessage> for Message {
    fn from(read: tenant::InboxMessage) -> Self {
        let tenant::InboxMessage { id, reminder, message, payload, due_at, delivered_at, failure } = read;
        Self { id, reminder, message, payload, due_at: said(due_at), delivered_at: said(delivered_at), failure }
    }
}

/// Where a list goes on: after a time and a number.
pub(super) fn cursor(last: &tenant::Reminder) -> String {
    format!("{}.{}", last.due_at, last.id)
}

pub(super) fn after(cursor: &str) -> Result<(i64, i64)> {
    cursor
        .split_once('.')
        .and_then(|(due_at, id)| Some((due_at.parse().ok()?, id.parse().ok()?)))
        .ok_or_else(|| Error::invalid("cursor is not one of ours: take the `next_cursor` of the page before"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
