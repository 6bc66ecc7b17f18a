//! What a tenant's past is cut into where it is kept elsewhere: whole copies as they are, and pieces of logs. All that
//! has to be known to put them together again is in their names.

use std::fmt;
use std::str::FromStr;

/// One of them. In the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
    /// Of the log that it is of, or that goes on from it.
    pub number: u64,
    /// What it is.
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PieceKind {
    /// A whole copy, an ordinary SQLite file.
    Base {
        /// When it was made, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Bytes of a log, whole transactions.
    Part {
        /// Its first byte's place in the log.
        from: u64,
        /// The place behind its last.
        to: u64,
        /// When the last change in it was read, in milliseconds since 1970; 0 where there is none.
        last_ms: u64,
        /// CRC-32 of it.
        crc: u32,
        /// Whether what is before it is all there; told of a log's first piece.
        follows: bool,
        /// How much of the log before it was there by then, so that a piece of it can't be missing unnoticed; told of
        /// a log's first piece. An earlier version did not tell.
        before: Option<u64>,
    },
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.kind {
            PieceKind::Base { at_ms } => write!(f, "{number:08}-{at_ms}.base"),
            PieceKind::Part { from, to, last_ms, crc, follows, before } => {
                write!(f, "{number:08}-{from:012}-{to:012}-{last_ms}-{crc:08x}")?;
                if let Some(before) = before {
                    write!(f, "-{before:012}")?;
                }
                f.write_str(if follows { ".log" } else { ".gap" })
            }
        }
    }
}

impl FromStr for Piece {
    type Err = ();

    /// Nothing but what is written above: the names come from outside.
    fn from_str(name: &str) -> Result<Self, ()> {
        let (stem, ending) = name.rsplit_once('.').ok_or(())?;
        let words: Vec<&str> = stem.split('-').collect();
        let number = |word: &str| word.parse::<u64>().map_err(drop);
        let piece = match (&words[..], ending) {
            ([of, at], "base") => Self { number: number(of)?, kind: PieceKind::Base { at_ms: number(at)? } },
            ([of, from, to, last, crc, before @ ..], "log" | "gap") if before.len() <= 1 => Self {
                number: number(of)?,
                kind: PieceKind::Part {
                    from: number(from)?,
                    to: number(to)?,
                    last_ms: number(last)?,
                    crc: u32::from_str_radix(crc, 16).map_err(drop)?,
                    follows: ending == "log",
                    before: before.first().map(|before| number(before)).transpose()?,
                },
            },
            _ => return Err(()),
        };
        if piece.to_string() == name { Ok(piece) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, PieceKind};

    #[test]
    fn a_name_says_it_all() {
        let part = |follows, before| PieceKind::Part {
            from: 8,
            to: 4_000_000,
            last_ms: 1_893_456_000_123,
            crc: 0xab,
            follows,
            before,
        };
        for kind in [part(false, None), part(true, None), part(true, Some(70)), PieceKind::Base { at_ms: 5 }] {
            let piece = Piece { number: 7, kind };
            assert_eq!(piece.to_string().parse(), Ok(piece));
        }
        for odd in ["", "1-2.base", "00000001-2.base.", "../00000001-2.base", "00000001-+2.base", "00000001-2.log", "x"]
        {
            assert!(odd.parse::<Piece>().is_err(), "{odd}");
        }
    }
}
