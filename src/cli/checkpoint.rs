//! `freehold tenant checkpoint|bookmarks|restore`: on the files of a host that is stopped.

use serde_json::json;

use super::{Place, admin_action, data_dir, say};
use crate::catalog::{Catalog, Wakes};
use crate::clock::{Clock, SystemClock, rfc3339};
use crate::config::{Class, Settings};
use crate::db::{Bookmark, Checkpoint, CheckpointKind, Checkpoints, DataDir, Database, FileSettings, ReaderThreads};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::TenantId;
use crate::tenant::put_back;

/// Prints the bookmark and nothing else.
pub(super) fn create(place: &Place, id: &TenantId, label: Option<&str>) -> Result<()> {
    let settings = place.settings()?;
    let dir = DataDir::claim(&settings.data_dir.relative())?;
    let Class { limits, .. } = class(&settings, &dir, id)?;
    let made = Checkpoints::of(&dir, id)?.create(CheckpointKind::Named, label, now(), &limits)?;
    admin_action(
        &settings,
        &dir,
        "tenant.checkpoint",
        json!({ "tenant": id.as_str(), "bookmark": made.bookmark.to_string() }),
    );
    say(made.bookmark)
}

pub(super) fn list(place: &Place, id: &TenantId, json: bool) -> Result<()> {
    let settings = place.settings()?;
    let dir = data_dir(&settings)?;
    class(&settings, &dir, id)?;
    for Checkpoint { bookmark, label, bytes, .. } in Checkpoints::of(&dir, id)?.list()? {
        if json {
            say(json!({
                "bookmark": bookmark.to_string(), "kind": bookmark.kind().as_str(), "at_ms": bookmark.at_ms(),
                "bytes": bytes, "label": label,
            }))?;
        } else {
            let (at, label) = (rfc3339(bookmark.at_ms() / 1_000), label.unwrap_or_default());
            // What a caller wrote may hold line ends and worse.
            say(format!("{bookmark} {at} {bytes:>12} {}", label.escape_debug()).trim_end())?;
        }
    }
    Ok(())
}

/// Prints the bookmark of what was replaced.
pub(super) fn restore(host: &Host, place: &Place, id: &TenantId, at: Bookmark) -> Result<()> {
    let settings = place.settings()?;
    let dir = DataDir::claim(&settings.data_dir.relative())?;
    let Class { limits, durability, .. } = class(&settings, &dir, id)?;
    Checkpoints::of(&dir, id)?;
    let file = FileSettings { durability, limits: limits.clone() };
    let opened = Database::open(&dir, id, &file, &host.template(), &ReaderThreads::start())?;
    let Database { mut writer, checkpoints, template, .. } = opened;
    let prepared = checkpoints.prepare(at, &template)?;
    let done = put_back(id, &mut writer, prepared, &checkpoints, &limits, &Wakes::open(&dir)?, now());
    writer.close()?;
    let undo = done?.undo;
    let told = json!({ "tenant": id.as_str(), "bookmark": at.to_string(), "undo": undo.to_string() });
    admin_action(&settings, &dir, "tenant.restore", told);
    say(undo)
}

fn class(settings: &Settings, dir: &DataDir, id: &TenantId) -> Result<Class> {
    let class = Catalog::open(dir)?.class_of(id)?;
    let missing = || Error::new(ErrorKind::NotFound, format!("there is no tenant {id}"));
    settings.class(&class.ok_or_else(missing)?)
}

fn now() -> u64 {
    u64::try_from(SystemClock.unix_millis()).unwrap_or(0)
}
