//! SQLite's write-ahead log as bytes (sqlite.org/fileformat2.html section 4): read by who owns the file, between two
//! transactions and before a checkpoint lets what is in it be written over.
//!
//! The log may be opened beside SQLite, the file itself may not: closing it would drop SQLite's locks on it
//! (sqlite.org/howtocorrupt.html section 2.2).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Checksums over words in the order of a big machine; the other one is this less one.
const MAGIC_BIG: u32 = 0x377f_0683;
/// Pages held at once: of a transaction that is larger the parts are told one after the other.
const PAGES_MAX: usize = 4_096;

/// How far a log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The log's own, new at each of its beginnings.
    pub(super) salts: [u32; 2],
    /// Frames behind it.
    pub(super) frame: u32,
    /// The checksum of all of them.
    pub(super) sums: [u32; 2],
}

/// Pages as a transaction, or some that follow each other, left them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pages: BTreeMap<u32, Vec<u8>>,
    /// Whether a transaction ends with it; else it is of no use without the next one.
    pub(super) commits: bool,
    /// The file's size in pages after it.
    pub(super) pages_after: u32,
    /// How far the log is read with it.
    pub(super) place: Place,
}

/// The salts of the log at `path`; `None` if there is none, or nothing in it.
pub(super) fn salts(path: &Path) -> io::Result<Option<[u32; 2]>> {
    Ok(open(path)?.map(|log| log.salts))
}

/// Tells `each` what was committed since `place`, a part at a time, and returns the place behind it.
pub(super) fn read(path: &Path, place: Place, mut each: impl FnMut(Part) -> io::Result<()>) -> io::Result<Place> {
    let Some(mut log) = open(path)? else { return Ok(place) };
    // It began anew: what was in it before is in the file, and was told before that was let happen.
    let from = if log.salts == place.salts { place } else { log.start() };
    let end = log.last_commit(from)?;
    let (mut pages, mut at, mut pages_after) = (BTreeMap::new(), from, 0);
    log.seek(from.frame)?;
    while at.frame < end.frame {
        let frame = log.next()?.ok_or(ErrorKind::UnexpectedEof)?;
        at = frame.place(at);
        pages.insert(frame.page, frame.image);
        pages_after = if frame.size_after > 0 { frame.size_after } else { pages_after };
        let commits = at.frame == end.frame;
        if commits || pages.len() >= PAGES_MAX {
            each(Part { pages: std::mem::take(&mut pages), commits, pages_after, place: at })?;
        }
    }
    Ok(if end.frame > from.frame { end } else { from })
}

struct Log {
    file: File,
    salts: [u32; 2],
    sums: [u32; 2],
    big: bool,
    page_size: usize,
}

struct Frame {
    page: u32,
    /// In pages, where a transaction ends; else 0.
    size_after: u32,
    image: Vec<u8>,
    sums: [u32; 2],
}

impl Frame {
    fn place(&self, before: Place) -> Place {
        Place { salts: before.salts, frame: before.frame + 1, sums: self.sums }
    }
}

fn open(path: &Path) -> io::Result<Option<Log>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let word = |at: usize| be(&header[at..]);
    let big = word(0) == MAGIC_BIG;
    let sums = sum(big, [0, 0], &header[..24]);
    if word(0) & !1 != MAGIC_BIG & !1 || sums != [word(24), word(28)] {
        return Ok(None);
    }
    let page_size = usize::try_from(word(8)).unwrap_or(0);
    Ok((page_size >= 512).then_some(Log { file, salts: [word(16), word(20)], sums, big, page_size }))
}

impl Log {
    fn start(&self) -> Place {
        Place { salts: self.salts, frame: 0, sums: self.sums }
    }

    fn seek(&mut self, frame: u32) -> io::Result<()> {
        let at = HEADER as u64 + u64::from(frame) * (FRAME_HEADER + self.page_size) as u64;
        self.file.seek(SeekFrom::Start(at)).map(drop)
    }

    /// The next frame, if it is one of this log's; whether it follows on those before it, its sums tell.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut bytes = vec![0; FRAME_HEADER + self.page_size];
        match self.file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if [be(&bytes[8..]), be(&bytes[12..])] != self.salts {
            return Ok(None);
        }
        let (page, size_after, sums) = (be(&bytes), be(&bytes[4..]), [be(&bytes[16..]), be(&bytes[20..])]);
        bytes.drain(..FRAME_HEADER);
        Ok(Some(Frame { page, size_after, image: bytes, sums }))
    }

    /// The place behind the last frame that ends a transaction, as recovery would find it: what a rollback left in
    /// the log does not follow on what is before it.
    fn last_commit(&mut self, from: Place) -> io::Result<Place> {
        self.seek(from.frame)?;
        let (mut at, mut end) = (from, from);
        while let Some(frame) = self.next()? {
            let mut head = [0; 8];
            head[..4].copy_from_slice(&frame.page.to_be_bytes());
            head[4..].copy_from_slice(&frame.size_after.to_be_bytes());
            let sums = sum(self.big, sum(self.big, at.sums, &head), &frame.image);
            if sums != frame.sums {
                break;
            }
            at = frame.place(at);
            if frame.size_after > 0 {
                end = at;
            }
        }
        Ok(end)
    }
}

fn be(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// SQLite's checksum over eight bytes at a time (section 4.2).
fn sum(big: bool, [mut a, mut b]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(pair)).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    [a, b]
}
