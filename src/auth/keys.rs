//! The host's own keys: files under `keys/`, read once at start. What a token is, it does not know.
//!
//! `keys/<kid>.pem` is an Ed25519 private key (PKCS#8); `keys/signing` names the one that signs.
//! All of them verify, so that a new key can be made known before it signs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use crate::error::{Error, ErrorKind, Result};

const SECRET_BYTES_MIN: usize = 32;
const SIGNING: &str = "signing";
const HOW_TO_MAKE_KEYS: &str = "make a signing key with `freehold key generate`, \
     or set auth.hs256_secret_file, or try `freehold serve --dev`";

/// One key that verifies, and signs if its private half is here.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) verify: DecodingKey,
    pub(super) sign: EncodingKey,
}

/// The keys of the host's own issuer. At least one, and one of them signs.
pub(crate) struct KeyRing {
    pub(super) keys: Vec<Key>,
    signing: usize,
}

impl KeyRing {
    /// Reads the key files in `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when there is none (the message says how to make one), when a key
    /// is readable by others, or when it is no Ed25519 key.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self> {
        let mut keys = Vec::new();
        for kid in list_keys(dir)? {
            keys.push(ed25519(&kid, &read_secret(&dir.join(format!("{kid}.pem")))?)?);
        }
        if keys.is_empty() {
            return Err(unusable(format!("no signing key: {HOW_TO_MAKE_KEYS}")));
        }
        let named = fs::read_to_string(dir.join(SIGNING)).unwrap_or_default();
        let signing = keys
            .iter()
            .position(|key| key.kid == named.trim())
            .ok_or_else(|| unusable("keys/signing names no key that is there: write one key's name into it"))?;
        Ok(Self { keys, signing })
    }

    /// Reads an HS256 secret: raw bytes, one newline at the end forgiven.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the file is short, is readable by others or is a PEM file:
    /// a public key used as a shared secret would let anyone sign (RFC 8725 section 2.1).
    pub(crate) fn from_secret_file(path: &Path) -> Result<Self> {
        let mut secret = read_secret(path)?;
        if secret.last() == Some(&b'\n') {
            secret.pop();
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(unusable(
                "the HS256 secret is shorter than 32 bytes (RFC 7518 section 3.2): \
                 make one with `(umask 077; openssl rand 48 > secret)`",
            ));
        }
        if secret.starts_with(b"-----BEGIN") || secret.trim_ascii_start().starts_with(b"{") {
            return Err(unusable("the HS256 secret file holds a PEM or JWK key, not random bytes"));
        }
        let key = Key {
            kid: kid_of(&secret),
            algorithm: Algorithm::HS256,
            verify: DecodingKey::from_secret(&secret),
            sign: EncodingKey::from_secret(&secret),
        };
        Ok(Self { keys: vec![key], signing: 0 })
    }

    pub(super) fn signing(&self) -> &Key {
        &self.keys[self.signing]
    }
}

/// Makes an Ed25519 key in `dir` and returns its name. The first one made becomes the signing key.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the folder can't be written.
pub(crate) fn generate_key(dir: &Path) -> Result<String> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Error::internal("no randomness for a key"))?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| Error::internal("the new key can't be encoded"))?;
    let kid = kid_of(pair.public_key().as_ref());
    let write = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let encoded = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
        write_new(&dir.join(format!("{kid}.pem")), encoded.as_bytes())?;
        match write_new(&dir.join(SIGNING), kid.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    write().map_err(|error| unusable("the new key can't be written").with_source(error))?;
    Ok(kid)
}

/// The names of the keys in `dir`, sorted. No folder means no keys.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the folder can't be read.
pub(crate) fn list_keys(dir: &Path) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut kids = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            kids.extend(name.to_str().and_then(|name| name.strip_suffix(".pem")).map(str::to_owned));
        }
        kids.sort();
        Ok(kids)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| unusable("the keys can't be listed").with_source(error)),
    }
}

fn ed25519(kid: &str, file: &[u8]) -> Result<Key> {
    let wrong = || unusable(format!("keys/{kid}.pem is no Ed25519 private key in PKCS#8 PEM"));
    let block = pem::parse(file).map_err(|_| wrong())?;
    let pair = Ed25519KeyPair::from_pkcs8(block.contents()).map_err(|_| wrong())?;
    Ok(Key {
        kid: kid.to_owned(),
        algorithm: Algorithm::EdDSA,
        verify: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        sign: EncodingKey::from_ed_der(block.contents()),
    })
}

/// A key's name says nothing of the key: the first 8 bytes of its SHA-256.
fn kid_of(material: &[u8]) -> String {
    digest::digest(&digest::SHA256, material).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let read = || -> io::Result<(u32, Vec<u8>)> { Ok((fs::metadata(path)?.permissions().mode(), fs::read(path)?)) };
    let (mode, bytes) = read().map_err(|error| unusable(format!("{name} can't be read")).with_source(error))?;
    if mode & 0o077 != 0 {
        return Err(unusable(format!("{name} can be read by others: run `chmod 600` on it and consider it known")));
    }
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn unusable(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}
