//! The admin listener's token: one line in a file that its owner alone can read.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// A token that one can guess is none.
const BYTES_MIN: usize = 32;

/// What opens the admin listener.
pub(crate) struct AdminToken(Vec<u8>);

impl AdminToken {
    /// Reads the token in `path`, which is made with a fresh one when it is not there and `make` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: it can't be read, others can read it, or it is too short to be one.
    pub(crate) fn load(path: &Path, make: bool) -> Result<Self> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => return Self::fresh(path),
            Err(error) => return Err(unusable(path, "can't be read").with_source(error)),
            Ok(there) if there.permissions().mode() & 0o077 != 0 => {
                return Err(unusable(path, "can be read by others: run `chmod 600` on it and consider it known"));
            }
            Ok(_) => {}
        }
        let token = fs::read(path).map_err(|error| unusable(path, "can't be read").with_source(error))?;
        let token = token.trim_ascii();
        if token.len() < BYTES_MIN {
            return Err(unusable(path, "holds fewer than 32 letters: remove it, and the next start makes one"));
        }
        Ok(Self(token.to_vec()))
    }

    fn fresh(path: &Path) -> Result<Self> {
        let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{token}")?;
            file.sync_all()
        };
        write().map_err(|error| unusable(path, "can't be made").with_source(error))?;
        Ok(Self(token.into_bytes()))
    }

    /// Whether `sent` is the token; how much of it is right takes no time to tell.
    pub(crate) fn is(&self, sent: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, sent).is_ok()
    }

    /// What to send as one's own.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::new(ErrorKind::Unavailable, format!("the admin listener's token file {name} {why}"))
}
