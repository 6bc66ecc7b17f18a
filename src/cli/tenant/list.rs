//! Tenants and calls, a line each.

use serde_json::json;

use super::One;
use crate::catalog::Catalog;
use crate::cli::{Place, data_dir, say};
use crate::clock::rfc3339;
use crate::db::look_into;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;
use crate::store::call::{self, Call};

/// Tenants read at a time: a list of 100,000 must not be held as a whole.
const PAGE: usize = 1_000;

pub(super) fn tenants(place: &Place, after: Option<&TenantId>, limit: Option<usize>, json: bool) -> Result<()> {
    let catalog = Catalog::open(&data_dir(&place.settings()?)?)?;
    let mut after = after.cloned();
    let mut left = limit.unwrap_or(usize::MAX);
    while left > 0 {
        let page = catalog.list(after.as_ref(), PAGE.min(left))?;
        left -= page.len();
        for record in &page {
            if json {
                say(record.told())?;
            } else {
                say(&record.id)?;
            }
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.id),
            None => return Ok(()),
        }
    }
    Ok(())
}

pub(super) fn calls(one: &One, limit: usize) -> Result<()> {
    let (dir, id) = (data_dir(&one.place.settings()?)?, &one.id);
    if !Catalog::open(&dir)?.knows(id)? {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no tenant {id}")));
    }
    for call in call::newest(&look_into(&dir, id)?, limit)? {
        if one.json {
            say(json!(call))?;
        } else {
            let Call { at_ms, request_id, subject, tool, arguments, rows, duration_us, outcome, .. } = call;
            let rows = rows.map_or_else(String::new, |rows| format!(" rows={rows}"));
            let (at, arguments) = (rfc3339(at_ms / 1_000), arguments.unwrap_or_default());
            // What a caller sent may hold line ends and worse.
            let sent = format!("{tool} {arguments}{rows} by={subject} request={request_id}");
            say(format!("{at} {:>8.1} ms {outcome:<16} {}", duration_us as f64 / 1e3, sent.escape_debug()))?;
        }
    }
    Ok(())
}
