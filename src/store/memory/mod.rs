//! `_fh_memory`: notes, found by their words, their tags and their age.

mod signposts;
mod words;

use rusqlite::{Connection, OptionalExtension, Row};

use self::signposts::Words;
use crate::config::Limits;
use crate::db::{forgetting, overwriting};
use crate::error::{Error, Result};

const TAGS_MAX: usize = 16;
const TAG_BYTES: usize = 64;
const SOURCE_BYTES: usize = 512;
/// Notes whose time is over that one save erases: more than it can add.
const SWEPT_AT_ONCE: i64 = 4;
/// Notes that the words alone choose before age weighs in: for each that is told, and at least.
const CANDIDATES: (usize, usize) = (4, 50);
/// The age, in seconds, at which half of what age can take from a note's score is gone: 30 days.
const HALF_LIFE: f64 = 30.0 * 86_400.0;

const COLUMNS: &str = "m.id, m.text, m.tags, m.source, m.created_at, m.expires_at";
/// Whether a note bears all the tags in the JSON array `?2`.
const TAGGED: &str = "NOT EXISTS (SELECT 1 FROM json_each(?2) AS wanted WHERE NOT EXISTS
    (SELECT 1 FROM _fh_memory_tag AS t WHERE t.tag = wanted.value AND t.memory = m.id))";

/// A note.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) id: i64,
    pub(crate) text: String,
    pub(crate) tags: Vec<String>,
    pub(crate) source: Option<String>,
    pub(crate) created_at: u64,
    pub(crate) expires_at: Option<u64>,
}

/// A note to be kept.
#[derive(Clone, Debug)]
pub(crate) struct NewNote {
    pub(crate) text: String,
    pub(crate) tags: Vec<String>,
    pub(crate) source: Option<String>,
    pub(crate) ttl_seconds: Option<u64>,
}

/// How much of the notes is told at once: notes, and bytes of text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) notes: usize,
    pub(crate) bytes: usize,
}

/// Keeps a note; its id.
pub(crate) fn save(conn: &Connection, limits: &Limits, now: u64, note: NewNote) -> Result<i64> {
    let NewNote { text, tags, source, ttl_seconds } = note;
    let most = limits.memory_text_bytes.as_u64();
    if text.len() as u64 > most {
        let size = text.len();
        return Err(Error::limit(
            "memory_text_bytes",
            most,
            format!("text takes {size} bytes and {most} are allowed: nothing was saved; save it as several notes"),
        ));
    }
    if text.trim().is_empty() {
        return Err(Error::invalid("text is empty: pass what is to be remembered"));
    }
    if source.as_ref().is_some_and(|source| source.len() > SOURCE_BYTES) {
        return Err(Error::invalid(format!("source takes more than {SOURCE_BYTES} bytes: shorten it")));
    }
    if ttl_seconds == Some(0) {
        return Err(Error::invalid("ttl_seconds is 0: pass 1 or more, or leave it out"));
    }
    let tags = tidied(tags)?;
    sweep(conn, now)?;
    let expires_at = ttl_seconds.map(|ttl| signed(now.saturating_add(ttl)));
    // FTS5 rewrites what it has as it grows; what it leaves behind must not outlive a note that is forgotten.
    overwriting(conn, || {
        conn.prepare_cached(
            "INSERT INTO _fh_memory (text, tags, source, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((&text, array(&tags), &source, signed(now), expires_at))?;
        let id = conn.last_insert_rowid();
        for tag in &tags {
            conn.prepare_cached("INSERT INTO _fh_memory_tag (tag, memory) VALUES (?1, ?2)")?.execute((tag, id))?;
        }
        conn.prepare_cached("INSERT INTO _fh_memory_word (rowid, text, tags) VALUES (?1, ?2, ?3)")?.execute((
            id,
            words::indexed(&text),
            words::indexed(&tags.join(" ")),
        ))?;
        flush(conn)?;
        signposts::go_on(conn)?;
        Ok(id)
    })
}

/// The note `id`, unless its time is over.
pub(crate) fn get(conn: &Connection, now: u64, id: i64) -> Result<Option<Note>> {
    let mut found = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM _fh_memory AS m WHERE m.id = ?1 AND coalesce(m.expires_at, ?2 + 1) > ?2"
    ))?;
    Ok(found.query_row((id, signed(now)), note).optional()?)
}

/// The notes that fit `query` best and bear all of `tags`, each with its score: bm25
/// (sqlite.org/fts5.html, 5.1.1), of which age takes up to a half.
pub(crate) fn search(
    conn: &Connection,
    now: u64,
    query: &str,
    tags: Vec<String>,
    most: Most,
) -> Result<Vec<(Note, f64)>> {
    let Some(expression) = words::expression(query) else { return Ok(Vec::new()) };
    let (each, least) = CANDIDATES;
    let candidates = i64::try_from(most.notes.saturating_mul(each).max(least)).unwrap_or(i64::MAX);
    let tags = tidied(tags)?;
    let tagged = if tags.is_empty() { "?2 = ?2" } else { TAGGED };
    let mut found = conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, w.rank FROM _fh_memory_word AS w CROSS JOIN _fh_memory AS m ON m.id = w.rowid
         WHERE w._fh_memory_word MATCH ?1 AND coalesce(m.expires_at, ?3 + 1) > ?3 AND {tagged}
         ORDER BY w.rank LIMIT ?4"
    ))?;
    let scored = found.query_map((expression, array(&tags), signed(now), candidates), |row| {
        let found = note(row)?;
        let rank: f64 = row.get(6)?;
        let age = now.saturating_sub(found.created_at) as f64;
        Ok((found, -rank * (0.5 + 0.5 * (-age / HALF_LIFE).exp2())))
    })?;
    let mut scored = scored.collect::<rusqlite::Result<Vec<_>>>()?;
    // Of two that are equal the newer one, so that the order is one and the same at every call.
    scored.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(b.id.cmp(&a.id)));
    let mut room = most.bytes;
    let fits = |(note, _): &(Note, f64)| {
        let size = note.text.len() + 200;
        let first = room == most.bytes;
        let fits = first || size <= room;
        room = room.saturating_sub(size);
        fits
    };
    Ok(scored.into_iter().take(most.notes).take_while(fits).collect())
}

/// The notes that bear all of `tags`, the newest first, from the one before `before` on; and whether there
/// are more.
pub(crate) fn list(
    conn: &Connection,
    now: u64,
    tags: Vec<String>,
    before: Option<i64>,
    most: Most,
) -> Result<(Vec<Note>, bool)> {
    let tags = tidied(tags)?;
    let tagged = if tags.is_empty() { "?2 = ?2" } else { TAGGED };
    let mut listed = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM _fh_memory AS m
         WHERE m.id < ?1 AND coalesce(m.expires_at, ?3 + 1) > ?3 AND {tagged} ORDER BY m.id DESC"
    ))?;
    let mut rows = listed.query((before.unwrap_or(i64::MAX), array(&tags), signed(now)))?;
    let (mut told, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let next = note(row)?;
        size += next.text.len() + 200;
        if told.len() == most.notes || (size > most.bytes && !told.is_empty()) {
            return Ok((told, true));
        }
        told.push(next);
    }
    Ok((told, false))
}

/// Erases the note `id` from the file, its index and its log; whether it was there. Checkpoints from before keep it,
/// as they keep everything.
pub(crate) fn forget(conn: &Connection, id: i64) -> Result<bool> {
    let mut found = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM _fh_memory AS m WHERE m.id = ?1"))?;
    let Some(gone) = found.query_row([id], note).optional()? else { return Ok(false) };
    let (text, tags) = (words::indexed(&gone.text), words::indexed(&gone.tags.join(" ")));
    let gone = Words::of(conn, [&text, &tags])?;
    forgetting(conn, || {
        conn.prepare_cached(
            "INSERT INTO _fh_memory_word (_fh_memory_word, rowid, text, tags) VALUES ('delete', ?1, ?2, ?3)",
        )?
        .execute((id, text, tags))?;
        conn.prepare_cached("DELETE FROM _fh_memory WHERE id = ?1")?.execute([id])?;
        flush(conn)?;
        gone.pull_out(conn)?;
        Ok(true)
    })
}

/// FTS5 writes what it has in memory now, while what it gives up is overwritten, and not with the COMMIT.
fn flush(conn: &Connection) -> Result<()> {
    conn.prepare_cached("INSERT INTO _fh_memory_word (_fh_memory_word) VALUES ('flush')")?.execute([])?;
    Ok(())
}

fn sweep(conn: &Connection, now: u64) -> Result<()> {
    let mut over =
        conn.prepare_cached("SELECT id FROM _fh_memory WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2")?;
    let over =
        over.query_map((signed(now), SWEPT_AT_ONCE), |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    over.into_iter().try_for_each(|id| forget(conn, id).map(drop))
}

/// Sorted, each once.
fn tidied(mut tags: Vec<String>) -> Result<Vec<String>> {
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid(format!("{} tags and {TAGS_MAX} are allowed", tags.len())));
    }
    if tags.iter().any(|tag| tag.is_empty() || tag.len() > TAG_BYTES) {
        return Err(Error::invalid(format!("a tag takes 1 to {TAG_BYTES} bytes")));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

fn array(tags: &[String]) -> String {
    serde_json::Value::from(tags).to_string()
}

fn note(row: &Row<'_>) -> rusqlite::Result<Note> {
    let tags: String = row.get(2)?;
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Note {
        id: row.get(0)?,
        text: row.get(1)?,
        tags: serde_json::from_str(&tags)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into()))?,
        source: row.get(3)?,
        created_at: unsigned(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(unsigned),
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
