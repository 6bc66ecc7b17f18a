//! `freehold tenant`. Works beside a running host: the catalog takes both.

use clap::Subcommand;
use serde_json::json;

use super::{Place, admin_action, checkpoint, data_dir, say};
use crate::catalog::{Catalog, TenantRecord};
use crate::clock::{SystemClock, rfc3339};
use crate::config::DEFAULT_CLASS;
use crate::db::{Bookmark, DataDir, look_into};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::TenantId;
use crate::store::call::{self, Call};

/// Tenants read at a time: a list of 100,000 must not be held as a whole.
const PAGE: usize = 1_000;

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Create a tenant; its file comes with its first request
    ///
    /// Example: freehold tenant create acme
    Create {
        #[command(flatten)]
        place: Place,
        /// Its name: 1 to 63 of a-z, 0-9 and '-'
        id: TenantId,
        /// Its class, whose limits it has: one of [limits.class.NAME]
        #[arg(long, value_name = "NAME", default_value = DEFAULT_CLASS)]
        class: String,
    },
    /// Put a tenant into another class; a running host follows when the tenant next wakes
    ///
    /// Example: freehold tenant class acme gold
    Class {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// One of [limits.class.NAME], or `default`
        class: String,
    },
    /// Refuse every call of a tenant from now on; its state stays as it is
    ///
    /// Example: freehold tenant suspend acme
    Suspend {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
    },
    /// Let a suspended tenant be called again
    ///
    /// Example: freehold tenant resume acme
    Resume {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
    },
    /// Print the last calls of a tenant's tools, the newest first; beside a running host too
    ///
    /// Example: freehold tenant calls acme --limit 20
    Calls {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Keep a copy of all that a tenant has, to go back to; with the host stopped
    ///
    /// Example: freehold tenant checkpoint acme --label "before the import"
    Checkpoint {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// Print a tenant's checkpoints, the newest first; beside a running host too
    ///
    /// Example: freehold tenant bookmarks acme
    Bookmarks {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Put a tenant back to a checkpoint; what is replaced becomes one too; with the host stopped
    ///
    /// Example: freehold tenant restore acme --at cp-2030-01-31T09-00-00.000Z
    Restore {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// One of `freehold tenant bookmarks`
        #[arg(long, value_name = "BOOKMARK")]
        at: Bookmark,
    },
    /// Print the tenants by name, one a line
    ///
    /// Example: freehold tenant list --json
    List {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(host: &Host, command: &TenantCommand) -> Result<()> {
    match command {
        TenantCommand::Create { place, id, class } => {
            let settings = place.settings()?;
            settings.class(class)?;
            Catalog::open(&data_dir(&settings)?)?.create(id, class, &SystemClock)?;
            say(id)
        }
        TenantCommand::Class { place, id, class } => {
            let settings = place.settings()?;
            settings.class(class)?;
            Catalog::open(&data_dir(&settings)?)?.set_class(id, class)?;
            say(id)
        }
        TenantCommand::Suspend { place, id } => suspend(place, id, true),
        TenantCommand::Resume { place, id } => suspend(place, id, false),
        TenantCommand::Calls { place, id, limit, json } => calls(&data_dir(&place.settings()?)?, id, *limit, *json),
        TenantCommand::Checkpoint { place, id, label } => checkpoint::create(place, id, label.as_deref()),
        TenantCommand::Bookmarks { place, id, json } => checkpoint::list(place, id, *json),
        TenantCommand::Restore { place, id, at } => checkpoint::restore(host, place, id, *at),
        TenantCommand::List { place, json } => list(&Catalog::open(&data_dir(&place.settings()?)?)?, *json),
    }
}

fn suspend(place: &Place, id: &TenantId, suspended: bool) -> Result<()> {
    let settings = place.settings()?;
    let dir = data_dir(&settings)?;
    Catalog::open(&dir)?.suspend(id, suspended)?;
    let event = if suspended { "tenant.suspend" } else { "tenant.resume" };
    admin_action(&settings, &dir, event, json!({ "tenant": id.as_str() }));
    say(id)
}

fn calls(dir: &DataDir, id: &TenantId, limit: usize, json: bool) -> Result<()> {
    if !Catalog::open(dir)?.knows(id)? {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no tenant {id}")));
    }
    for call in call::newest(&look_into(dir, id)?, limit)? {
        if json {
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

fn list(catalog: &Catalog, json: bool) -> Result<()> {
    let mut after = None;
    loop {
        let page = catalog.list(after.as_ref(), PAGE)?;
        for TenantRecord { id, created_at, class } in &page {
            if json {
                say(json!({ "id": id.as_str(), "created_at": created_at, "class": class }))?;
            } else {
                say(id)?;
            }
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.id),
            None => return Ok(()),
        }
    }
}
