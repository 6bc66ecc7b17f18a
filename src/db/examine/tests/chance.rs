//! Files as chance changes them, each by the number of its seed.

use std::fs;

use rusqlite::Connection;

use super::{Folder, look};
use crate::error::ErrorKind;

/// Bits, bytes, pages and numbers changed by chance: it never panics, it ends, and what it takes SQLite finds sound.
#[test]
fn chance_makes_nothing_that_passes_unseen() {
    let folder = Folder::new();
    let whole = fs::read(folder.tenants()).expect("a file");
    let path = folder.0.path().join("changed");
    let (mut taken, rounds) = (0, 300);
    for seed in 1..=rounds {
        let mut chance = Chance(seed);
        let mut bytes = whole.clone();
        for _ in 0..=chance.below(4) {
            // Half of them where it matters most: headers, the schema, the first cells of a page.
            let at = match chance.below(4) {
                0 => chance.below(4_096),
                1 => chance.below(bytes.len() / 4_096) * 4_096 + chance.below(64),
                _ => chance.below(bytes.len()),
            };
            match chance.below(4) {
                0 => bytes[at] ^= 1 << chance.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
                2 => {
                    let (from, to) = (chance.below(bytes.len() / 4_096) * 4_096, at / 4_096 * 4_096);
                    bytes.copy_within(from..from + 4_096, to);
                }
                _ => {
                    let end = bytes.len().min(at + 4);
                    let page = u32::try_from(chance.below(bytes.len() / 4_096 + 2)).expect("a page").to_be_bytes();
                    bytes[at..end].copy_from_slice(&page[..end - at]);
                }
            }
        }
        fs::write(&path, &bytes).expect("a file");
        match look(&path) {
            Ok(()) => {
                taken += 1;
                let conn = Connection::open(&path).expect("a database");
                let said: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
                assert_eq!(said, "ok", "seed {seed}");
            }
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit | ErrorKind::Unavailable),
                "seed {seed}: {error:?}"
            ),
        }
    }
    // Bytes that nobody uses, and texts that still are texts.
    assert!(taken < rounds / 2, "{taken} of {rounds} were taken");
}

/// Marsaglia's xorshift, so that a number names a file.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        usize::try_from(self.0 % end as u64).expect("small")
    }
}
