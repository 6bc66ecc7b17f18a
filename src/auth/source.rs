//! Where an issuer's keys come from, and the set of them at this moment: files that are looked at again, or
//! an address that is fetched again.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::key_set::{KeySet, PublicKey};
use super::remote::Remote;
use crate::error::Result;

/// The keys of one issuer, as they are now.
pub(super) struct KeySource {
    pub(super) issuer: String,
    pub(super) audiences: HashSet<String>,
    pub(super) now: watch::Sender<Now>,
    pub(super) from: From,
}

/// What is known of the keys.
#[derive(Clone, Default)]
pub(super) struct Now {
    /// `None` until the first fetch succeeds.
    pub(super) keys: Option<Arc<KeySet>>,
    /// Fetches that have ended, well or not.
    pub(super) attempts: u64,
}

pub(super) enum From {
    File(KeyFile),
    Url(Remote),
}

type Load = Box<dyn Fn() -> Result<Vec<PublicKey>> + Send + Sync>;

/// A file or a folder, and how it is read.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) load: Load,
    seen: Mutex<Seen>,
}

/// Enough to see that a file or a folder of files has changed.
type Seen = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl KeyFile {
    pub(super) fn new(path: PathBuf, load: impl Fn() -> Result<Vec<PublicKey>> + Send + Sync + 'static) -> Self {
        let seen = Mutex::new(look(&path));
        Self { path, load: Box::new(load), seen }
    }
}

impl KeySource {
    /// An issuer whose keys are in `file`, which is read at once.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn of_file(issuer: String, audiences: HashSet<String>, file: KeyFile) -> Result<Self> {
        let keys = KeySet::new((file.load)()?, &issuer, &audiences);
        let now = watch::Sender::new(Now { keys: Some(Arc::new(keys)), attempts: 1 });
        Ok(Self { issuer, audiences, now, from: From::File(file) })
    }

    /// The keys, if there are any yet.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        match &self.from {
            From::Url(remote) if remote.is_stale() => None,
            _ => self.now.borrow().keys.clone(),
        }
    }

    /// Replaces the keys; what was verified with others is verified anew.
    pub(super) fn replace(&self, keys: Vec<PublicKey>) {
        let keys = Arc::new(KeySet::new(keys, &self.issuer, &self.audiences));
        self.now.send_modify(|now| now.keys = Some(keys));
    }

    /// Reads the file again if it has changed. One that can't be used leaves the keys as they were. Blocks.
    pub(super) fn look_again(&self) {
        let From::File(file) = &self.from else { return };
        let now = look(&file.path);
        let mut seen = file.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        match (file.load)() {
            Ok(keys) => {
                self.replace(keys);
                tracing::info!(issuer = %self.issuer, "the keys have changed and are read again");
            }
            Err(error) => {
                tracing::warn!(issuer = %self.issuer, error = error.chain(), "the keys have changed and can't be used: the old ones stay");
            }
        }
        // Also after a failure: one line a change, not four a second.
        *seen = now;
    }
}

/// Of a folder the keys alone: other secrets come and go in it.
fn look(path: &Path) -> Seen {
    let mut files = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|file| is_key(file)).collect(),
        Err(_) => vec![path.to_path_buf()],
    };
    files.sort();
    let seen = |file: PathBuf| match fs::metadata(&file) {
        Ok(there) => (file, there.modified().ok(), there.len()),
        Err(_) => (file, None, 0),
    };
    files.into_iter().map(seen).collect()
}

fn is_key(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "pem")
}
