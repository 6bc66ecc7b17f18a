//! What a forgotten word leaves in its index: FTS5 tells the pages of a segment apart by the beginnings of words, and
//! keeps such a beginning when its word is gone, until the segment is merged with others.
//! (sqlite.org/fts5.html, "The merge command"; the layout of `%_idx` is fts5_index.c's.)

use rusqlite::Connection;

use crate::error::Result;

/// A beginning of so many bytes tells nothing of a word.
const TOLD_BY: usize = 3;
/// Pages that one step of a merge writes, and steps in one transaction: 16 MB of index at most. What is left then is
/// merged as further notes are saved and forgotten.
const STEP_PAGES: i64 = 128;
const STEPS: usize = 32;
/// Where it stands that a merge is under way.
const MERGING: &str = "memory_merging";

/// The words of a note as FTS5 has them, for [`Words::pull_out`] after it is gone.
pub(super) struct Words(Vec<Vec<u8>>);

impl Words {
    /// Those of `texts`, which FTS5 takes apart: no other program does it quite the same way.
    pub(super) fn of(conn: &Connection, texts: [&str; 2]) -> Result<Self> {
        conn.execute_batch(
            "CREATE VIRTUAL TABLE temp._fh_word USING fts5 (text, tags, tokenize = 'unicode61 remove_diacritics 2');
             CREATE VIRTUAL TABLE temp._fh_word_list USING fts5vocab ('temp', '_fh_word', 'row');",
        )?;
        let words = || -> Result<Vec<Vec<u8>>> {
            conn.execute("INSERT INTO temp._fh_word (text, tags) VALUES (?1, ?2)", texts)?;
            let mut listed = conn.prepare("SELECT CAST(term AS BLOB) FROM temp._fh_word_list ORDER BY term")?;
            let mut words = listed.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
            words.sort_unstable();
            Ok(words)
        };
        let words = words();
        conn.execute_batch("DROP TABLE temp._fh_word_list; DROP TABLE temp._fh_word;")?;
        Ok(Self(words?))
    }

    /// Has the index merged if it keeps the beginning of one of these words that no note has any more.
    pub(super) fn pull_out(&self, conn: &Connection) -> Result<()> {
        if self.is_left(conn)? {
            conn.prepare_cached("INSERT OR REPLACE INTO _fh_meta (key, value) VALUES (?1, '')")?.execute([MERGING])?;
            begin_merge(conn)?;
        }
        go_on(conn)
    }

    fn is_left(&self, conn: &Connection) -> Result<bool> {
        if self.0.is_empty() {
            return Ok(false);
        }
        // The first byte says of which index it is: '0' is the one of whole words.
        let mut signposts =
            conn.prepare_cached("SELECT substr(term, 2) FROM _fh_memory_word_idx WHERE length(term) > ?1")?;
        let mut rows = signposts.query([i64::try_from(TOLD_BY).unwrap_or(i64::MAX)])?;
        let mut doubtful = Vec::new();
        while let Some(row) = rows.next()? {
            let beginning = row.get_ref(0)?.as_bytes().unwrap_or_default();
            let at = self.0.partition_point(|word| word.as_slice() < beginning);
            if self.0.get(at).is_some_and(|word| word.starts_with(beginning)) {
                doubtful.push(beginning.to_vec());
            }
        }
        if doubtful.is_empty() {
            return Ok(false);
        }
        conn.execute_batch(
            "CREATE VIRTUAL TABLE temp._fh_word_list USING fts5vocab ('main', '_fh_memory_word', 'row')",
        )?;
        let left = || -> Result<bool> {
            let mut next = conn.prepare(
                "SELECT CAST(term AS BLOB) FROM temp._fh_word_list WHERE term >= CAST(?1 AS TEXT) ORDER BY term LIMIT 1",
            )?;
            for beginning in doubtful {
                let mut found = next.query([&beginning])?;
                let lives = match found.next()? {
                    Some(row) => row.get_ref(0)?.as_bytes().unwrap_or_default().starts_with(&beginning),
                    None => false,
                };
                if !lives {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let left = left();
        conn.execute_batch("DROP TABLE temp._fh_word_list")?;
        left
    }
}

/// Begins to merge all segments into one; a further merge goes on with it. Where there is but one, FTS5 takes it for
/// merged already: so it gets a second, of a word that goes at once.
fn begin_merge(conn: &Connection) -> Result<()> {
    let row = "(_fh_memory_word, rowid, text, tags) VALUES ('delete', -1, 'a', '')";
    conn.execute("INSERT INTO _fh_memory_word (rowid, text, tags) VALUES (-1, 'a', '')", [])?;
    super::flush(conn)?;
    merge(conn, -STEP_PAGES)?;
    conn.execute(&format!("INSERT INTO _fh_memory_word {row}"), [])?;
    super::flush(conn)
}

/// Goes on with a merge that is under way, for some megabytes.
pub(super) fn go_on(conn: &Connection) -> Result<()> {
    let under_way = "SELECT 1 FROM _fh_meta WHERE key = ?1";
    if !conn.prepare_cached(under_way)?.exists([MERGING])? {
        return Ok(());
    }
    for _ in 0..STEPS {
        if !merge(conn, STEP_PAGES)? {
            conn.prepare_cached("DELETE FROM _fh_meta WHERE key = ?1")?.execute([MERGING])?;
            break;
        }
    }
    Ok(())
}

/// One step of a merge; whether there was something to do.
fn merge(conn: &Connection, pages: i64) -> Result<bool> {
    let before = conn.total_changes();
    conn.prepare_cached("INSERT INTO _fh_memory_word (_fh_memory_word, rank) VALUES ('merge', ?1)")?
        .execute([pages])?;
    // One row is the command's own (sqlite.org/fts5.html, 6.8).
    Ok(conn.total_changes() - before >= 2)
}
