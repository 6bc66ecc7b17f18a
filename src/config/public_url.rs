//! The address that agents type, parsed once: nothing else in the host splits a URL by hand.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::error::{Error, Result};

/// `https://mcp.example.com` or `http://10.0.0.7:8000`: a scheme, a host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(Origin);

impl PublicUrl {
    /// Scheme, host and port, in lower case and with no slash at the end (RFC 6454).
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.to_string()
    }

    /// Host and port as a `Host` header carries them.
    #[must_use]
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    pub(crate) fn as_origin(&self) -> &Origin {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.strip_suffix('/')
            .unwrap_or(text)
            .parse()
            .map(Self)
            .map_err(|_| Error::invalid("write a URL such as \"https://mcp.example.com\": scheme and host, no path"))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.origin()
    }
}
