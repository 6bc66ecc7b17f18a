//! The audit log: who was refused and why, what operators did, and no secret.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::plain;
use crate::support::process::{Server, exchange, must};
use crate::support::token::Forge;
use crate::support::wire::{Ask, rpc};

fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// Waits for the thread that writes.
async fn until_records(file: &Path, count: usize) -> Vec<Value> {
    crate::support::until("records", || records(file).len() >= count).await;
    records(file)
}

#[tokio::test]
async fn refusals_are_told_with_their_reason() {
    let host = plain(&["a"], |settings| settings.audit.calls = true);
    let forge = Forge::of(&host);
    let list = || Ask::modern("tools/list", json!({})).header("user-agent", "x\"}{\"event\":\"admin\"");
    let read = host.token_with("a", "read", std::time::Duration::from_secs(60)).expect("a token");
    let execute = Ask::tool("sql_execute", &json!({ "statements": [{ "sql": "CREATE TABLE canary (n)" }] }));
    let mut foreign = forge.claims("a");
    foreign["tenant"] = json!("nobody");
    let cases = [
        (list(), 401, "token_missing"),
        (list().bearer(&forge.with("exp", forge.now() - 40)), 401, "expired"),
        (list().bearer(&forge.with("iss", "evil")), 401, "issuer_unknown"),
        (list().bearer(&forge.with("aud", "other")), 401, "audience_other"),
        (list().bearer(&forge.headed("crit", json!(["x"]))), 401, "header_refused"),
        (list().bearer(&forge.with("exp", forge.now() + 91 * 24 * 3600)), 401, "lifetime_too_long"),
        (list().bearer(&forge.sign(&forge.header(), &foreign.to_string())), 403, "tenant_unknown"),
        (execute.bearer(&read), 403, "the scope write is not granted"),
    ];
    let (count, mut wanted) = (cases.len(), Vec::new());
    for (ask, status, reason) in cases {
        ask.send(&host).await.expect_refusal(status);
        wanted.push((status, reason));
    }
    assert_eq!(list().bearer(&read).send(&host).await.status, 200);
    let file = host.dir().join("audit.jsonl");
    let told = until_records(&file, count + 1).await;
    let seen: Vec<_> = told[..count]
        .iter()
        .map(|record| {
            (record["status"].as_u64().unwrap_or_default() as u16, record["reason"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(seen, wanted);
    let by_scope = &told[count - 1];
    assert_eq!(
        (&by_scope["tool"], &by_scope["tenant"], &by_scope["subject"]),
        (&json!("sql_execute"), &json!("a"), &json!("test"))
    );
    assert_eq!(told[count]["event"], "call");
    assert!(told[1]["token"].as_str().is_some_and(|token| token.len() == 8), "{}", told[1]);
    let text = std::fs::read_to_string(&file).expect("a log");
    assert!(!text.contains("eyJ") && !text.contains("canary"), "{text}");
    host.close().await;
}

/// Commands beside the host write into the same log.
#[test]
fn what_operators_do_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]);
    must(&data, &["tenant", "suspend", "a"]);
    must(&data, &["token", "revoke", "--tenant", "a"]);
    let told = records(&data.join("audit.jsonl"));
    let events: Vec<_> = told.iter().map(|record| record["event"].as_str().unwrap_or_default()).collect();
    assert_eq!(events, ["key.generate", "tenant.create", "token.issue", "tenant.suspend", "token.revoke"]);
    assert!(!format!("{told:?}").contains(token.trim()));
}

/// Guessing is slowed down by address, and who is known comes in all the same.
#[test]
fn too_many_bad_tokens_from_one_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let issue = || must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let (known, fresh) = (issue(), issue());
    let server = Server::start(&data, &[]);
    let host = server.address();
    let list = rpc("tools/list", &json!({}));
    let post = |token: &str| {
        let head =
            format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n");
        let kind = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\n";
        exchange(host, format!("{head}{kind}Content-Length: {}\r\n\r\n{list}", list.len()).as_bytes())
            .expect("an answer")
    };
    let refused = |answer: &str| answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 429");
    assert!(!refused(&post(&known)), "a good one");
    let answers: Vec<String> = (0..60).map(|number| post(&format!("bad{number}.x.y"))).collect();
    assert!(answers[..20].iter().all(|answer| answer.starts_with("HTTP/1.1 401")), "{:?}", answers[0]);
    let limited = answers.iter().find(|answer| answer.starts_with("HTTP/1.1 429")).expect("an end");
    assert!(limited.to_ascii_lowercase().contains("retry-after: ") && limited.contains("failures_burst"), "{limited}");
    assert!(!refused(&post(&known)), "{}", post(&known));
    assert!(post(&fresh).starts_with("HTTP/1.1 429"), "not verified now, nor told whether it is good");
    assert!(server.terminate().success());
}
