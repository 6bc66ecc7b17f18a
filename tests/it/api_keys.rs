//! Opaque API keys: good until revoked, known to one data directory, nowhere in clear.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::{Server, call, freehold, must, output, run};
use crate::support::token::Forge;
use crate::support::wire::Ask;
use crate::support::{content, plain, tree};

#[tokio::test]
async fn a_key_opens_its_tenant_as_a_token_does() {
    let host = plain(&["a", "b"], |_| {});
    let key = host.api_key("a", "read", Some(Duration::from_secs(60))).expect("a key");
    assert!(key.starts_with("fh_live_") && key.len() == 68, "{key}");
    let ask = |key: &str| Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).bearer(key);
    assert_eq!(content(&ask(&key).send(&host).await.json())["rows"], json!([[7]]));
    let write = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    Ask::tool("sql_execute", &write).bearer(&key).send(&host).await.expect_refusal(403);
    for at in (0..key.len()).step_by(5) {
        let mut bytes = key.clone().into_bytes();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8(bytes).expect("text");
        ask(&changed).send(&host).await.expect_refusal(401);
    }
    // One of another host is well formed and unknown.
    let elsewhere = plain(&["a"], |_| {});
    ask(&elsewhere.api_key("a", "read", None).expect("a key")).send(&host).await.expect_refusal(401);
    let stranger = host.api_key("nobody", "read", None).expect("a key");
    ask(&stranger).send(&host).await.expect_refusal(403);
    let now = Forge::of(&host).now();
    host.clock().set(now + 59);
    assert_eq!(ask(&key).send(&host).await.status, 200);
    host.clock().set(now + 60);
    ask(&key).send(&host).await.expect_refusal(401);
    elsewhere.close().await;
    host.close().await;
}

/// From the command line: made, listed, looked into, revoked; never in a file in clear.
#[test]
fn the_life_of_a_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let server = Server::start(&data, &[]);
    let file = dir.path().join("api-key");
    let path = file.to_str().expect("text");
    let id = must(&data, &["token", "issue", "--tenant", "a", "--kind", "key", "--scope", "read", "--out", path]);
    let id = id.trim();
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).expect("a key");
    let key = key.trim();
    let again = run(&data, &["token", "issue", "--tenant", "a", "--out", path]);
    assert!(!again.status.success() && again.stdout.is_empty(), "{again:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("a key").trim(), key, "nothing was overwritten");

    let answer = call(server.address(), key, "sql_query", &json!({ "sql": "SELECT 7" })).expect("an answer");
    assert_eq!(content(&answer)["rows"], json!([[7]]));
    let listed: Value = serde_json::from_str(&must(&data, &["token", "list", "--json"])).expect("one line");
    assert_eq!((&listed["id"], &listed["kind"], &listed["state"]), (&json!(id), &json!("key"), &json!("active")));
    assert!(listed["last_used"].is_u64() && listed["expires_at"].is_null(), "{listed}");
    let looked: Value = serde_json::from_str(&must(&data, &["token", "inspect", "--json", path])).expect("JSON");
    assert_eq!((&looked["verified"], &looked["tenant"], &looked["scope"]), (&json!(true), &json!("a"), &json!("read")));

    must(&data, &["token", "revoke", "--jti", id]);
    let begun = std::time::Instant::now();
    while call(server.address(), key, "sql_query", &json!({ "sql": "SELECT 7" }))
        .is_some_and(|a| a["result"].is_object())
    {
        assert!(begun.elapsed() < crate::support::PATIENCE, "never revoked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let looked: Value = serde_json::from_str(&must(&data, &["token", "inspect", "--json", path])).expect("JSON");
    assert_eq!(looked["verified"], json!(false), "{looked}");
    let listed = must(&data, &["token", "list"]);
    assert!(listed.contains("revoked"), "{listed}");
    assert!(server.terminate().success());
    let (_, secret) = key.rsplit_once('_').expect("a secret");
    for path in
        tree(dir.path()).into_iter().map(|path| dir.path().join(path)).filter(|path| path.is_file() && *path != file)
    {
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!bytes.windows(16).any(|part| part == &secret.as_bytes()[..16]), "{path:?} holds the secret");
    }
}

/// An argument is in the process list: the command says so, and does not repeat it.
#[test]
fn a_token_is_no_argument() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    for arguments in [["token", "inspect", &token].as_slice(), &["token", "revoke", "--file", &token]] {
        let done = run(&data, arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains("pipe it in") && !said.contains(&token), "{said}");
    }
    let mut piped = freehold(&data, &["token", "inspect", "--json"]);
    let file = dir.path().join("token");
    std::fs::write(&file, &token).expect("a file");
    piped.stdin(std::fs::File::open(&file).expect("a file"));
    let told: Value = serde_json::from_slice(&output(piped).stdout).expect("JSON");
    assert_eq!(
        (&told["verified"], &told["claims"]["tenant"], &told["alg"]),
        (&json!(true), &json!("a"), &json!("EdDSA"))
    );
    for (bad, why) in [("nothing", "no token"), ("", "no token"), ("fh_live_x", "no token")] {
        std::fs::write(&file, bad).expect("a file");
        let done = run(&data, &["token", "inspect", file.to_str().expect("text")]);
        assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains(why), "{bad}: {done:?}");
    }
}
