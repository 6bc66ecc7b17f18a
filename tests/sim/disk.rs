//! A disk that is full, and one that fails: what was acknowledged before is there, nothing is acknowledged that
//! was not written, neighbours go on, and so does the tenant when the disk does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::ledger::{Ended, Ledger};
use crate::seed::Seed;
use crate::support::process::{Server, must};

fn data_with_key(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    must(&data, &["key", "generate"]);
    data
}

#[track_caller]
fn acknowledged(ledger: &Ledger, server: &Server, bytes: u64) {
    let ended = ledger.write(server.address(), bytes);
    assert_eq!(ended, Ended::Acknowledged, "{}: {}", ledger.tenant, server.log());
}

/// Writes until it is refused, which has to come.
fn fill(ledger: &Ledger, server: &Server, seed: &mut Seed) -> Value {
    for _ in 0..10_000 {
        match ledger.write(server.address(), 10_000 + seed.below(60_000)) {
            Ended::Acknowledged => {}
            Ended::Refused(answer) => return answer,
            Ended::Unknown => panic!("no answer: {}", server.log()),
        }
    }
    panic!("it never was full");
}

/// The tenant's own bound, reached by many at once.
#[test]
fn a_full_database_keeps_what_it_acknowledged() {
    let mut seed = Seed::of("database_bytes");
    let dir = tempfile::tempdir().expect("a folder");
    let data = data_with_key(dir.path());
    let ledgers = [Ledger::new(&data, "a"), Ledger::new(&data, "b")];
    let config = dir.path().join("freehold.toml");
    fs::write(&config, "[limits]\ndatabase_bytes = '2MiB'").expect("a file");
    let server = Server::start(&data, &["--config", config.to_str().expect("text")]);
    ledgers.iter().for_each(|ledger| ledger.prepare(&server));
    let sizes: Vec<_> = (0..4).map(|_| seed.below(60_000)).collect();
    let address = server.address();
    std::thread::scope(|scope| {
        let filled = &ledgers[0];
        for size in sizes {
            scope.spawn(move || {
                for _ in 0..200 {
                    assert_ne!(filled.write(address, 10_000 + size), Ended::Unknown);
                }
            });
        }
        for _ in 0..20 {
            acknowledged(&ledgers[1], &server, 100);
        }
    });
    let said = fill(&ledgers[0], &server, &mut seed);
    assert_eq!(said["result"]["_meta"]["freehold/refusal"]["limit"], "database_bytes", "{said}");
    server.kill();
    ledgers.iter().for_each(|ledger| ledger.audit(&data));
}

/// A file system of some megabytes, mounted for the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let size = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match done {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            done => {
                println!("SKIPPED: no small file system can be mounted here: {done:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_keeps_what_it_acknowledged() {
    let mut seed = Seed::of("full disk");
    let dir = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), 12) else { return };
    let data = data_with_key(&disk.0);
    let ledgers = [Ledger::new(&data, "a"), Ledger::new(&data, "b")];
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).expect("room");
    let server = Server::start(&data, &[]);
    for ledger in &ledgers {
        ledger.prepare(&server);
        acknowledged(ledger, &server, 10);
    }
    for _ in 0..3 {
        let said = fill(&ledgers[0], &server, &mut seed);
        assert!(said["result"]["isError"] == true || said["error"].is_object(), "{said}");
    }
    // Full for the neighbour as well: it is told so, or has room left in its own file.
    assert_ne!(ledgers[1].write(server.address(), 10), Ended::Unknown);
    ledgers.iter().for_each(|ledger| ledger.audit(&data));
    fs::remove_file(&ballast).expect("a file of ours");
    for ledger in &ledgers {
        // Where it was closed for it, the next try may come too early: it says when.
        let mut ended = ledger.write(server.address(), 10);
        for _ in 0..100 {
            if ended == Ended::Acknowledged {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            ended = ledger.write(server.address(), 10);
        }
        assert_eq!(ended, Ended::Acknowledged, "{}: {}", ledger.tenant, server.log());
    }
    server.kill();
    ledgers.iter().for_each(|ledger| ledger.audit(&data));
}

/// Builds the library that makes calls fail, and returns it and the file of its rules.
fn shim(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let library = dir.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/shim.c");
    let done =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").output();
    match done {
        Ok(done) => {
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Some((library, dir.join("rules")))
        }
        Err(error) => {
            println!("SKIPPED: no C compiler to build what makes a disk fail: {error}");
            None
        }
    }
}

#[test]
fn a_failing_disk_is_never_taken_at_its_word() {
    let mut seed = Seed::of("failing disk");
    let dir = tempfile::tempdir().expect("a folder");
    let Some((library, rules)) = shim(dir.path()) else { return };
    let data = data_with_key(dir.path());
    let ledgers = [Ledger::new(&data, "a"), Ledger::new(&data, "b")];
    let environment = [("LD_PRELOAD", library.as_os_str()), ("DISK_SHIM_RULES", rules.as_os_str())];
    let server = Server::start_with(&data, &[], &environment);
    let [a, b] = &ledgers;
    a.prepare(&server);
    b.prepare(&server);
    for round in 0..10 {
        (0..=seed.below(4)).for_each(|_| acknowledged(a, &server, 100));
        let call = ["sync", "write"][seed.below(2) as usize];
        // EIO, on the log alone or on every file of that tenant.
        let part = ["/a/tenant.db-wal", "/a/"][seed.below(2) as usize];
        fs::write(&rules, format!("{call} 5 {part}\n")).expect("a file");
        for _ in 0..=seed.below(3) {
            let ended = a.write(server.address(), 100);
            assert!(matches!(ended, Ended::Refused(_)), "round {round}: {call} fails for {part}: {ended:?}");
            acknowledged(b, &server, 100);
        }
        fs::remove_file(&rules).expect("a file of ours");
        let mut ended = a.write(server.address(), 100);
        for _ in 0..200 {
            if ended == Ended::Acknowledged {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            ended = a.write(server.address(), 100);
        }
        assert_eq!(ended, Ended::Acknowledged, "round {round}: {}", server.log());
        a.audit(&data);
    }
    assert!(server.log().contains("the disk failed under a tenant's file"), "{}", server.log());
    server.kill();
    ledgers.iter().for_each(|ledger| ledger.audit(&data));
}
