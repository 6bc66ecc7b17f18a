//! Whether what is kept would bring the tenants back: asked of all of them, here and in storage, and told by name where
//! it would not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::place::{Place, begin, hit, hits, rfc3339, until};
use crate::support::process::{Server, must, run};
use crate::support::s3::S3;
use crate::support::tenant_file;

/// The whole copies in the history of `tenant` below `data`.
fn bases(data: &Path, tenant: &str) -> Vec<PathBuf> {
    let folder = tenant_file(data, tenant).with_file_name("history");
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|kind| kind == "base")).collect()
}

fn lines(done: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn last(done: &Output) -> Value {
    lines(done).pop().expect("the counts")
}

#[test]
fn all_are_looked_at_and_a_failure_stops_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let names = ["a", "b", "c", "d"];
    for name in names.into_iter().chain(["silent"]) {
        must(&data, &["tenant", "create", name]);
    }
    let tokens = names.map(|name| must(&data, &["token", "issue", "--tenant", name]).trim().to_owned());
    let server = Server::start_with(&data, &[], &[("FREEHOLD_HISTORY__EVERY", "50ms".as_ref())]);
    tokens.iter().for_each(|token| begin(&server, token));
    names.iter().for_each(|name| until("its past begins", || !bases(&data, name).is_empty()));
    let counted = |whole, failed| {
        json!({
            "tenants": 5, "whole": whole, "without_file": 1, "not_yet": 0, "deleted": 0, "failed": failed,
        })
    };
    let all = run(&data, &["tenant", "verify", "--all", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!(last(&all), counted(4, 0));
    let told = lines(&all);
    let of = |name: &str| told.iter().find(|line| line["tenant"] == name).cloned().expect("a line");
    assert_eq!((&of("a")["integrity"], &of("silent")["why"]), (&json!("ok"), &json!("without_file")));
    assert!(must(&data, &["tenant", "verify", "--all"]).contains("5 tenants: 4 whole, 1 had no file yet"));
    // None of them was there that early, and that is nobody's failure.
    let early = run(&data, &["tenant", "verify", "--all", "--at", "2001-01-01T00:00:00Z", "--json"]);
    assert!(early.status.success(), "{early:?}");
    assert_eq!((&last(&early)["not_yet"], &last(&early)["whole"]), (&json!(5), &json!(0)));

    // Two are damaged, one of them in the middle of the list, and one has lost all of its past.
    let damage = |name: &str| {
        bases(&data, name).iter().for_each(|base| fs::write(base, "no database").expect("written"));
    };
    damage("b");
    let folder = tenant_file(&data, "d").with_file_name("history");
    fs::remove_dir_all(folder).expect("gone");
    for running in [true, false] {
        let all = run(&data, &["tenant", "verify", "--all", "--json"]);
        assert_eq!(all.status.code(), Some(1), "running {running}: {all:?}");
        assert_eq!(last(&all), counted(2, 2), "running {running}");
        let failed: Vec<_> = lines(&all).into_iter().filter(|line| line.get("error").is_some()).collect();
        assert_eq!(failed.iter().map(|line| &line["tenant"]).collect::<Vec<_>>(), ["b", "d"], "{failed:?}");
        assert!(failed[1]["error"].as_str().is_some_and(|said| said.contains("nothing is kept")), "{failed:?}");
        let plain = run(&data, &["tenant", "verify", "--all"]);
        let said = String::from_utf8_lossy(&plain.stderr);
        assert!(!plain.status.success() && said.contains("b: ") && said.contains("d: "), "{plain:?}");
        if running {
            // In order, which checkpoints and leaves what is broken as it is.
            server.signal(rustix::process::Signal::TERM);
            until("it has ended", || !data.join("admin.sock").exists());
        }
    }
    assert!(server.ended().success());
}

#[test]
fn storage_is_looked_at_from_any_machine_and_forked_from() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let tokens = [place.tenant("acme", &["--class", "gold"]), place.tenant("globex", &[])];
    place.must(&["tenant", "create", "silent"]);
    let server = place.serve();
    tokens.iter().for_each(|token| begin(&server, token));
    hits(&server, &tokens[1], 0..3);
    let then = hit(&server, &tokens[0], 0);
    std::thread::sleep(Duration::from_millis(400));
    hits(&server, &tokens[0], 1..4);
    place.until_there("acme", 4);
    place.until_there("globex", 3);
    until("the list is there too", || s3.objects().iter().any(|name| name.ends_with("catalog.db")));
    let at = rfc3339(then + Duration::from_millis(300));
    // Beside itself, while it is served.
    assert_eq!(place.must(&["tenant", "fork", "acme", "acme-then", "--from-remote", "--at", &at]), "acme-then\n");
    let rows = |tenant: &str| {
        let told = place.must(&["tenant", "sql", tenant, "SELECT count(*) FROM hit"]);
        told.lines().nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!((rows("acme-then"), rows("acme")), (1, 4));
    place.must(&["tenant", "delete", "acme-then", "--yes"]);
    assert!(server.terminate().success());
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!((&last(&all)["whole"], &last(&all)["without_file"]), (&json!(2), &json!(1)), "{all:?}");

    // On a machine that has none of them.
    place.burn();
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!((&last(&all)["tenants"], &last(&all)["whole"]), (&json!(2), &json!(2)), "{all:?}");
    let made = place.must(&["tenant", "fork", "acme", "acme-looked", "--from-remote", "--json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!((&made["id"], &made["class"]), (&json!("acme-looked"), &json!("gold")));
    assert_eq!(rows("acme-looked"), 4);
    assert_eq!(place.must(&["tenant", "list"]), "acme-looked\n");
    assert!(place.fails(&["tenant", "fork", "acme", "acme-looked", "--from-remote"]).contains("there already"));
    assert!(place.fails(&["tenant", "fork", "nobody", "x", "--from-remote"]).contains("nothing of tenant nobody"));
    assert!(place.fails(&["tenant", "fork", "acme", "x"]).contains("no tenant acme"));
    assert_eq!(place.must(&["tenant", "list"]), "acme-looked\n");

    // Without its whole copies one of them can't be brought back; the other one can.
    s3.remove(|name| name.contains("/globex/") && name.ends_with(".base"));
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    assert_eq!((&last(&all)["whole"], &last(&all)["failed"]), (&json!(1), &json!(2)), "{all:?}");
    let failed = lines(&all).into_iter().filter(|line| line.get("error").is_some());
    // The fork is here, and nobody has sent it.
    assert_eq!(failed.map(|line| line["tenant"].clone()).collect::<Vec<_>>(), ["acme-looked", "globex"]);
}
