//! A tenant's past on this disk as it is copied elsewhere: what of it is not there yet, piece by piece. It knows no
//! network; who copies tells it what has arrived.
//!
//! `shipped` in the folder is its record, of use for as long as one process copies; another one holds what there is
//! elsewhere against the logs. `lineage` names what was copied: where the two do not fit, for the disk was put back to
//! a state from before, a new one begins, so that nothing there is ever written over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hole::Hole;
use super::piece::{Piece, PieceKind};
use super::record::Reader;
use super::{base_of, bases, log_of, numbers};
use crate::db::DataDir;
use crate::id::TenantId;

/// A piece of a log that is smaller is sent once more with what came since, in its place: for a tenant that writes a
/// row now and then, some hundred objects a week and not some ten thousand.
const PIECE_BYTES: u64 = 256 * 1024;

/// The folder of one tenant's past.
#[derive(Clone, Debug)]
pub(crate) struct Past(PathBuf);

/// What is elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Shipped {
    /// The process that holds this for true.
    pub run: String,
    logs: BTreeMap<u64, Sent>,
    bases: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sent {
    /// So many bytes of it.
    to: u64,
    /// All of it: a later one has begun.
    whole: bool,
    /// The name of its last piece.
    last: Option<String>,
}

impl Sent {
    fn last(&self) -> Option<Piece> {
        self.last.as_deref().and_then(|name| name.parse().ok())
    }
}

/// What is to be copied next.
#[derive(Debug)]
pub(crate) struct Errand {
    /// Its name.
    pub piece: Piece,
    /// Where it is.
    pub path: PathBuf,
    /// From which byte on.
    pub from: u64,
    /// How many.
    pub bytes: u64,
    /// What it stands in the place of, to be removed after it has arrived.
    pub replaces: Option<Piece>,
}

impl Past {
    /// That of `tenant`.
    pub(crate) fn of(dir: &DataDir, tenant: &TenantId) -> Self {
        Self::at(dir.tenant_dir(tenant).join("history"))
    }

    pub(super) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Under which name it is copied; `fresh` becomes it if it has none, or if `anew`.
    ///
    /// # Errors
    /// What the disk says; [`io::ErrorKind::NotFound`]: there is no past.
    pub(crate) fn lineage(&self, fresh: &str, anew: bool) -> io::Result<String> {
        let path = self.0.join("lineage");
        match fs::read_to_string(&path) {
            Ok(name) if !anew && !name.is_empty() => return Ok(name),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let _ = fs::remove_file(self.0.join("shipped"));
        let draft = path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        Ok(fresh.to_owned())
    }

    /// What has arrived, as far as this folder knows.
    pub(crate) fn shipped(&self) -> Shipped {
        let read = fs::read(self.0.join("shipped")).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Notes it. Not on the disk for certain: without it what is elsewhere is asked.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn note(&self, shipped: &Shipped) -> io::Result<()> {
        let draft = self.0.join("shipped.new");
        fs::write(&draft, serde_json::to_vec(shipped)?)?;
        fs::rename(draft, self.0.join("shipped"))
    }

    /// Whether something of it is not elsewhere.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn is_behind(&self) -> io::Result<bool> {
        let shipped = self.shipped();
        Ok(self.next(&shipped)?.is_some())
    }

    /// Whether SQLite's log still has what a crash left in it, of which the past may not have all: it does once the
    /// tenant is opened.
    pub(crate) fn lacks_the_log(&self) -> bool {
        fs::metadata(self.0.with_file_name("tenant.db-wal")).is_ok_and(|log| log.len() > 0)
    }

    /// The next piece that is not elsewhere: changes first, whole copies then.
    ///
    /// # Errors
    /// What the disk says. [`io::ErrorKind::NotFound`]: something was let go of meanwhile; look again.
    pub(crate) fn next(&self, shipped: &Shipped) -> io::Result<Option<Errand>> {
        // Before the logs: where a base is there, the first piece of its own log is sent before it.
        let bases = bases(&self.0)?;
        for number in numbers(&self.0)? {
            if let Some(errand) = self.next_of(number, shipped)? {
                return Ok(Some(errand));
            }
        }
        let base = bases.into_iter().find(|base| !shipped.bases.contains(base));
        let Some(base) = base else { return Ok(None) };
        let path = base_of(&self.0, base);
        let bytes = fs::metadata(&path)?.len();
        let piece = Piece { number: base.0, kind: PieceKind::Base { at_ms: base.1 } };
        Ok(Some(Errand { piece, path, from: 0, bytes, replaces: None }))
    }

    fn next_of(&self, number: u64, shipped: &Shipped) -> io::Result<Option<Errand>> {
        let nothing = Sent::default();
        let sent = shipped.logs.get(&number).unwrap_or(&nothing);
        if sent.whole {
            return Ok(None);
        }
        let path = log_of(&self.0, number);
        let mut log = Reader::open(&path)?;
        let (mut from, mut replaces, mut last_ms) = (sent.to, None, 0);
        let before = shipped.logs.get(&number.wrapping_sub(1));
        let mut follows = from > 0 || (log.follows && before.is_some_and(|before| before.whole));
        let mut before = before.filter(|_| from == 0).map(|before| before.to);
        if let Some(last) = sent.last()
            && let PieceKind::Part { from: place, to, follows: told, last_ms: at, before: end, .. } = last.kind
            && to - place < PIECE_BYTES
        {
            (from, replaces, follows, last_ms, before) = (place, Some(last), told, at, end);
        }
        log.go_to(sent.to);
        let mut to = if sent.to == 0 { log.place() } else { sent.to };
        while to - from < PIECE_BYTES
            && let Some(head) = log.skip()?
        {
            if head.commits {
                (to, last_ms) = (log.place(), head.at_ms);
            }
        }
        if to == sent.to {
            return Ok(None);
        }
        let crc = crc_of(&path, from, to)?;
        let piece = Piece { number, kind: PieceKind::Part { from, to, last_ms, crc, follows, before } };
        Ok(Some(Errand { piece, path, from, bytes: to - from, replaces }))
    }

    /// `piece` has arrived.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn arrived(&self, shipped: &mut Shipped, piece: Piece) -> io::Result<()> {
        match piece.kind {
            PieceKind::Base { at_ms } => {
                shipped.bases.insert((piece.number, at_ms));
            }
            PieceKind::Part { to, .. } => {
                let sent = shipped.logs.entry(piece.number).or_default();
                (sent.to, sent.last) = (to, Some(piece.to_string()));
            }
        }
        self.settle(shipped)?;
        self.note(shipped)
    }

    /// Which logs are elsewhere as a whole; what is not here any more needs no record, but for the one before.
    fn settle(&self, shipped: &mut Shipped) -> io::Result<()> {
        let there = numbers(&self.0)?;
        let (Some(&first), Some(&last)) = (there.first(), there.last()) else { return Ok(()) };
        for &number in there.iter().filter(|number| **number < last) {
            let length = fs::metadata(log_of(&self.0, number))?.len();
            if let Some(sent) = shipped.logs.get_mut(&number) {
                // What a crash left behind its last whole transaction is nothing.
                sent.whole |= sent.to == length || (sent.to > 0 && self.next_of_end(number, sent.to)?);
            }
        }
        shipped.logs.retain(|number, _| *number + 1 >= first);
        let bases = bases(&self.0)?;
        shipped.bases.retain(|base| bases.contains(base));
        Ok(())
    }

    /// Whether nothing whole is behind `to` in a log that nobody adds to any more.
    fn next_of_end(&self, number: u64, to: u64) -> io::Result<bool> {
        let mut log = Reader::open(&log_of(&self.0, number))?;
        log.go_to(to);
        while let Some(head) = log.skip()? {
            if head.commits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes what is elsewhere for what has arrived, if it fits what is here: `None` if it does not. The pieces that
    /// others stand in the place of are told too.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn hold_against(&self, run: &str, there: &[Piece]) -> io::Result<Option<(Shipped, Vec<Piece>)>> {
        let mut shipped = Shipped { run: run.to_owned(), ..Shipped::default() };
        let here = numbers(&self.0)?;
        if there.iter().any(|piece| here.last().is_none_or(|last| piece.number > *last)) {
            return Ok(None);
        }
        let mut stale = Vec::new();
        for &number in &here {
            let (chain, others) = chain(there, number);
            stale.extend(others);
            let Some(last) = chain.last() else { continue };
            let PieceKind::Part { from, to, crc, .. } = last.kind else { continue };
            let path = log_of(&self.0, number);
            if fs::metadata(&path)?.len() < to || crc_of(&path, from, to)? != crc {
                return Ok(None);
            }
            shipped.logs.insert(number, Sent { to, whole: false, last: Some(last.to_string()) });
        }
        let base = |piece: &Piece| match piece.kind {
            PieceKind::Base { at_ms } => Some((piece.number, at_ms)),
            PieceKind::Part { .. } => None,
        };
        shipped.bases = there.iter().filter_map(base).collect();
        let another = |base: &(u64, u64)| shipped.bases.iter().any(|other| other.0 == base.0 && other.1 != base.1);
        if bases(&self.0)?.iter().any(another) {
            return Ok(None);
        }
        self.settle(&mut shipped)?;
        self.note(&shipped)?;
        Ok(Some((shipped, stale)))
    }

    /// What arrived from here, by `shipped`, and is not `there` any more, the pieces of the lineage that it went to.
    /// What was let go of there is not missing.
    pub(crate) fn lost(shipped: &Shipped, there: &[Piece]) -> Option<Hole> {
        let first = super::remote::bases(there).first().map_or(0, |base| base.0);
        let short = |number: u64, to: u64| {
            let end = end_of(&chain(there, number).0);
            (number >= first && end < to).then(|| Hole::untold(there, number, end))
        };
        shipped.logs.iter().find_map(|(number, sent)| short(*number, sent.to))
    }

    /// The lineage that it is copied to, if it is, and what has arrived there, as far as this folder knows.
    pub(crate) fn sent(&self) -> Option<(String, Shipped)> {
        Some((fs::read_to_string(self.0.join("lineage")).ok()?, self.shipped()))
    }

    /// Whether all of that base is elsewhere, and of those logs.
    pub(super) fn has_left(&self, base: (u64, u64), logs: &[u64]) -> bool {
        let shipped = self.shipped();
        let whole = |number: &u64| shipped.logs.get(number).is_some_and(|sent| sent.whole);
        shipped.bases.contains(&base) && logs.iter().all(whole)
    }
}

/// The pieces of log `number` that follow each other from its beginning, and those that are of no use beside them.
pub(super) fn chain(there: &[Piece], number: u64) -> (Vec<Piece>, Vec<Piece>) {
    let mut parts: Vec<(u64, u64, Piece)> = Vec::new();
    for piece in there.iter().filter(|piece| piece.number == number) {
        if let PieceKind::Part { from, to, .. } = piece.kind {
            parts.push((from, to, *piece));
        }
    }
    let (mut chain, mut stale, mut at) = (Vec::new(), Vec::new(), 0);
    parts.sort_unstable_by_key(|part| (part.0, std::cmp::Reverse(part.1)));
    for (from, to, piece) in parts {
        if from == at && to > at {
            chain.push(piece);
            at = to;
        } else if from < at {
            stale.push(piece);
        }
    }
    (chain, stale)
}

/// Where a chain of pieces ends.
pub(super) fn end_of(chain: &[Piece]) -> u64 {
    match chain.last().map(|last| last.kind) {
        Some(PieceKind::Part { to, .. }) => to,
        _ => 0,
    }
}

fn crc_of(path: &Path, from: u64, to: u64) -> io::Result<u32> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut crc = crc32fast::Hasher::new();
    let (mut left, mut buffer) = (to.saturating_sub(from), vec![0; 64 * 1024]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(crc.finalize())
}
