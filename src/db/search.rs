//! What FTS5 may be asked. Matching one row of a full-text table is one step to SQLite, and its cost grows with the
//! terms that are sought, or with their square: some thousands keep a thread for a minute. So what an agent seeks is
//! bounded, and has to stand where it can be seen: in the statement's text, or in a parameter.
//!
//! There are other ways to the same search (a table as a function, its hidden column in a comparison), and each of
//! them says the table's name. So that name may stand where a table stands, before MATCH, and nowhere else.

use rusqlite::Connection;

use super::unfold::{Token, tokens};
use crate::error::{Error, ErrorKind, Result};

/// Terms that one MATCH may seek: ten times what people type. 0.7 s for a row of a million bytes, at worst.
const TERMS_MOST: usize = 64;
/// Those of one with NEAR, whose cost grows with their square.
const NEAR_MOST: usize = 10;
/// Options of a table that make more terms of a text than it has words.
const OPTIONS: [&str; 3] = ["trigram", "separators", "categories"];
/// What an expression can't go on with.
const ENDS: &[&str] = &[
    ")",
    ",",
    ";",
    "and",
    "or",
    "order",
    "limit",
    "group",
    "having",
    "union",
    "except",
    "intersect",
    "returning",
    "window",
    "then",
    "else",
    "end",
    "when",
    "from",
    "where",
    "join",
    "left",
    "inner",
    "cross",
];
/// What compares or computes.
const OPERATORS: &[&str] =
    &["(", "=", "<", ">", "!", "|", "-", "is", "in", "like", "glob", "regexp", "between", "collate", "not"];

/// The full-text tables of a file, those of the host left out.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    names: Vec<String>,
    /// Those with one of `OPTIONS`: made by the program that embeds the host, and searched by it alone.
    closed: Vec<String>,
}

impl Searched {
    pub(super) const LISTED: &str = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 \
         AND sql LIKE '%fts%' AND name NOT LIKE '\\_fh\\_%' ESCAPE '\\'";

    /// Those that `conn` sees, read anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        let mut listed = conn.prepare_cached(Self::LISTED)?;
        let mut rows = listed.query([])?;
        let mut searched = Self::default();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if has_options(row.get_ref(1)?.as_str().unwrap_or_default()) {
                searched.closed.push(name.clone());
            }
            searched.names.push(name);
        }
        Ok(searched)
    }

    /// Refuses `sql` if it searches where nobody sees for what; returns whether it searches for a parameter.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`], with the form that is let through; [`ErrorKind::Limit`]: it seeks too much.
    pub(crate) fn check(&self, sql: &str) -> Result<bool> {
        let text = tokens(sql);
        let is = |at: usize, word: &str| text.get(at).is_some_and(|token| token.is(word));
        if is(0, "create") && is(1, "virtual") && has_options(sql) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "trigram, separators and categories are not available for fts5: their searches can't be stopped; \
                 use unicode61, ascii or porter",
            ));
        }
        if self.names.is_empty() {
            return Ok(false);
        }
        let mut asks = false;
        for (at, token) in text.iter().enumerate() {
            // In quotes too, as a function's name.
            if token.open != b'\'' && token.name.eq_ignore_ascii_case("match") {
                asks |= sought(&text, at + 1, ENDS)?;
            }
            let Some(table) = named(&self.names, &text, at) else { continue };
            if named(&self.closed, &text, at).is_some() && !is(0, "drop") {
                let said = format!("{table} is searched by the server's own tools only");
                return Err(Error::new(ErrorKind::Forbidden, said));
            }
            // As a function, whose argument is what is sought.
            let back = if at > 1 && is(at - 1, ".") { 3 } else { 1 };
            let source = at.checked_sub(back).is_some_and(|at| ["from", "join", ","].iter().any(|word| is(at, word)));
            if source && is(at + 1, "(") {
                asks |= sought(&text, at + 2, &[")"])?;
                continue;
            }
            if !self.is_in_place(&text, at) {
                return Err(misplaced(table));
            }
        }
        Ok(asks)
    }

    /// Whether the table's name at `at` means the table, or seeks what `sought` has seen.
    fn is_in_place(&self, text: &[Token<'_>], at: usize) -> bool {
        let before = |back: usize| at.checked_sub(back).and_then(|at| text.get(at));
        let is = |token: Option<&Token<'_>>, words: &[&str]| {
            token.is_some_and(|token| words.iter().any(|word| token.is(word)))
        };
        let next = text.get(at + 1);
        if is(next, &["match", "."]) {
            return true;
        }
        // With its schema's name, or a table's before a column's.
        let back = if is(before(1), &["."]) { 3 } else { 1 };
        if is(before(back), &["into"]) {
            return true;
        }
        // `INSERT INTO docs (docs, rank) VALUES ('merge', 8)`, and its like in triggers.
        if is(before(1), &["("]) && is(before(3), &["into"]) && before(2).is_some_and(|token| self.has(token.name)) {
            return is(next, &[",", ")"]);
        }
        // Of rows that were found: its rank, and what the authorizer refuses in words of its own.
        if is(before(1), &["("]) && is(before(2), &["bm25", "snippet", "highlight"]) {
            return is(next, &[",", ")"]);
        }
        is(before(back), &["from", "join", "update", "on", "table", "exists", "to", "as"])
            && !is(before(back + 1), &["distinct"])
            && !is(next, OPERATORS)
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|table| table.eq_ignore_ascii_case(name))
    }

    /// How many views and triggers search where nobody sees for what.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn unseen(conn: &Connection) -> Result<usize> {
        let searched = Self::of(conn)?;
        if searched.names.is_empty() {
            return Ok(0);
        }
        let mut listed = conn.prepare_cached("SELECT sql FROM sqlite_schema WHERE type IN ('view', 'trigger')")?;
        let mut rows = listed.query([])?;
        let mut unseen = 0;
        while let Some(row) = rows.next()? {
            let sql = row.get_ref(0)?.as_str().unwrap_or_default();
            // A parameter can't stand there.
            unseen += usize::from(searched.check(sql).is_err());
        }
        Ok(unseen)
    }
}

/// The table of `tables` that the token at `at` names. What stands in single quotes is a text, but before and after
/// a dot, and as the name of a function.
fn named<'a>(tables: &'a [String], text: &[Token<'_>], at: usize) -> Option<&'a String> {
    let token = &text[at];
    let is = |at: Option<usize>, words: &[&str]| {
        at.and_then(|at| text.get(at)).is_some_and(|token| words.iter().any(|word| token.is(word)))
    };
    let is_text = token.open == b'\'' && !is(at.checked_sub(1), &["."]) && !is(Some(at + 1), &[".", "("]);
    let is_source = is(at.checked_sub(1), &["from", "join", "into", "update"]);
    tables.iter().find(|table| table.eq_ignore_ascii_case(token.name)).filter(|_| !is_text || is_source)
}

/// Refuses what stands after MATCH if it is not one text of so many terms, or a parameter; tells whether it is one.
fn sought(text: &[Token<'_>], from: usize, ends: &[&str]) -> Result<bool> {
    let at = |at: usize| text.get(at);
    let mut next = from;
    let mut asks = true;
    match at(from) {
        Some(token) if token.open == b'\'' => {
            // Two quotes inside one text part it here.
            let mut whole = String::new();
            while let Some(piece) = at(next).filter(|token| token.open == b'\'') {
                whole = whole + piece.name + " ";
                next += 1;
            }
            check_terms(&whole)?;
            asks = false;
        }
        Some(token) if token.is("?") => {
            let numbered = at(from + 1).is_some_and(|number| number.name.bytes().all(|byte| byte.is_ascii_digit()));
            next += 1 + usize::from(numbered);
        }
        Some(token) if token.is(":") || token.is("@") => next += 2,
        Some(token) if token.open == 0 && token.name.starts_with('$') => next += 1,
        _ => return Err(computed()),
    }
    let ended = at(next).is_none_or(|token| ends.iter().any(|end| token.is(end)));
    if ended { Ok(asks) } else { Err(computed()) }
}

/// Refuses to seek `text` if that are more terms than may be.
///
/// # Errors
/// [`ErrorKind::Limit`].
pub(crate) fn check_terms(text: &str) -> Result<()> {
    let most = if text.contains("NEAR") { NEAR_MOST } else { TERMS_MOST };
    if terms(text) <= most {
        return Ok(());
    }
    let said = format!(
        "MATCH seeks at most {TERMS_MOST} terms, and {NEAR_MOST} with NEAR; of scripts other than Latin, Greek and \
         Cyrillic each character counts: search for fewer"
    );
    Err(Error::limit("match_terms", most as u64, said))
}

/// As many as any of the tokenizers that are left makes of it, or more.
fn terms(text: &str) -> usize {
    let is_letter = |one: char| {
        let alphabet =
            matches!(one, '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}');
        one.is_ascii_alphanumeric() || (alphabet && one.is_alphabetic())
    };
    let (mut count, mut inside) = (0, false);
    for one in text.chars() {
        let letter = is_letter(one);
        count += usize::from((letter && !inside) || (!letter && !one.is_ascii()));
        inside = letter;
    }
    count
}

fn has_options(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    OPTIONS.iter().any(|option| sql.contains(option))
}

fn computed() -> Error {
    Error::new(
        ErrorKind::Forbidden,
        "MATCH takes one text or one parameter and nothing computed: write ... MATCH ? and put the whole query in params",
    )
}

fn misplaced(table: &str) -> Error {
    let said = format!(
        "the full-text table {table} is named after FROM or JOIN and before MATCH, and nowhere else: \
         SELECT ... FROM {table} WHERE {table} MATCH ?"
    );
    Error::new(ErrorKind::Forbidden, said)
}

#[cfg(test)]
mod tests {
    use super::{Searched, terms};

    fn docs() -> Searched {
        Searched { names: vec!["docs".to_owned()], closed: Vec::new() }
    }

    #[test]
    fn a_search_that_can_be_seen_is_let_through() {
        for (sql, asks) in [
            ("SELECT body FROM docs WHERE docs MATCH ?", true),
            ("SELECT body FROM docs WHERE docs MATCH ?1 AND rowid > 7 ORDER BY rank LIMIT 5", true),
            ("SELECT d.body FROM \"docs\" d JOIN note n ON n.id = d.rowid WHERE d.docs MATCH :q", true),
            ("SELECT bm25(docs, 2), docs.body FROM docs WHERE docs MATCH 'x' ORDER BY bm25(docs)", false),
            ("SELECT count(*) FROM main.docs WHERE title MATCH 'it''s \"a phrase\" OR b*' GROUP BY 1", false),
            ("SELECT * FROM t WHERE (SELECT 1 FROM docs WHERE docs MATCH $q)", true),
            ("SELECT * FROM docs ('x y')", false),
            ("SELECT * FROM t JOIN main.docs(?) ON t.id = docs.rowid, docs(:q)", true),
            ("INSERT INTO docs (docs, rank) VALUES ('merge', 8)", false),
            ("INSERT INTO docs(docs) VALUES ('rebuild')", false),
            ("INSERT INTO docs (title, body) VALUES ('docs', ?)", false),
            ("UPDATE docs SET body = 'docs' WHERE rowid = 1", false),
            ("DELETE FROM docs WHERE docs MATCH @q", true),
            ("DROP TABLE IF EXISTS docs", false),
            ("ALTER TABLE docs RENAME TO papers", false),
            (
                "CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO docs (docs, rowid) VALUES ('delete', old.id); END",
                false,
            ),
            ("SELECT x -- docs = y\n FROM t WHERE kind = 'docs' AND x = 'match'", false),
        ] {
            assert!(docs().check(sql).is_ok_and(|it| it == asks), "{sql}");
        }
        assert!(Searched::default().check("SELECT match(a, b), docs = c FROM docs").is_ok_and(|asks| !asks));
    }

    #[test]
    fn every_other_way_is_closed() {
        for sql in [
            "SELECT 1 FROM docs WHERE docs MATCH ? || x",
            "SELECT 1 FROM docs WHERE docs MATCH 'a' || x",
            "SELECT 1 FROM docs WHERE docs MATCH (?)",
            "SELECT 1 FROM docs WHERE docs MATCH \"body\"",
            "SELECT 1 FROM docs WHERE docs MATCH [body]",
            "SELECT 1 FROM docs WHERE docs MATCH body",
            "SELECT 1 FROM docs WHERE title MATCH printf('%.*c', 9, 'x ')",
            "SELECT 1 FROM docs WHERE docs MATCH /* ? */ replace(?, 'x', 'x ')",
            "SELECT 1 FROM docs WHERE match(x, docs)",
            "SELECT 1 FROM docs WHERE \"match\"(x, title)",
            "SELECT 1 FROM docs WHERE [MATCH] (x, title)",
            "SELECT 1 FROM docs WHERE docs = x",
            "SELECT 1 FROM docs WHERE x = docs",
            "SELECT 1 FROM docs WHERE docs.docs = x",
            "SELECT 1 FROM docs WHERE 'docs'.'docs' = x",
            "SELECT 1 FROM docs AS d WHERE d.docs = x",
            "SELECT 1 FROM docs AS d WHERE d.\"docs\" IN (x)",
            "SELECT 1 FROM docs WHERE (docs) = x",
            "SELECT 1 FROM docs WHERE (docs, 1) = (x, 1)",
            "SELECT 1 FROM docs WHERE (1, docs) = (1, x)",
            "SELECT 1 FROM docs WHERE x IS NOT DISTINCT FROM docs",
            "SELECT 1 FROM t JOIN docs ON docs = x",
            "SELECT 1 FROM t JOIN docs ON docs.docs IS x",
            "SELECT 1 FROM t JOIN docs USING (docs)",
            "SELECT 1 FROM docs(x)",
            "SELECT 1 FROM 'docs'(x)",
            "SELECT 1 FROM main.docs (x)",
            "SELECT 1 FROM docs ('x' || x)",
            "SELECT 1 FROM docs ('x', x)",
            "SELECT 1 FROM docs ()",
            "SELECT 1 FROM t, docs(x)",
            "WITH c (q) AS (SELECT docs FROM docs) SELECT 1 FROM c WHERE q = x",
            "CREATE VIEW v AS SELECT * FROM docs WHERE docs = x",
            "CREATE VIRTUAL TABLE t USING fts5 (b, tokenize = 'Trigram')",
            "create /* */ virtual table t using fts5 (b, t = \"unicode61 separators 'x'\")",
        ] {
            assert!(docs().check(sql).is_err(), "{sql}");
        }
        let closed = Searched { names: vec!["docs".to_owned()], closed: vec!["docs".to_owned()] };
        assert!(closed.check("SELECT * FROM docs WHERE body LIKE '%x%'").is_err());
        assert!(closed.check("DROP TABLE docs").is_ok());
    }

    #[test]
    fn terms_are_counted() {
        let seek = |text: &str| docs().check(&format!("SELECT 1 FROM docs WHERE docs MATCH '{text}'"));
        assert!(seek(&"x ".repeat(64)).is_ok() && seek(&"x ".repeat(65)).is_err());
        assert!(seek(&"x''".repeat(65)).is_err());
        assert!(
            seek(&format!("NEAR({})", "x ".repeat(9))).is_ok() && seek(&format!("NEAR({})", "x ".repeat(10))).is_err()
        );
        assert_eq!(
            (terms("a-b c2d \u{e9}t\u{e9}"), terms("привет мир"), terms("東京"), terms("a\u{93e}a\u{93e}")),
            (4, 2, 2, 4)
        );
    }
}
