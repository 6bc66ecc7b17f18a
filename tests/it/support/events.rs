//! Event streams that stay open, read one event at a time.

use axum::body::Body;
use freehold::TestHost;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;

use super::soon;
use super::wire::Ask;

/// An answer under way.
pub(crate) struct Events {
    pub(crate) status: StatusCode,

    body: Body,
    read: String,
}

/// One event: its id and its data, which a priming one has not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: Option<Value>,
}

impl Events {
    /// Sends `ask` and waits for the head of its answer.
    pub(crate) async fn open(host: &TestHost, ask: Ask) -> Self {
        let (head, body) = soon(host.send(ask.into_request())).await.into_parts();
        Self { status: head.status, body, read: String::new() }
    }

    /// The next event, `None` at the end. A sign of life is none.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let Some(data) = field("data:") else { continue };
                let data = (!data.is_empty()).then(|| serde_json::from_str(data).expect("JSON in an event"));
                return Some(Event { id: field("id:").map(str::to_owned), data });
            }
            let frame = soon(self.body.frame()).await?.expect("a whole stream");
            if let Ok(data) = frame.into_data() {
                self.read.push_str(std::str::from_utf8(&data).expect("text"));
            }
        }
    }

    /// The next message with its event's id.
    pub(crate) async fn message(&mut self) -> (Option<String>, Value) {
        loop {
            let event = self.next().await.expect("a message before the end");
            if let Some(data) = event.data {
                return (event.id, data);
            }
        }
    }

    /// All messages that there are before the end.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(event) = self.next().await {
            messages.extend(event.data);
        }
        messages
    }
}
