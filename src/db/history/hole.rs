//! What is missing of a tenant's past elsewhere, told from the names of what is there: each says from where to where it
//! goes and what it goes on from. Nothing is passed over for a piece that is gone.

use std::collections::BTreeMap;
use std::fmt;

use super::past::{chain, end_of};
use super::piece::{Piece, PieceKind};
use super::remote::{bases, changes};
use crate::clock::rfc3339_millis;

/// A piece that was there and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The log that it is of.
    pub(super) number: u64,
    /// Its first byte in that log; `None`: it is the whole copy that the log goes on from.
    from: Option<u64>,
    /// Until when the past is good, in milliseconds since 1970, and from when on it is again, if it is.
    good_ms: u64,
    again_ms: Option<u64>,
}

impl Hole {
    /// Whether it lies between the whole copy of `number`, the last one before `at_ms`, and `at_ms`.
    pub(super) fn is_between(&self, number: u64, at_ms: u64) -> bool {
        self.number >= number && self.good_ms < at_ms && self.again_ms.is_none_or(|again| at_ms < again)
    }

    /// One that nothing `there` tells of: from byte `from` of log `number` on.
    pub(super) fn untold(there: &[Piece], number: u64, from: u64) -> Self {
        let bases = bases(there);
        let before = bases.iter().rfind(|base| base.0 <= number);
        let good_ms = before.map_or(0, |base| changes(there, &holes(there), *base, u64::MAX).surely);
        Self { number, from: Some(from), good_ms, again_ms: again(&bases, number) }
    }

    /// The one before changes that are `there`, from after `good_ms` and until `at_ms`, if nothing leads to them.
    pub(super) fn before_changes(there: &[Piece], good_ms: u64, at_ms: u64) -> Option<Self> {
        let asked = |piece: &Piece| last_of(piece).is_some_and(|last| last > good_ms && last <= at_ms);
        // What others stand in the place of says less than they do.
        let told = |log: &Log| log.chain.iter().chain(&log.beyond).any(asked);
        let (number, _) = logs(there).into_iter().find(|(_, log)| told(log))?;
        Some(Self { number, from: None, good_ms, again_ms: again(&bases(there), number) })
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        f.write_str("a piece of its past is missing in storage (")?;
        match self.from {
            Some(from) => write!(f, "log {number:08} from byte {from} on")?,
            None => write!(f, "the whole copy before log {number:08}, unless it is still being sent")?,
        }
        match self.good_ms {
            0 => f.write_str("): it is not good before that")?,
            good => write!(f, "): it is good until {}, which --at can name", rfc3339_millis(good))?,
        }
        match self.again_ms {
            Some(again) => write!(f, ", and from {} on again", rfc3339_millis(again)),
            None => Ok(()),
        }
    }
}

/// What there is of one log.
struct Log {
    /// Pieces that follow each other from its beginning.
    chain: Vec<Piece>,
    /// It says that what is before it is not all there.
    anew: bool,
    /// How much of the one before it was there, if it says so.
    before: Option<u64>,
    /// More of it, behind what is missing.
    beyond: Vec<Piece>,
}

fn logs(there: &[Piece]) -> BTreeMap<u64, Log> {
    let mut pieces: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    for piece in there.iter().filter(|piece| matches!(piece.kind, PieceKind::Part { .. })) {
        pieces.entry(piece.number).or_default().push(*piece);
    }
    let log = |(number, pieces): (u64, Vec<Piece>)| {
        let (chain, _) = chain(&pieces, number);
        let end = end_of(&chain);
        let behind = |piece: &&Piece| matches!(piece.kind, PieceKind::Part { from, .. } if from > end);
        let beyond = pieces.iter().filter(behind).copied().collect();
        let (anew, before) = match chain.first().map(|first| first.kind) {
            Some(PieceKind::Part { follows, before, .. }) => (!follows, before),
            _ => (false, None),
        };
        (number, Log { chain, anew, before, beyond })
    };
    pieces.into_iter().map(log).collect()
}

/// The whole copy that the first logs `there` went on from, if it is gone: where they are let go of it goes first, in one go with them.
pub(super) fn first_base(there: &[Piece]) -> Option<Hole> {
    let bases = bases(there);
    let first = bases.first().map_or(u64::MAX, |base| base.0);
    let (number, _) =
        logs(there).into_iter().find(|(number, log)| *number < first && !log.anew && !log.chain.is_empty())?;
    Some(Hole { number, from: None, good_ms: 0, again_ms: again(&bases, number) })
}

/// What is missing `there`, the pieces of one lineage, from its first whole copy on. In order.
pub(super) fn holes(there: &[Piece]) -> Vec<Hole> {
    let (bases, logs) = (bases(there), logs(there));
    let Some(first) = bases.first() else { return Vec::new() };
    let mut numbers: Vec<u64> = logs.keys().copied().chain(bases.iter().map(|base| base.0)).collect();
    numbers.retain(|number| *number >= first.0);
    numbers.sort_unstable();
    numbers.dedup();
    let (mut holes, mut good_ms) = (Vec::new(), 0);
    // Whether changes go on from something, and whether it was told why not.
    let (mut based, mut told) = (false, false);
    for (at, &number) in numbers.iter().enumerate() {
        let log = logs.get(&number);
        if let Some(base) = bases.iter().find(|base| base.0 == number) {
            (based, told, good_ms) = (true, false, base.1);
        } else if log.is_some_and(|log| log.anew) {
            (based, told) = (false, false);
        }
        let mut missing = |number: u64, from: Option<u64>, good_ms: u64| {
            if !std::mem::replace(&mut told, true) {
                holes.push(Hole { number, from, good_ms, again_ms: again(&bases, number) });
            }
        };
        let changed = log.and_then(|log| log.chain.iter().filter_map(last_of).max());
        if based {
            good_ms = good_ms.max(changed.unwrap_or(0));
        } else if log.is_some_and(|log| !log.anew) {
            missing(number, None, good_ms);
        }
        let next = numbers.get(at + 1).map(|next| (*next, logs.get(next)));
        // What comes next says whether all of this one was there, if anything does.
        let anew = next.is_some_and(|(_, next)| next.is_some_and(|next| next.anew));
        let end = log.map_or(0, |log| end_of(&log.chain));
        let of_next = next.filter(|next| next.0 == number + 1).and_then(|next| next.1?.before);
        if log.is_some_and(|log| !log.beyond.is_empty())
            || of_next.is_some_and(|before| end < before)
            || (end == 0 && !anew)
        {
            missing(number, Some(end), good_ms);
            based = false;
        } else if let Some((next, log)) = next.filter(|next| next.0 > number + 1)
            && (!anew || log.and_then(|log| log.before).is_some_and(|before| before > 0))
        {
            missing(next - 1, Some(0), good_ms);
            based = false;
        }
    }
    holes
}

/// When the last change in a piece was made, if it has one.
pub(super) fn last_of(piece: &Piece) -> Option<u64> {
    match piece.kind {
        PieceKind::Part { last_ms, .. } => Some(last_ms).filter(|last| *last > 0),
        PieceKind::Base { .. } => None,
    }
}

/// When the first whole copy behind log `number` was made.
fn again(bases: &[(u64, u64)], number: u64) -> Option<u64> {
    bases.iter().find(|base| base.0 > number).map(|base| base.1)
}

#[cfg(test)]
mod tests {
    use super::super::remote::Remains;
    use super::*;

    /// What a piece holds: the moments at which changes were kept.
    type There = Vec<(String, Piece, Vec<u64>)>;

    /// The past of a tenant as it is sent, by `seed`: logs of some pieces, whole copies, gaps, a second lineage.
    fn sent(seed: u64) -> There {
        let mut random = seed;
        let mut next = move |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        let (mut there, mut now) = (There::new(), 1_000);
        for lineage in ["a", "b"] {
            let mut end = None;
            let mut gap = true;
            for number in 1..4 + next(4) {
                // A gap has no whole copy yet; it is made at once.
                if !gap {
                    now += 1;
                    there.push((
                        lineage.to_owned(),
                        Piece { number, kind: PieceKind::Base { at_ms: now } },
                        Vec::new(),
                    ));
                }
                let (mut from, pieces) = (0, if gap { 1 } else { 1 + next(3) });
                for _ in 0..pieces {
                    let changes = if gap { 1 } else { next(3) };
                    let moments: Vec<u64> = (0..changes).map(|_| (now += 1 + next(5), now).1).collect();
                    // Its first bytes are there in any case.
                    let to = from + 8 + 100 * changes;
                    if from > 0 && changes == 0 {
                        continue;
                    }
                    let first = from == 0;
                    let before = end.filter(|_| first);
                    let (follows, last_ms) = (!(gap && first), moments.last().copied().unwrap_or(0));
                    let kind = PieceKind::Part { from, to, last_ms, crc: 0, follows, before };
                    there.push((lineage.to_owned(), Piece { number, kind }, moments));
                    from = to;
                }
                end = Some(from);
                gap = !gap && next(4) == 0;
            }
            now += 10;
        }
        there
    }

    fn remains(there: &There) -> Remains {
        let mut remains = Remains::default();
        there.iter().for_each(|(lineage, piece, _)| remains.add(lineage, *piece, 1));
        remains
    }

    /// The last change, of `whole`, that a restore to `at` has, and of which lineage; if it does not say that it can't.
    fn lands(whole: &There, there: &There, at: u64) -> Option<(String, u64)> {
        let landed = remains(there).choose(at).ok()?.into_iter().map(|choice| {
            let PieceKind::Base { at_ms } = choice.base.kind else { panic!("no base") };
            let held = |part: &Piece| {
                let of = there.iter().find(|(lineage, piece, _)| *lineage == choice.lineage && piece == part);
                of.expect("a piece that is there").2.clone()
            };
            let landed = choice.parts.iter().flat_map(held).filter(|moment| *moment <= at).fold(at_ms, u64::max);
            let own = whole.iter().filter(|(lineage, ..)| *lineage == choice.lineage).flat_map(|one| one.2.iter());
            (landed, choice.lineage.clone(), own.copied().filter(|moment| *moment <= landed).max().unwrap_or(0))
        });
        landed.max().map(|(_, lineage, change)| (lineage, change))
    }

    /// Each object is lost in turn: whatever is asked for then is as it was, or is refused.
    #[test]
    fn no_single_loss_is_passed_over() {
        let (mut told, mut harmless, mut at_the_end) = (0, 0, 0);
        for seed in 1..16 {
            let whole = sent(seed);
            assert_eq!(remains(&whole).missing(), None, "seed {seed}: {whole:?}");
            let end = whole.iter().flat_map(|one| one.2.iter().copied()).max().expect("changes") + 5;
            let before: Vec<_> = (0..end).map(|at| lands(&whole, &whole, at)).collect();
            for lost in 0..whole.len() {
                let mut there = whole.clone();
                let gone = there.remove(lost);
                // Nothing that is there tells of the last one of a lineage: only who sent it knows.
                let last = there.iter().filter(|one| one.0 == gone.0).all(|one| one.1 < gone.1);
                let after: Vec<_> = (0..end).map(|at| lands(&whole, &there, at)).collect();
                // What could not be had before is no loss.
                let mut both = before.iter().zip(&after).filter(|(before, _)| before.is_some());
                let changed = both.clone().find(|(before, after)| after.is_some() && before != after);
                if last {
                    at_the_end += 1;
                    continue;
                }
                assert_eq!(changed, None, "seed {seed}: {gone:?} of {whole:?}");
                let refused = both.any(|(_, after)| after.is_none());
                let named = remains(&there).missing().is_some();
                assert!(named || !refused, "seed {seed}: {gone:?} is not named, of {whole:?}");
                *(if named { &mut told } else { &mut harmless }) += 1;
            }
        }
        assert!(told > 50 && harmless > 10 && at_the_end > 20, "{told} {harmless} {at_the_end}");
    }

    #[test]
    fn it_says_until_when_and_from_when() {
        let base = |number, at_ms| Piece { number, kind: PieceKind::Base { at_ms } };
        let part = |number, from, to, last_ms, before| {
            let kind = PieceKind::Part { from, to, last_ms, crc: 0, follows: true, before };
            Piece { number, kind }
        };
        let there = [
            base(1, 100),
            part(1, 0, 50, 150, None),
            part(2, 0, 8, 250, Some(80)),
            base(2, 200),
            part(3, 0, 8, 0, Some(8)),
        ];
        let said = holes(&there).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            said,
            ["a piece of its past is missing in storage (log 00000001 from byte 50 on): it is good until \
                 1970-01-01T00:00:00.150Z, which --at can name, and from 1970-01-01T00:00:00.200Z on again"]
        );
        // What an earlier version sent does not say it, and nothing is made up.
        let old = [base(1, 100), part(1, 0, 50, 150, None), part(2, 0, 8, 250, None), base(2, 200)];
        assert_eq!(holes(&old), []);
        // A number out of the blue costs no time.
        let far = [base(1, 100), part(1, 0, 50, 150, None), part(u64::MAX - 1, 0, 8, 250, None)];
        assert_eq!(holes(&far).len(), 1);
    }
}
