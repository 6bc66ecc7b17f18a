//! One event stream of a session: what was said on it and what of that its reader has got. It waits for nobody,
//! so that a reader who has stalled holds up nothing but itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rmcp::model::{RequestId, ServerJsonRpcMessage, ServerNotification};

use super::event_id::{event_id, tail};

/// What was said once.
pub(super) struct Event {
    /// The stream's name: a restored standalone stream holds events of the session's earlier lives.
    pub stream: Arc<str>,
    pub seq: u64,
    pub id: String,
    pub message: Arc<ServerJsonRpcMessage>,
    pub bytes: usize,
    /// Handed to a connection.
    pub told: bool,
    /// In the tenant's file.
    pub stored: bool,
}

/// The answers to one POST, or what is said to nobody's question on a GET.
pub(super) struct Stream {
    pub name: Arc<str>,
    /// How its events' ids end: the requests that it answers.
    tail: String,
    pub events: VecDeque<Event>,
    next_seq: u64,
    /// Who reads, the newest first: only that one gets events. An older one may be a connection that nobody has
    /// noticed to be dead; it stays open, and is next when the newest goes.
    readers: VecDeque<(u64, Option<Waker>)>,
    next_reader: u64,
    /// When the last event of it was said.
    pub finished: Option<Instant>,
}

/// What a reader gets.
pub(super) enum Turn {
    Event(String, Arc<ServerJsonRpcMessage>),
    Wait,
    End,
}

impl Stream {
    pub(super) fn new(name: Arc<str>, requests: &[RequestId]) -> Self {
        let (events, readers) = (VecDeque::new(), VecDeque::new());
        Self { name, tail: tail(requests), events, next_seq: 1, readers, next_reader: 0, finished: None }
    }

    /// Says `message`, of `bytes`. Returns the reader to wake.
    pub(super) fn say(&mut self, message: ServerJsonRpcMessage, bytes: usize) -> Option<Waker> {
        let (id, seq) = self.next_id();
        let (stream, message) = (Arc::clone(&self.name), Arc::new(message));
        self.events.push_back(Event { stream, seq, id, message, bytes, told: false, stored: false });
        self.readers.front_mut().and_then(|(_, waker)| waker.take())
    }

    /// The id of an event that is not kept: a priming one (SEP-1699).
    pub(super) fn next_id(&mut self) -> (String, u64) {
        let seq = self.next_seq;
        self.next_seq += 1;
        (event_id(&self.name, seq, &self.tail), seq)
    }

    /// Ends it after what was said. Returns the readers to wake.
    pub(super) fn finish(&mut self, now: Instant) -> Vec<Waker> {
        self.finished = Some(now);
        self.wakers()
    }

    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }

    pub(super) fn enter(&mut self) -> u64 {
        let reader = self.next_reader;
        self.next_reader += 1;
        self.readers.push_front((reader, None));
        reader
    }

    /// Returns who is next.
    pub(super) fn leave(&mut self, reader: u64) -> Option<Waker> {
        self.readers.retain(|(other, _)| *other != reader);
        self.readers.front_mut().and_then(|(_, waker)| waker.take())
    }

    pub(super) fn is_read(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Whether something that nobody has got is in memory alone.
    pub(super) fn is_unsaved(&self) -> bool {
        self.events.iter().any(|event| !event.told && !event.stored)
    }

    /// Whether the answer to `request` is among its events.
    pub(super) fn answers(&self, request: &RequestId) -> bool {
        self.events.iter().any(|event| match &*event.message {
            ServerJsonRpcMessage::Response(answer) => answer.id == *request,
            ServerJsonRpcMessage::Error(answer) => answer.id.as_ref() == Some(request),
            _ => false,
        })
    }

    /// Puts back an event of its earlier life, after those that are here.
    pub(super) fn put_back(&mut self, event: Event) {
        if event.stream == self.name {
            self.next_seq = self.next_seq.max(event.seq + 1);
        }
        self.events.push_back(event);
    }

    pub(super) fn is_told(&self) -> bool {
        self.events.iter().all(|event| event.told)
    }

    /// Whether `message` waits already: a second one would say nothing new.
    pub(super) fn repeats(&self, message: &ServerNotification) -> bool {
        let says = |event: &Event| match &*event.message {
            ServerJsonRpcMessage::Notification(said) => same_news(&said.notification, message),
            _ => false,
        };
        self.events.iter().any(|event| !event.told && says(event))
    }

    /// The size of the next event for `reader`, in bytes; 0 if there is none.
    pub(super) fn next_bytes(&self, reader: u64) -> usize {
        let first = self.readers.front().is_some_and(|(front, _)| *front == reader);
        let next = self.events.iter().find(|event| !event.told);
        next.filter(|_| first).map_or(0, |event| event.bytes)
    }

    /// The next event for `reader`. The event's place is `told` from then on.
    pub(super) fn turn(&mut self, reader: u64, waker: &Waker) -> Turn {
        let first = self.readers.front().is_some_and(|(front, _)| *front == reader);
        if first && let Some(event) = self.events.iter_mut().find(|event| !event.told) {
            event.told = true;
            return Turn::Event(event.id.clone(), Arc::clone(&event.message));
        }
        if self.finished.is_some() {
            return Turn::End;
        }
        match self.readers.iter_mut().find(|(other, _)| *other == reader) {
            Some((_, waiting)) => {
                *waiting = Some(waker.clone());
                Turn::Wait
            }
            None => Turn::End,
        }
    }

    /// Takes what came after event `seq` of `name` for not told: its reader was there and got no further.
    pub(super) fn rewind(&mut self, name: &str, seq: u64) {
        match self.events.iter().rposition(|event| &*event.stream == name && event.seq <= seq) {
            Some(last) => {
                for (at, event) in self.events.iter_mut().enumerate() {
                    event.told = at <= last;
                }
            }
            None => self.events.iter_mut().filter(|event| &*event.stream == name).for_each(|event| event.told = false),
        }
    }
}

fn same_news(one: &ServerNotification, other: &ServerNotification) -> bool {
    use ServerNotification as N;
    match (one, other) {
        (N::ResourceUpdatedNotification(one), N::ResourceUpdatedNotification(other)) => {
            one.params.uri == other.params.uri
        }
        (N::ToolListChangedNotification(_), N::ToolListChangedNotification(_))
        | (N::PromptListChangedNotification(_), N::PromptListChangedNotification(_))
        | (N::ResourceListChangedNotification(_), N::ResourceListChangedNotification(_)) => true,
        _ => false,
    }
}
