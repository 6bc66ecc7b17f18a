//! Removing all that a tenant has on disk, with a record of what it was.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest;

use super::{DataDir, pause};
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::id::TenantId;

/// A file that was removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Removed {
    /// Where it was, from the data directory on.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of what it held, in hex.
    pub sha256: String,
}

/// What a tenant takes on disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Its file.
    pub database: u64,
    /// The log that is not copied into the file yet.
    pub log: u64,
    /// Checkpoints and what else it can be restored from.
    pub restore: u64,
    /// When the file or its log was last written, in seconds since 1970.
    pub written_at: Option<u64>,
}

/// What `tenant` takes on disk; nothing if it has no file yet.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when its folder can't be read.
pub(crate) fn sizes(dir: &DataDir, tenant: &TenantId) -> Result<Sizes> {
    let mut sizes = Sizes::default();
    add_sizes(&dir.tenant_dir(tenant), &mut sizes)
        .map_err(|error| Error::new(ErrorKind::Unavailable, "a tenant's folder can't be read").with_source(error))?;
    Ok(sizes)
}

fn add_sizes(folder: &Path, sizes: &mut Sizes) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file = match entry.metadata() {
            // Gone since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let written = || file.modified().ok()?.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
        match entry.file_name().to_str() {
            _ if file.is_dir() => add_sizes(&entry.path(), sizes)?,
            Some("tenant.db") => (sizes.database, sizes.written_at) = (file.len(), sizes.written_at.max(written())),
            Some("tenant.db-wal") => (sizes.log, sizes.written_at) = (file.len(), sizes.written_at.max(written())),
            Some("tenant.db-shm") => {}
            _ => sizes.restore += file.len(),
        }
    }
    Ok(())
}

/// Removes `tenant`'s folder with all that is in it: its file, its log, its restore points. Nobody may have them open.
/// Blocking: on the executor.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when something can't be removed: called again, it goes on.
pub(crate) fn remove_tenant(dir: &DataDir, tenant: &TenantId) -> Result<Vec<Removed>> {
    let folder = dir.tenant_dir(tenant);
    let mut removed = Vec::new();
    pause::on_disk(|| {
        walk(dir, &folder, &mut removed)?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done?,
        }
        // Without this a loss of power brings the names back.
        folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
    })
    .map_err(|error: io::Error| {
        Error::new(ErrorKind::Unavailable, "a tenant's files can't all be removed: do it again when the disk allows")
            .with_source(error)
    })?;
    removed.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(removed)
}

fn walk(dir: &DataDir, folder: &Path, removed: &mut Vec<Removed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(dir, &path, removed)?;
        } else if entry.file_type()?.is_file() {
            let (bytes, sha256) = hash(&path)?;
            removed.push(Removed { file: dir.told(&path), bytes, sha256 });
        }
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (digest::Context::new(&digest::SHA256), 0, vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok((bytes, hex(hash.finish().as_ref())))
}
