//! `freehold top`: its screen on a real terminal, and its lines where there is none.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::support::process::{Server, call, freehold, must};

#[test]
fn who_does_the_most_and_who_is_turned_away_is_on_the_screen() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    for tenant in ["busy", "quiet"] {
        must(&data, &["tenant", "create", tenant]);
    }
    let token = |tenant| must(&data, &["token", "issue", "--tenant", tenant]).trim().to_owned();
    // Two at once, and then one in a thousand seconds.
    let limits = [("FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "1".as_ref()), ("FREEHOLD_LIMITS__BURST", "2".as_ref())];
    let server = Server::start_with(&data, &[], &limits);
    let (busy, quiet) = (token("busy"), token("quiet"));
    let ask = json!({ "sql": "SELECT 1" });
    for _ in 0..40 {
        call(server.address(), &busy, "sql_query", &ask).expect("an answer");
    }
    call(server.address(), &quiet, "sql_query", &ask).expect("an answer");

    let screen = on_a_terminal(freehold(&data, &["top", "--times", "1"]));
    let screen = screen.strip_prefix("\u{1b}[2J\u{1b}[H").unwrap_or_else(|| panic!("not cleared: {screen:?}"));
    let lines: Vec<_> = screen.lines().collect();
    assert!(lines[0].starts_with("2 tenants open, "), "{screen}");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
        "tenant calls refused sql ms wait ms turned away by"
    );
    let row = |tenant: &str| {
        let line =
            lines.iter().find(|line| line.starts_with(tenant)).unwrap_or_else(|| panic!("no {tenant}: {screen}"));
        line.split_whitespace().collect::<Vec<_>>()
    };
    let (busy, quiet) = (row("busy"), row("quiet"));
    assert_eq!((busy[1], quiet[1], quiet[2]), ("40", "1", "0"), "{screen}");
    // Some came in while this ran, a second apart.
    assert!((1..=38).contains(&busy[2].parse::<u32>().expect("a number")), "{screen}");
    assert_eq!((busy.get(5), quiet.get(5)), (Some(&"requests_per_second"), None), "{screen}");
    assert!(lines[2..].iter().all(|line| line.len() < 120), "{screen}");

    // No terminal: no escape, and the second look tells what came since the first.
    let text = must(&data, &["top", "--times", "2", "--every", "10ms"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let looks: Vec<_> = text.split("2 tenants open").skip(1).collect();
    assert_eq!(looks.len(), 2, "{text}");
    let second = looks[1].lines().find(|line| line.starts_with("busy")).expect("a row");
    assert_eq!(second.split_whitespace().collect::<Vec<_>>(), ["busy", "0", "0", "0", "0"], "{text}");
    let told: Value = serde_json::from_str(&must(&data, &["top", "--json"])).expect("JSON");
    assert_eq!(told["open"], 2, "{told}");
    assert!(server.terminate().success());
}

/// All that `command` writes on a terminal of its own.
fn on_a_terminal(mut command: std::process::Command) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("ours");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let theirs = OpenOptions::new().read(true).write(true).open(name).expect("its other end");
    let mut child = command.stdin(Stdio::null()).stdout(theirs).stderr(Stdio::null()).spawn().expect("it starts");
    // The command holds the other end too; what is written waits until it is read.
    drop(command);
    let (mut all, mut ours) = (Vec::new(), File::from(ours));
    let mut piece = [0; 4_096];
    // EIO: nobody has the other end any more.
    while let Ok(read @ 1..) = ours.read(&mut piece) {
        all.extend_from_slice(&piece[..read]);
    }
    assert!(child.wait().expect("a child").success());
    String::from_utf8(all).expect("text").replace("\r\n", "\n")
}
