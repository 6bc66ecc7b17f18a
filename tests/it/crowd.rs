//! Statements of many tenants that each keep to their own bound, and together would take all the memory there is.

#![expect(clippy::print_stdout, reason = "how often each bound was met is for a person to read")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::support::process::{Server, call, must};
use crate::support::{PATIENCE, content, refusal};

const CROWD: usize = 24;
const SORT: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000) SELECT hex(randomblob(500)) FROM c ORDER BY 1";

#[test]
fn all_statements_together_have_a_bound_and_small_ones_never_meet_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let tenants: Vec<String> = (0..=CROWD).map(|at| format!("tenant-{at}")).collect();
    let mut tokens: Vec<String> = Vec::new();
    for tenant in &tenants {
        must(&data, &["tenant", "create", tenant]);
        tokens.push(must(&data, &["token", "issue", "--tenant", tenant]).trim().to_owned());
    }
    let config = dir.path().join("freehold.toml");
    let text =
        "[tenants]\nstatements_bytes = '40MiB'\n[limits]\nstatement_memory = '32MiB'\nstatement_deadline = '30s'";
    std::fs::write(&config, text).expect("a file");
    let server = Server::start(&data, &["--config", config.to_str().expect("text")]);
    let address = server.address();
    let send =
        |at: usize, sql: &str| call(address, &tokens[at], "sql_query", &json!({ "sql": sql })).expect("an answer");
    let quiet = "SELECT count(*) FROM (SELECT 1 UNION ALL SELECT 2 ORDER BY 1)";
    for at in 0..=CROWD {
        content(&send(at, quiet));
    }
    let before = server.forget_peak();
    let (crowded, alone, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for at in 0..CROWD {
            let (send, crowded, alone, over) = (&send, &crowded, &alone, &over);
            scope.spawn(move || {
                // Until the bound was met, which takes two that sort at once.
                while !over.load(Ordering::SeqCst) {
                    let answer = send(at, SORT);
                    let told = &answer["result"]["_meta"]["freehold/refusal"];
                    match told["limit"].as_str() {
                        Some("statements_bytes") => {
                            assert!(told["retryAfterMs"].is_u64() && refusal(&answer).contains("41943040"), "{answer}");
                            crowded.fetch_add(1, Ordering::SeqCst);
                        }
                        Some("statement_memory") => drop(alone.fetch_add(1, Ordering::SeqCst)),
                        _ => panic!("{answer}"),
                    }
                }
            });
        }
        let begun = Instant::now();
        while crowded.load(Ordering::SeqCst) < CROWD && begun.elapsed() < PATIENCE {
            content(&send(CROWD, quiet));
        }
        over.store(true, Ordering::SeqCst);
    });
    let grown = server.peak_memory().saturating_sub(before) >> 20;
    println!("{crowded:?} were refused for all, {alone:?} for themselves; grew by {grown} MB");
    assert!(crowded.into_inner() > 0);
    // Each by its own bound they would be 768 MB. Beyond 40 it is a megabyte of each, and what the allocator keeps of
    // the sorts of the last second.
    assert!(grown < 384, "grew by {grown} MB");
    // What was taken is given back: a sort may have its own again.
    let answer = send(0, SORT);
    assert_eq!(answer["result"]["_meta"]["freehold/refusal"]["limit"], "statement_memory", "{answer}");
    assert!(server.terminate().success());
}
