//! How a tenant's file is closed: until it is asked for again, and for good. Its writer closes last, alone, for only it
//! copies the log back: a reader that outlived it would leave the log beside the file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::Handle;
use super::actor::Message;
use crate::error::Result;

/// How long the file is kept open for those who still read, before it is closed for good beside them.
const READS_END_WITHIN: Duration = Duration::from_secs(1);

impl Handle {
    /// Closes the file until it is asked for again, unless somebody reads.
    pub(crate) async fn rest(&self) {
        let Ok(Ok(_alone)) = timeout(Duration::ZERO, self.alone()).await else { return };
        self.shed().await;
        let (rested, rests) = oneshot::channel();
        // It only ever falls, at once where the mailbox is full: such a tenant is not at rest.
        drop(self.0.mailbox.post(Message::Rest(rested)));
        let _ = rests.await;
    }

    /// Waits for what is queued, closes the file. The caller sees to it that nobody uses the tenant.
    ///
    /// # Errors
    /// As [`crate::db::Writer::close`].
    pub(crate) async fn close(&self) -> Result<()> {
        // Where they take longer, the next to open the file removes what they leave.
        let _alone = timeout(READS_END_WITHIN, self.alone()).await;
        self.shed().await;
        self.0.mailbox.close().await
    }

    /// Keeps everybody from reading, once those who do have ended.
    async fn alone(&self) -> Result<OwnedSemaphorePermit, tokio::sync::AcquireError> {
        let all = u32::try_from(self.0.limits.readers).unwrap_or(u32::MAX);
        Arc::clone(&self.0.reading).acquire_many_owned(all).await
    }

    async fn shed(&self) {
        let shed = self.clone();
        // If no thread can be had, they stay open.
        let _ = self.0.executor.run(&self.0.credit, move || shed.0.readers.shed()).await;
    }
}
