//! The name of a checkpoint: why it was made, and when. A path is built from one, so that no other text becomes one.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, parse_rfc3339};

use crate::error::{Error, Result};

/// Where the colons of a time stand, which a bookmark writes as dashes: it is a file's name too.
const COLONS: [usize; 2] = [13, 16];
/// The last millisecond of the year 9999: beyond it a time has other places.
const LAST: u64 = 253_402_300_799_999;

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CheckpointKind {
    /// Somebody asked for it. Only somebody's asking removes it.
    Named,
    /// What a restore replaced.
    Undo,
    /// A restore point that the host makes on its own.
    Automatic,
}

impl CheckpointKind {
    const ALL: [Self; 3] = [Self::Named, Self::Undo, Self::Automatic];

    /// The word before the time, and in what is told of one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "cp",
            Self::Undo => "undo",
            Self::Automatic => "auto",
        }
    }
}

/// The name of a checkpoint, such as `cp-2030-01-31T09-00-00.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bookmark {
    // First, so that bookmarks are sorted by time.
    at_ms: u64,
    kind: CheckpointKind,
}

impl Bookmark {
    pub(crate) fn new(kind: CheckpointKind, at_ms: u64) -> Self {
        Self { at_ms: at_ms.min(LAST), kind }
    }

    /// The only door to a bookmark that came as text.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): it has not the form of one.
    pub fn parse(text: &str) -> Result<Self> {
        let read = || -> Option<Self> {
            let (kind, time) = text.split_once('-')?;
            let kind = CheckpointKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
            let mut time = time.as_bytes().to_vec();
            for at in COLONS {
                *time.get_mut(at)? = b':';
            }
            let time = parse_rfc3339(std::str::from_utf8(&time).ok()?).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(Self::new(kind, u64::try_from(time.as_millis()).ok()?))
        };
        // One spelling each: what is no file's name here is none at all.
        read().filter(|read| read.to_string() == text).ok_or_else(|| {
            Error::invalid(
                "this is no bookmark: pass one of those that are listed, such as cp-2030-01-31T09-00-00.000Z",
            )
        })
    }

    /// Why it was made.
    #[must_use]
    pub fn kind(&self) -> CheckpointKind {
        self.kind
    }

    /// When it was made, in milliseconds since 1970.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

impl FromStr for Bookmark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.at_ms)).to_string();
        write!(f, "{}-{}", self.kind.as_str(), time.replace(':', "-"))
    }
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bookmark, CheckpointKind, LAST};

    #[test]
    fn one_spelling_each() {
        for (kind, at) in
            [(CheckpointKind::Named, 0), (CheckpointKind::Undo, 1_893_456_000_123), (CheckpointKind::Automatic, LAST)]
        {
            let made = Bookmark::new(kind, at);
            let read = Bookmark::parse(&made.to_string()).expect("its own text");
            assert_eq!((read.kind(), read.at_ms()), (kind, at));
        }
        assert_eq!(Bookmark::new(CheckpointKind::Named, 1_893_456_000_000).to_string(), "cp-2030-01-01T00-00-00.000Z");
        for wrong in [
            "",
            "cp",
            "cp-",
            "2030-01-01T00-00-00.000Z",
            "cp-2030-01-01T00:00:00.000Z",
            "cp-2030-01-01T00-00-00Z",
            "CP-2030-01-01T00-00-00.000Z",
            "cp-2030-01-01T00-00-00.000Z ",
            "cp-2030-02-30T00-00-00.000Z",
            "cp-../../../../etc/passwd.00Z",
            "undo-é030-01-01T00-00-00.000",
        ] {
            assert!(Bookmark::parse(wrong).is_err(), "{wrong:?} was taken");
        }
        assert!(Bookmark::new(CheckpointKind::Named, 5) < Bookmark::new(CheckpointKind::Undo, 6));
    }
}
