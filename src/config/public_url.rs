//! The address that agents type, parsed once: nothing else in the host splits a URL by hand.

use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `https://mcp.example.com` or `http://10.0.0.7:8000`: a scheme, a host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    scheme: String,
    authority: String,
}

impl PublicUrl {
    /// Scheme, host and port, in lower case and with no slash at the end (RFC 6454).
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Host and port as a `Host` header carries them.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for PublicUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("write a URL such as \"https://mcp.example.com\": scheme and host, no path");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let plain = matches!(scheme, "http" | "https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !authority.as_str().contains('@');
        if !plain {
            return Err(wrong());
        }
        Ok(Self { scheme: scheme.to_owned(), authority: authority.as_str().to_ascii_lowercase() })
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
