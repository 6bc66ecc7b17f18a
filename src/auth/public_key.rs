//! Public keys as others publish them: JWKS documents (RFC 7517) and PEM files. What is not ours to use in
//! a document is passed over, as section 5 asks; a file that holds nothing to use is refused.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::key_set::PublicKey;
use crate::error::{Error, ErrorKind, Result};

/// Keys taken of one document.
const KEYS_MAX: usize = 100;
const KID_BYTES_MAX: usize = 256;
/// RSA below 2048 bits is broken or soon will be (NIST SP 800-131A); above 8192 a check takes too long.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Reads a JWKS document, key by key: one that does not parse must not take the others with it.
///
/// # Errors
/// [`ErrorKind::Unavailable`]: it is no JWKS document, or holds no key that can be used.
pub(super) fn from_jwks(document: &[u8]) -> Result<Vec<PublicKey>> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Value>,
    }
    let jwks: Jwks = serde_json::from_slice(document)
        .map_err(|_| unusable("this is no JWKS document: a JSON object with a list `keys`"))?;
    let mut keys: Vec<PublicKey> = Vec::new();
    for key in jwks.keys.iter().take(KEYS_MAX).filter_map(from_jwk) {
        // Two keys of one name and one algorithm: the first counts, or order elsewhere would decide.
        let there = |known: &PublicKey| known.kid == key.kid && known.algorithms == key.algorithms;
        if !keys.iter().any(there) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(unusable(
            "no key in this JWKS document can be used: RSA (2048 bits or more), P-256, P-384 or \
                             Ed25519, with a `kid`, for signatures",
        ));
    }
    Ok(keys)
}

fn from_jwk(jwk: &Value) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let signs = match jwk.get("use") {
        None => true,
        Some(used) => used == "sig",
    };
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(ops) => ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")),
    };
    let kid = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= KID_BYTES_MAX)?;
    if !signs || !verifies {
        return None;
    }
    let (key, mut algorithms) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let modulus = URL_SAFE_NO_PAD.decode(text("n")?).ok()?;
            MODULUS_BYTES.contains(&modulus.len()).then_some(())?;
            let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
            (key, AlgorithmFamily::Rsa.algorithms().to_vec())
        }
        ("EC", Some("P-256")) => (ec(text("x")?, text("y")?, 32)?, vec![Algorithm::ES256]),
        ("EC", Some("P-384")) => (ec(text("x")?, text("y")?, 48)?, vec![Algorithm::ES384]),
        ("OKP", Some("Ed25519")) => {
            let point = URL_SAFE_NO_PAD.decode(text("x")?).ok()?;
            (point.len() == 32).then_some(())?;
            (DecodingKey::from_ed_components(text("x")?).ok()?, vec![Algorithm::EdDSA])
        }
        _ => return None,
    };
    match jwk.get("alg") {
        None => {}
        Some(Value::String(alg)) => {
            let alg = if alg == "Ed25519" { Algorithm::EdDSA } else { alg.parse().ok()? };
            algorithms.retain(|own| *own == alg);
        }
        Some(_) => return None,
    }
    (!algorithms.is_empty()).then(|| PublicKey { kid: Some(kid.to_owned()), algorithms, key })
}

fn ec(x: &str, y: &str, bytes: usize) -> Option<DecodingKey> {
    let whole = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|part| part.len() == bytes);
    (whole(x) && whole(y)).then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
}

/// Reads one public key in PEM: SPKI (`PUBLIC KEY`), or PKCS#1 (`RSA PUBLIC KEY`).
///
/// # Errors
/// [`ErrorKind::Unavailable`]: it is something else, and what to do about it.
pub(super) fn from_pem(file: &[u8]) -> Result<Vec<PublicKey>> {
    let block = pem::parse(file).map_err(|_| unusable("this is no PEM file"))?;
    match block.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            return Err(unusable(
                "this is a certificate: write its key into the file with `openssl x509 -pubkey -noout`",
            ));
        }
        _ => return Err(unusable("this is no public key: write one into the file with `openssl pkey -pubout`")),
    }
    let public = |key: DecodingKey, algorithms: &[Algorithm]| {
        Ok(vec![PublicKey { kid: None, algorithms: algorithms.to_vec(), key }])
    };
    if let Ok(key) = DecodingKey::from_ed_pem(file) {
        return public(key, &[Algorithm::EdDSA]);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(file) {
        // Other curves have points of the same length: only one on the curve itself is of it.
        let is_on = |curve: &'static EcdsaVerificationAlgorithm| {
            key.try_get_as_bytes().is_ok_and(|point| ParsedPublicKey::new(curve, point).is_ok())
        };
        return match (is_on(&ECDSA_P256_SHA256_FIXED), is_on(&ECDSA_P384_SHA384_FIXED)) {
            (true, _) => public(key, &[Algorithm::ES256]),
            (_, true) => public(key, &[Algorithm::ES384]),
            _ => Err(unusable("this curve is not spoken here: use P-256, P-384 or Ed25519")),
        };
    }
    let rsa = aws_lc_rs::rsa::PublicKey::from_der(block.contents())
        .map_err(|_| unusable("this key is not spoken here: use RSA, P-256, P-384 or Ed25519"))?;
    if !MODULUS_BYTES.contains(&rsa.modulus_len()) {
        return Err(unusable("this RSA key is shorter than 2048 bits, or longer than 8192"));
    }
    let key = DecodingKey::from_rsa_pem(file).map_err(|_| unusable("this RSA key can't be read"))?;
    public(key, AlgorithmFamily::Rsa.algorithms())
}

fn unusable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}
