//! How much a statement unfolds before its first step.
//!
//! SQLite copies the body of a view or a common table expression to each place that names it, while it
//! prepares: twenty-five lines that each name the line before twice become 2^25 bodies, in gigabytes and
//! with no progress handler asked. So the copies are counted beforehand, from the names in the text; what
//! is counted too much is refused only where there would be hundreds of copies anyway.

use std::collections::HashMap;
use std::ops::Range;

use rusqlite::Connection;

use crate::error::{Error, Result};

/// Bodies that one statement may unfold to, and one view.
const STATEMENT_MOST: u64 = 500;
const VIEW_MOST: u64 = 100;
/// Steps that may stand one upon the other.
const DEPTH_MOST: usize = 200;

/// Refuses `sql` if its common table expressions unfold too far.
///
/// # Errors
/// [`ErrorKind::Limit`](crate::ErrorKind::Limit), with how far.
pub(crate) fn check_statement(sql: &str) -> Result<()> {
    let tokens = tokens(sql);
    if !tokens.iter().any(|token| token.is("with")) {
        return Ok(());
    }
    let bodies = definitions(&tokens);
    let mut known = Known { bodies: &bodies, counted: HashMap::new() };
    known.copies_in(&tokens, 0).map_or_else(|| Err(too_far("this statement's WITH", STATEMENT_MOST)), |_| Ok(()))
}

/// Refuses the schema if one of its views unfolds too far.
///
/// # Errors
/// As [`check_statement`].
pub(super) fn check_views(conn: &Connection) -> Result<()> {
    let mut listed = conn.prepare_cached("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")?;
    let views = listed.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<_> = views.iter().map(|(name, sql)| (name.to_ascii_lowercase(), tokens(sql))).collect();
    let mut bodies = HashMap::new();
    for (name, tokens) in &texts {
        bodies.insert(name.clone(), vec![&tokens[..]]);
        for (inner, more) in definitions(tokens) {
            bodies.entry(inner).or_default().extend(more);
        }
    }
    for (name, _) in &texts {
        let mut known = Known { bodies: &bodies, counted: HashMap::new() };
        if known.copies_of(name, 0).is_none_or(|copies| copies > VIEW_MOST) {
            return Err(too_far("a view", VIEW_MOST));
        }
    }
    Ok(())
}

fn too_far(what: &str, most: u64) -> Error {
    Error::limit(
        "unfolded",
        most,
        format!("{what} would unfold to more than {most} queries: keep a step's result in a table instead"),
    )
}

/// The bodies behind each name. A name that stands for several counts as all of them.
type Bodies<'a> = HashMap<String, Vec<&'a [Token<'a>]>>;

struct Known<'a> {
    bodies: &'a Bodies<'a>,
    counted: HashMap<String, u64>,
}

impl Known<'_> {
    /// How many bodies naming `name` makes; `None` if too many, or if it goes round.
    fn copies_of(&mut self, name: &str, depth: usize) -> Option<u64> {
        if let Some(copies) = self.counted.get(name) {
            return Some(*copies);
        }
        // For a name that comes back to itself: that is one copy, and SQLite sees to the rest.
        self.counted.insert(name.to_owned(), 1);
        let bodies = self.bodies;
        let mut copies = 0;
        for body in bodies.get(name)? {
            copies += self.copies_in(body, depth + 1)?;
        }
        self.counted.insert(name.to_owned(), copies);
        (copies <= STATEMENT_MOST).then_some(copies)
    }

    fn copies_in(&mut self, text: &[Token<'_>], depth: usize) -> Option<u64> {
        if depth > DEPTH_MOST {
            return None;
        }
        let (mut copies, mut at) = (1, 0);
        while at < text.len() {
            // A body counts where its name stands, not where it is written.
            if let Some(body) = definition(text, at) {
                at = body.end;
                continue;
            }
            at += 1;
            if !is_source(text, at - 1) {
                continue;
            }
            let name = text[at - 1].name.to_ascii_lowercase();
            if self.bodies.contains_key(&name) {
                copies += self.copies_of(&name, depth)?;
            }
            if copies > STATEMENT_MOST {
                return None;
            }
        }
        Some(copies)
    }
}

/// Every `name AS (body)` and `name (columns) AS (body)`, wherever it stands.
fn definitions<'a>(tokens: &'a [Token<'a>]) -> Bodies<'a> {
    let mut bodies = Bodies::new();
    for at in 0..tokens.len() {
        if let Some(body) = definition(tokens, at) {
            bodies.entry(tokens[at].name.to_ascii_lowercase()).or_default().push(&tokens[body]);
        }
    }
    bodies
}

/// The body of the common table expression whose name stands at `at`: what is between its brackets.
fn definition(tokens: &[Token<'_>], at: usize) -> Option<Range<usize>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    let mut next = if is(at + 1, "(") { closing(tokens, at + 1) + 1 } else { at + 1 };
    if !is(next, "as") {
        return None;
    }
    next += 1;
    while is(next, "not") || is(next, "materialized") {
        next += 1;
    }
    is(next, "(").then(|| next + 1..closing(tokens, next))
}

/// The place of the `)` to the `(` at `open`, or the end.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    (open + tokens[open].span).min(tokens.len())
}

/// Whether a table can be named here: after FROM, JOIN, IN, a comma, a bracket or a schema's dot, and not
/// as the table of a column.
fn is_source(text: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| text.get(at));
    let qualified = before(1).is_some_and(|dot| dot.is(".")) && before(2).is_some_and(|schema| schema.is("main"));
    let opened = before(1).is_some_and(|word| ["from", "join", "in", ",", "("].iter().any(|place| word.is(place)));
    (qualified || opened) && !text.get(at + 1).is_some_and(|dot| dot.is("."))
}

/// A word, a quoted name, or one other character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) name: &'a str,
    /// The quote that it begins with, or 0.
    pub(super) open: u8,
    /// Of a `(`: how many tokens on its `)` stands. Found once, for a search from each would be quadratic.
    span: usize,
}

impl<'a> Token<'a> {
    fn new(name: &'a str, open: u8) -> Self {
        Self { name, open, span: 0 }
    }
}

impl Token<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.open == 0 && self.name.eq_ignore_ascii_case(word)
    }
}

/// The words of `sql` without blanks and comments; those in quotes, of whatever kind, begin with one.
pub(super) fn words(sql: &str) -> impl Iterator<Item = String> {
    tokens(sql).into_iter().map(|Token { name, open, .. }| if open == 0 { name.to_owned() } else { format!("'{name}") })
}

/// The text without blanks and comments (sqlite.org/lang_comment.html).
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &sql[at..];
        let (skip, token) = match bytes[at] {
            byte if byte.is_ascii_whitespace() => (1, None),
            b'-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), None),
            b'/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), None),
            open @ (b'\'' | b'"' | b'`' | b'[') => {
                let close = if open == b'[' { ']' } else { char::from(open) };
                let end = rest[1..].find(close).map_or(rest.len(), |end| end + 2);
                (end, Some(Token::new(rest[1..].get(..end.saturating_sub(2)).unwrap_or(""), open)))
            }
            byte if is_word(byte) => {
                let end = rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len());
                (end, Some(Token::new(&rest[..end], 0)))
            }
            _ => (1, Some(Token::new(&rest[..1], 0))),
        };
        found.extend(token);
        at += skip;
    }
    let mut open = Vec::new();
    for at in 0..found.len() {
        if found[at].is("(") {
            open.push(at);
            found[at].span = usize::MAX / 2;
        } else if found[at].is(")")
            && let Some(from) = open.pop()
        {
            found[from].span = at - from;
        }
    }
    found
}

/// Every byte of a character beyond ASCII is part of a word, as in SQLite's own tokenizer.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::check_statement;

    fn chain(levels: usize, body: &str) -> String {
        let steps: Vec<_> = (1..=levels)
            .map(|level| format!("v{level} AS ({})", body.replace("prev", &format!("v{}", level - 1))))
            .collect();
        format!("WITH v0 AS (SELECT 1 AS n), {} SELECT count(*) FROM v{levels}", steps.join(", "))
    }

    #[test]
    fn doubling_is_refused_in_every_spelling() {
        for body in [
            "SELECT a.n FROM prev a, prev b",
            "SELECT a.n FROM prev a JOIN \"prev\" b",
            "SELECT a.n FROM [prev] a, /* , */ `prev` b",
            "SELECT n FROM prev WHERE n IN prev AND n IN (SELECT n FROM PREV)",
            "SELECT n FROM (SELECT n FROM prev) UNION ALL SELECT n FROM (prev)",
            "SELECT n FROM prev -- from\n, prev b",
        ] {
            assert!(check_statement(&chain(5, body)).is_ok(), "{body}");
            let spelled = chain(25, body);
            assert!(check_statement(&spelled).is_err(), "{body}");
            assert!(check_statement(&spelled.replace(" AS (", " as materialized(")).is_err(), "{body}");
            assert!(check_statement(&spelled.replace("v0 AS (", "v0 (n) AS NOT MATERIALIZED (")).is_err(), "{body}");
        }
    }

    #[test]
    fn what_people_write_is_let_through() {
        let plain = chain(60, "SELECT prev.n, prev.n + 1 AS m FROM prev WHERE prev.n > 0 AND prev.n < 9");
        assert!(check_statement(&plain).is_ok());
        let recursive = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9) SELECT n FROM c";
        assert!(check_statement(recursive).is_ok());
        assert!(check_statement("SELECT 'with' || \"é\" || '((' FROM t").is_ok());
        assert!(check_statement("WITH a AS (").is_ok());
        assert!(check_statement("WITH ) as ) ( '").is_ok());
    }
}
