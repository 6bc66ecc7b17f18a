//! News: who asked for it is told, nobody else is, and who only listens keeps no file open.

use std::time::Duration;

use freehold::List;
use http::Method;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::slow::Slow;
use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{soon, start};

fn listen(filter: &Value) -> Ask {
    Ask::modern("subscriptions/listen", json!({ "notifications": filter }))
}

fn get(session: &Session) -> Ask {
    session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"))
}

fn method(message: &Value) -> &str {
    message["method"].as_str().unwrap_or_else(|| panic!("no notification: {message}"))
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for() {
    let host = start(Slow::new().host(), &["a", "b"], |_| {});
    let filter = json!({ "resourceSubscriptions": ["test://one"], "promptsListChanged": true });
    let mut ear = Events::open(&host, listen(&filter).of(&host, "a")).await;
    assert_eq!(method(&ear.message().await.1), "notifications/subscriptions/acknowledged");
    let (a, b) = (host.tenant("a").await.expect("a tenant"), host.tenant("b").await.expect("a tenant"));
    b.notify("test://one");
    a.notify("test://other");
    a.list_changed(List::Tools);
    a.notify("test://one");
    a.list_changed(List::Prompts);
    let (_, first) = ear.message().await;
    assert_eq!((method(&first), &first["params"]["uri"]), ("notifications/resources/updated", &json!("test://one")));
    assert_eq!(method(&ear.message().await.1), "notifications/prompts/list_changed");
    host.close().await;
}

#[tokio::test]
async fn a_session_hears_what_it_subscribed_to() {
    let host = start(Slow::new().host(), &["a", "b"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let mut ear = Events::open(&host, get(&session)).await;
    for uri in ["test://one", "test://two"] {
        let answer = session.ask(&host, "resources/subscribe", json!({ "uri": uri })).await.json();
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    session.ask(&host, "resources/unsubscribe", json!({ "uri": "test://two" })).await;
    let (a, b) = (host.tenant("a").await.expect("a tenant"), host.tenant("b").await.expect("a tenant"));
    b.notify("test://one");
    a.notify("test://two");
    a.notify("test://one");
    a.list_changed(List::Tools);
    let (_, first) = ear.message().await;
    assert_eq!((method(&first), &first["params"]["uri"]), ("notifications/resources/updated", &json!("test://one")));
    assert_eq!(method(&ear.message().await.1), "notifications/tools/list_changed");
    host.close().await;
}

/// Told while nobody read, or nobody was in memory: it is heard once, by the next GET.
#[tokio::test]
async fn news_wait_for_a_session_that_is_away() {
    for restart in [false, true] {
        let slow = Slow::new();
        let host = start(slow.host(), &["a"], |settings| {
            if restart {
                settings.limits.session_quiet = Duration::from_millis(10);
            }
        });
        let session = Session::open(&host, "a", LEGACY[2]).await;
        session.ask(&host, "resources/subscribe", json!({ "uri": "test://one" })).await;
        let tenant = host.tenant("a").await.expect("a tenant");
        if restart {
            // Twenty times as long as it takes to leave memory; nothing breaks if that was too short.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tenant.notify("test://one");
        tenant.notify("test://one");
        tenant.list_changed(List::Resources);
        let mut ear = Events::open(&host, get(&session)).await;
        let mut heard = [ear.message().await.1, ear.message().await.1].map(|message| method(&message).to_owned());
        heard.sort();
        assert_eq!(heard, ["notifications/resources/list_changed", "notifications/resources/updated"], "{restart}");
        drop(ear);
        // The next hears what is new and nothing twice.
        let mut ear = Events::open(&host, get(&session)).await;
        tenant.list_changed(List::Prompts);
        assert_eq!(method(&ear.message().await.1), "notifications/prompts/list_changed", "{restart}");
        host.close().await;
    }
}

#[tokio::test]
async fn subscriptions_outlive_a_restart_and_are_bounded() {
    let host = start(Slow::new().host(), &["a"], |settings| settings.limits.session_subscriptions = 1);
    let session = Session::open(&host, "a", LEGACY[1]).await;
    session.ask(&host, "resources/subscribe", json!({ "uri": "test://one" })).await;
    let refused = session.ask(&host, "resources/subscribe", json!({ "uri": "test://two" })).await.json();
    assert_eq!(refused["error"]["data"]["limit"], "session_subscriptions", "{refused}");
    let host = host.restart().await.expect("the same host");
    let mut ear = Events::open(&host, get(&session)).await;
    host.tenant("a").await.expect("a tenant").notify("test://one");
    assert_eq!(ear.message().await.1["params"]["uri"], "test://one");
    host.close().await;
}

/// Who only listens keeps nothing open: when room is needed, its tenant goes, and it is told so.
#[tokio::test]
async fn listening_keeps_no_tenant_open() {
    let host = start(Slow::new().host(), &["a", "b"], |settings| settings.tenants.resident_max = 1);
    let mut ear = Events::open(&host, listen(&json!({ "toolsListChanged": true })).of(&host, "a")).await;
    assert_eq!(method(&ear.message().await.1), "notifications/subscriptions/acknowledged");
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let mut old = Events::open(&host, get(&session)).await;
    let (other, last, rest) =
        soon(async { tokio::join!(host.call("b", "sql_schema", json!({})), ear.message(), old.rest()) }).await;
    assert!(other["result"].is_object(), "{other}");
    assert_eq!(last.1["result"]["resultType"], "complete", "{last:?}");
    assert_eq!((ear.rest().await, rest), (vec![], vec![]));

    // And both can come back.
    let mut ear = Events::open(&host, listen(&json!({ "toolsListChanged": true })).of(&host, "a")).await;
    assert_eq!(method(&ear.message().await.1), "notifications/subscriptions/acknowledged");
    let mut old = Events::open(&host, get(&session)).await;
    host.tenant("a").await.expect("a tenant").list_changed(List::Tools);
    assert_eq!(method(&ear.message().await.1), "notifications/tools/list_changed");
    assert_eq!(method(&old.message().await.1), "notifications/tools/list_changed");
    host.close().await;
}

#[tokio::test]
async fn stopping_ends_a_listen_with_its_result() {
    let host = start(Slow::new().host(), &["a"], |_| {});
    let mut ear = Events::open(&host, listen(&json!({ "toolsListChanged": true })).of(&host, "a")).await;
    ear.message().await;
    let ((), last) = soon(Box::pin(async { tokio::join!(host.close(), ear.message()) })).await;
    assert_eq!(last.1["result"]["resultType"], "complete", "{last:?}");
}
