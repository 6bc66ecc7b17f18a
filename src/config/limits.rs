//! `[limits]`: what one tenant may use. Every bound stands here with its reason; the refusal that
//! it causes names the same key.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::Overrides;

/// What one tenant may use. Durations as `"5s"`, sizes as `"1GiB"`. Those of a tenant are these as its class
/// overrides them: [`Settings::class`](super::Settings::class).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second, over all of the tenant's callers; 0 is any number.
    pub requests_per_second: u32,
    /// Requests that may come at once after a rest.
    pub burst: u32,
    /// Requests a second of one caller (issuer and subject); 0 is any number. As many as the tenant's own, so that a
    /// tenant with one token gets all of them: set it lower where callers of one tenant are to leave each other room.
    pub principal_requests_per_second: u32,
    /// Requests of one caller that may come at once after a rest.
    pub principal_burst: u32,
    /// Calls under way at once. One that waits for its client counts, a stream of notifications does not.
    pub concurrent_calls: usize,
    /// Calls that may wait for one of those to end, `queue_deadline` at most.
    pub calls_waiting: usize,
    /// Streams of notifications open at once.
    pub streams: usize,
    /// Those of one session, or of one caller who has none.
    pub session_streams: usize,
    /// Writes that may wait for the tenant's actor. 64 group into one commit of some milliseconds.
    pub mailbox: usize,
    /// Writes of the host's own that may wait for a commit to ride in: one a second comes in any case.
    pub behind: usize,
    /// Reads of one tenant that run at once, each on a connection of its own.
    pub readers: usize,
    /// Reads that may wait for a reader.
    pub reads_waiting: usize,
    /// The longest that work may wait before it begins; then it is refused, not begun.
    #[serde(with = "humantime_serde")]
    pub queue_deadline: Duration,
    /// The longest that one call may keep the database busy.
    #[serde(with = "humantime_serde")]
    pub statement_deadline: Duration,
    /// The memory that one call may take of SQLite's, its sorts and temporary tables included. A tenant's
    /// writer and each of its readers may take as much at once.
    pub statement_memory: ByteSize,
    /// The size of the tenant's database file.
    pub database_bytes: ByteSize,
    /// Tables, indexes, views and triggers together, the host's own included. Some kilobytes each, in the memory
    /// of every connection.
    pub schema_objects: usize,
    /// One string, blob or row.
    pub value_bytes: ByteSize,
    /// The JSON text of one key's value.
    pub kv_value_bytes: ByteSize,
    /// The text of one memory: indexing it is one step, which no deadline can cut short.
    pub memory_text_bytes: ByteSize,
    /// Rows in one result; the rest comes by cursor.
    pub result_rows: usize,
    /// The JSON text of the rows in one result: what a model's context can take, and more.
    pub result_bytes: ByteSize,
    /// Statements in one `sql_execute`.
    pub statements: usize,
    /// Reminders set and not yet over.
    pub reminders: usize,
    /// Message and payload of one reminder.
    pub reminder_bytes: ByteSize,
    /// The shortest interval at which one may repeat.
    #[serde(with = "humantime_serde")]
    pub reminder_interval: Duration,
    /// Delivered reminders that are not acknowledged. Beyond it further ones wait.
    pub inbox: usize,
    /// Checkpoints that a caller has asked for, kept at once.
    pub checkpoints: usize,
    /// Those that the host makes on its own, before a restore: of one more the oldest goes.
    pub checkpoints_automatic: usize,
    /// What all of them take on the disk together. Beyond it the oldest automatic ones go, then a further one is
    /// refused.
    pub checkpoint_bytes: ByteSize,
    /// Handles that tools have given out (`Tenant::handles`).
    pub handles: usize,
    /// The JSON text of what one of them stands for.
    pub handle_bytes: ByteSize,
    /// The longest that one may lie idle before it ends.
    #[serde(with = "humantime_serde")]
    pub handle_idle: Duration,
    /// The body of one request.
    pub body_bytes: ByteSize,
    /// Messages in one batch of a client of 2025-03-26, each of which counts as a request.
    pub batch_messages: usize,
    /// The longest that a request's body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_deadline: Duration,
    /// The longest that it may fall silent on the way.
    #[serde(with = "humantime_serde")]
    pub body_idle: Duration,
    /// Tasks kept at once, those that have ended and still can be fetched among them.
    pub tasks: usize,
    /// Tasks that run at once. One keeps its tenant open.
    pub tasks_running: usize,
    /// The longest that a task may run, and then that its result is kept.
    #[serde(with = "humantime_serde")]
    pub task_ttl: Duration,
    /// MCP sessions of older clients, those that rest in the file among them. One more takes the place of the one
    /// that was used longest ago; where all are in use it is refused.
    pub sessions: usize,
    /// The same for one principal (issuer, subject and client): clients that open a session for each call push out
    /// their own.
    pub sessions_per_principal: usize,
    /// How long a session stays in memory (some 50 KB) after its last call and stream. Then it is a row, and comes
    /// back with the next request.
    #[serde(with = "humantime_serde")]
    pub session_quiet: Duration,
    /// When a session that nobody uses ends for good.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
    /// When a session ends for good, used or not.
    #[serde(with = "humantime_serde")]
    pub session_lifetime: Duration,
    /// Events of one session's streams kept for clients that come back (`Last-Event-ID`); the oldest go first.
    pub session_events: usize,
    /// The same in bytes of JSON.
    pub session_event_bytes: ByteSize,
    /// Events of all sessions together in the tenant's file; the oldest go first.
    pub stored_events: usize,
    /// The same in bytes of JSON.
    pub stored_event_bytes: ByteSize,
    /// How long an event is kept in the file.
    #[serde(with = "humantime_serde")]
    pub session_event_age: Duration,
    /// Resources that one session may subscribe to.
    pub session_subscriptions: usize,
    /// `[limits.class.NAME]`: what tenants of that class have instead. Empty in the limits of one tenant.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub class: BTreeMap<String, Overrides>,
}

impl Limits {
    /// A bound of nothing where something has to be.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let burst = |per_second: u32, burst: u32| if per_second == 0 { 1 } else { burst as usize };
        let counts = [
            ("burst", burst(self.requests_per_second, self.burst)),
            ("principal_burst", burst(self.principal_requests_per_second, self.principal_burst)),
            ("concurrent_calls", self.concurrent_calls),
            ("mailbox", self.mailbox),
            ("behind", self.behind),
            ("readers", self.readers),
            ("result_rows", self.result_rows),
            ("statements", self.statements),
            ("checkpoints_automatic", self.checkpoints_automatic),
            ("sessions_per_principal", self.sessions_per_principal),
        ];
        counts.into_iter().find(|(_, value)| *value == 0).map(|(key, _)| key)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 50,
            burst: 100,
            principal_requests_per_second: 50,
            principal_burst: 100,
            concurrent_calls: 32,
            calls_waiting: 64,
            streams: 32,
            session_streams: 8,
            mailbox: 64,
            behind: 1_024,
            readers: 2,
            reads_waiting: 64,
            queue_deadline: Duration::from_secs(10),
            statement_deadline: Duration::from_secs(5),
            statement_memory: ByteSize::mib(32),
            database_bytes: ByteSize::gib(1),
            schema_objects: 1_000,
            value_bytes: ByteSize::mib(1),
            kv_value_bytes: ByteSize::kib(128),
            memory_text_bytes: ByteSize::kib(16),
            result_rows: 1_000,
            result_bytes: ByteSize::mib(1),
            statements: 100,
            reminders: 1_000,
            reminder_bytes: ByteSize::kib(16),
            reminder_interval: Duration::from_secs(60),
            inbox: 1_000,
            handles: 1_000,
            handle_bytes: ByteSize::kib(64),
            handle_idle: Duration::from_secs(24 * 3600),
            checkpoints: 16,
            checkpoints_automatic: 4,
            checkpoint_bytes: ByteSize::gib(4),
            body_bytes: ByteSize::mib(1),
            batch_messages: 32,
            body_deadline: Duration::from_secs(30),
            body_idle: Duration::from_secs(10),
            tasks: 256,
            tasks_running: 16,
            task_ttl: Duration::from_secs(3600),
            sessions: 64,
            sessions_per_principal: 16,
            session_quiet: Duration::from_secs(20),
            session_idle: Duration::from_secs(24 * 3600),
            session_lifetime: Duration::from_secs(7 * 24 * 3600),
            session_events: 256,
            session_event_bytes: ByteSize::mib(1),
            stored_events: 4_096,
            stored_event_bytes: ByteSize::mib(16),
            session_event_age: Duration::from_secs(3600),
            session_subscriptions: 64,
            class: BTreeMap::new(),
        }
    }
}
