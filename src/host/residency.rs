//! How many tenants fit: by count, by memory and by file descriptors, whichever allows the fewest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::TenantSettings;
use crate::db::held_memory;
use crate::tenant::{Files, Residency};

/// What an open tenant costs of memory once it is idle.
const TENANT_BYTES: u64 = 150 * 1024;
/// The writer's: the file, its log, and the index of the log, which the readers share.
const WRITER_FILES: u64 = 3;
/// A reader's: the file and its log.
const READER_FILES: u64 = 2;
/// Of all file descriptors, the part that is kept for connections and for the host's own.
const FILES_KEPT: u64 = 5;

/// Lets this process open as many files as it may: the soft limit is often 1,024, and a tenant takes several. For
/// a program of its own; an embedder's limits are the embedder's business.
pub(crate) fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files can't be raised: fewer tenants are open at once");
    }
}

/// What `settings` allow and this process has room for; `readers` is how many one tenant may have.
pub(super) fn residency(settings: &TenantSettings, readers: usize) -> Residency {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = Files { most: limit - limit / FILES_KEPT, each: WRITER_FILES + READER_FILES * readers as u64 };
    let (most, bound) = [
        (settings.resident_max as u64, "resident_max"),
        (settings.resident_bytes.as_u64() / TENANT_BYTES, "resident_bytes"),
    ]
    .into_iter()
    .min()
    .unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    if bound != "resident_max" {
        tracing::warn!(most, bound, files = limit, "fewer tenants than resident_max can be open at once");
    }
    let bytes = settings.resident_bytes.as_u64();
    Residency { most, bound, files, idle_after: settings.idle_after, bytes, held: held_memory }
}
