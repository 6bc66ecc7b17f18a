//! The server's secrets for request state: one file, `keys/state`, a line per key. What is sealed with
//! them, it does not know.
//!
//! The first line seals, every line opens: a new key is put on top, and an old one is taken out once what it
//! sealed has ended (ten minutes later). Each tenant gets keys of its own, derived with HKDF (RFC 5869), so
//! that what was sealed for one never opens for another.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::RequestStateCodec;

use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;
use crate::random;

const FILE: &str = "state";
const KEY_BYTES: usize = 32;
/// Keys that a ring holds at most; [`StateKeys::rotate`] drops the oldest beyond them.
const KEYS_MAX: usize = 4;
const SALT: &[u8] = b"freehold/request-state/v1";

/// The server's ring of secrets, the one that seals first.
#[derive(Clone)]
pub(crate) struct StateKeys(Vec<(String, [u8; KEY_BYTES])>);

impl StateKeys {
    /// Reads `keys/state` below `dir`, made with a fresh key when it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be read or made, is readable by others, or is misshapen.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        match fs::metadata(&path) {
            Ok(file) if file.permissions().mode() & 0o077 != 0 => {
                Err(unusable("keys/state can be read by others: run `chmod 600` on it and consider it known"))
            }
            Ok(_) => Self::parse(&fs::read_to_string(&path).map_err(unreadable)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ring = Self(vec![fresh()?]);
                ring.save(dir)?;
                Ok(ring)
            }
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Puts a fresh key on top; what the ones before it sealed still opens.
    ///
    /// # Errors
    /// As [`StateKeys::load`].
    pub(crate) fn rotate(dir: &Path) -> Result<()> {
        let mut ring = Self::load(dir)?;
        ring.0.insert(0, fresh()?);
        ring.0.truncate(KEYS_MAX);
        ring.save(dir)
    }

    /// What seals and opens for `tenant`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`]: the derivation failed, which its fixed lengths exclude.
    pub(super) fn codec(&self, tenant: &TenantId) -> Result<RequestStateCodec> {
        let derived = self.0.iter().map(|(kid, key)| Ok((kid.clone(), derive(key, tenant)?)));
        let derived = derived.collect::<Result<Vec<_>>>()?;
        let seals = derived.first().map(|(kid, _)| kid.clone()).unwrap_or_default();
        RequestStateCodec::new_with_keyring(seals, derived)
            .map_err(|error| Error::internal("the ring of request state can't be used").with_source(error))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let key = line.split_once(' ').and_then(|(kid, key)| {
                let key = STANDARD.decode(key.trim()).ok()?.try_into().ok()?;
                Some((kid.to_owned(), key))
            });
            keys.push(key.ok_or_else(misshapen)?);
        }
        if keys.is_empty() { Err(misshapen()) } else { Ok(Self(keys)) }
    }

    /// Written beside and renamed: a reader never sees half a ring.
    fn save(&self, dir: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let beside = dir.join(format!("{FILE}.new"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            for (kid, key) in &self.0 {
                writeln!(file, "{kid} {}", STANDARD.encode(key))?;
            }
            file.sync_all()?;
            fs::rename(beside, dir.join(FILE))
        };
        write().map_err(|error| unusable("keys/state can't be written").with_source(error))
    }
}

impl fmt::Debug for StateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateKeys({} keys)", self.0.len())
    }
}

struct DerivedKey;

impl KeyType for DerivedKey {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

fn derive(key: &[u8], tenant: &TenantId) -> Result<Vec<u8>> {
    let mut derived = vec![0; KEY_BYTES];
    Salt::new(HKDF_SHA256, SALT)
        .extract(key)
        .expand(&[tenant.as_str().as_bytes()], DerivedKey)
        .and_then(|okm| okm.fill(&mut derived))
        .map_err(|_| Error::internal("a tenant's key can't be derived"))?;
    Ok(derived)
}

fn fresh() -> Result<(String, [u8; KEY_BYTES])> {
    Ok((format!("{:08x}", u32::from_be_bytes(random::bytes()?)), random::bytes()?))
}

fn misshapen() -> Error {
    unusable(
        "keys/state is misshapen: each line is a name, a space and 32 bytes in base64; \
         take the file away and a new one is made",
    )
}

fn unreadable(error: io::Error) -> Error {
    unusable("keys/state can't be read").with_source(error)
}

fn unusable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_ring_opens_what_it_sealed_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let (acme, globex) = (TenantId::parse("acme").expect("an id"), TenantId::parse("globex").expect("an id"));
        let before = StateKeys::load(dir.path()).expect("made").codec(&acme).expect("a codec");
        let sealed = before.seal(b"step 1");
        StateKeys::rotate(dir.path()).expect("rotated");
        let after = StateKeys::load(dir.path()).expect("read");
        assert_eq!(after.0.len(), 2);
        assert_eq!(after.codec(&acme).expect("a codec").open(&sealed).expect("opens"), b"step 1");
        assert!(after.codec(&globex).expect("a codec").open(&sealed).is_err(), "another tenant's state opened");
        assert!(before.open(&after.codec(&acme).expect("a codec").seal(b"x")).is_err());
        for _ in 0..KEYS_MAX {
            StateKeys::rotate(dir.path()).expect("rotated");
        }
        let turned = StateKeys::load(dir.path()).expect("read");
        assert_eq!(turned.0.len(), KEYS_MAX);
        assert!(turned.codec(&acme).expect("a codec").open(&sealed).is_err(), "a key that is gone still opened");
    }

    #[test]
    fn a_ring_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        StateKeys::load(dir.path()).expect("made");
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o640)).expect("set");
        assert_eq!(StateKeys::load(dir.path()).expect_err("refused").kind(), ErrorKind::Unavailable);
    }
}
