//! A tenant's file out of the host and into it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{One, made_one};
use crate::cli::progress::Progress;
use crate::cli::{operate, say};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Host, file_body};

/// Of a file that is sent, what is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is written before the disk has seen it: it may be the one that tenants' commits wait for.
const SYNC_BYTES: u64 = 1_000_000;

pub(super) fn export(host: Host, one: &One, out: Option<&Path>, at: Option<&str>, from_remote: bool) -> Result<()> {
    let settings = one.place.settings()?;
    // A time has nothing in it that an address could not hold, but for the sign of a zone.
    let at = at.map_or_else(String::new, |at| format!("&at={}", at.replace('+', "%2B").replace(' ', "%20")));
    let path = format!("/v1/tenants/{}/export?from_remote={from_remote}{at}", one.id);
    let out = out.map_or_else(|| PathBuf::from(format!("{}.sqlite", one.id)), Path::to_path_buf);
    let unmade = |error| {
        Error::new(ErrorKind::Conflict, "the file can't be made: name one that is not there").with_source(error)
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out).map_err(unmade)?;
    let (mut bytes, mut synced) = (0, 0);
    let done = operate(host, &settings, async |operator| {
        let progress = Progress::bytes("exporting", 0);
        operator
            .download(&path, |chunk, length| {
                bytes += chunk.len() as u64;
                progress.at(bytes, length);
                file.write_all(chunk).map_err(unwritten)?;
                if bytes - synced >= SYNC_BYTES {
                    synced = bytes;
                    file.sync_data().map_err(unwritten)?;
                }
                Ok(())
            })
            .await?;
        file.sync_all().map_err(unwritten)
    });
    if let Err(error) = done {
        // It is ours, and not whole.
        let _ = fs::remove_file(&out);
        return Err(error);
    }
    let told = json!({ "id": one.id.as_str(), "file": out.display().to_string(), "bytes": bytes });
    if one.json { say(told) } else { say(out.display()) }
}

pub(super) fn import(host: Host, one: &One, file: &Path, class: &str) -> Result<()> {
    let settings = one.place.settings()?;
    let path = format!("/v1/tenants/{}/import?class={class}", one.id);
    let unread = |error| Error::new(ErrorKind::NotFound, "the file can't be read").with_source(error);
    let mut source = File::open(file).map_err(unread)?;
    let length = source.metadata().map_err(unread)?.len();
    // Before anything is sent: its words would only be about the name.
    settings.class(class)?;
    let progress = Progress::bytes("importing", length);
    let body = file_body(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = source.read(&mut chunk)?;
        chunk.truncate(read);
        progress.advance(read as u64);
        Ok((read > 0).then_some(chunk))
    });
    let made = operate(host, &settings, async |operator| operator.upload(&path, body, length).await)?;
    made_one(one.json, &one.id, &made)
}

fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the file can't be written: is the disk full?").with_source(error)
}
