//! Answers of a megabyte: many at once are told one after the other, and none waits for a caller who is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::join_all;
use http::{Method, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::support::wire::{Ask, LEGACY, Session, rpc};
use crate::support::{content, plain, soon};

const LETTERS: usize = 900_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_take_turns_and_who_left_has_none() {
    let names: Vec<String> = (0..8).map(|at| format!("big-{at}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let host = plain(&tenants, |_| {});
    let asked = json!({ "sql": format!("SELECT printf('%.*c', {LETTERS}, 'x')") });
    for round in 0..4 {
        // Gone at some moment of its way, another one each time.
        let leaving = tenants.iter().enumerate().map(|(at, tenant)| {
            tokio::time::timeout(
                Duration::from_millis(round * 7 + at as u64),
                host.call(tenant, "sql_query", asked.clone()),
            )
        });
        let _ = soon(join_all(leaving)).await;
        let all = tenants.iter().map(|tenant| host.call(tenant, "sql_query", asked.clone()));
        for answer in soon(join_all(all)).await {
            let told = content(&answer)["rows"][0][0].as_str().map(str::len);
            assert_eq!(told, Some(LETTERS));
        }
    }
    host.close().await;
}

/// A runtime of one thread, and how many it has started: another one each time a thread is kept, and its tasks go on.
struct Counted {
    runtime: Runtime,
    started: Arc<AtomicUsize>,
}

impl Counted {
    fn new() -> Self {
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .expect("a runtime");
        Self { runtime, started }
    }

    /// On its thread, and not on the one of the test.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.block_on(soon(self.runtime.spawn(work))).expect("no panic")
    }

    /// Whether another thread was needed. Those that were started have begun when the runtime has ended.
    fn kept_a_thread(self) -> bool {
        drop(self.runtime);
        self.started.load(Ordering::SeqCst) > 1
    }
}

/// The runtime's threads are every tenant's: whatever the way of an answer, a big one is written beside them. Each step
/// has a runtime of its own, so that it is told which one needed a thread.
#[test]
fn a_big_one_keeps_no_thread_of_the_runtime() {
    for (letters, big) in [(10, false), (LETTERS, true)] {
        let asked = json!({ "sql": format!("SELECT printf('%.*c', {letters}, 'x')") });
        let told = move |answer: &Value| content(answer)["rows"][0][0].as_str().map(str::len) == Some(letters);
        let home = Counted::new();
        let host = Arc::new(home.run(async { plain(&["a"], |_| {}) }));
        let read = |response: Response<Body>| {
            let reader = Counted::new();
            let body = reader.run(async { response.into_body().collect().await.expect("a body").to_bytes() });
            (String::from_utf8(body.to_vec()).expect("text"), reader.kept_a_thread())
        };

        // In a session's stream.
        let at = Arc::clone(&host);
        let (response, session) = home.run(async move {
            let session = Session::open(&at, "a", LEGACY[2]).await;
            let ask = Ask::post(rpc("tools/call", &json!({ "name": "sql_query", "arguments": asked })));
            (at.send(session.dress(ask).into_request()).await, session)
        });
        let (text, kept) = read(response);
        let frames: Vec<&str> = text.split("\n\n").collect();
        let line = |frame: &str, name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let answer = frames.iter().filter_map(|frame| line(frame, "data:")).next_back().expect("an answer");
        assert!(told(&serde_json::from_str(&answer).expect("JSON")));
        assert_eq!(kept, big, "a session's stream, {letters} letters");

        // Once more, to a client whose connection broke.
        let first = line(frames[0], "id:").expect("an id to come back with");
        let at = Arc::clone(&host);
        let response = home.run(async move {
            let again = Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream");
            at.send(session.dress(again.header("last-event-id", first.trim())).into_request()).await
        });
        let (text, kept) = read(response);
        assert!(text.len() > letters && text.contains("\"rows\""), "{} bytes", text.len());
        assert_eq!(kept, big, "a stream taken up again, {letters} letters");

        // Its length is taken where it is answered.
        let host = Arc::into_inner(host).expect("nobody else has it");
        home.run(host.close());
        assert_eq!(home.kept_a_thread(), big, "a session's answer, {letters} letters");
    }
}
