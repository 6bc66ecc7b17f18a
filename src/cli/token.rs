//! `freehold token`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Place, data_dir, remark, say};
use crate::auth::{TokenRequest, mint};
use crate::catalog::Catalog;
use crate::clock::SystemClock;
use crate::error::Result;
use crate::host::keys_of;
use crate::id::TenantId;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Sign a token and print it, and nothing else, on standard output
    ///
    /// Example: freehold token issue --tenant acme --scope "read write" --ttl 24h
    Issue(Issue),
}

#[derive(Args)]
pub(super) struct Issue {
    #[command(flatten)]
    place: Place,
    /// Whose state the token opens
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
    /// Who will carry it
    #[arg(long, value_name = "NAME", default_value = "agent")]
    subject: String,
    /// What it allows: words of read, write, admin
    #[arg(long, value_name = "WORDS", default_value = "read write")]
    scope: String,
    /// How long it is good, 90 days at most
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

pub(super) fn run(command: &TokenCommand) -> Result<()> {
    let TokenCommand::Issue(Issue { place, tenant, subject, scope, ttl }) = command;
    let settings = place.settings()?;
    let dir = data_dir(&settings)?;
    let keys = keys_of(&settings, &dir)?;
    let request = TokenRequest { tenant: tenant.clone(), subject: subject.clone(), scope: scope.clone(), ttl: *ttl };
    let token = mint(&keys, &settings, &SystemClock, &request)?;
    if !Catalog::open(&dir)?.knows(tenant)? && !settings.tenants.auto_create {
        remark(format_args!("note: tenant {tenant} is not there yet: `freehold tenant create {tenant}` makes it"));
    }
    say(token)
}
