//! Lists: the same each time they are asked for, and for their caller's cache alone.

use freehold::{Host, Pack};
use serde_json::{Value, json};

use crate::support::slow::Slow;
use crate::support::start;
use crate::support::wire::{Ask, LEGACY, Session};

const LISTS: [&str; 4] = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];

fn all_packs(settings: &mut freehold::Settings) {
    settings.packs = vec![Pack::Sql, Pack::Kv, Pack::Memory, Pack::Reminders];
}

#[tokio::test]
async fn a_list_is_the_same_for_every_caller_and_after_a_restart() {
    let mut host = start(Slow::new().host(), &["a", "b"], all_packs);
    let mut seen: Vec<Option<Value>> = vec![None; LISTS.len()];
    for _ in 0..2 {
        for tenant in ["a", "b"] {
            let session = Session::open(&host, tenant, LEGACY[2]).await;
            for (method, seen) in LISTS.iter().zip(&mut seen) {
                let modern =
                    Ask::modern(method, json!({})).of(&host, tenant).send(&host).await.json()["result"].clone();
                assert_eq!(modern["cacheScope"], "private", "{method}: {modern}");
                assert!(modern["ttlMs"].is_u64(), "{method}: {modern}");
                let key = modern.as_object().and_then(|all| all.keys().find(|key| all[*key].is_array()).cloned());
                let key = key.unwrap_or_else(|| panic!("{method}: no list in {modern}"));
                let older = session.ask(&host, method, json!({})).await.json()["result"].clone();
                assert_eq!(older[&key], modern[&key], "{method}");
                let first = seen.get_or_insert_with(|| modern.clone());
                assert_eq!(*first, modern, "{method}");
            }
        }
        host = host.restart().await.expect("the same host");
    }
    host.close().await;
}

#[tokio::test]
async fn what_is_read_is_for_its_caller_alone() {
    let host = start(Host::new(|_tenant| crate::support::Plain), &["a"], all_packs);
    for uri in ["tenant://schema", "tenant://usage"] {
        let read = Ask::modern("resources/read", json!({ "uri": uri })).header("mcp-name", uri);
        let read = read.of(&host, "a").send(&host).await.json();
        assert_eq!(read["result"]["cacheScope"], "private", "{read}");
        assert!(read["result"]["ttlMs"].is_u64(), "{read}");
    }
    host.close().await;
}
