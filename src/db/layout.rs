//! The data directory: who lies where, and that one process at a time owns it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// The folder that holds the catalog, the keys and a folder per tenant. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Held while this process serves from the folder; released by the kernel however it ends.
    lock: Option<Arc<Lock>>,
}

/// Who holds the folder, as the lock file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process id.
    pub process: String,
    /// Whether it is about to let go.
    pub leaves: bool,
}

/// The lock file's second line.
const LEAVING: &str = "leaving\n";

impl Holder {
    fn of(said: &str) -> Self {
        let mut lines = said.lines();
        let process = lines.next().unwrap_or_default().trim().to_owned();
        Self { process, leaves: lines.next() == Some(LEAVING.trim_end()) }
    }

    /// Why this process can't have the folder.
    pub(crate) fn in_the_way(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "the data directory is in use by process {}: stop it first, choose another with --data-dir, or wait \
                 for it with --wait-for-lock 60s",
                self.process
            ),
        )
    }
}

/// Let go of by name and not only by closing: a child that is being started holds its copy of the file for
/// a moment longer.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn release(&self) {
        // If it fails, the kernel does it with the last copy.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

impl DataDir {
    /// Names the folder without claiming it: for commands beside a running host.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be made or reached.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let make = || -> io::Result<PathBuf> {
            private_dir(root)?;
            root.canonicalize()
        };
        let root = make().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the data directory can't be used").with_source(error)
        })?;
        Ok(Self { root, lock: None })
    }

    /// Names the folder and claims it for this process.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another process holds it (the message says which), or as [`DataDir::open`].
    pub(crate) fn claim(root: &Path) -> Result<Self> {
        Self::try_claim(root)?.map_err(|holder| holder.in_the_way())
    }

    /// As [`DataDir::claim`], for whoever can wait for the holder.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub(crate) fn try_claim(root: &Path) -> Result<Result<Self, Holder>> {
        let mut dir = Self::open(root)?;
        let unusable = |error| Error::new(ErrorKind::Unavailable, "freehold.lock can't be used").with_source(error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.root.join("freehold.lock"))
            .map_err(unusable)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut said = String::new();
            // Two lines at most: the file is ours, but nobody promises that.
            let _ = file.take(64).read_to_string(&mut said);
            return Ok(Err(Holder::of(&said)));
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        dir.lock = Some(Arc::new(Lock(file)));
        Ok(Ok(dir))
    }

    /// Tells whoever waits for the folder that this process is about to let go of it.
    pub(crate) fn leave(&self) {
        if let Some(lock) = &self.lock
            && let Err(error) = (&lock.0).write_all(LEAVING.as_bytes())
        {
            tracing::warn!(%error, "a process that waits for the data directory can't be told to make ready");
        }
    }

    /// Lets others claim the folder. For the end of everything that wrote to it: a task that has ended may hold
    /// its copy of this for a moment longer.
    pub(crate) fn release(&self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// The folder of the host's keys and secrets.
    #[must_use]
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where the audit log is, unless the settings say otherwise.
    #[must_use]
    pub(crate) fn audit(&self) -> PathBuf {
        self.root.join("audit.jsonl")
    }

    /// Where a command finds the host that serves from this folder. Who can open it could read the files as well.
    #[must_use]
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// What tells this folder from others where its tenants' past is kept elsewhere; `fresh` becomes it if it has
    /// none. It goes with the folder when that is moved.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn identity(&self, fresh: &str) -> io::Result<String> {
        let path = self.root.join("identity");
        match fs::read_to_string(&path) {
            Ok(there) if !there.is_empty() => return Ok(there),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        Ok(fresh.to_owned())
    }

    /// Where copies are made before they are put in their place. Empty when a host starts.
    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// `path` as it is told: from this folder on.
    pub(super) fn told(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    pub(super) fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// Where the file that new tenants are copies of is made.
    pub(super) fn template(&self) -> PathBuf {
        self.root.join("template.db")
    }

    /// Two hex digits between, so that no folder holds more than some hundreds of 100,000 tenants.
    pub(super) fn tenant_dir(&self, tenant: &TenantId) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, tenant.as_str().as_bytes());
        self.root.join("tenants").join(format!("{:02x}", hash.as_ref()[0])).join(tenant.as_str())
    }

    /// The tenant's file, in a folder that is there, is ours and is no link to elsewhere.
    pub(super) fn tenant_file(&self, tenant: &TenantId) -> Result<PathBuf> {
        let dir = self.tenant_dir(tenant);
        let real = || -> io::Result<PathBuf> {
            private_dir(&dir)?;
            dir.canonicalize()
        };
        let unusable = || Error::new(ErrorKind::Unavailable, "the tenant's folder can't be used");
        let real = real().map_err(|error| unusable().with_source(error))?;
        if real != dir {
            return Err(unusable().with_source("the folder is a link to elsewhere"));
        }
        Ok(dir.join("tenant.db"))
    }
}

pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Ok(()),
        _ => DirBuilder::new().recursive(true).mode(0o700).create(path),
    }
}
