//! What a call remembers between its rounds, sealed into the `requestState` that the client carries.
//!
//! The seal binds it to tenant, caller, method, name and arguments (SEP-2322, "requestState integrity"), and it
//! ends. It is signed and not encrypted: no secret belongs into it. Every reason not to open is one and the
//! same -32602, for a forger must not learn which check failed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rmcp::ErrorData;
use rmcp::model::{JsonObject, RequestStateCodec, SealOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::StateKeys;
use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::TenantId;

/// How long the person may take: the client comes back within it or begins anew.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// What a client has to carry at most, in bytes of JSON before sealing.
const STATE_BYTES_MAX: usize = 16 * 1024;

/// Seals and opens for one tenant.
#[derive(Clone)]
pub(crate) struct Sealing(Arc<Inner>);

struct Inner {
    codec: RequestStateCodec,
    clock: Arc<dyn Clock>,
}

/// What a call knows of its earlier rounds.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Rounds {
    /// When it ends, in seconds since 1970. By the host's clock, not the codec's own.
    until: u64,
    /// The keys of everything asked so far.
    pub asked: Vec<String>,
    /// What was answered in earlier rounds.
    pub answers: BTreeMap<String, Value>,
    /// What the tool keeps for its next round.
    pub kept: Option<Value>,
}

impl Sealing {
    /// The sealing of `tenant`.
    ///
    /// # Errors
    /// As [`StateKeys::codec`].
    pub(crate) fn new(keys: &StateKeys, tenant: &TenantId, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self(Arc::new(Inner { codec: keys.codec(tenant)?, clock })))
    }

    /// Seals `rounds` for ten minutes.
    pub(super) fn seal(&self, rounds: &mut Rounds, binding: &[u8]) -> Result<String> {
        rounds.until = self.0.clock.unix_seconds() + ANSWER_WITHIN.as_secs();
        let json = serde_json::to_vec(rounds)
            .map_err(|error| Error::internal("request state can't be written").with_source(error))?;
        if json.len() > STATE_BYTES_MAX {
            let message = format!(
                "what this call has to remember is larger than {STATE_BYTES_MAX} bytes: answer with less, \
                 or keep less between rounds"
            );
            return Err(Error::limit("request_state_bytes", STATE_BYTES_MAX as u64, message));
        }
        Ok(self.0.codec.seal_with(&json, &SealOptions::new().associated_data(binding)))
    }

    /// Opens what a client brought back.
    pub(super) fn open(&self, sealed: &str, binding: &[u8]) -> Result<Rounds, ErrorData> {
        let opened = self.0.codec.open_with(sealed, binding).ok();
        let rounds = opened.and_then(|json| serde_json::from_slice::<Rounds>(&json).ok());
        let now = self.0.clock.unix_seconds();
        rounds.filter(|rounds| now < rounds.until).ok_or_else(|| {
            let message = "the requestState is not one that this call was given, or it has ended: \
                 send the request again without inputResponses and requestState";
            ErrorData::invalid_params(message, None)
        })
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

/// All that a state is good for: this caller, this request. Each part with its length, so that no two
/// requests run together into the same bytes.
pub(super) fn binding(caller: &Principal, method: &str, name: &str, arguments: Option<&JsonObject>) -> Vec<u8> {
    let mut arguments = Value::Object(arguments.cloned().unwrap_or_default());
    // The client may send them again in another order.
    arguments.sort_all_objects();
    let arguments = digest::digest(&digest::SHA256, arguments.to_string().as_bytes());
    let tenant = caller.tenant().as_str();
    let parts = [tenant, caller.issuer(), caller.subject(), method, name].map(str::as_bytes);
    let mut bound = Vec::new();
    for part in parts.iter().chain([&arguments.as_ref()]) {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend(*part);
    }
    bound
}
