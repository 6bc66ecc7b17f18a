//! What there is of a tenant's past elsewhere, told from names alone: which times it has, what a time needs, and what
//! has been kept for long enough. And the folder in which it is put together again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::hole::{Hole, first_base, holes, last_of};
use super::past::chain;
use super::piece::{Piece, PieceKind};
use super::rebuild::{Rebuilt, Window, rebuild_in};
use super::{base_of, log_of, unusable};
use crate::clock::millis;
use crate::config::HistorySettings;
use crate::db::{Staged, StagedFolder, pause};
use crate::error::{Error, ErrorKind, Result};

/// All pieces of one tenant, by lineage; a later lineage has a greater name.
#[derive(Debug, Default)]
pub(crate) struct Remains(BTreeMap<String, Vec<(Piece, u64)>>);

/// What a time needs.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The lineage that it is of.
    pub lineage: String,
    /// A whole copy, and what was committed since, in order.
    pub base: Piece,
    /// The size of that copy.
    pub bytes: u64,
    /// Of the logs.
    pub parts: Vec<Piece>,
}

impl Remains {
    /// `piece` of `bytes` is there.
    pub(crate) fn add(&mut self, lineage: &str, piece: Piece, bytes: u64) {
        self.0.entry(lineage.to_owned()).or_default().push((piece, bytes));
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pieces of one lineage.
    pub(crate) fn of(&self, lineage: &str) -> Vec<Piece> {
        self.0.get(lineage).into_iter().flatten().map(|(piece, _)| *piece).collect()
    }

    /// The first piece that is missing, by what the others tell of it.
    pub(crate) fn missing(&self) -> Option<Hole> {
        let of = |there: &[Piece]| holes(there).into_iter().next().or_else(|| first_base(there));
        self.0.keys().find_map(|lineage| of(&self.of(lineage)))
    }

    /// The times that it can be brought back to, in order.
    pub(crate) fn windows(&self) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        for lineage in self.0.keys() {
            let there = self.of(lineage);
            let holes = holes(&there);
            let mut before = None;
            for base in bases(&there) {
                // What goes on from a base goes on through those after it, as far as nothing is missing.
                let led = changes(&there, &holes, base, u64::MAX);
                match (windows.last_mut(), before) {
                    (Some(window), Some(last)) if base.0 <= last => window.to_ms = window.to_ms.max(led.surely),
                    _ => windows.push(Window { from_ms: base.1, to_ms: led.surely }),
                }
                before = before.max(Some(led.number));
            }
        }
        windows.sort_unstable_by_key(|window| window.from_ms);
        windows
    }

    /// What comes nearest to `at_ms` from before it: more than one where only the changes themselves tell which does,
    /// the earliest lineage first. That is so after a disk was put back to an earlier state alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: nothing is kept of that time. [`ErrorKind::Unavailable`]: a piece is missing on the way
    /// there; the message says until when the past is good.
    pub(crate) fn choose(&self, at_ms: u64) -> Result<Vec<Choice>> {
        let mut able = Vec::new();
        for lineage in self.0.keys() {
            let there = self.of(lineage);
            let Some(base) = bases(&there).into_iter().rfind(|base| base.1 <= at_ms) else { continue };
            let holes = holes(&there);
            let mut led = changes(&there, &holes, base, at_ms);
            let hole = holes.into_iter().find(|hole| hole.is_between(base.0, at_ms));
            if hole.is_some() {
                let told = there.iter().filter_map(last_of).max().unwrap_or(0);
                led.perhaps = led.perhaps.max(told.min(at_ms));
            }
            let base = Piece { number: base.0, kind: PieceKind::Base { at_ms: base.1 } };
            let bytes = self.0[lineage].iter().find(|(piece, _)| *piece == base).map_or(0, |(_, bytes)| *bytes);
            let choice = Choice { lineage: lineage.clone(), base, bytes, parts: led.parts };
            able.push((led.surely, led.perhaps, hole, choice));
        }
        let said = "nothing is kept of that time in storage: `freehold tenant bookmarks --from-remote` tells of which \
                    it is";
        let nearest = able.iter().map(|one| one.0).max();
        let nearest = nearest.ok_or_else(|| Error::new(ErrorKind::NotFound, said))?;
        // The last one is what the others were before it, whatever became of its own pieces since.
        let last = able.len() - 1;
        let missing = able
            .iter()
            .enumerate()
            .find_map(|(at, (_, perhaps, hole, _))| hole.filter(|_| at == last || *perhaps >= nearest));
        // What is led to from before `at_ms` is not later than the nearest.
        let unreached = || self.0.keys().find_map(|lineage| Hole::before_changes(&self.of(lineage), nearest, at_ms));
        if let Some(hole) = missing.or_else(unreached) {
            return Err(Error::new(ErrorKind::Unavailable, hole.to_string()));
        }
        Ok(able.into_iter().filter(|one| one.1 >= nearest).map(|one| one.3).collect())
    }
}

/// Where pieces lead to.
pub(super) struct Led {
    parts: Vec<Piece>,
    /// A moment that they reach in any case, and one that they may reach.
    pub(super) surely: u64,
    perhaps: u64,
    /// The last log that they are of.
    number: u64,
}

/// Number and time of the whole copies, in order.
pub(super) fn bases(there: &[Piece]) -> Vec<(u64, u64)> {
    let base = |piece: &Piece| match piece.kind {
        PieceKind::Base { at_ms } => Some((piece.number, at_ms)),
        PieceKind::Part { .. } => None,
    };
    let mut bases: Vec<_> = there.iter().filter_map(base).collect();
    bases.sort_unstable();
    bases
}

/// What goes on from `base` until `at_ms`.
pub(super) fn changes(there: &[Piece], holes: &[Hole], base: (u64, u64), at_ms: u64) -> Led {
    let mut led = Led { parts: Vec::new(), surely: base.1, perhaps: base.1, number: base.0 };
    for number in base.0.. {
        let (pieces, _) = chain(there, number);
        let Some(first) = pieces.first() else { return led };
        if number > base.0 && !matches!(first.kind, PieceKind::Part { follows: true, .. }) {
            return led;
        }
        led.number = number;
        for piece in pieces {
            let PieceKind::Part { last_ms, .. } = piece.kind else { continue };
            led.parts.push(piece);
            led.perhaps = led.perhaps.max(last_ms.min(at_ms));
            if last_ms > at_ms {
                return led;
            }
            led.surely = led.surely.max(last_ms);
        }
        if holes.iter().any(|hole| hole.number == number) {
            return led;
        }
    }
    led
}

/// What is older, more or larger than is to be kept, as at home. The last whole copy and what follows it stays.
pub(crate) fn let_go(remains: &Remains, now_ms: u64, settings: &HistorySettings) -> Vec<(String, Piece)> {
    let mut all: Vec<(&str, Piece, u64)> = Vec::new();
    for (lineage, pieces) in &remains.0 {
        all.extend(pieces.iter().map(|(piece, bytes)| (lineage.as_str(), *piece, *bytes)));
    }
    all.sort_unstable();
    let oldest = now_ms.saturating_sub(millis(settings.keep));
    let mut gone = Vec::new();
    loop {
        let is_base = |one: &&(&str, Piece, u64)| matches!(one.1.kind, PieceKind::Base { .. });
        let mut bases = all.iter().filter(is_base);
        let (Some(_), Some(second)) = (bases.next(), bases.next()) else { return gone };
        let PieceKind::Base { at_ms } = second.1.kind else { return gone };
        let (from, number) = (second.0, second.1.number);
        let count = bases.count() + 2;
        let bytes: u64 = all.iter().map(|one| one.2).sum();
        if at_ms >= oldest && count <= settings.bases && bytes <= settings.bytes.as_u64() {
            return gone;
        }
        let (goes, stays): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(lineage, piece, _)| (*lineage, piece.number) < (from, number));
        gone.extend(goes.into_iter().map(|(lineage, piece, _)| (lineage.to_owned(), piece)));
        all = stays;
    }
}

/// Where pieces are put together: what is written there is a history as any other.
#[derive(Debug)]
pub(crate) struct Landing(StagedFolder);

impl Landing {
    /// In an empty folder.
    pub(crate) fn new(folder: StagedFolder) -> Self {
        Self(folder)
    }

    /// The file of a whole copy, to be filled.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the disk can't.
    pub(crate) fn base(&self, piece: Piece) -> Result<File> {
        let PieceKind::Base { at_ms } = piece.kind else { return Err(Error::internal("no base")) };
        let path = base_of(self.0.path(), (piece.number, at_ms));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unusable)
    }

    /// Adds the next piece of a log.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: it is not what its name says, or the disk can't.
    pub(crate) fn part(&self, piece: Piece, bytes: &[u8]) -> Result<()> {
        let PieceKind::Part { from, to, crc, follows, .. } = piece.kind else { return Err(Error::internal("no part")) };
        if bytes.len() as u64 != to - from || crc32fast::hash(bytes) != crc {
            let said = "a piece of a tenant's past in storage is damaged: choose a time before it";
            return Err(Error::new(ErrorKind::Unavailable, said).with_source(piece.to_string()));
        }
        let mut bytes = bytes.to_vec();
        if from == 0 && bytes.len() > 4 {
            bytes[4] = u8::from(follows);
        }
        let path = log_of(self.0.path(), piece.number);
        let write = || -> io::Result<()> {
            OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&bytes)
        };
        pause::on_disk(write).map_err(unusable)
    }

    /// Makes `staged`, which is empty, the file as it was at `at_ms`.
    ///
    /// # Errors
    /// As [`rebuild`](super::rebuild()).
    pub(crate) fn rebuild(&self, at_ms: u64, staged: Staged) -> Result<Rebuilt> {
        rebuild_in(self.0.path(), at_ms, staged)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn base(number: u64, at_ms: u64) -> Piece {
        Piece { number, kind: PieceKind::Base { at_ms } }
    }

    fn part(number: u64, from: u64, to: u64, last_ms: u64, follows: bool) -> Piece {
        Piece { number, kind: PieceKind::Part { from, to, last_ms, crc: 0, follows, before: None } }
    }

    fn remains(pieces: &[(&str, Piece)]) -> Remains {
        let mut remains = Remains::default();
        pieces.iter().for_each(|(lineage, piece)| remains.add(lineage, *piece, 10));
        remains
    }

    #[test]
    fn a_time_takes_what_is_nearest_and_nothing_past_a_hole() {
        let there = remains(&[
            ("a", base(1, 100)),
            ("a", part(1, 0, 50, 150, false)),
            // In the place of the one before; its removal was cut short.
            ("a", part(1, 0, 80, 180, false)),
            ("a", part(2, 0, 8, 190, true)),
            // 3 was never there.
            ("a", part(4, 0, 8, 400, false)),
            ("a", base(4, 390)),
            ("b", base(1, 300)),
            ("b", part(1, 0, 8, 320, false)),
        ]);
        let told = |choice: &Choice| (choice.lineage.clone(), choice.base.number, choice.parts.len());
        let chosen = |at| there.choose(at).ok().and_then(|choices| choices.iter().map(told).next_back());
        assert_eq!(chosen(99), None);
        assert_eq!(chosen(120), Some(("a".to_owned(), 1, 1)));
        assert_eq!(chosen(250), Some(("a".to_owned(), 1, 2)));
        assert_eq!(chosen(310), Some(("b".to_owned(), 1, 1)));
        assert_eq!(chosen(500), Some(("a".to_owned(), 4, 1)));
        assert_eq!(there.choose(310).expect("two").len(), 1);
        // Only what is in the piece tells what it had by then.
        assert_eq!(there.choose(170).expect("two").len(), 1);
        let mut back = remains(&[("a", base(1, 100)), ("a", part(1, 0, 8, 180, false))]);
        back.add("b", base(1, 100), 1);
        back.add("b", part(1, 0, 9, 600, false), 1);
        assert_eq!(back.choose(500).expect("both").len(), 2);
        assert_eq!(back.choose(700).expect("one").len(), 1);
        let mut lost = there.0.clone();
        lost.entry("b".to_owned()).or_default().retain(|(piece, _)| !matches!(piece.kind, PieceKind::Base { .. }));
        let lost = Remains(lost);
        assert_eq!(lost.choose(310).expect("before it").len(), 1);
        let said = lost.choose(320).expect_err("its whole copy is gone").to_string();
        assert!(said.contains("good until 1970-01-01T00:00:00.190Z"), "{said}");
        let windows: Vec<_> = there.windows().iter().map(|window| (window.from_ms, window.to_ms)).collect();
        assert_eq!(windows, [(100, 190), (300, 320), (390, 400)]);
    }

    #[test]
    fn the_oldest_goes_first_and_the_last_stays() {
        let there = remains(&[
            ("a", base(1, 100)),
            ("a", part(1, 0, 8, 150, false)),
            ("a", base(2, 200)),
            ("a", part(2, 0, 8, 250, true)),
            ("b", base(1, 300)),
            ("b", part(1, 0, 8, 320, false)),
        ]);
        let keep = |ms| HistorySettings { keep: Duration::from_millis(ms), ..HistorySettings::default() };
        let gone = |settings| let_go(&there, 1_000, &settings).len();
        assert_eq!(gone(keep(900)), 0);
        assert_eq!(gone(keep(800)), 0, "what is needed for the oldest moment stays");
        assert_eq!(gone(keep(790)), 2);
        assert_eq!(gone(keep(1)), 4);
        assert_eq!(gone(HistorySettings { bases: 2, ..keep(900) }), 2);
        assert_eq!(gone(HistorySettings { bytes: bytesize::ByteSize(35), ..keep(900) }), 4);
    }
}
