//! One tenant's past to the storage: what is not there yet, what has been kept for long enough, and all of it when the
//! tenant is deleted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;

use super::board::Turn;
use super::store::CHUNK_BYTES;
use super::{Archive, folder, unread};
use crate::db::{Errand, Past, PieceKind, let_go_elsewhere};
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::id::TenantId;
use crate::random;

/// How often what is to be copied may be let go of under our hands before the next turn has to do.
const TRIES: usize = 8;

/// What was erased.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Erased {
    /// Objects.
    pub objects: usize,
    /// Their bytes together.
    pub bytes: u64,
}

/// Someone whose past is to be copied now.
pub(crate) struct Due {
    turn: Turn,
    since_ms: u64,
}

impl Archive {
    /// The next tenant that is due at `now_ms`.
    pub(crate) fn due(&self, now_ms: u64) -> Option<Due> {
        let (turn, since_ms) = self.0.board.take(now_ms)?;
        Some(Due { turn, since_ms })
    }

    /// When the next one is due, in milliseconds since 1970.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.0.board.next()
    }

    /// How many tenants are not all there, and for how long the first of them, in milliseconds.
    pub(crate) fn behind(&self) -> (usize, u64) {
        let (count, since) = self.0.board.behind();
        (count, since.map_or(0, |since| self.now().saturating_sub(since)))
    }

    /// Returns when somebody became due or a turn has ended.
    pub(crate) async fn changed(&self) {
        self.0.board.changed().await;
    }

    /// Whether something of `tenant` is not there, as far as its folder knows: then it is due at once. `true` if it has
    /// to be opened for its past to have all. Blocking: on the executor.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the disk.
    pub(crate) fn look(&self, tenant: &TenantId) -> Result<bool> {
        let past = Past::of(&self.0.around.dir, tenant);
        match past.is_behind() {
            Ok(false) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unread(error)),
            // Let go of while it was looked at, or behind.
            _ => self.0.board.add(tenant, self.now(), self.now()),
        }
        Ok(past.lacks_the_log())
    }

    /// Copies all of it that is not there. Broken off, it waits for its next turn.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the storage, or the disk.
    pub(crate) async fn ship(&self, due: Due) -> Result<()> {
        let tenant = due.turn.tenant().clone();
        let done = self.copy(&tenant).await;
        if done.is_err() {
            self.0.board.add(&tenant, due.since_ms, self.now());
        }
        done
    }

    async fn copy(&self, tenant: &TenantId) -> Result<()> {
        let past = Past::of(&self.0.around.dir, tenant);
        let Some(lineage) = self.lineage(&past, false).await? else { return Ok(()) };
        let (mut lineage, mut based, mut tries) = (lineage, false, 0);
        let read = past.clone();
        let mut shipped = self.run(move || read.shipped()).await?;
        if shipped.run != self.0.run {
            (lineage, shipped) = self.hold_against(tenant, &past, lineage).await?;
        }
        while !self.0.board.is_leaving(tenant) {
            let (looking, of) = (past.clone(), shipped.clone());
            let sent = match self.run(move || looking.next(&of)).await? {
                Ok(None) => break,
                Ok(Some(errand)) => self.carry(tenant, &lineage, errand).await,
                Err(error) => Err(Failure::Here(error)),
            };
            match sent {
                Ok(Some(errand)) => {
                    based |= matches!(errand.piece.kind, PieceKind::Base { .. });
                    let noting = past.clone();
                    let noted = move || noting.arrived(&mut shipped, errand.piece).map(|()| shipped);
                    shipped = self.run(noted).await?.map_err(unread)?;
                    if let Some(before) = errand.replaces {
                        self.0.store.remove(&[format!("{}/{lineage}/{before}", folder(tenant))]).await?;
                    }
                }
                // Somebody else's turn: it is being deleted.
                Ok(None) => return Ok(()),
                Err(Failure::Here(error)) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
                Err(Failure::Here(error)) => return Err(unread(error)),
                Err(Failure::There(error)) => return Err(error),
            }
        }
        if based { self.let_go(tenant).await } else { Ok(()) }
    }

    async fn lineage(&self, past: &Past, anew: bool) -> Result<Option<String>> {
        let fresh = format!("{:013}-{}", self.now(), hex(&random::bytes::<4>()?));
        let past = past.clone();
        match self.run(move || past.lineage(&fresh, anew)).await? {
            Ok(lineage) => Ok(Some(lineage)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unread(error)),
        }
    }

    /// Asks the storage what has arrived: once in a process, for each tenant that has something to send.
    async fn hold_against(
        &self,
        tenant: &TenantId,
        past: &Past,
        lineage: String,
    ) -> Result<(String, crate::db::Shipped)> {
        let there = self.remains(tenant).await?.of(&lineage);
        let (holding, run) = (past.clone(), self.0.run.clone());
        let held = self.run(move || holding.hold_against(&run, &there)).await?.map_err(unread)?;
        if let Some((shipped, stale)) = held {
            let stale: Vec<_> = stale.iter().map(|piece| format!("{}/{lineage}/{piece}", folder(tenant))).collect();
            self.0.store.remove(&stale).await?;
            return Ok((lineage, shipped));
        }
        tracing::warn!(%tenant, "the past in storage is not that of this disk: both are kept, beside each other");
        let lineage = self.lineage(past, true).await?.ok_or_else(|| unread(io::ErrorKind::NotFound.into()))?;
        let (holding, run) = (past.clone(), self.0.run.clone());
        let held = self.run(move || holding.hold_against(&run, &[])).await?.map_err(unread)?;
        Ok((lineage, held.map(|held| held.0).unwrap_or_default()))
    }

    /// Sends one piece, and returns what it was; `None` where its tenant is being deleted.
    async fn carry(&self, tenant: &TenantId, lineage: &str, errand: Errand) -> Result<Option<Errand>, Failure> {
        let name = format!("{}/{lineage}/{}", folder(tenant), errand.piece);
        let (from, end) = (errand.from, errand.from + errand.bytes);
        if errand.bytes <= CHUNK_BYTES {
            let bytes = self.read(&errand.path, from, end).await?;
            self.put(&name, bytes).await?;
            return Ok(Some(errand));
        }
        let mut upload = self.0.store.begin(&name).await?;
        let mut at = from;
        while at < end {
            let to = end.min(at + CHUNK_BYTES);
            let sent = async {
                if self.0.board.is_leaving(tenant) {
                    return Ok(false);
                }
                let bytes = self.read(&errand.path, at, to).await?;
                self.0.around.metrics.sent_elsewhere(bytes.len() as u64);
                upload.part(bytes).await?;
                Result::<_, Failure>::Ok(true)
            };
            match sent.await {
                Ok(true) => at = to,
                Ok(false) => {
                    upload.give_up().await;
                    return Ok(None);
                }
                Err(error) => {
                    upload.give_up().await;
                    return Err(error);
                }
            }
        }
        upload.end().await?;
        Ok(Some(errand))
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.0.around.metrics.sent_elsewhere(bytes.len() as u64);
        self.0.store.put(name, bytes).await
    }

    async fn read(&self, path: &std::path::Path, from: u64, to: u64) -> Result<Bytes, Failure> {
        let path = path.to_owned();
        self.run(move || read(path, from, to)).await?.map_err(Failure::Here)
    }

    /// Removes what is older, more or larger than is to be kept.
    async fn let_go(&self, tenant: &TenantId) -> Result<()> {
        let remains = self.remains(tenant).await?;
        let gone = let_go_elsewhere(&remains, self.now(), &self.settings());
        // Whole copies first: without theirs, changes are seen to be of no use, and not to miss a piece among them.
        let (bases, parts): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|(_, piece)| matches!(piece.kind, PieceKind::Base { .. }));
        let _whole = self.0.letting_go.write().await;
        for gone in [bases, parts] {
            let names = gone.iter().map(|(lineage, piece)| format!("{}/{lineage}/{piece}", folder(tenant)));
            self.0.store.remove(&names.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Removes all that there is of `tenant`; from here on nothing more of it is copied, until [`Archive::forgotten`].
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the storage can't be reached. Called again it goes on.
    pub(crate) async fn erase(&self, tenant: &TenantId) -> Result<Erased> {
        let _turn = self.0.board.leave(tenant).await;
        let mut erased = Erased::default();
        // A second look: what was under way when the first was taken.
        for _ in 0..TRIES {
            let there = self.0.store.list(&folder(tenant)).await?;
            if there.is_empty() {
                return Ok(erased);
            }
            erased.objects += there.len();
            erased.bytes += there.iter().map(|(_, bytes)| bytes).sum::<u64>();
            let names: Vec<_> = there.into_iter().map(|(name, _)| format!("{}/{name}", folder(tenant))).collect();
            self.0.store.remove(&names).await?;
        }
        Err(Error::new(ErrorKind::Unavailable, "objects of the tenant appear again: does another host write there?"))
    }

    /// The tenant is deleted, and its name may be another's.
    pub(crate) fn forgotten(&self, tenant: &TenantId) {
        self.0.board.left(tenant);
    }
}

/// Why something was not copied.
enum Failure {
    /// The disk.
    Here(io::Error),
    /// The storage.
    There(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::There(error)
    }
}

fn read(path: PathBuf, from: u64, to: u64) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![0; usize::try_from(to - from).map_err(|_| io::ErrorKind::InvalidInput)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}
