//! Streams of older clients: what was said while nobody read is there for who comes back, once, and a reader that
//! has stalled holds up nobody.

use std::time::Duration;

use freehold::rusqlite::Connection;
use freehold::{Clock as _, TestHost};
use http::Method;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::slow::Slow;
use crate::support::wire::{Ask, LEGACY, Session, rpc};
use crate::support::{soon, start, tenant_file, tree, until};

fn call(tool: &str) -> String {
    rpc("tools/call", &json!({ "name": tool, "arguments": {}, "_meta": { "progressToken": "p" } }))
}

fn listen(session: &Session) -> Ask {
    session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"))
}

async fn resume(host: &TestHost, session: &Session, last: &str) -> Events {
    Events::open(host, listen(session).header("last-event-id", last)).await
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no answer: {message}"))
}

/// A call whose client has gone: the id of the last event that it saw.
async fn abandoned(host: &TestHost, slow: &Slow, session: &Session) -> String {
    let begun = slow.begun();
    let mut stream = Events::open(host, session.dress(Ask::post(call("wait")))).await;
    let priming = stream.next().await.expect("a priming event");
    assert_eq!(priming.data, None);
    let (id, progress) = stream.message().await;
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
    until("the call runs", || slow.begun() > begun).await;
    drop(stream);
    assert_ne!(priming.id, id);
    id.expect("an event has an id")
}

#[tokio::test]
async fn an_answer_waits_for_its_client() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let last = abandoned(&host, &slow, &session).await;

    // Back before the answer: it comes live.
    let mut back = resume(&host, &session, &last).await;
    slow.release();
    let (id, answer) = back.message().await;
    assert_eq!(text(&answer), "done");
    assert!(back.rest().await.is_empty());
    // And again for who lost that too, but not for who has it.
    let mut again = resume(&host, &session, &last).await;
    assert_eq!(again.message().await, (id.clone(), answer));
    let mut had = resume(&host, &session, &id.expect("an id")).await;
    assert!(had.rest().await.is_empty());
    host.close().await;
}

#[tokio::test]
async fn an_answer_that_nobody_took_outlives_a_restart() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let last = abandoned(&host, &slow, &session).await;
    slow.release();
    until("the call ends", || slow.ended() == 1).await;
    let host = host.restart().await.expect("the same host");
    let mut back = resume(&host, &session, &last).await;
    assert_eq!(text(&back.message().await.1), "done");
    assert!(back.rest().await.is_empty());
    host.close().await;
}

/// Events that could not be written down are not taken for written: they are the next time.
#[tokio::test]
async fn a_write_that_failed_is_made_up_for() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let last = abandoned(&host, &slow, &session).await;
    let file = Connection::open(tenant_file(host.dir(), "a")).expect("a database");
    let fault = "CREATE TRIGGER fault BEFORE INSERT ON _fh_event BEGIN SELECT raise(ABORT, 'on purpose'); END";
    file.execute_batch(fault).expect("a fault");
    slow.release();
    until("the call ends", || slow.ended() == 1).await;
    // With its commit goes what waits, and fails.
    for _ in 0..2 {
        host.tenant("a").await.expect("a tenant").write(|_| Ok(())).await.expect("a commit");
    }
    file.execute_batch("DROP TRIGGER fault").expect("no fault");
    drop(file);
    let host = host.restart().await.expect("the same host");
    assert_eq!(text(&resume(&host, &session, &last).await.message().await.1), "done");
    host.close().await;
}

/// However many sessions there are, and however much they leave behind.
#[tokio::test]
async fn what_the_file_keeps_of_events_is_bounded() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |settings| settings.limits.stored_events = 8);
    let mut last = Vec::new();
    for number in 0..20 {
        let session = Session::open(&host, "a", LEGACY[2]).await;
        let event = abandoned(&host, &slow, &session).await;
        slow.release();
        until("the call ends", || slow.ended() == number + 1).await;
        host.clock().set(host.clock().unix_seconds() + 1);
        host.tenant("a").await.expect("a tenant").write(|_| Ok(())).await.expect("a commit");
        last.push((session, event));
    }
    let host = host.restart().await.expect("the same host");
    let file = Connection::open(tenant_file(host.dir(), "a")).expect("a database");
    let kept: i64 = file.query_row("SELECT count(*) FROM _fh_event", [], |row| row.get(0)).expect("a count");
    assert!((1..=8).contains(&kept), "{kept}");
    drop(file);
    // The oldest went first, and who asks for them is told that they are gone.
    let (session, event) = last.last().expect("sessions");
    assert_eq!(text(&resume(&host, session, event).await.message().await.1), "done");
    host.close().await;
}

/// What some clients begin with, who have seen no event: as if they had said nothing.
#[tokio::test]
async fn the_event_id_0_is_a_beginning() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    for version in LEGACY {
        let session = Session::open(&host, "a", version).await;
        let mut ear = resume(&host, &session, "0").await;
        host.tenant("a").await.expect("a tenant").list_changed(freehold::List::Tools);
        assert_eq!(ear.message().await.1["method"], "notifications/tools/list_changed", "{version}");
    }
    host.close().await;
}

#[tokio::test]
async fn a_stop_waits_for_a_call_whose_client_has_gone() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let last = abandoned(&host, &slow, &session).await;
    let (restarted, ()) = soon(Box::pin(async { tokio::join!(host.restart(), async { slow.release() }) })).await;
    let host = restarted.expect("the same host");
    assert_eq!(text(&resume(&host, &session, &last).await.message().await.1), "done");
    host.close().await;
}

#[tokio::test]
async fn an_event_id_is_of_its_session_alone() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let (one, other) = (Session::open(&host, "a", LEGACY[2]).await, Session::open(&host, "a", LEGACY[2]).await);
    let last = abandoned(&host, &slow, &one).await;
    slow.release();
    until("the call ends", || slow.ended() == 1).await;
    for id in [last.as_str(), "x", "7", "0/0", &"9".repeat(2_000)] {
        let mut stolen = resume(&host, &other, id).await;
        assert_eq!((stolen.status.as_u16(), stolen.rest().await), (200, vec![]), "{id}");
    }
    assert_eq!(text(&resume(&host, &one, &last).await.message().await.1), "done");
    host.close().await;
}

#[tokio::test]
async fn priming_is_for_those_who_know_it() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    for version in LEGACY {
        let session = Session::open(&host, "a", version).await;
        let mut stream = Events::open(&host, session.dress(Ask::post(call("now")))).await;
        let first = stream.next().await.expect("an event");
        assert_eq!(first.data.is_none(), version == LEGACY[2], "{version}: {first:?}");
    }
    host.close().await;
}

#[tokio::test]
async fn a_stalled_reader_holds_up_nobody() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let stalled = Events::open(&host, listen(&session)).await;
    let tenant = host.tenant("a").await.expect("a tenant");
    session.ask(&host, "resources/subscribe", json!({ "uri": "test://one" })).await;
    for _ in 0..1_000 {
        tenant.notify("test://one");
        tenant.list_changed(freehold::List::Tools);
    }
    for _ in 0..3 {
        assert_eq!(text(&session.call(&host, "now", json!({})).await), "done");
    }
    drop(stalled);
    host.close().await;
}

#[tokio::test]
async fn an_id_under_way_is_not_taken_twice() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let body = call("wait");
    let mut first = Events::open(&host, session.dress(Ask::post(body.clone()))).await;
    until("the call runs", || slow.begun() == 1).await;
    let second = session.dress(Ask::post(body)).send(&host).await;
    assert_eq!(second.expect_refusal(400)["error"]["code"], -32600);
    slow.release();
    assert_eq!(text(first.rest().await.last().expect("an answer")), "done");
    host.close().await;
}

#[tokio::test]
async fn a_cancelled_call_stops() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let body = call("wait");
    let id = serde_json::from_str::<Value>(&body).expect("JSON")["id"].clone();
    let mut stream = Events::open(&host, session.dress(Ask::post(body))).await;
    until("the call runs", || slow.begun() == 1).await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
    assert_eq!(session.dress(Ask::post(cancel.to_string())).send(&host).await.status, 202);
    until("the call has ended", || slow.ended() == 1).await;
    assert!(stream.rest().await.iter().all(|message| message.get("id").is_none()), "no answer is expected any more");
    host.close().await;
}

/// In the newest generation, whose stream is its request.
#[tokio::test]
async fn a_modern_client_that_leaves_stops_its_call() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let ask = Ask::tool("wait", &json!({})).of(&host, "a");
    let call = tokio::spawn({
        let router = host.router();
        async move { ask.send_to(router).await }
    });
    until("the call runs", || slow.begun() == 1).await;
    call.abort();
    until("the call has ended", || slow.ended() == 1).await;
    host.close().await;
}

#[tokio::test]
async fn a_long_call_is_not_quiet() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |settings| settings.limits.session_quiet = Duration::from_millis(10));
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let opened = slow.opened();
    let mut running = Events::open(&host, session.dress(Ask::post(call("wait")))).await;
    until("the call runs", || slow.begun() == 1).await;
    // Meanwhile another session goes and comes back: time enough has passed.
    let other = Session::open(&host, "a", LEGACY[2]).await;
    soon(async {
        while slow.opened() < opened + 3 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            other.call(&host, "now", json!({})).await;
        }
    })
    .await;
    slow.release();
    assert_eq!(text(running.rest().await.last().expect("an answer")), "done");
    host.close().await;
}

/// A copy of the host's files as kill -9 would leave them, and a host on it.
fn as_if_killed(host: &TestHost, slow: &Slow) -> (axum::Router, freehold::Service, tempfile::TempDir) {
    let copy = tempfile::tempdir().expect("a folder");
    for path in tree(host.dir()) {
        let (from, to) = (host.dir().join(&path), copy.path().join(&path));
        if from.is_dir() {
            std::fs::create_dir_all(&to).expect("a folder");
        } else if !path.to_string_lossy().ends_with("-shm") {
            std::fs::copy(from, to).expect("a copy");
        }
    }
    let settings = freehold::Settings { data_dir: copy.path().to_path_buf().into(), ..Default::default() };
    let clock = std::sync::Arc::new(freehold::HeldClock::at(host.clock().unix_seconds()));
    let (router, service) = slow.host().clock(clock).into_router(&settings).expect("a host");
    (router, service, copy)
}

/// A call that the process took with it: its client is told, and does not wait for ever.
#[tokio::test]
async fn an_answer_that_is_lost_is_told_so() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let body = call("wait");
    let request = serde_json::from_str::<Value>(&body).expect("JSON")["id"].clone();
    let mut stream = Events::open(&host, session.dress(Ask::post(body))).await;
    let priming = stream.next().await.and_then(|event| event.id).expect("a priming event");
    until("the call runs", || slow.begun() == 1).await;
    // One that saw its progress, and of whose stream the file knows nothing; one that did not, and for whom it is kept.
    let progress = stream.message().await.0.expect("an id");
    let other = Session::open(&host, "a", LEGACY[2]).await;
    let mut unread = Events::open(&host, other.dress(Ask::post(call("wait")))).await;
    let unread_priming = unread.next().await.and_then(|event| event.id).expect("a priming event");
    until("the other runs", || slow.begun() == 2).await;
    drop((stream, unread));
    host.tenant("a").await.expect("a tenant").write(|_| Ok(())).await.expect("a commit");

    let (router, service, _copy) = as_if_killed(&host, &slow);
    let back = async |session: &Session, last: &str| {
        listen(session).header("last-event-id", last).send_to(router.clone()).await.frames()
    };
    for last in [&priming, &progress] {
        let told = back(&session, last).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((&told[0]["id"], &told[0]["error"]["code"]), (&request, &json!(-32000)), "{told:?}");
        assert!(told[0]["error"]["message"].as_str().is_some_and(|said| said.contains("lost")), "{told:?}");
    }
    let told = back(&other, &unread_priming).await;
    assert_eq!(told[0]["method"], "notifications/progress", "{told:?}");
    assert_eq!((told.len(), &told[1]["error"]["code"]), (2, &json!(-32000)), "{told:?}");
    // And the session itself goes on.
    let listed = session.dress(Ask::post(rpc("tools/list", &json!({})))).send_to(router.clone()).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    service.close().await;
    slow.release();
    slow.release();
    host.close().await;
}
