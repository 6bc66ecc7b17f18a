//! One tenant: shown, asked, deleted.

use std::io::{self, IsTerminal, Read};

use http::Method;
use serde_json::{Value, json};

use super::One;
use crate::cli::{Place, operate, remark, say};
use crate::clock::rfc3339;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::TenantId;

/// SQL that is read from standard input at most, in bytes.
const SQL_BYTES_MAX: u64 = 1024 * 1024;

pub(super) fn show(host: Host, one: &One) -> Result<()> {
    let path = format!("/v1/tenants/{}", one.id);
    let settings = one.place.settings()?;
    let told = operate(host, &settings, async |operator| operator.ask(Method::GET, &path, None).await)?;
    if one.json {
        return say(&told);
    }
    let mut told = told;
    if let Some(at) = told["created_at"].as_u64() {
        told["created_at"] = json!(rfc3339(at));
    }
    for (key, value) in told.as_object().into_iter().flatten() {
        say(format_args!("{key:<20} {}", plain(value)))?;
    }
    Ok(())
}

pub(super) fn delete(host: Host, place: &Place, id: &TenantId, yes: bool) -> Result<()> {
    if !yes && !confirmed(id)? {
        return Err(Error::invalid("nothing was deleted: give --yes, or type the tenant's name when asked"));
    }
    let path = format!("/v1/tenants/{id}");
    let settings = place.settings()?;
    let receipt = operate(host, &settings, async |operator| operator.ask(Method::DELETE, &path, None).await)?;
    say(&receipt)?;
    if receipt["remote"]["erased"] == false {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "what is in history.remote can't be erased at present: a host that runs tries again until it is, and so does \
             this command; until then the tenant is listed as `deleting`",
        ));
    }
    Ok(())
}

fn confirmed(id: &TenantId) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    remark(format_args!("All of tenant {id} goes, its restore points too. Type its name to delete it:"));
    let mut typed = String::new();
    let read = io::stdin().read_line(&mut typed);
    read.map_err(|error| Error::internal("standard input can't be read").with_source(error))?;
    Ok(typed.trim() == id.as_str())
}

pub(super) fn sql(host: Host, one: &One, sql: Option<&str>, write: bool, limit: Option<usize>) -> Result<()> {
    let sql = match sql {
        Some(sql) => sql.to_owned(),
        None => {
            let mut text = String::new();
            let read = io::stdin().lock().take(SQL_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| Error::invalid("standard input holds no text").with_source(error))?;
            text
        }
    };
    let (path, asked) = (format!("/v1/tenants/{}/sql", one.id), json!({ "sql": sql, "write": write, "limit": limit }));
    let settings = one.place.settings()?;
    let told = operate(host, &settings, async |operator| operator.ask(Method::POST, &path, Some(asked)).await)?;
    if one.json {
        return say(&told);
    }
    for result in told["results"].as_array().into_iter().flatten() {
        let line = |values: &Value| {
            let values = values.as_array().into_iter().flatten();
            values.map(|value| plain(value).escape_debug().to_string()).collect::<Vec<_>>().join("\t")
        };
        if let Some(changes) = result.get("changes") {
            remark(format_args!("{changes} rows changed"));
            continue;
        }
        say(line(&result["columns"]))?;
        result["rows"].as_array().into_iter().flatten().try_for_each(|row| say(line(row)))?;
        if result["more"] == true {
            remark("there are more rows: use LIMIT and OFFSET, or --limit");
        }
    }
    Ok(())
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
