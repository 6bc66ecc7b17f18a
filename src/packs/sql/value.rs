//! Values between JSON and SQLite, with nothing lost on the way that JSON can carry.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{Value as Sql, ValueRef};
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};

/// A parameter: null, a boolean (as 0 or 1), a number, a string, or `{"base64": "…"}` for a blob.
pub(super) fn to_sql(value: &Json, place: &dyn Display) -> Result<Sql> {
    let wrong = || {
        Error::invalid(format!(
            "{place} is not null, a boolean, a number, a string or {{\"base64\": \"…\"}}; \
             to store an object or array, pass it as a JSON string"
        ))
    };
    Ok(match value {
        Json::Null => Sql::Null,
        Json::Bool(yes) => Sql::Integer((*yes).into()),
        Json::String(text) => Sql::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Sql::Integer(whole),
            None if number.is_f64() => Sql::Real(number.as_f64().ok_or_else(wrong)?),
            None => {
                return Err(Error::invalid(format!("{place} is beyond a 64-bit integer: pass it as a string")));
            }
        },
        Json::Object(object) => match (object.get("base64"), object.len()) {
            (Some(Json::String(text)), 1) => Sql::Blob(STANDARD.decode(text).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        },
        Json::Array(_) => return Err(wrong()),
    })
}

/// A result. A blob becomes `{"base64": "…"}`; an infinity, which JSON has not, the string `Infinity`.
pub(super) fn to_json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(whole) => whole.into(),
        ValueRef::Real(real) if real.is_finite() => real.into(),
        ValueRef::Real(real) => (if real > 0.0 { "Infinity" } else { "-Infinity" }).into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(blob) => json!({ "base64": STANDARD.encode(blob) }),
    }
}

/// About how many bytes `value` takes in a result, found without writing it.
pub(super) fn json_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null => 5,
        ValueRef::Integer(_) | ValueRef::Real(_) => 12,
        ValueRef::Text(text) => text.len() + 3,
        ValueRef::Blob(blob) => blob.len() / 3 * 4 + 16,
    }
}
