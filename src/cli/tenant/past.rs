//! A tenant as it was, and what it used.

use http::Method;
use serde_json::{Value, json};

use super::one::plain;
use super::{One, made_one};
use crate::cli::progress::{long, long_with};
use crate::cli::{Place, operate, say};
use crate::clock::rfc3339;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::TenantId;

/// What is told of a day, in the order of a table.
const DAY: [&str; 9] = ["day", "calls", "refused", "failed", "rows", "bytes_in", "bytes_out", "call_us", "sql_us"];

/// Prints the bookmark and nothing else.
pub(super) fn checkpoint(host: Host, one: &One, label: Option<&str>) -> Result<()> {
    let made = ask(host, one, Method::POST, "checkpoint", Some(json!({ "label": label })))?;
    if one.json { say(&made) } else { say(plain(&made["bookmark"])) }
}

pub(super) fn bookmarks(host: Host, one: &One, from_remote: bool) -> Result<()> {
    let told = ask(host, one, Method::GET, &format!("bookmarks?from_remote={from_remote}"), None)?;
    for checkpoint in told["checkpoints"].as_array().into_iter().flatten() {
        if one.json {
            say(checkpoint)?;
            continue;
        }
        let at = rfc3339(checkpoint["at_ms"].as_u64().unwrap_or(0) / 1_000);
        let label = checkpoint["label"].as_str().unwrap_or_default();
        // What a caller wrote may hold line ends and worse.
        let line =
            format!("{} {at} {:>12} {}", plain(&checkpoint["bookmark"]), checkpoint["bytes"], label.escape_debug());
        say(line.trim_end())?;
    }
    for window in told["windows"].as_array().into_iter().flatten() {
        if one.json {
            say(window)?;
        } else {
            say(format_args!("any time from {} to {}", plain(&window["from"]), plain(&window["to"])))?;
        }
    }
    Ok(())
}

pub(super) fn fork(host: Host, one: &One, to: &TenantId, asked: &Value) -> Result<()> {
    let made = ask(host, one, Method::POST, "fork", Some(asked.clone()))?;
    made_one(one.json, to, &made)
}

pub(super) fn verify(host: Host, one: &One, at: Option<&str>, from_remote: bool) -> Result<()> {
    let told = ask(host, one, Method::POST, "verify", Some(json!({ "at": at, "from_remote": from_remote })))?;
    if one.json {
        return say(&told);
    }
    say(format_args!("{}: whole as of {}, {} bytes", one.id, plain(&told["at"]), told["bytes"]))
}

/// What failed is told as it is found: on standard error, and with `json` in its place among the others.
pub(super) fn verify_all(host: Host, place: &Place, at: Option<&str>, from_remote: bool, json: bool) -> Result<()> {
    let asked = json!({ "at": at, "from_remote": from_remote });
    let line = |word: &Value| {
        let told = ["verified", "skipped", "failure"].iter().find_map(|key| word.get(key)).filter(|_| json);
        told.map_or(Ok(()), say)
    };
    let done = operate(host, &place.settings()?, async |operator| {
        long_with(operator, "verifying", "/v1/verify", &asked, line).await
    })?;
    if json {
        say(&done)?;
    } else {
        say(format_args!(
            "{} tenants: {} whole, {} had no file yet, {} were not there yet, {} were being deleted, {} failed",
            done["tenants"], done["whole"], done["without_file"], done["not_yet"], done["deleted"], done["failed"]
        ))?;
    }
    match done["failed"].as_u64() {
        Some(0) => Ok(()),
        failed => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "{} tenants can't be brought back as they should be: why is told above",
                failed.unwrap_or_default()
            ),
        )),
    }
}

/// Prints the bookmark of what was replaced; of a tenant that was not here, its name.
pub(super) fn restore(host: Host, one: &One, at: Option<&str>, from_remote: bool) -> Result<()> {
    let told = ask(host, one, Method::POST, "restore", Some(json!({ "at": at, "from_remote": from_remote })))?;
    if one.json {
        return say(&told);
    }
    if told["undo"].is_null() { say(&one.id) } else { say(plain(&told["undo"])) }
}

pub(super) fn restore_all(host: Host, place: &Place, at: Option<&str>, skip_failed: bool, json: bool) -> Result<()> {
    let asked = json!({ "at": at, "skip_failed": skip_failed });
    let done =
        operate(host, &place.settings()?, async |operator| long(operator, "restoring", "/v1/restore", &asked).await)?;
    if json {
        say(&done)?;
    } else {
        say(format_args!(
            "{} tenants: {} restored, {} were here, {} had no file yet, {} were being deleted, {} failed",
            done["tenants"], done["restored"], done["kept"], done["without_file"], done["deleted"], done["failed"]
        ))?;
    }
    if done["owned"] == true {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "not all are back, and until they are this host sends nothing to history.remote: run it again, or give up those \
         that failed with --skip-failed",
    ))
}

pub(super) fn usage(host: Host, one: &One, days: usize, csv: bool) -> Result<()> {
    let told = ask(host, one, Method::GET, &format!("usage?days={days}"), None)?;
    if one.json {
        return say(&told);
    }
    if !csv {
        for (name, used) in
            told.as_object().into_iter().flatten().filter(|(name, _)| *name != "days" && *name != "today")
        {
            match (used.get("used"), used.get("limit")) {
                (Some(used), Some(limit)) => say(format_args!("{name:<20} {used} of {limit}"))?,
                _ => say(format_args!("{name:<20} {}", plain(used)))?,
            }
        }
    }
    let between = if csv { "," } else { "\t" };
    say(DAY.join(between))?;
    told["days"]
        .as_array()
        .into_iter()
        .flatten()
        .try_for_each(|day| say(DAY.map(|name| plain(&day[name])).join(between)))
}

fn ask(host: Host, one: &One, method: Method, what: &str, sent: Option<Value>) -> Result<Value> {
    let path = format!("/v1/tenants/{}/{what}", one.id);
    let settings = one.place.settings()?;
    operate(host, &settings, async |operator| operator.ask(method, &path, sent).await)
}
