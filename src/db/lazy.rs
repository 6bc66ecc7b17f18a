//! The writer as the actor owns it: opened when somebody writes, closed while the tenant rests. What is written with it
//! is not known here.

use std::sync::Arc;
use std::time::Duration;

use super::Writer;
use super::file::TenantFile;
use crate::error::Result;

/// The one that may write to a tenant's file, whether the file is open for it or not.
#[derive(Debug)]
pub(crate) struct LazyWriter {
    file: Arc<TenantFile>,
    /// A large thing, and rarely there.
    writer: Option<Box<Writer>>,
    failed: bool,
}

impl LazyWriter {
    pub(super) fn new(file: Arc<TenantFile>, writer: Option<Writer>) -> Self {
        Self { file, writer: writer.map(Box::new), failed: false }
    }

    /// The writer, opened if it was not.
    ///
    /// # Errors
    /// As [`Database::open`](super::Database::open). It is then [`broken`](Self::is_broken).
    pub(crate) fn get(&mut self) -> Result<&mut Writer> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Box::new(self.file.writer().inspect_err(|_| self.failed = true)?),
        };
        Ok(self.writer.insert(writer))
    }

    /// Whether it can only be abandoned: the file can't be opened, or the disk failed under it.
    pub(crate) fn is_broken(&self) -> bool {
        self.failed || self.writer.as_ref().is_some_and(|writer| writer.is_broken())
    }

    /// When what was committed has to be kept, if something was.
    pub(crate) fn history_due(&self) -> Option<Duration> {
        self.writer.as_ref()?.history_due()
    }

    /// Keeps it, if it is time.
    pub(crate) fn ship_if_due(&mut self) {
        let is_due = self.history_due().is_some_and(|left| left.is_zero());
        self.writer.iter_mut().filter(|_| is_due).for_each(|writer| writer.ship());
    }

    /// Closes the file until somebody writes again, unless it is still being copied. The readers must be gone.
    pub(crate) fn rest(&mut self) {
        let Some(mut writer) = self.writer.take_if(|writer| !writer.is_broken()) else { return };
        writer.ship();
        if writer.is_being_copied() {
            writer.rest();
            self.writer = Some(writer);
            return;
        }
        // Nothing is lost by it: the next to open the file takes in its log.
        if let Err(error) = writer.close() {
            tracing::warn!(error = error.chain(), "a tenant's file was not closed cleanly at rest");
        }
        self.file.closed();
    }

    /// Closes the file for good. The readers must be gone.
    ///
    /// # Errors
    /// As [`Writer::close`].
    pub(crate) fn close(mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let closed = writer.close();
        self.file.closed();
        closed
    }

    /// Closes the file and leaves it as it is.
    pub(crate) fn abandon(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abandon();
        }
        self.file.closed();
    }
}
