//! The audit log: one JSON object a line, written by a thread of its own behind a bounded queue. When the queue
//! is full a record is lost and counted, since a slow disk must not hold up a request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::config::AuditSettings;
use crate::error::{Error, ErrorKind, Result};

/// Records that may wait for the disk.
const WAITING_MAX: usize = 4_096;
/// How long a record may be on its way to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The way into the audit log. Cheap to clone; the thread ends with the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
    calls: bool,
}

impl Audit {
    /// Opens the log at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be written.
    pub(crate) fn start(path: &Path, settings: &AuditSettings) -> Result<Self> {
        if !settings.enabled {
            return Ok(Self::default());
        }
        let file = open(path).map_err(|error| unusable().with_source(error))?;
        let (lines, queue) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            path: path.to_path_buf(),
            file,
            most: settings.file_bytes.as_u64(),
            files: settings.files.max(1),
            lost: Arc::clone(&lost),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || keeper.keep(&queue))
            .map_err(|error| unusable().with_source(error))?;
        Ok(Self(Some(Arc::new(Queue { lines, lost, calls: settings.calls }))))
    }

    /// Whether calls that were let in are recorded.
    #[must_use]
    pub(crate) fn takes_calls(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.calls)
    }

    /// Whether anything is recorded.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records `event` with what is told of it.
    pub(crate) fn record(&self, now: SystemTime, event: &str, told: Value) {
        let Some(queue) = &self.0 else { return };
        if queue.lines.try_send(line(now, event, told)).is_err() {
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Records one thing that an operator did, from a command beside the host. Only the host sets files aside.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the log can't be written.
pub(crate) fn append(path: &Path, settings: &AuditSettings, now: SystemTime, event: &str, told: Value) -> Result<()> {
    if !settings.enabled {
        return Ok(());
    }
    let write = || open(path)?.write_all(line(now, event, told).as_bytes());
    write().map_err(|error| unusable().with_source(error))
}

fn line(now: SystemTime, event: &str, mut told: Value) -> String {
    told["ts"] = json!(humantime::format_rfc3339_millis(now).to_string());
    told["event"] = json!(event);
    if let Some(told) = told.as_object_mut() {
        told.retain(|_, value| !value.is_null());
    }
    // JSON escapes what could end a line or colour a terminal.
    format!("{told}\n")
}

struct Keeper {
    path: PathBuf,
    file: File,
    most: u64,
    files: usize,
    lost: Arc<AtomicU64>,
}

impl Keeper {
    fn keep(mut self, queue: &Receiver<String>) {
        let mut unsynced = false;
        loop {
            match queue.recv_timeout(SYNC_EVERY) {
                Ok(first) => {
                    let mut lines = first;
                    lines.extend(queue.try_iter().take(WAITING_MAX));
                    let lost = self.lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        lines.push_str(&format!("{}\n", json!({ "event": "audit.lost", "records": lost })));
                    }
                    self.write(&lines);
                    unsynced = true;
                }
                Err(RecvTimeoutError::Timeout) if unsynced => {
                    // Its failure comes back with the next write.
                    let _ = self.file.sync_data();
                    unsynced = false;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.file.sync_data();
                    return;
                }
            }
        }
    }

    fn write(&mut self, lines: &str) {
        let written = self.set_aside().and_then(|()| self.file.write_all(lines.as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "the audit log can't be written");
        }
    }

    /// Begins a new file when this one is full: `audit.jsonl.1` is the youngest of the old ones.
    fn set_aside(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.most {
            return Ok(());
        }
        let old = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.files.saturating_sub(1)).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match self.files {
            1 => fs::remove_file(&self.path)?,
            _ => fs::rename(&self.path, old(1))?,
        }
        self.file = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn unusable() -> Error {
    Error::new(ErrorKind::Unavailable, "the audit log can't be written: see audit.file, or set audit.enabled = false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_set_aside_and_the_oldest_goes() {
        let dir = std::env::temp_dir().join(format!("audit-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join("audit.jsonl");
        let lost = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper { file: open(&path).expect("a file"), path: path.clone(), most: 10, files: 3, lost };
        for number in 0..6 {
            keeper.write(&format!("record number {number}\n"));
        }
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert_eq!(read("audit.jsonl"), "record number 5\n");
        assert_eq!(read("audit.jsonl.1"), "record number 4\n");
        assert_eq!(read("audit.jsonl.2"), "record number 3\n");
        assert!(!dir.join("audit.jsonl.3").exists());
        fs::remove_dir_all(&dir).expect("gone");
    }

    #[test]
    fn one_record_is_one_line() {
        let told = json!({ "user_agent": "x\n{\"event\":\"admin\"}\u{1b}[31m", "tool": null });
        let line = line(SystemTime::UNIX_EPOCH, "auth.refused", told);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains('\u{1b}') && !line.contains("tool"), "{line}");
        assert!(line.contains("\"ts\":\"1970-01-01T00:00:00.000Z\""), "{line}");
    }
}
