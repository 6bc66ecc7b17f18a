//! The list of tenants in the storage, and which data directory the storage is of.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::store::CHUNK_BYTES;
use super::{Archive, unread};
use crate::db::{Staged, take_in};
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::id::TenantId;
use crate::random;

const OWNER: &str = "owner";
const CATALOG: &str = "catalog.db";

impl Archive {
    /// That the storage is this data directory's own; it becomes so where it was nobody's, or if `take` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`]: it is another's: nothing may be written to it; [`ErrorKind::Unavailable`]: it can't be
    /// reached.
    pub(crate) async fn own(&self, take: bool) -> Result<()> {
        let dir = self.0.around.dir.clone();
        let fresh = hex(&random::bytes::<16>()?);
        let own = self.run(move || dir.identity(&fresh)).await?.map_err(unread)?;
        match self.0.store.get_whole(OWNER).await? {
            Some(there) if there == own.as_bytes() => Ok(()),
            Some(_) if !take => Err(Error::new(
                ErrorKind::Conflict,
                "the storage of history.remote holds the past of another data directory, and nothing is sent there: \
                 `freehold tenant restore --all --from-remote` brings it here, or choose another prefix",
            )),
            _ => self.put(OWNER, Bytes::from(own)).await,
        }
    }

    /// Sends the list of tenants to a storage that is ours.
    ///
    /// # Errors
    /// As [`Archive::own`].
    pub(crate) async fn own_and_list(&self) -> Result<()> {
        match self.own(false).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            owned => {
                owned?;
                self.ship_catalog().await
            }
        }
    }

    /// Sends the list of tenants, if it is another than it was.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the disk or the storage.
    pub(crate) async fn ship_catalog(&self) -> Result<()> {
        let mut last = self.0.catalog.lock().await;
        let staging = self.0.around.staging.clone();
        let (staged, print) = self.run(move || staging.copy_of_catalog()).await??;
        if last.as_ref() == Some(&print) {
            return Ok(());
        }
        let (bytes, path) = (staged.bytes()?, staged.path().to_owned());
        if bytes <= CHUNK_BYTES {
            let whole = self.run(move || std::fs::read(path)).await?.map_err(unread)?;
            self.put(CATALOG, whole.into()).await?;
        } else {
            let mut file = staged.open()?;
            let mut upload = self.0.store.begin(CATALOG).await?;
            loop {
                let (back, chunk) = self
                    .run(move || {
                        let mut chunk = Vec::new();
                        let read = std::io::Read::take(&mut file, CHUNK_BYTES);
                        std::io::copy(&mut { read }, &mut chunk).map(|_| (file, chunk))
                    })
                    .await?
                    .map_err(unread)?;
                file = back;
                if chunk.is_empty() {
                    break;
                }
                if let Err(error) = upload.part(chunk.into()).await {
                    upload.give_up().await;
                    return Err(error);
                }
            }
            upload.end().await?;
        }
        *last = Some(print);
        Ok(())
    }

    /// Who has a past there, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the storage can't be reached.
    pub(crate) async fn tenants(&self) -> Result<BTreeSet<TenantId>> {
        let folders = self.0.store.folders("tenants").await?;
        Ok(folders.iter().filter_map(|name| TenantId::parse(name).ok()).collect())
    }

    /// The list of tenants as it was last sent, if it was.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the storage can't be reached.
    pub(crate) async fn catalog(&self) -> Result<Option<Staged>> {
        let Some(mut chunks) = self.0.store.get(CATALOG).await? else { return Ok(None) };
        let staging = self.0.around.staging.clone();
        let (staged, mut file) = self.run(move || staging.receive()).await??;
        while let Some(chunk) = chunks.try_next().await? {
            file = self.run(move || take_in(&mut file, &chunk).map(|()| file)).await??;
        }
        Ok(Some(staged))
    }
}
