//! Randomness out of the system: what nobody can guess. The one place that draws it.

use aws_lc_rs::rand;

use crate::error::{Error, Result};

/// `N` bytes that nobody can guess: 16 for an id, 32 for a secret.
///
/// # Errors
/// [`crate::ErrorKind::Internal`]: the system gives none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut drawn = [0; N];
    rand::fill(&mut drawn).map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(drawn)
}
