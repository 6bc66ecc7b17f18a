//! An origin as browsers name one, and a list of them as operators write one. Parsed once: what is compared
//! later is scheme, host and port, never text.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Scheme, host and port (RFC 6454 section 4), in lower case and with the port spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of what listens under `authority`: `example.com`, `127.0.0.1:8000`, `[::1]:8000`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): it is no host with perhaps a port.
    pub fn new(secure: bool, authority: &str) -> Result<Self> {
        let (host, port) = split(authority).ok_or_else(|| Error::invalid("not a host with perhaps a port"))?;
        Ok(Self { secure, host, port: port.unwrap_or_else(|| default_port(secure)) })
    }

    /// Whether a `Host` header or an `:authority` names this place. Without a port it is the scheme's.
    #[must_use]
    pub fn answers_to(&self, authority: &str) -> bool {
        split(authority).is_some_and(|(host, port)| {
            host == self.host && port.unwrap_or_else(|| default_port(self.secure)) == self.port
        })
    }

    /// Host and port as a `Host` header carries them: without the scheme's own port.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == default_port(self.secure) {
            return self.host.clone();
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`, and nothing beside it: no user, no path.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let parsed: Authority = authority.parse().ok()?;
    let (host, port) = (parsed.host(), parsed.port_u16());
    // What is left must be the port: not a user before the host, not a colon with nothing behind it.
    let rest = authority.strip_prefix(host)?;
    let rest_is_port = match port {
        None => rest.is_empty(),
        Some(_) => rest.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit())),
    };
    // A URI's grammar lets a host be `*.example.com`; here that would be an entry that never matches anything.
    let is_name = !host.is_empty() && !host.contains('*');
    (rest_is_port && is_name).then(|| (host.to_ascii_lowercase(), port))
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("write an origin such as \"https://app.example.com\": scheme and host, no path");
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let secure = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return Err(wrong());
        };
        Self::new(secure, authority).map_err(|_| wrong())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

/// One entry of `cors.allowed_origins`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AllowedOrigin {
    /// `*`: every page there is. A token is still needed, and pages can't send one they don't have.
    Any,
    /// `null`: sandboxed frames and local files, whoever wrote them.
    Null,
    /// `http://localhost:*`: every port of this machine, for development.
    AnyPort(Origin),
    /// `https://app.example.com`: this one.
    Exact(Origin),
}

impl AllowedOrigin {
    /// Whether the `Origin` header `sent` is meant by this entry.
    #[must_use]
    pub fn allows(&self, sent: &str) -> bool {
        match self {
            Self::Any => sent == "null" || sent.parse::<Origin>().is_ok(),
            Self::Null => sent == "null",
            Self::AnyPort(own) => {
                sent.parse::<Origin>().is_ok_and(|sent| sent.secure == own.secure && sent.host == own.host)
            }
            Self::Exact(own) => sent.parse::<Origin>().is_ok_and(|sent| sent == *own),
        }
    }

    /// Every port of this machine, by each of its names.
    pub(crate) fn loopback() -> impl Iterator<Item = Self> {
        ["localhost", "127.0.0.1", "[::1]"]
            .into_iter()
            .map(|host| Self::AnyPort(Origin { secure: false, host: host.to_owned(), port: 80 }))
    }
}

impl FromStr for AllowedOrigin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let any_port = text.strip_suffix(":*");
        match (text, any_port) {
            ("*", _) => Ok(Self::Any),
            ("null", _) => Ok(Self::Null),
            (_, None) => text.parse().map(Self::Exact),
            (_, Some(base)) => {
                let origin: Origin = base.parse()?;
                if !matches!(origin.host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
                    return Err(Error::invalid("`:*` is for localhost, 127.0.0.1 and [::1] only: name the port"));
                }
                Ok(Self::AnyPort(origin))
            }
        }
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AllowedOrigin> for String {
    fn from(allowed: AllowedOrigin) -> Self {
        match allowed {
            AllowedOrigin::Any => "*".to_owned(),
            AllowedOrigin::Null => "null".to_owned(),
            AllowedOrigin::AnyPort(origin) => format!("{origin}:*"),
            AllowedOrigin::Exact(origin) => origin.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let own: Origin = "https://MCP.example.com".parse().expect("an origin");
        assert_eq!(own.to_string(), "https://mcp.example.com");
        for same in ["mcp.example.com", "mcp.example.com:443", "MCP.EXAMPLE.COM"] {
            assert!(own.answers_to(same), "{same}");
        }
        for other in ["mcp.example.com:80", "mcp.example.com.", "x.mcp.example.com", "a@mcp.example.com", "", ":443"] {
            assert!(!own.answers_to(other), "{other}");
        }
        for wrong in
            ["https://", "https://x/", "https://x:", "https://u@x", "https://x?q", "ftp://x", "x", "https://x:99999"]
        {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
        let six: Origin = "http://[::1]:8000".parse().expect("an origin");
        assert!(six.answers_to("[::1]:8000") && !six.answers_to("[::1]"));
    }

    #[test]
    fn an_entry_means_what_it_says() {
        let allows = |entry: &str, sent: &str| entry.parse::<AllowedOrigin>().expect("an entry").allows(sent);
        assert!(allows("https://app.example.com", "https://app.example.com:443"));
        assert!(!allows("https://app.example.com", "http://app.example.com"));
        assert!(!allows("https://app.example.com", "https://app.example.com.evil.example"));
        assert!(!allows("https://app.example.com", "null"));
        assert!(
            allows("http://localhost:*", "http://localhost:5173") && !allows("http://localhost:*", "https://localhost")
        );
        assert!(allows("null", "null") && allows("*", "https://anyone.example") && !allows("*", "nonsense"));
        for wrong in ["https://x:*", "https://x/path", "*.example.com", "https://*.example.com", ""] {
            assert!(wrong.parse::<AllowedOrigin>().is_err(), "{wrong}");
        }
        for entry in ["*", "null", "http://localhost:*", "https://app.example.com:8443"] {
            assert_eq!(String::from(entry.parse::<AllowedOrigin>().expect("an entry")), entry);
        }
    }
}
