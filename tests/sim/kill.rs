//! kill -9 at random points of a life: while it starts, in the middle of many writes, in a checkpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ledger::{Ended, Ledger};
use crate::seed::Seed;
use crate::support::process::{Server, must};

const ROUNDS: usize = 12;
const WRITERS: usize = 4;

#[test]
fn nothing_acknowledged_falls_with_the_process() {
    let mut seed = Seed::of("kill");
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let ledgers = [Ledger::new(&data, "a"), Ledger::new(&data, "b")];
    let first = Server::start(&data, &[]);
    ledgers.iter().for_each(|ledger| ledger.prepare(&first));
    first.kill();
    for round in 0..ROUNDS {
        let server = Server::start(&data, &[]);
        let address = server.address();
        // Some rounds end before the first answer, some write enough for checkpoints.
        let lives = Duration::from_micros(seed.below(400_000));
        let bytes = [10, 10_000, 200_000][seed.below(3) as usize];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for ledger in &ledgers {
                for _ in 0..WRITERS {
                    scope.spawn(|| {
                        let mut ended = Ended::Acknowledged;
                        while !over.load(Ordering::Relaxed) && ended != Ended::Unknown {
                            ended = ledger.write(address, bytes);
                        }
                    });
                }
            }
            // Where in its life the process falls is what the seed chooses; nothing waits for a state here.
            std::thread::sleep(lives);
            server.kill();
            over.store(true, Ordering::Relaxed);
        });
        ledgers.iter().for_each(|ledger| ledger.audit(&data));
        println!("round {round}: {lives:?}, {bytes} bytes: {:?}", ledgers.each_ref().map(Ledger::acknowledged));
    }
    let last = Server::start(&data, &[]);
    for ledger in &ledgers {
        assert_eq!(ledger.write(last.address(), 10), Ended::Acknowledged);
    }
    assert!(last.terminate().success());
    ledgers.iter().for_each(|ledger| ledger.audit(&data));
    assert!(ledgers.iter().map(Ledger::acknowledged).sum::<usize>() > ROUNDS, "the rounds were too short to tell");
}
