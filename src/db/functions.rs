//! SQL functions whose own versions one call can keep busy far past any deadline: SQLite asks nobody between
//! two steps, and `instr` of two megabytes, or `trim` of many characters, is one step.
//!
//! The same results as sqlite.org/lang_corefunc.html, in time linear in the arguments. Not the same: bytes
//! that are no UTF-8 come back with U+FFFD in their place.

use std::collections::HashSet;

use memchr::memmem;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result, ffi};

/// Puts them in the place of SQLite's own on `conn`, whose values are at most `value_bytes` long.
pub(super) fn install(conn: &Connection, value_bytes: usize) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("instr", 2, flags, instr)?;
    conn.create_scalar_function("replace", 3, flags, move |call| replace(call, value_bytes))?;
    for (name, left, right) in [("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)] {
        for arguments in [1, 2] {
            conn.create_scalar_function(name, arguments, flags, move |call| trim(call, left, right))?;
        }
    }
    Ok(())
}

/// An argument's bytes as text; `None` for NULL.
fn text(value: ValueRef<'_>) -> Result<Option<Vec<u8>>> {
    Ok(match value {
        ValueRef::Null => None,
        ValueRef::Integer(whole) => Some(whole.to_string().into_bytes()),
        ValueRef::Real(real) => Some(real_text(real)?.into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
    })
}

/// Only SQLite writes a real as SQLite does, so it is asked, on a database that nothing is in.
fn real_text(real: f64) -> Result<String> {
    thread_local! {
        static NOTHING: Result<Connection> = Connection::open_in_memory();
    }
    NOTHING.with(|nothing| match nothing {
        Ok(conn) => conn.prepare_cached("SELECT CAST(?1 AS TEXT)")?.query_row([real], |row| row.get(0)),
        Err(_) => Err(code(ffi::SQLITE_NOMEM)),
    })
}

/// Counts characters from 1 on, or bytes where both are blobs.
fn instr(call: &Context<'_>) -> Result<Option<i64>> {
    let (within, sought) = (call.get_raw(0), call.get_raw(1));
    let in_bytes = matches!((within, sought), (ValueRef::Blob(_), ValueRef::Blob(_)));
    let (Some(within), Some(sought)) = (text(within)?, text(sought)?) else { return Ok(None) };
    // SQLite looks only where a character begins: a piece of one is found at the very start or nowhere.
    let piece = !in_bytes && sought.first().is_some_and(|byte| is_continued(*byte));
    let found = if piece { within.starts_with(&sought).then_some(0) } else { memmem::find(&within, &sought) };
    let place = found.map_or(0, |at| {
        if in_bytes { at + 1 } else { within[..at].iter().filter(|byte| !is_continued(**byte)).count() + 1 }
    });
    Ok(Some(i64::try_from(place).unwrap_or(i64::MAX)))
}

fn replace(call: &Context<'_>, most: usize) -> Result<Value> {
    let (Some(within), Some(sought)) = (text(call.get_raw(0))?, text(call.get_raw(1))?) else {
        return Ok(Value::Null);
    };
    if matches!(sought.first(), None | Some(0)) {
        return Ok(as_text(&within));
    }
    let Some(put) = text(call.get_raw(2))? else { return Ok(Value::Null) };
    let (mut made, mut from) = (Vec::with_capacity(within.len()), 0);
    for at in memmem::find_iter(&within, &sought) {
        made.extend_from_slice(&within[from..at]);
        made.extend_from_slice(&put);
        from = at + sought.len();
        // A megabyte of one letter and a megabyte to put in its place make a terabyte.
        if made.len() > most {
            return Err(code(ffi::SQLITE_TOOBIG));
        }
    }
    made.extend_from_slice(&within[from..]);
    Ok(as_text(&made))
}

fn trim(call: &Context<'_>, left: bool, right: bool) -> Result<Value> {
    let set = if call.len() > 1 { text(call.get_raw(1))? } else { Some(b" ".to_vec()) };
    let (Some(within), Some(set)) = (text(call.get_raw(0))?, set) else { return Ok(Value::Null) };
    let set: HashSet<&[u8]> = characters(set.split(|byte| *byte == 0).next().unwrap_or_default()).collect();
    let (mut from, mut to) = (0, within.len());
    if left {
        from = characters(&within).take_while(|one| set.contains(one)).map(<[u8]>::len).sum();
    }
    while right && to > from {
        let start = (from..to).rev().find(|at| !is_continued(within[*at])).unwrap_or(from);
        if !set.contains(&within[start..to]) {
            break;
        }
        to = start;
    }
    Ok(as_text(&within[from..to]))
}

fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.chunk_by(|_, next| is_continued(*next))
}

/// Whether a byte goes on with a UTF-8 character that has begun.
fn is_continued(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

fn as_text(bytes: &[u8]) -> Value {
    Value::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn code(code: i32) -> Error {
    Error::SqliteFailure(ffi::Error::new(code), None)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::types::Value;

    /// Some thousands of calls, all combinations of these, against SQLite's own.
    #[test]
    fn results_are_those_of_sqlite() {
        let theirs = Connection::open_in_memory().expect("a database");
        let ours = Connection::open_in_memory().expect("a database");
        super::install(&ours, 1_000_000).expect("functions");
        let texts = ["", " ", "a", "aa", "abab", "  a b  ", "é", "aé", "éa", "日本語", "a\0b", "\0", "12.5", "-7"];
        let mut values: Vec<Value> = texts.iter().map(|text| Value::Text((*text).to_owned())).collect();
        values.extend([Value::Null, Value::Integer(-7), Value::Integer(i64::MIN), Value::Integer(12)]);
        values.extend([0.1, 1.0 / 3.0, 1e22, 5e-324, -0.0, 100.0, f64::INFINITY].map(Value::Real));
        values.extend([&b""[..], b"a", b"ab", "é".as_bytes(), b"\0a"].map(|blob| Value::Blob(blob.to_vec())));
        let same = |sql: &str, arguments: &[&Value]| {
            let ask = |conn: &Connection| {
                let mut asked = conn.prepare_cached(sql).expect(sql);
                asked
                    .query_row(rusqlite::params_from_iter(arguments), |row| {
                        Ok((row.get::<_, Value>(0)?, row.get::<_, String>(1)?))
                    })
                    .expect(sql)
            };
            assert_eq!(ask(&ours), ask(&theirs), "{sql} of {arguments:?}");
        };
        for one in &values {
            for name in ["trim", "ltrim", "rtrim"] {
                same(&format!("SELECT {name}(?1), typeof({name}(?1))"), &[one]);
            }
            for two in &values {
                for name in ["instr", "trim", "ltrim", "rtrim"] {
                    same(&format!("SELECT {name}(?1, ?2), typeof({name}(?1, ?2))"), &[one, two]);
                }
                for three in &values {
                    same("SELECT replace(?1, ?2, ?3), typeof(replace(?1, ?2, ?3))", &[one, two, three]);
                }
            }
        }
    }
}
