//! Values for a statement's parameters: in order, or by name.

use std::borrow::Cow;
use std::fmt::Display;

use rmcp::schemars::{self, JsonSchema};
use rusqlite::Statement;
use rusqlite::types::Value as SqlValue;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::value::to_sql;
use crate::error::{Error, Result};

/// Values: an array for ?, an object for :name. Each null, boolean, number, string, or {"base64": "…"} for a blob.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "params is an array, for ? in order, or an object, for :name")]
#[schemars(inline)]
pub(super) enum Params {
    Ordered(Vec<Value>),
    Named(Map<String, Value>),
}

impl Default for Params {
    fn default() -> Self {
        Self::Ordered(Vec::new())
    }
}

impl Params {
    /// Binds them to `statement`, all of whose parameters they have to fit.
    pub(super) fn bind(&self, statement: &mut Statement<'_>) -> Result<()> {
        match self {
            Self::Ordered(values) => in_order(statement, values),
            Self::Named(values) => by_name(statement, values),
        }
    }

    /// What each would be if it were searched for.
    pub(super) fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (ordered, named) = match self {
            Self::Ordered(values) => (Some(values), None),
            Self::Named(values) => (None, Some(values)),
        };
        let all = ordered.into_iter().flatten().chain(named.into_iter().flat_map(Map::values));
        all.filter_map(|value| match value {
            Value::String(text) => Some(Cow::from(text)),
            // A blob is searched for as the text that its bytes are.
            Value::Object(_) => match to_sql(value, &"params") {
                Ok(SqlValue::Blob(bytes)) => Some(Cow::from(String::from_utf8_lossy(&bytes).into_owned())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Them as text, which differs where they do.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Ordered(values) => Value::from(values.clone()).to_string(),
            Self::Named(values) => Value::from(values.clone()).to_string(),
        }
    }
}

fn in_order(statement: &mut Statement<'_>, values: &[Value]) -> Result<()> {
    let (wants, has) = (statement.parameter_count(), values.len());
    if wants != has {
        return Err(Error::invalid(format!("the statement has {wants} parameters and params has {has} values")));
    }
    for (at, value) in values.iter().enumerate() {
        set(statement, at + 1, value, &format_args!("params[{at}]"))?;
    }
    Ok(())
}

fn by_name(statement: &mut Statement<'_>, values: &Map<String, Value>) -> Result<()> {
    let mut used = Vec::with_capacity(values.len());
    for at in 1..=statement.parameter_count() {
        let named = statement.parameter_name(at).filter(|name| !name.starts_with('?'));
        let Some(name) = named.and_then(|name| name.get(1..)).map(str::to_owned) else {
            return Err(Error::invalid("params is an object and the statement has a ?: name it, as in :name"));
        };
        let value = values.get(&name).ok_or_else(|| Error::invalid(format!("params has no value for :{name}")))?;
        set(statement, at, value, &format_args!("params.{name}"))?;
        used.push(name);
    }
    match values.keys().find(|name| !used.contains(name)) {
        Some(name) => Err(Error::invalid(format!("the statement has no parameter :{name}"))),
        None => Ok(()),
    }
}

fn set(statement: &mut Statement<'_>, at: usize, value: &Value, place: &dyn Display) -> Result<()> {
    Ok(statement.raw_bind_parameter(at, to_sql(value, place)?)?)
}
