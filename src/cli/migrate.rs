//! `freehold migrate`: the schemas of all tenants, by the host that runs or on the files.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::progress::long;
use super::{Place, operate, say};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, Operator};

/// A tenant's file is brought up to date when it is opened; these do it ahead of the next call, and tell first what
/// that would be.
#[derive(Subcommand)]
pub(super) enum MigrateCommand {
    /// Look at every tenant and tell which migrations are missing where; nothing is changed
    ///
    /// Example: freehold migrate plan
    Plan {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Bring tenants up to date. Broken off, it goes on where it was; a tenant that fails is set aside
    ///
    /// Example: freehold migrate apply --canary 10
    Apply(Apply),
    /// Tell how far it is, who failed and why, and whose schema is not as the migrations make it
    ///
    /// Example: freehold migrate status --json
    Status {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(super) struct Apply {
    #[command(flatten)]
    place: Place,
    /// Only so many tenants, the first by name: a second call does the others
    #[arg(long, value_name = "N")]
    canary: Option<u64>,
    /// Tenants a second at most; 0 is any number
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,
    /// Also those that failed before
    #[arg(long)]
    again: bool,
    /// Stop when more than so many have failed
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_failures: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(host: Host, command: &MigrateCommand) -> Result<()> {
    match command {
        MigrateCommand::Plan { place, json } => {
            let plan = operate(host, &place.settings()?, async |operator| {
                long(operator, "looking", "/v1/migrations/plan", &json!({})).await
            })?;
            if *json { say(plan) } else { tell_plan(&plan) }
        }
        MigrateCommand::Apply(apply) => apply.run(host),
        MigrateCommand::Status { place, json } => {
            operate(host, &place.settings()?, async |operator| status(operator, *json).await)
        }
    }
}

impl Apply {
    fn run(&self, host: Host) -> Result<()> {
        let Self { place, canary, rate, again, max_failures, json } = self;
        let asked = json!({ "canary": canary, "rate": rate, "again": again, "max_failures": max_failures });
        let done = operate(host, &place.settings()?, async |operator| {
            long(operator, "migrating", "/v1/migrations/apply", &asked).await
        })?;
        if *json {
            say(&done)?;
        } else {
            tell_counts(&done)?;
        }
        match done["failed_now"].as_u64() {
            None | Some(0) => Ok(()),
            Some(failed) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{failed} tenants are set aside: `freehold migrate status` tells why, `apply --again` tries them again"
                ),
            )),
        }
    }
}

async fn status(operator: &Operator, json: bool) -> Result<()> {
    let mut after = String::new();
    let mut first = true;
    loop {
        let page = operator.ask(Method::GET, &format!("/v1/migrations?after={after}"), None).await?;
        if json {
            say(&page)?;
        } else {
            if first {
                tell_counts(&page)?;
            }
            for one in page["remarkable"].as_array().into_iter().flatten() {
                let drift = one["drift"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let why = one["failure"].as_str().map_or_else(|| drift.collect::<Vec<_>>().join(", "), str::to_owned);
                say(format_args!("{}\t{}", one["tenant"].as_str().unwrap_or_default(), why.escape_debug()))?;
            }
        }
        first = false;
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return Ok(()),
        }
    }
}

fn tell_plan(plan: &Value) -> Result<()> {
    tell_counts(plan)?;
    for step in plan["plan"].as_array().into_iter().flatten() {
        let names = step["migrations"].as_array().into_iter().flatten().filter_map(Value::as_str);
        say(format_args!("{} tenants want {}", step["tenants"], names.collect::<Vec<_>>().join(", ")))?;
    }
    say(format_args!(
        "{} are up to date already, {} have no file yet, {} can't be read",
        plan["current"], plan["without_file"], plan["unreadable"]
    ))
}

fn tell_counts(told: &Value) -> Result<()> {
    say(format_args!(
        "{}: {} tenants, {} done, {} pending, {} failed, {} with another schema",
        told["target"].as_str().unwrap_or_default(),
        told["tenants"],
        told["done"],
        told["pending"],
        told["failed"],
        told["drifted"]
    ))
}
