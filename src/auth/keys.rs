//! The host's own keys: files under `keys/`. What a token is, it does not know.
//!
//! `keys/<kid>.pem` is an Ed25519 private key (PKCS#8); `keys/signing` names the one that signs.
//! All of them verify, so that a new key can be made known before it signs. `<kid>.retired` was one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::claims::sha256;
use super::key_set::PublicKey;
use super::public_key;
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;

const SECRET_BYTES_MIN: usize = 32;
const SECRET_TEXT_MIN: usize = 43;
const SIGNING: &str = "signing";
const HOW_TO_MAKE_KEYS: &str = "make a signing key with `freehold key generate`, \
     or set auth.hs256_secret_file, or try `freehold serve --dev`";

/// A private key and its name.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

/// The keys of the host's own issuer. At least one verifies; one may sign.
pub(crate) struct KeyRing {
    pub(super) verify: Vec<PublicKey>,
    sign: Option<SigningKey>,
}

impl KeyRing {
    /// Reads the key files in `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when there is none (the message says how to make one), when a key
    /// is readable by others, or when it is no Ed25519 key.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self> {
        let signing = signing_of(dir);
        let (mut verify, mut sign) = (Vec::new(), None);
        for kid in list_keys(dir)? {
            let (public, private) = ed25519(&kid, &read_secret(&dir.join(file_of(&kid)))?)?;
            verify.push(public);
            if signing.as_ref() == Some(&kid) {
                sign = Some(private);
            }
        }
        if verify.is_empty() {
            return Err(unusable(format!("no signing key: {HOW_TO_MAKE_KEYS}")));
        }
        if sign.is_none() {
            return Err(unusable(
                "keys/signing names no key that is there: run `freehold key promote` with one that is",
            ));
        }
        Ok(Self { verify, sign })
    }

    /// Reads an HS256 secret: raw bytes, one newline at the end forgiven.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the file is short, is readable by others, is a PEM file (a public
    /// key used as a shared secret would let anyone sign, RFC 8725 section 2.1), or is a pass phrase.
    pub(crate) fn from_secret_file(path: &Path) -> Result<Self> {
        let mut secret = read_secret(path)?;
        if secret.last() == Some(&b'\n') {
            secret.pop();
        }
        if secret.starts_with(b"-----BEGIN") || secret.trim_ascii_start().starts_with(b"{") {
            return Err(unusable("the HS256 secret file holds a PEM or JWK key, not random bytes"));
        }
        // Text has at most 6 random bits a byte: 43 characters of base64 are 256 bits.
        let least =
            if secret.iter().all(|byte| (b' '..=b'~').contains(byte)) { SECRET_TEXT_MIN } else { SECRET_BYTES_MIN };
        if secret.len() < least {
            return Err(unusable(
                "the HS256 secret is shorter than 32 random bytes, or 43 characters if it is text (RFC 7518 section \
                 3.2): make one with `(umask 077; openssl rand 48 > secret)`",
            ));
        }
        let kid = kid_of(&secret);
        let algorithm = Algorithm::HS256;
        let public =
            PublicKey { kid: Some(kid.clone()), algorithms: vec![algorithm], key: DecodingKey::from_secret(&secret) };
        let sign = SigningKey { kid, algorithm, key: EncodingKey::from_secret(&secret) };
        Ok(Self { verify: vec![public], sign: Some(sign) })
    }

    /// Reads a public key in PEM. Nothing can be signed with it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be read or is none.
    pub(crate) fn from_pem_file(path: &Path) -> Result<Self> {
        Ok(Self { verify: read_public(path, public_key::from_pem)?, sign: None })
    }

    /// Reads a JWKS document. Nothing can be signed with it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be read or holds no key to use.
    pub(crate) fn from_jwks_file(path: &Path) -> Result<Self> {
        Ok(Self { verify: read_public(path, public_key::from_jwks)?, sign: None })
    }

    /// # Errors
    /// [`ErrorKind::Unavailable`] when there are only public keys here.
    pub(super) fn signing(&self) -> Result<&SigningKey> {
        self.sign.as_ref().ok_or_else(|| {
            unusable("this host has only the public key of its issuer: issue tokens where the private key is")
        })
    }
}

fn read_public(path: &Path, parse: fn(&[u8]) -> Result<Vec<PublicKey>>) -> Result<Vec<PublicKey>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = fs::read(path).map_err(|error| unusable(format!("{name} can't be read")).with_source(error))?;
    parse(&bytes).map_err(|error| error.at(name))
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
        write_new(&dir.join(file_of(&kid)), encoded.as_bytes())?;
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

/// Makes `kid` the key that signs. Keys verify before and after: tokens of the other one stay good.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such key, [`ErrorKind::Unavailable`] when it can't be used.
pub(crate) fn promote_key(dir: &Path, kid: &str) -> Result<()> {
    known(dir, kid)?;
    ed25519(kid, &read_secret(&dir.join(file_of(kid)))?)?;
    let replace = || -> io::Result<()> {
        let new = dir.join(format!("{SIGNING}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_new(&new, kid.as_bytes())?;
        fs::rename(&new, dir.join(SIGNING))
    };
    replace().map_err(|error| unusable("keys/signing can't be written").with_source(error))
}

/// Takes `kid` out of use: tokens that it signed are refused from then on. Its file stays, renamed.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such key, [`ErrorKind::Conflict`] when it signs.
pub(crate) fn retire_key(dir: &Path, kid: &str) -> Result<()> {
    known(dir, kid)?;
    if signing_of(dir).as_deref() == Some(kid) {
        return Err(Error::new(ErrorKind::Conflict, format!("{kid} signs: promote another key before this one goes")));
    }
    fs::rename(dir.join(file_of(kid)), dir.join(format!("{kid}.retired")))
        .map_err(|error| unusable("the key's file can't be renamed").with_source(error))
}

/// The name of the key that signs, as it is written in the folder.
#[must_use]
pub(crate) fn signing_of(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join(SIGNING)).ok().map(|named| named.trim().to_owned())
}

/// A name out of an argument: compared with those that are there, never joined to a path before.
fn known(dir: &Path, kid: &str) -> Result<()> {
    if list_keys(dir)?.iter().any(|there| there == kid) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, "there is no key of that name: `freehold key list` prints those there are"))
}

fn file_of(kid: &str) -> String {
    format!("{kid}.pem")
}

fn ed25519(kid: &str, file: &[u8]) -> Result<(PublicKey, SigningKey)> {
    let wrong = || unusable(format!("keys/{kid}.pem is no Ed25519 private key in PKCS#8 PEM"));
    let block = pem::parse(file).map_err(|_| wrong())?;
    let pair = Ed25519KeyPair::from_pkcs8(block.contents()).map_err(|_| wrong())?;
    let algorithm = Algorithm::EdDSA;
    let key = DecodingKey::from_ed_der(pair.public_key().as_ref());
    let public = PublicKey { kid: Some(kid.to_owned()), algorithms: vec![algorithm], key };
    let private = SigningKey { kid: kid.to_owned(), algorithm, key: EncodingKey::from_ed_der(block.contents()) };
    Ok((public, private))
}

/// A key's name says nothing of the key: the first 8 bytes of its SHA-256.
fn kid_of(material: &[u8]) -> String {
    hex(&sha256(material)[..8])
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
