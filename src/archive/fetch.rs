//! A tenant's past out of the storage: the file as it was, put together beside what is here.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::store::CHUNK_BYTES;
use super::{Archive, folder, nothing_of};
use crate::db::{Choice, Landing, Rebuilt, take_in};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Pieces that are on their way at once; each is 256 KiB, or one transaction.
const AT_ONCE: usize = 8;
/// How often a tenant that goes on writing may get in between.
const TRIES: usize = 8;

impl Archive {
    /// `tenant`'s file as it was at `at_ms`, or at the last change before it that is there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: nothing of it is there, or nothing of that time; [`ErrorKind::Unavailable`]: the
    /// storage can't be reached, or what it has is damaged; [`ErrorKind::Conflict`]: what it has changes too fast.
    pub(crate) async fn fetch(&self, tenant: &TenantId, at_ms: u64) -> Result<Rebuilt> {
        for _ in 1..TRIES {
            match self.try_fetch(tenant, at_ms).await {
                // What has grown meanwhile stands in the place of what was listed.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                fetched => return fetched,
            }
        }
        self.try_fetch(tenant, at_ms).await
    }

    async fn try_fetch(&self, tenant: &TenantId, at_ms: u64) -> Result<Rebuilt> {
        let remains = self.remains(tenant).await?;
        if remains.is_empty() {
            return Err(nothing_of(tenant));
        }
        let mut nearest: Option<Rebuilt> = None;
        for choice in remains.choose(at_ms)? {
            let rebuilt = self.fetch_choice(tenant, choice, at_ms).await?;
            // Where two tell of the same moment, the later one was there when it went on.
            if nearest.as_ref().is_none_or(|before| rebuilt.at_ms >= before.at_ms) {
                nearest = Some(rebuilt);
            }
        }
        nearest.ok_or_else(|| nothing_of(tenant))
    }

    async fn fetch_choice(&self, tenant: &TenantId, choice: Choice, at_ms: u64) -> Result<Rebuilt> {
        let Choice { lineage, base, bytes, parts } = choice;
        let folder = format!("{}/{lineage}", folder(tenant));
        let landing = Arc::new(Landing::new(self.0.around.staging.folder()?));
        let to = Arc::clone(&landing);
        let mut file = self.run(move || to.base(base)).await??;
        // In requests of their own, each with its deadline: a whole copy may take any time.
        let (name, mut at) = (format!("{folder}/{base}"), 0);
        while at < bytes {
            let to = bytes.min(at + CHUNK_BYTES);
            let chunk = self.0.store.get_range(&name, at, to).await?.ok_or_else(gone)?;
            at = to;
            file = self.run(move || take_in(&mut file, &chunk).map(|()| file)).await??;
        }
        let coming = parts.into_iter().map(|piece| {
            let name = format!("{folder}/{piece}");
            async move { Result::<_>::Ok((piece, self.0.store.get_whole(&name).await?.ok_or_else(gone)?)) }
        });
        let mut coming = stream::iter(coming).buffered(AT_ONCE);
        while let Some((piece, bytes)) = coming.try_next().await? {
            let to = Arc::clone(&landing);
            self.run(move || to.part(piece, &bytes)).await??;
        }
        let staging = self.0.around.staging.clone();
        self.run(move || landing.rebuild(at_ms, staging.receive()?.0)).await?
    }
}

fn gone() -> Error {
    let said = "a piece of the tenant's past was let go of while it was fetched: try again";
    Error::new(ErrorKind::Conflict, said)
}
