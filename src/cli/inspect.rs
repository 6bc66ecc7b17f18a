//! `freehold token inspect`: what is in a token, and whether this host would take it. The token is sent
//! nowhere and not printed; an issuer's keys are fetched as a host would.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::token::token_from;
use super::{Place, data_dir, say};
use crate::auth::{Authenticate, FindApiKey, Verifier, look_into};
use crate::catalog::Catalog;
use crate::clock::SystemClock;
use crate::error::{Error, Result};
use crate::host::own_keys;

#[derive(Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    place: Place,
    /// The file that holds the token [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<()> {
        let token = token_from(self.file.as_deref())?;
        let mut told = look_into(&token)?;
        match self.verify(&token) {
            Ok(caller) => {
                told["verified"] = json!(true);
                told["tenant"] = json!(caller.tenant().as_str());
                told["subject"] = json!(caller.subject());
                told["scope"] = json!(caller.scopes().to_string());
                told["expires_at"] = json!(caller.expires_at());
            }
            Err(error) => {
                told["verified"] = json!(false);
                told["refused"] = json!(error.chain());
            }
        }
        if self.json {
            return say(told);
        }
        let Value::Object(told) = told else { return Ok(()) };
        told.iter().try_for_each(|(name, value)| say(format_args!("{name}: {value}")))
    }

    fn verify(&self, token: &str) -> Result<crate::auth::Principal> {
        let settings = self.place.settings()?;
        let dir = data_dir(&settings)?;
        let catalog = Arc::new(Catalog::open(&dir)?);
        let standing = catalog.standing(&SystemClock)?;
        let find: FindApiKey = Arc::new(move |id| Box::pin(std::future::ready(catalog.api_key(&id, &SystemClock))));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::internal("the runtime can't be started").with_source(error))?;
        let caller = runtime.block_on(async {
            let verifier = Verifier::new(own_keys(&settings, &dir), &settings, Arc::new(SystemClock), find)?;
            verifier.authenticate(token).await
        })?;
        standing.check(&caller)?;
        Ok(caller)
    }
}

/// What `token revoke` calls this token.
pub(super) fn id_of(token: &str) -> Result<String> {
    let told = look_into(token)?;
    let id = told["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| Error::invalid("this token has no id of its own (`jti`): revoke its tenant's, or retire its key"))
}
