//! What a token says of itself, unverified: for an operator who looks at one, and for nothing else.

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::decode_header;
use serde_json::{Value, json};

use super::api_key::id_in;
use crate::error::{Error, Result};

/// Kind, header and claims of `token`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when it is no token.
pub(crate) fn look_into(token: &str) -> Result<Value> {
    if let Some(id) = id_in(token) {
        return Ok(json!({ "kind": "key", "id": id }));
    }
    let header = decode_header(token).map_err(|_| no_token())?;
    let claims: Value = insecure_decode_claims(token).map_err(|_| no_token())?;
    let alg = format!("{:?}", header.alg);
    Ok(
        json!({ "kind": "jwt", "id": claims["jti"], "alg": alg, "kid": header.kid, "typ": header.typ, "claims": claims }),
    )
}

fn no_token() -> Error {
    Error::invalid("this is no token: neither three parts of base64 with dots between nor a whole `fh_live_…`")
}
