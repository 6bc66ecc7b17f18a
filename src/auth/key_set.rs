//! The keys of one issuer as they verify: each with the algorithms that are its own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};

use super::claims::LEEWAY_SECONDS;

/// A key from a file or a document, on nobody's behalf yet.
pub(super) struct PublicKey {
    /// Its name; a PEM file has none.
    pub(super) kid: Option<String>,
    /// All of one family; exactly one where the key says which.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// A key that verifies for one issuer and its audiences.
pub(super) struct VerifyKey {
    pub(super) kid: Option<String>,
    pub(super) key: DecodingKey,
    /// Built once, for this key's algorithms: a list of others would let the token choose.
    pub(super) validation: Validation,
}

/// An issuer's keys at one moment.
pub(super) struct KeySet {
    keys: Vec<VerifyKey>,
    /// No two sets of a process have the same: what was verified by one is not remembered for another.
    pub(super) generation: u64,
}

impl KeySet {
    /// `keys`, for tokens of `issuer` that are meant for one of `audiences`.
    pub(super) fn new(keys: Vec<PublicKey>, issuer: &str, audiences: &HashSet<String>) -> Self {
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let verify = |PublicKey { kid, algorithms, key }: PublicKey| {
            let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
            validation.algorithms = algorithms;
            validation.required_spec_claims = ["exp", "iss", "aud", "sub"].map(str::to_owned).into();
            validation.iss = Some(HashSet::from([issuer.to_owned()]));
            validation.aud = Some(audiences.clone());
            validation.leeway = LEEWAY_SECONDS;
            // `Claims` looks at exp, nbf and iat, with the clock that came in by the door.
            validation.validate_exp = false;
            VerifyKey { kid, key, validation }
        };
        Self { keys: keys.into_iter().map(verify).collect(), generation: GENERATION.fetch_add(1, Ordering::Relaxed) }
    }

    /// The key that `header` names. Without a name on either side, the only one of the algorithm's family.
    pub(super) fn find(&self, header: &Header) -> Option<&VerifyKey> {
        let speaks = |key: &&VerifyKey| key.validation.algorithms.contains(&header.alg);
        match &header.kid {
            Some(kid) => {
                let named = self.keys.iter().filter(speaks).find(|key| key.kid.as_ref() == Some(kid));
                named.or_else(|| self.keys.iter().filter(speaks).find(|key| key.kid.is_none()))
            }
            None => {
                let family = |key: &&VerifyKey| key.key.family() == header.alg.family();
                let mut fitting = self.keys.iter().filter(family);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }

    /// Whether there is a key of that name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }
}
