//! `freehold tenant`. What is in the catalog alone is done there, beside a running host too; what a tenant's file is
//! needed for, the host that runs does, or this process if none does.

mod copy;
mod list;
mod one;
mod past;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Place, admin_action, data_dir, say};
use crate::catalog::Catalog;
use crate::clock::SystemClock;
use crate::config::DEFAULT_CLASS;
use crate::error::Result;
use crate::host::Host;
use crate::id::TenantId;

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
        /// Print one JSON object
        #[arg(long)]
        json: bool,
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
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Refuse every call of a tenant from now on; its state stays as it is
    ///
    /// Example: freehold tenant suspend acme
    Suspend(One),
    /// Let a suspended tenant be called again
    ///
    /// Example: freehold tenant resume acme
    Resume(One),
    /// Print the last calls of a tenant's tools, the newest first; beside a running host too
    ///
    /// Example: freehold tenant calls acme --limit 20
    Calls {
        #[command(flatten)]
        one: One,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Print the tenants by name, one a line
    ///
    /// Example: freehold tenant list --json
    List {
        #[command(flatten)]
        place: Place,
        /// Begin after this name
        #[arg(long, value_name = "ID")]
        after: Option<TenantId>,
        /// At most so many [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print a tenant's class and state, what it takes on disk, its sessions and its last use
    ///
    /// Example: freehold tenant show acme
    Show(One),
    /// Delete a tenant for good, with its restore points and tokens, and print a receipt as JSON
    ///
    /// Example: freehold tenant delete acme --yes > receipt.json
    Delete {
        #[command(flatten)]
        place: Place,
        /// Its name
        id: TenantId,
        /// Delete it: without this, it is asked for on the terminal
        #[arg(long)]
        yes: bool,
    },
    /// Copy a tenant's file as its last commit left it, while it is in use; an ordinary SQLite file, without sessions,
    /// tasks and secrets
    ///
    /// Example: freehold tenant export acme --out acme.sqlite
    Export {
        #[command(flatten)]
        one: One,
        /// The file to make, which must not be there [default: ID.sqlite]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// As it was at this time, such as 2030-01-31T09:00:00Z [default: as it is]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Out of the storage of history.remote, whether or not the tenant is here
        #[arg(long)]
        from_remote: bool,
    },
    /// Make a tenant out of a SQLite file: an export, or any database whose schema a tenant could have made
    ///
    /// Example: freehold tenant import acme acme.sqlite
    Import {
        #[command(flatten)]
        one: One,
        /// The file; it is looked through and not changed
        file: PathBuf,
        /// Its class, whose limits it has
        #[arg(long, value_name = "NAME", default_value = DEFAULT_CLASS)]
        class: String,
    },
    /// Make a new tenant with all that another has, but for its sessions, tasks, reminders and journal
    ///
    /// Example: freehold tenant fork acme acme-support
    ///
    /// Example: freehold tenant fork acme acme-then --at 2030-01-31T09:00:00Z --from-remote
    Fork {
        #[command(flatten)]
        one: One,
        /// The name of the new one
        to: TenantId,
        /// As it was at this time, such as 2030-01-31T09:00:00Z [default: as it is]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Out of the storage of history.remote, whether or not the other is here
        #[arg(long)]
        from_remote: bool,
    },
    /// Bring a tenant's past back beside it and check it, so that a restore is known to work; nothing is changed.
    /// Or that of all tenants, one after the other: it goes on after a failure and ends with status 1 if there was one
    ///
    /// Example: freehold tenant verify acme --at 2030-01-31T09:00:00Z
    ///
    /// Example: freehold tenant verify --all --from-remote --json
    Verify {
        #[command(flatten)]
        place: Place,
        /// Its name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<TenantId>,
        /// As it was at this time [default: the last that is kept]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// What is in the storage of history.remote, whether or not the tenant is here
        #[arg(long)]
        from_remote: bool,
        /// Every tenant; with --from-remote also those that are in the storage alone
        #[arg(long)]
        all: bool,
        /// Print JSON; with --all one object a line, the last with the counts
        #[arg(long)]
        json: bool,
    },
    /// Keep a copy of all that a tenant has, to go back to, and print its name
    ///
    /// Example: freehold tenant checkpoint acme --label "before the import"
    Checkpoint {
        #[command(flatten)]
        one: One,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// Print a tenant's checkpoints, the newest first, and the times that it can be brought back to
    ///
    /// Example: freehold tenant bookmarks acme
    Bookmarks {
        #[command(flatten)]
        one: One,
        /// The times that the storage of history.remote has, whether or not the tenant is here
        #[arg(long)]
        from_remote: bool,
    },
    /// Put a tenant back to a checkpoint or to a time; what is replaced becomes a checkpoint, and its name is printed.
    /// Or bring back one that is not here, or all, out of the storage of history.remote
    ///
    /// Example: freehold tenant restore acme --at cp-2030-01-31T09-00-00.000Z
    ///
    /// Example: freehold tenant restore --all --from-remote
    Restore {
        #[command(flatten)]
        place: Place,
        /// Its name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<TenantId>,
        /// One of `freehold tenant bookmarks`, or a time such as 2030-01-31T09:00:00Z [default with --from-remote: the
        /// last that is kept]
        #[arg(long, value_name = "BOOKMARK|TIME", required_unless_present = "from_remote")]
        at: Option<String>,
        /// Out of the storage of history.remote
        #[arg(long)]
        from_remote: bool,
        /// Every tenant that is in the storage and not here, on a machine that is new
        #[arg(long, requires = "from_remote")]
        all: bool,
        /// With --all: go on with those that can be had, for good
        #[arg(long, requires = "all")]
        skip_failed: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a tenant uses of what it may, and what its calls came to by day
    ///
    /// Example: freehold tenant usage acme --csv
    Usage {
        #[command(flatten)]
        one: One,
        /// So many days, of those on which it was called
        #[arg(long, value_name = "N", default_value_t = 31)]
        days: usize,
        /// Print the days as CSV (RFC 4180)
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Run SQL in a tenant's file, inside the tenant's limits; from standard input if none is given
    ///
    /// Example: freehold tenant sql acme "SELECT count(*) FROM note"
    Sql {
        #[command(flatten)]
        one: One,
        /// One or more statements
        sql: Option<String>,
        /// Let it write: all statements in one transaction
        #[arg(long)]
        write: bool,
        /// Rows of each statement at most
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

/// One tenant.
#[derive(Args, Clone, Debug)]
pub(super) struct One {
    #[command(flatten)]
    place: Place,
    /// Its name
    id: TenantId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(host: Host, command: &TenantCommand) -> Result<()> {
    match command {
        TenantCommand::Create { place, id, class, json } => {
            let told = json!({ "tenant": id.as_str(), "class": class });
            change(place, id, *json, "tenant.create", told, Some(class), |catalog| {
                catalog.create(id, class, &SystemClock)
            })
        }
        TenantCommand::Class { place, id, class, json } => {
            let told = json!({ "tenant": id.as_str(), "class": class });
            change(place, id, *json, "tenant.class", told, Some(class), |catalog| catalog.set_class(id, class))
        }
        TenantCommand::Suspend(one) => suspend(one, true),
        TenantCommand::Resume(one) => suspend(one, false),
        TenantCommand::Calls { one, limit } => list::calls(one, *limit),
        TenantCommand::List { place, after, limit, json } => list::tenants(place, after.as_ref(), *limit, *json),
        TenantCommand::Show(one) => one::show(host, one),
        TenantCommand::Delete { place, id, yes } => one::delete(host, place, id, *yes),
        TenantCommand::Export { one, out, at, from_remote } => {
            copy::export(host, one, out.as_deref(), at.as_deref(), *from_remote)
        }
        TenantCommand::Verify { place, id: None, at, from_remote, json, .. } => {
            past::verify_all(host, place, at.as_deref(), *from_remote, *json)
        }
        TenantCommand::Verify { place, id: Some(id), at, from_remote, json, .. } => {
            let one = One { place: place.clone(), id: id.clone(), json: *json };
            past::verify(host, &one, at.as_deref(), *from_remote)
        }
        TenantCommand::Import { one, file, class } => copy::import(host, one, file, class),
        TenantCommand::Fork { one, to, at, from_remote } => {
            past::fork(host, one, to, &json!({ "to": to.as_str(), "at": at, "from_remote": from_remote }))
        }
        TenantCommand::Checkpoint { one, label } => past::checkpoint(host, one, label.as_deref()),
        TenantCommand::Bookmarks { one, from_remote } => past::bookmarks(host, one, *from_remote),
        TenantCommand::Restore { place, id: None, at, skip_failed, json, .. } => {
            past::restore_all(host, place, at.as_deref(), *skip_failed, *json)
        }
        TenantCommand::Restore { place, id: Some(id), at, from_remote, json, .. } => {
            let one = One { place: place.clone(), id: id.clone(), json: *json };
            past::restore(host, &one, at.as_deref(), *from_remote)
        }
        TenantCommand::Usage { one, days, csv } => past::usage(host, one, *days, *csv),
        TenantCommand::Sql { one, sql, write, limit } => one::sql(host, one, sql.as_deref(), *write, *limit),
    }
}

/// A change in the catalog, which a running host sees.
fn change(
    place: &Place,
    id: &TenantId,
    json: bool,
    event: &str,
    told: Value,
    class: Option<&str>,
    work: impl FnOnce(&Catalog) -> Result<()>,
) -> Result<()> {
    let settings = place.settings()?;
    if let Some(class) = class {
        settings.class(class)?;
    }
    let dir = data_dir(&settings)?;
    let catalog = Catalog::open(&dir)?;
    work(&catalog)?;
    admin_action(&settings, &dir, event, told);
    made_one(json, id, &catalog.tenant(id)?.told())
}

fn suspend(one: &One, suspended: bool) -> Result<()> {
    let One { place, id, json } = one;
    let event = if suspended { "tenant.suspend" } else { "tenant.resume" };
    let told = json!({ "tenant": id.as_str() });
    change(place, id, *json, event, told, None, |catalog| catalog.suspend(id, suspended))
}

fn made_one(json: bool, id: &TenantId, told: &Value) -> Result<()> {
    if json { say(told) } else { say(id) }
}
