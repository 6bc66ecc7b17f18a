//! Sessions as rows of the tenant's file.

use std::sync::Arc;

use rmcp::transport::streamable_http_server::SessionId;

use super::super::subscriptions::too_many;
use super::events::{self, Saved, Shelf, Work};
use crate::auth::Principal;
use crate::db::Mode;
use crate::error::{Error, Result};
use crate::tenant::{Handle, List, News};

/// What is written down of a session beside its events.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The parameters of its `initialize`, as JSON.
    pub initialize: String,
    pub created_at: u64,
    /// What has changed while it rested.
    pub missed: Vec<News>,
    pub events: Vec<Saved>,
}

/// How many there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub sessions: usize,
    pub of_one: usize,
    /// Before these, in seconds since 1970, they have ended.
    pub created_after: u64,
    pub used_after: u64,
    pub events_after: u64,
}

/// Enters a session, in the place of those that have ended, and if there are too many, of the one that was used
/// longest ago: of the same principal if that has its share, of anybody else's if not. Those `in_use` stay.
/// Returns the ids that made room.
///
/// # Errors
/// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy): all that there may be are in use.
pub(super) async fn enter(
    tenant: &Handle,
    id: String,
    owner: Principal,
    record: Record,
    bounds: Bounds,
    live: Vec<(SessionId, bool)>,
) -> Result<Vec<String>> {
    let in_use = ids(live.iter().filter(|(_, in_use)| *in_use).map(|(id, _)| id))?;
    let live = ids(live.iter().map(|(id, _)| id))?;
    tenant
        .write(Mode::Host, move |tx| {
            let (issuer, subject, client) = (owner.issuer(), owner.subject(), owner.client());
            tx.execute(
                "DELETE FROM _fh_session WHERE created_at < ?1 OR (used_at < ?2
                     AND id NOT IN (SELECT value FROM json_each(?3)))",
                (as_i64(bounds.created_after), as_i64(bounds.used_after), &live),
            )?;
            tx.execute("DELETE FROM _fh_event WHERE at < ?1", [as_i64(bounds.events_after)])?;
            let mut gone = Vec::new();
            loop {
                let (own, all): (usize, usize) = tx.query_row(
                    "SELECT count(*) FILTER (WHERE issuer = ?1 AND subject = ?2 AND client IS ?3), count(*)
                     FROM _fh_session",
                    (issuer, subject, client),
                    |row| Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)? as usize)),
                )?;
                let (name, most) = match () {
                    () if own >= bounds.of_one => ("sessions_per_principal", bounds.of_one),
                    () if all >= bounds.sessions => ("sessions", bounds.sessions),
                    () => break,
                };
                let mine = name == "sessions_per_principal";
                let oldest = tx
                    .prepare_cached(
                        "DELETE FROM _fh_session WHERE id = (
                         SELECT id FROM _fh_session
                         WHERE id NOT IN (SELECT value FROM json_each(?1))
                           AND (NOT ?2 OR (issuer = ?3 AND subject = ?4 AND client IS ?5))
                         ORDER BY id IN (SELECT value FROM json_each(?6)), used_at, created_at LIMIT 1)
                     RETURNING id",
                    )?
                    .query_map((&in_use, mine, issuer, subject, client, &live), |row| row.get::<_, String>(0))?
                    .next()
                    .transpose()?;
                gone.push(oldest.ok_or_else(|| Error::busy(name, most as u64, RETRY_AFTER))?);
            }
            tx.execute(
                "INSERT INTO _fh_session (id, issuer, subject, client, initialize, created_at, used_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
                (&id, issuer, subject, client, &record.initialize, as_i64(record.created_at)),
            )?;
            Ok(gone)
        })
        .await
}

/// What callers of sessions that are all in use are told to wait.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

/// The session `id` if it is `owner`'s, and when it was used, that it is used now.
pub(super) async fn load(tenant: &Handle, id: String, owner: Principal, bounds: Bounds) -> Result<Option<Record>> {
    tenant
        .read(Mode::Host, move |conn| {
            let whose = (
                &id,
                owner.issuer(),
                owner.subject(),
                owner.client(),
                as_i64(bounds.created_after),
                as_i64(bounds.used_after),
            );
            let found = conn
                .prepare_cached(
                    "SELECT initialize, created_at, lists FROM _fh_session
                     WHERE id = ?1 AND issuer = ?2 AND subject = ?3 AND client IS ?4
                       AND created_at >= ?5 AND used_at >= ?6",
                )?
                .query_map(whose, |row| {
                    Ok(Record {
                        initialize: row.get(0)?,
                        created_at: as_u64(row.get(1)?),
                        missed: lists_of(row.get(2)?),
                        events: Vec::new(),
                    })
                })?
                .next()
                .transpose()?;
            let Some(mut record) = found else { return Ok(None) };
            let mut changed =
                conn.prepare_cached("SELECT uri FROM _fh_subscription WHERE session = ?1 AND changed = 1")?;
            for uri in changed.query_map([&id], |row| row.get::<_, String>(0))? {
                record.missed.push(News::Resource(uri?.into()));
            }
            record.events = events::load(conn, &id, bounds.events_after)?;
            Ok(Some(record))
        })
        .await
}

/// Ends a session for good. `false` if there was none that is `owner`'s.
pub(super) async fn delete(tenant: &Handle, id: String, owner: Principal) -> Result<bool> {
    tenant
        .write(Mode::Host, move |tx| {
            let whose = (&id, owner.issuer(), owner.subject(), owner.client());
            let gone = tx.execute(
                "DELETE FROM _fh_session WHERE id = ?1 AND issuer = ?2 AND subject = ?3 AND client IS ?4",
                whose,
            )?;
            Ok(gone > 0)
        })
        .await
}

/// Enters or ends a subscription. Returns how many the session has; more than `most` are not entered.
pub(super) async fn subscribe(tenant: &Handle, id: String, uri: String, on: bool, most: usize) -> Result<()> {
    tenant
        .write(Mode::Host, move |tx| {
            if !on {
                tx.execute("DELETE FROM _fh_subscription WHERE session = ?1 AND uri = ?2", (&id, &uri))?;
                return Ok(());
            }
            let count: i64 = tx.query_row(
                "SELECT count(*) FROM _fh_subscription WHERE session = ?1 AND uri <> ?2",
                (&id, &uri),
                |row| row.get(0),
            )?;
            if as_u64(count) >= most as u64 {
                return Err(too_many(most));
            }
            tx.execute("INSERT OR IGNORE INTO _fh_subscription (session, uri) VALUES (?1, ?2)", (&id, &uri))?;
            Ok(())
        })
        .await
}

/// Notes for the sessions that rest, all but `live`, what has changed: they learn it when they come back.
pub(super) fn note(tenant: &Handle, news: Vec<News>, live: &[SessionId]) -> Result<()> {
    let live = ids(live.iter())?;
    tenant.later(move |tx| {
        for news in news {
            match news {
                News::Resource(uri) => tx.execute(
                    "UPDATE _fh_subscription SET changed = 1 WHERE uri = ?1 AND changed = 0
                     AND session NOT IN (SELECT value FROM json_each(?2))",
                    (&*uri, &live),
                )?,
                News::List(list) => tx.execute(
                    "UPDATE _fh_session SET lists = lists | ?1 WHERE id NOT IN (SELECT value FROM json_each(?2))",
                    (bit(list), &live),
                )?,
            };
        }
        Ok(())
    })
}

/// A session that has come back has been told.
pub(super) fn told(tenant: &Handle, id: SessionId) -> Result<()> {
    tenant.later(move |tx| {
        tx.execute("UPDATE _fh_subscription SET changed = 0 WHERE session = ?1", [&*id])?;
        tx.execute("UPDATE _fh_session SET lists = 0 WHERE id = ?1", [&*id])?;
        Ok(())
    })
}

/// Every session with what it has subscribed to.
pub(super) async fn all(tenant: &Handle) -> Result<Vec<(String, Option<String>)>> {
    tenant
        .read(Mode::Host, |conn| {
            let mut all = conn.prepare_cached(
                "SELECT s.id, u.uri FROM _fh_session AS s LEFT JOIN _fh_subscription AS u ON u.session = s.id",
            )?;
            let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        })
        .await
}

/// Writes down what sessions leave behind as they rest.
pub(super) async fn rest(
    tenant: &Handle,
    resting: Arc<Vec<(SessionId, Work)>>,
    shelf: Arc<Shelf>,
    now: u64,
) -> Result<()> {
    tenant
        .write(Mode::Host, move |tx| {
            for (id, work) in &*resting {
                tx.execute("UPDATE _fh_session SET used_at = max(used_at, ?2) WHERE id = ?1", (&**id, as_i64(now)))?;
                work.apply(tx, id, &shelf)?;
            }
            Ok(())
        })
        .await
}

/// Ids as SQL takes a list of them.
fn ids<'a>(ids: impl Iterator<Item = &'a SessionId>) -> Result<String> {
    let ids: Vec<&str> = ids.map(|id| &**id).collect();
    serde_json::to_string(&ids).map_err(|error| Error::internal("ids can't be written").with_source(error))
}

/// Notes that sessions which never rest are used all the same.
pub(super) fn used(tenant: &Handle, in_use: &[SessionId], now: u64) -> Result<()> {
    let in_use = ids(in_use.iter())?;
    tenant.later(move |tx| {
        tx.execute(
            "UPDATE _fh_session SET used_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))",
            (&in_use, as_i64(now)),
        )?;
        Ok(())
    })
}

pub(super) fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn as_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The bit of a list in the column `lists`.
fn bit(list: List) -> i64 {
    match list {
        List::Tools => 1,
        List::Prompts => 2,
        List::Resources => 4,
    }
}

fn lists_of(bits: i64) -> Vec<News> {
    let lists = [List::Tools, List::Prompts, List::Resources].into_iter();
    lists.filter(|list| bits & bit(*list) != 0).map(News::List).collect()
}
