//! Parts of transactions as they stand one after the other in a file of the history, each with its time. What a crash
//! left of the last one is not read and written over.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::wal::{Part, Place};

const MAGIC: [u8; 4] = *b"FHL1";
const HEADER: usize = 56;
/// A file's own first bytes: what it is, and whether it goes on where the one before it ends.
const FILE_HEADER: usize = 8;
const FILE_MAGIC: [u8; 4] = *b"FHF1";
/// Longer than any part: what says it is longer is damaged.
const BODY_MAX: usize = 512 * 1024 * 1024;

/// What stands before a part's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// When it was read out of the log, in milliseconds since 1970: all in it was committed by then.
    pub(super) at_ms: u64,
    pub(super) commits: bool,
    pub(super) pages_after: u32,
    pub(super) place: Place,
    pages: u32,
    body: u32,
}

/// A file of the history that parts are added to.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    pub(super) bytes: u64,
    /// All of it is on the disk.
    synced: bool,
}

impl Writer {
    /// A new file; `follows`: the one before it ends where this one begins.
    pub(super) fn create(path: &Path, follows: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let mut header = [0; FILE_HEADER];
        header[..4].copy_from_slice(&FILE_MAGIC);
        header[4] = u8::from(follows);
        file.write_all(&header)?;
        Ok(Self { file, bytes: FILE_HEADER as u64, synced: false })
    }

    /// The file that is there, behind its last whole part, which is told too.
    pub(super) fn reopen(path: &Path) -> io::Result<(Self, Option<Head>)> {
        let mut reader = Reader::open(path)?;
        let (mut last, mut end) = (None, FILE_HEADER as u64);
        // Behind a part that ends no transaction nothing can go on: it is read from the log once more.
        while let Some(head) = reader.skip()? {
            if head.commits {
                (last, end) = (Some(head), reader.at);
            }
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        Ok((Self { file, bytes: end, synced: false }, last))
    }

    /// The file that is there, all of which is known to be whole and on the disk.
    pub(super) fn append(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, bytes, synced: true })
    }

    pub(super) fn add(&mut self, at_ms: u64, part: &Part) -> io::Result<()> {
        let mut raw = Vec::new();
        for (page, image) in &part.pages {
            raw.extend_from_slice(&page.to_le_bytes());
            raw.extend_from_slice(image);
        }
        let body = lz4_flex::block::compress_prepend_size(&raw);
        let mut head = Vec::with_capacity(HEADER);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&at_ms.to_le_bytes());
        let Place { salts, frame, sums } = part.place;
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let pages = u32::try_from(part.pages.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let words =
            [u32::from(part.commits), part.pages_after, salts[0], salts[1], frame, sums[0], sums[1], pages, length];
        words.iter().for_each(|word| head.extend_from_slice(&word.to_le_bytes()));
        head.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        let own = crc32fast::hash(&head);
        head.extend_from_slice(&own.to_le_bytes());
        head.extend_from_slice(&body);
        self.synced = false;
        self.file.write_all(&head)?;
        self.bytes += head.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync_data()?;
            self.synced = true;
        }
        Ok(())
    }
}

/// Pages by their numbers.
pub(super) type Pages = Vec<(u32, Vec<u8>)>;

/// Reads a file of the history, part by part.
pub(super) struct Reader {
    file: File,
    /// Behind the last part that was read.
    at: u64,
    length: u64,
    pub(super) follows: bool,
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut header = [0; FILE_HEADER];
        file.read_exact(&mut header)?;
        if header[..4] != FILE_MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no file of the history"));
        }
        let length = file.metadata()?.len();
        Ok(Self { file, at: FILE_HEADER as u64, length, follows: header[4] == 1 })
    }

    /// Goes on from `at`, which is behind a whole part; nowhere if it is before the first.
    pub(super) fn go_to(&mut self, at: u64) {
        self.at = self.at.max(at);
    }

    /// Behind the last whole part that was read.
    pub(super) fn place(&self) -> u64 {
        self.at
    }

    /// The head of the next whole part, whose pages are not read.
    pub(super) fn skip(&mut self) -> io::Result<Option<Head>> {
        Ok(self.part(false)?.map(|(head, _)| head))
    }

    /// The next whole part: its head, and page after page.
    pub(super) fn next(&mut self) -> io::Result<Option<(Head, Pages)>> {
        let Some((head, body)) = self.part(true)? else { return Ok(None) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a part of the history is damaged");
        let raw = lz4_flex::block::decompress_size_prepended(&body).map_err(|_| damaged())?;
        let pages = usize::try_from(head.pages).unwrap_or(0).max(1);
        if raw.len() % pages != 0 || raw.len() / pages <= 4 {
            return Err(damaged());
        }
        let one = |bytes: &[u8]| (u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), bytes[4..].to_vec());
        Ok(Some((head, raw.chunks_exact(raw.len() / pages).map(one).collect())))
    }

    fn part(&mut self, whole: bool) -> io::Result<Option<(Head, Vec<u8>)>> {
        if self.at + HEADER as u64 > self.length {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = [0; HEADER];
        self.file.read_exact(&mut bytes)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..4] != MAGIC || crc32fast::hash(&bytes[..HEADER - 4]) != word(HEADER - 4) {
            return Ok(None);
        }
        let head = Head {
            at_ms: u64::from(word(4)) | u64::from(word(8)) << 32,
            commits: word(12) == 1,
            pages_after: word(16),
            place: Place { salts: [word(20), word(24)], frame: word(28), sums: [word(32), word(36)] },
            pages: word(40),
            body: word(44),
        };
        let end = self.at + HEADER as u64 + u64::from(head.body);
        if end > self.length || head.body as usize > BODY_MAX {
            return Ok(None);
        }
        let mut body = vec![0; head.body as usize];
        self.file.read_exact(&mut body)?;
        // Its end may be missing on the disk where its length is not.
        if crc32fast::hash(&body) != word(48) {
            return Ok(None);
        }
        self.at = end;
        Ok(Some((head, if whole { body } else { Vec::new() })))
    }
}
