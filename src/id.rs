//! Names that came from outside, parsed once. No other file builds a [`TenantId`].
//!
//! A tenant's name becomes a folder, a log field and later a metric label, so its alphabet is the
//! DNS label's: nothing in it can climb a path, fold to another case or break a line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

const LENGTH_MAX: usize = 63;

/// Names that a file system, an operator's route or a later feature needs for itself.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul", "admin", "system", "health", "metrics", "well-known"];

/// A tenant's name: 1 to 63 of `a-z`, `0-9` and `-`, no `-` at either end (an RFC 1123 label in
/// lower case). Upper case is refused, not folded, or two claims could name one tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The only door to a tenant's name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with the rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self> {
        let alphabet = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=LENGTH_MAX).contains(&name.len())
            && name.bytes().all(alphabet)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !fits {
            return Err(Error::invalid("a tenant's name is 1 to 63 of a-z, 0-9 and '-', with no '-' at either end"));
        }
        let numbered = |prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit() && rest != "0")
        };
        if RESERVED.contains(&name) || name.starts_with("xn--") || numbered("com") || numbered("lpt") {
            return Err(Error::invalid("this tenant name is reserved: choose another"));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::TenantId;

    #[test]
    fn takes_labels_and_nothing_else() {
        for good in ["a", "acme", "a-b", "0", "x1-2y", &"a".repeat(63)] {
            assert_eq!(TenantId::parse(good).expect(good).as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Acme",
            "a.b",
            "..",
            ".",
            "a/b",
            "../b",
            "a\\b",
            "a\0b",
            "a%2fb",
            "a b",
            "a ",
            "ａ",
            "é",
            "con",
            "com1",
            "lpt9",
            "admin",
            "xn--a",
            "a\n",
            "_fh",
            &"a".repeat(64),
        ] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
