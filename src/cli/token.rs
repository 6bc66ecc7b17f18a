//! `freehold token`. Works beside a running host, which hears of a revocation within a second.
//!
//! A token is never an argument: arguments are in the process list and in the shell's history.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Place, admin_action, data_dir, inspect, remark, say};
use crate::auth::{ApiKeyRecord, NewApiKey, TokenRequest, api_key_id, mint, token_id};
use crate::catalog::{Catalog, IssuedRecord};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::db::DataDir;
use crate::error::{Error, ErrorKind, Result};
use crate::host::keys_of;
use crate::id::TenantId;

/// How long a JWT is good if nothing is said. An API key is good until it is revoked.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Records read at a time.
const PAGE: usize = 1_000;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, and nothing else, on standard output
    ///
    /// Example: freehold token issue --tenant acme --scope "read write" --ttl 24h
    Issue(Issue),
    /// Tell what is in a token, and whether this host takes it; the token comes from standard input or a file
    ///
    /// Example: freehold token inspect < token
    Inspect(inspect::Inspect),
    /// Take tokens back: one, by what `token list` prints or by its file, or all of a tenant
    ///
    /// Example: freehold token revoke --tenant acme
    Revoke(Revoke),
    /// Print what was issued: never the tokens themselves
    ///
    /// Example: freehold token list --tenant acme --json
    List {
        #[command(flatten)]
        place: Place,
        /// Only this tenant's
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// What kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Signed: every host with the key verifies it, without a look into the catalog
    Jwt,
    /// An opaque API key: short, known to this data directory alone, good until revoked
    Key,
}

#[derive(Args)]
pub(super) struct Issue {
    #[command(flatten)]
    place: Place,
    /// Whose state the token opens
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
    /// Who will carry it
    #[arg(long, alias = "sub", value_name = "NAME", default_value = "agent")]
    subject: String,
    /// What it allows: words of read, write, admin, `tool:<name>`
    #[arg(long, value_name = "WORDS", default_value = "read write")]
    scope: String,
    /// How long it is good, at most auth.max_lifetime for a jwt [default: 24h for a jwt, no end for a key]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// jwt: signed, verified without a look-up. key: an opaque API key
    #[arg(long, value_enum, default_value = "jwt")]
    kind: Kind,
    /// Whom it is for, one of auth.audiences [default: the first]
    #[arg(long = "aud", value_name = "AUDIENCE")]
    audience: Option<String>,
    /// Write the token into a new file that only you can read, and its id to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    what: RevokeWhat,
    /// Of which issuer the id is, if not this host's own
    #[arg(long, value_name = "ISSUER", requires = "jti")]
    issuer: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct RevokeWhat {
    /// The token or API key of this id
    #[arg(long, alias = "id", value_name = "ID")]
    jti: Option<String>,
    /// The token in this file, or on standard input with -
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Every token of this tenant that was issued until now, API keys too
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
}

pub(super) fn run(command: &TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Issue(issue) => issue.run(),
        TokenCommand::Inspect(inspect) => inspect.run(),
        TokenCommand::Revoke(revoke) => revoke.run(),
        TokenCommand::List { place, tenant, json } => list(place, tenant.as_ref(), *json),
    }
}

impl Issue {
    fn run(&self) -> Result<()> {
        let settings = self.place.settings()?;
        let dir = data_dir(&settings)?;
        let catalog = Catalog::open(&dir)?;
        // Before anything is made: a file that is there is not overwritten.
        let out = self.out.as_deref().map(new_file).transpose()?;
        let made = match self.kind {
            Kind::Jwt => self.jwt(&settings, &dir, &catalog),
            Kind::Key => self.api_key(&catalog),
        };
        let (id, text) = made.inspect_err(|_| {
            if let Some(path) = &self.out {
                // Empty, and ours.
                let _ = std::fs::remove_file(path);
            }
        })?;
        admin_action(
            &settings,
            &dir,
            "token.issue",
            json!({ "id": id, "tenant": self.tenant.as_str(), "scope": self.scope }),
        );
        if !catalog.knows(&self.tenant)? && !settings.tenants.auto_create {
            let tenant = &self.tenant;
            remark(format_args!("note: tenant {tenant} is not there yet: `freehold tenant create {tenant}` makes it"));
        }
        match out {
            Some(mut file) => {
                writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(cannot_write)?;
                say(id)
            }
            None => say(text),
        }
    }

    fn jwt(&self, settings: &Settings, dir: &DataDir, catalog: &Catalog) -> Result<(String, String)> {
        let request = TokenRequest {
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            scope: self.scope.clone(),
            ttl: self.ttl.unwrap_or(TTL),
            audience: self.audience.clone(),
            epoch: Some(catalog.epoch(&self.tenant)?),
        };
        let minted = mint(&keys_of(settings, dir)?, settings, &SystemClock, &request)?;
        catalog.enter_token(&minted, &self.tenant, &self.subject, &self.scope)?;
        Ok((minted.jti, minted.token))
    }

    fn api_key(&self, catalog: &Catalog) -> Result<(String, String)> {
        TokenRequest::check(&self.subject, &self.scope)?;
        if self.audience.is_some() {
            return Err(Error::invalid("an API key is this host's own and has no audience: leave --aud out"));
        }
        if self.ttl.is_some_and(|ttl| ttl.as_secs() == 0) {
            return Err(Error::invalid("an API key's lifetime is 1 second or more"));
        }
        let key = NewApiKey::generate()?;
        let now = SystemClock.unix_seconds();
        let record = ApiKeyRecord {
            id: key.id.clone(),
            secret: key.secret,
            tenant: self.tenant.to_string(),
            subject: self.subject.clone(),
            scope: self.scope.clone(),
            epoch: catalog.epoch(&self.tenant)?,
            created_at: now,
            expires_at: self.ttl.map(|ttl| now.saturating_add(ttl.as_secs())),
        };
        catalog.enter_api_key(&record)?;
        Ok((key.id, key.text))
    }
}

impl Revoke {
    fn run(&self) -> Result<()> {
        let settings = self.place.settings()?;
        let dir = data_dir(&settings)?;
        let catalog = Catalog::open(&dir)?;
        if let Some(tenant) = &self.what.tenant {
            catalog.revoke_tenant(tenant, &SystemClock)?;
            admin_action(&settings, &dir, "token.revoke", json!({ "tenant": tenant.as_str() }));
            return say(format_args!("every token of {tenant} until now is void; a running host knows it within 1 s"));
        }
        let id = match (&self.what.jti, &self.what.file) {
            (Some(id), _) => id.clone(),
            (None, Some(file)) => inspect::id_of(&token_from(Some(file))?)?,
            (None, None) => return Err(Error::invalid("say what: --jti, --file or --tenant")),
        };
        let known = catalog.issued(&id)?.filter(|_| self.issuer.is_none());
        let key = known.as_ref().is_some_and(|known| known.kind == "key");
        let issuer = self.issuer.as_ref().unwrap_or(&settings.auth.issuer);
        let name = if key { api_key_id(&id) } else { token_id(issuer, &id) };
        // Of a token that is not in the log all that is known is how long it may last at most.
        let longest = settings.auth.issuers.iter().map(|issuer| issuer.max_lifetime).max().unwrap_or_default();
        let longest = longest.max(settings.auth.max_lifetime).as_secs();
        let unknown = SystemClock.unix_seconds().saturating_add(longest);
        let until = match &known {
            Some(known) => known.expires_at.unwrap_or(u64::MAX >> 1),
            None => unknown,
        };
        // The 30 s that a verifier forgives.
        catalog.revoke(&name, until.saturating_add(60), &SystemClock)?;
        if known.is_none() {
            remark("note: this id is not in the list of what was issued here; it is void all the same");
        }
        admin_action(&settings, &dir, "token.revoke", json!({ "id": id }));
        say(format_args!("{id} is void; a running host knows it within 1 s"))
    }
}

fn list(place: &Place, tenant: Option<&TenantId>, json: bool) -> Result<()> {
    let settings = place.settings()?;
    let catalog = Catalog::open(&data_dir(&settings)?)?;
    let now = SystemClock.unix_seconds();
    let standing = catalog.standing(&SystemClock)?;
    let mut after = String::new();
    loop {
        let page = catalog.list_issued(tenant, &after, PAGE)?;
        for record in &page {
            let IssuedRecord { id, kind, tenant, subject, scope, issued_at, expires_at, last_used } = record;
            let name = if kind == "key" { api_key_id(id) } else { token_id(&settings.auth.issuer, id) };
            let state = if standing.revoked.contains(&name) {
                "revoked"
            } else if expires_at.is_some_and(|end| end <= now) {
                "expired"
            } else {
                "active"
            };
            if json {
                say(json!({
                    "id": id, "kind": kind, "tenant": tenant, "subject": subject, "scope": scope,
                    "issued_at": issued_at, "expires_at": expires_at, "last_used": last_used, "state": state,
                }))?;
            } else {
                say(format_args!("{id}\t{kind}\t{tenant}\t{subject}\t{scope}\t{state}"))?;
            }
        }
        match page.into_iter().next_back() {
            Some(last) => after = last.id,
            None => return Ok(()),
        }
    }
}

/// A token out of `file` or, with none or `-`, out of standard input.
pub(super) fn token_from(file: Option<&Path>) -> Result<String> {
    const BYTES_MAX: u64 = 16 * 1024;
    let unreadable =
        |error: std::io::Error| Error::new(ErrorKind::NotFound, "the token's file can't be read").with_source(error);
    let mut text = String::new();
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) if looks_like_a_token(file) => {
            return Err(Error::invalid(
                "this is a token, not a file: an argument is in the process list and in the shell's history; pipe \
                 it in instead",
            ));
        }
        Some(file) => File::open(file).map_err(unreadable)?.take(BYTES_MAX).read_to_string(&mut text),
        None => std::io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text),
    }
    .map_err(unreadable)?;
    Ok(text.trim().to_owned())
}

fn looks_like_a_token(file: &Path) -> bool {
    let name = file.to_string_lossy();
    name.starts_with("eyJ") || name.starts_with("fh_live_")
}

fn new_file(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot_write)
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Conflict, "the token's file can't be made: name one that is not there").with_source(error)
}
