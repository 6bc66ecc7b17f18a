//! The events of sessions' streams as rows of the tenant's file, and how many of them there may be.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    CustomNotification, CustomRequest, CustomResult, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerRequest, ServerResult,
};
use rusqlite::{Connection, Transaction};
use serde_json::Value;

use super::records::{as_i64, as_u64};
use super::stream::Event;
use crate::config::Limits;
use crate::error::Result;

/// An event as a row.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub stream: String,
    pub seq: u64,
    last: bool,
    told: bool,
    at: u64,
    /// `{"id": …, "message": …}`: the event's id and the message as it was said.
    message: String,
}

/// What a session has to write down.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub save: Vec<Saved>,
    /// Events that were delivered after they had been written down.
    pub forget: Vec<(Arc<str>, u64)>,
}

impl Saved {
    /// `event` as a row; `None` if it is no JSON, which then nobody could have been sent.
    pub(super) fn of(event: &Event, last: bool, at: u64) -> Option<Self> {
        let message = serde_json::to_string(&serde_json::json!({ "id": event.id, "message": &*event.message })).ok()?;
        Some(Self { stream: event.stream.to_string(), seq: event.seq, last, told: event.told, at, message })
    }

    /// The event, and whether it ends its stream. Its message is kept as it was said, field by field: rmcp would
    /// read a result as whichever of its types fits first.
    pub(super) fn into_event(self) -> Option<(Event, bool)> {
        let saved: Value = serde_json::from_str(&self.message).ok()?;
        let id = saved["id"].as_str()?.to_owned();
        let message = message_of(&saved["message"])?;
        let event = Event {
            stream: self.stream.into(),
            seq: self.seq,
            id,
            bytes: self.message.len(),
            message: Arc::new(message),
            told: self.told,
            stored: true,
        };
        Some((event, self.last))
    }
}

fn message_of(json: &Value) -> Option<ServerJsonRpcMessage> {
    let id = || serde_json::from_value::<RequestId>(json["id"].clone()).ok();
    let params = json.get("params").cloned();
    match json["method"].as_str() {
        Some(method) if json.get("id").is_some() => {
            let request = ServerRequest::CustomRequest(CustomRequest::new(method, params));
            Some(JsonRpcMessage::request(request, id()?))
        }
        Some(method) => {
            let told = ServerNotification::CustomNotification(CustomNotification::new(method, params));
            Some(JsonRpcMessage::notification(told))
        }
        None if json.get("error").is_some() => {
            Some(JsonRpcMessage::error(serde_json::from_value(json["error"].clone()).ok()?, id()))
        }
        None => {
            let result = ServerResult::CustomResult(CustomResult::new(json["result"].clone()));
            Some(JsonRpcMessage::response(result, id()?))
        }
    }
}

/// The events of session `id`, but for those from before `after`, in seconds since 1970.
pub(super) fn load(conn: &Connection, id: &str, after: u64) -> Result<Vec<Saved>> {
    let mut saved = conn.prepare_cached(
        "SELECT stream, seq, last, told, at, message FROM _fh_event
         WHERE session = ?1 AND at >= ?2 ORDER BY at, stream, seq",
    )?;
    let rows = saved.query_map((id, as_i64(after)), |row| {
        Ok(Saved {
            stream: row.get(0)?,
            seq: as_u64(row.get(1)?),
            last: row.get(2)?,
            told: row.get(3)?,
            at: as_u64(row.get(4)?),
            message: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// How much of events the file of one tenant may hold, whatever its sessions are.
pub(super) struct Shelf {
    most_events: u64,
    most_bytes: u64,
    /// As many as there are at most: to count them is to read them all. `None` before the first look.
    holds: Mutex<Option<(u64, u64)>>,
}

impl Shelf {
    pub(super) fn new(limits: &Limits) -> Self {
        let most_events = limits.stored_events as u64;
        Self { most_events, most_bytes: limits.stored_event_bytes.as_u64(), holds: Mutex::default() }
    }

    /// Takes note of `events` more of `bytes`. Where there may be too many, the oldest go, those that were delivered
    /// first.
    fn add(&self, tx: &Transaction<'_>, events: u64, bytes: u64) -> Result<()> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((all, all_bytes)) = &mut *holds {
            (*all, *all_bytes) = (*all + events, *all_bytes + bytes);
            if *all <= self.most_events && *all_bytes <= self.most_bytes {
                return Ok(());
            }
        }
        // A quarter more than has to go, so that the next look is not at the next event.
        let (keep, keep_bytes) = (self.most_events - self.most_events / 4, self.most_bytes - self.most_bytes / 4);
        let held = |tx: &Transaction<'_>| -> Result<(u64, u64)> {
            let sql = "SELECT count(*), coalesce(sum(octet_length(message)), 0) FROM _fh_event";
            Ok(tx.query_row(sql, [], |row| Ok((as_u64(row.get(0)?), as_u64(row.get(1)?))))?)
        };
        let mut now = held(tx)?;
        if now.0 > self.most_events || now.1 > self.most_bytes {
            tx.execute(
                "DELETE FROM _fh_event WHERE (session, stream, seq) IN (
                     SELECT session, stream, seq FROM (
                         SELECT session, stream, seq, row_number() OVER newest AS place,
                                sum(octet_length(message)) OVER (newest ROWS UNBOUNDED PRECEDING) AS bytes
                         FROM _fh_event WINDOW newest AS (ORDER BY told, at DESC, seq DESC, session, stream))
                     WHERE place > ?1 OR bytes > ?2)",
                (as_i64(keep), as_i64(keep_bytes)),
            )?;
            now = held(tx)?;
        }
        *holds = Some(now);
        Ok(())
    }
}

impl Work {
    /// Writes it down for session `id`.
    pub(super) fn apply(&self, tx: &Transaction<'_>, id: &str, shelf: &Shelf) -> Result<()> {
        for event in &self.save {
            let Saved { stream, seq, last, told, at, message } = event;
            // A session that has been ended meanwhile has no row, and wants none here.
            tx.prepare_cached(
                "INSERT OR REPLACE INTO _fh_event (session, stream, seq, last, told, at, message)
                 SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM _fh_session WHERE id = ?1",
            )?
            .execute((id, stream, as_i64(*seq), last, told, as_i64(*at), message))?;
        }
        for (stream, seq) in &self.forget {
            tx.prepare_cached("DELETE FROM _fh_event WHERE session = ?1 AND stream = ?2 AND seq = ?3")?.execute((
                id,
                &**stream,
                as_i64(*seq),
            ))?;
        }
        if self.save.is_empty() {
            return Ok(());
        }
        let bytes: usize = self.save.iter().map(|event| event.message.len()).sum();
        shelf.add(tx, self.save.len() as u64, bytes as u64)
    }
}
