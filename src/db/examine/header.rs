//! The first hundred bytes of an SQLite file (sqlite.org/fileformat.html, 1.3), before SQLite is let near it.

use std::fs::File;
use std::io::Read;

use super::{damaged, unread};
use crate::error::{Error, Result};

const BYTES: usize = 100;

/// Refuses a file of `bytes` whose header is none, or tells of a file of another size.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with what is wrong.
pub(super) fn check(file: &mut File, bytes: u64) -> Result<()> {
    if bytes < BYTES as u64 {
        return Err(Error::invalid("it is no SQLite database: it is shorter than the header of one"));
    }
    let mut header = [0; BYTES];
    file.read_exact(&mut header).map_err(unread)?;
    let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let long = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(Error::invalid("it is no SQLite database, or an encrypted one"));
    }
    let page = match short(16) {
        1 => 65_536,
        size if size >= 512 && size.is_power_of_two() => u64::from(size),
        size => return Err(damaged(&format!("its page size is said to be {size}"))),
    };
    // Of a page, what extensions reserve: they are not here, and 480 bytes have to be left.
    if u64::from(header[20]) + 480 > page {
        return Err(damaged("its pages have no room"));
    }
    if header[18..20].iter().any(|version| !(1..=2).contains(version)) {
        return Err(Error::invalid("its format is one that this program's SQLite does not know"));
    }
    if header[21..24] != [64, 32, 32] || long(44) > 4 || long(56) > 3 {
        return Err(damaged("its header is none that SQLite writes"));
    }
    if !bytes.is_multiple_of(page) {
        return Err(damaged("it ends inside a page: it was cut short"));
    }
    // The count holds where the version that wrote it was the last to write.
    let pages = u64::from(long(28));
    if long(24) == long(92) && pages * page > bytes {
        return Err(damaged("it has fewer pages than it says: it was cut short"));
    }
    Ok(())
}
