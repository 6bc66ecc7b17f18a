//! What a session has in memory: its streams, and which of them a message of its handler belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rmcp::model::{
    ClientJsonRpcMessage, GetExtensions, ProgressToken, ProtocolVersion, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerResult,
};
use rmcp::service::{OriginatingRequestId, Peer, RoleServer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

use super::events::Work;
use super::stream::Stream;

/// The number of the stream that GETs read.
pub(super) const STANDALONE: u64 = 0;
/// How long an answer that was delivered is kept: a connection that breaks swallows what it had taken, and its
/// client is back within seconds.
pub(super) const TOLD_KEPT: Duration = Duration::from_secs(60);

pub(super) struct State {
    /// `None` once it is over.
    pub inbox: Option<mpsc::Sender<ClientJsonRpcMessage>>,
    pub initializing: Option<oneshot::Sender<ServerJsonRpcMessage>>,
    /// What the handler's answer to `initialize` named.
    pub version: Option<ProtocolVersion>,
    /// The handler's way to the client, once that has said that it is ready.
    pub peer: Option<Peer<RoleServer>>,
    pub streams: BTreeMap<u64, Stream>,
    /// Streams of earlier lives.
    pub restored: HashMap<Arc<str>, u64>,
    pub next_stream: u64,
    /// Requests of the client that are under way.
    pub calls: HashMap<RequestId, Call>,
    pub progress: HashMap<ProgressToken, u64>,
    /// Requests of the handler that the client has not answered.
    pub asked: HashMap<RequestId, u64>,
    pub events: usize,
    pub bytes: usize,
    pub used: Instant,
    /// When the file was last told that it is used.
    pub noted: Instant,
    pub work: Work,
}

/// A request that is under way.
pub(super) struct Call {
    pub stream: u64,
    /// Falls with this: then the next request of the same batch begins.
    _next: Option<oneshot::Sender<()>>,
    /// Ends what answers it, where that is not for rmcp's loop to do.
    answering: Option<DropGuard>,
}

impl State {
    /// That of a new session, with `inbox` to its handler and the stream that GETs read.
    pub(super) fn new(inbox: mpsc::Sender<ClientJsonRpcMessage>, standalone: Stream) -> Self {
        Self {
            inbox: Some(inbox),
            initializing: None,
            version: None,
            peer: None,
            streams: BTreeMap::from([(STANDALONE, standalone)]),
            restored: HashMap::new(),
            next_stream: STANDALONE + 1,
            calls: HashMap::new(),
            progress: HashMap::new(),
            asked: HashMap::new(),
            events: 0,
            bytes: 0,
            used: Instant::now(),
            noted: Instant::now(),
            work: Work::default(),
        }
    }

    pub(super) fn is_in_use(&self) -> bool {
        !self.calls.is_empty() || self.initializing.is_some() || self.streams.values().any(Stream::is_read)
    }

    pub(super) fn number_of(&self, name: &str) -> Option<u64> {
        if let Some(number) = self.restored.get(name) {
            return Some(*number);
        }
        let number = name.rsplit('-').next()?.parse().ok()?;
        self.streams.get(&number).filter(|stream| &*stream.name == name).map(|_| number)
    }

    /// 2025-11-25 introduced events without data; older clients may choke on one.
    pub(super) fn primes(&self) -> bool {
        self.version.as_ref().is_some_and(|version| *version >= ProtocolVersion::V_2025_11_25)
    }

    /// Enters `questions`, whose answers go to `stream`. Returns, for each of the last `queued` of them, its id and
    /// what tells that its turn has come.
    pub(super) fn call(
        &mut self,
        stream: u64,
        questions: Vec<(RequestId, Option<ProgressToken>)>,
        queued: usize,
    ) -> Vec<(oneshot::Receiver<()>, RequestId)> {
        let (mut turns, mut next) = (Vec::with_capacity(queued), None);
        for (id, token) in questions.into_iter().rev() {
            self.progress.extend(token.map(|token| (token, stream)));
            self.calls.insert(id.clone(), Call { stream, _next: next.take(), answering: None });
            if turns.len() < queued {
                let (sender, turn) = oneshot::channel();
                next = Some(sender);
                turns.push((turn, id));
            }
        }
        turns.reverse();
        turns
    }

    /// Enters the request `id`, answered by what ends with `answering`, on `stream`.
    pub(super) fn call_one(
        &mut self,
        stream: u64,
        id: RequestId,
        progress: Option<ProgressToken>,
        answering: DropGuard,
    ) {
        self.progress.extend(progress.map(|token| (token, stream)));
        self.calls.insert(id, Call { stream, _next: None, answering: Some(answering) });
    }

    /// The stream of the newest call that goes past rmcp's loop: what its handler asks bears no mark of whose it is, and
    /// a client that reads no other stream would never hear of it.
    fn past_loop(&self) -> Option<u64> {
        self.calls.values().filter(|call| call.answering.is_some()).map(|call| call.stream).max()
    }

    /// Whether no request of `stream` is under way any more.
    fn was_last(&self, stream: u64) -> bool {
        !self.calls.values().any(|call| call.stream == stream)
    }

    pub(super) fn cancel(&mut self, id: &RequestId) -> Vec<Waker> {
        let Some(call) = self.calls.remove(id) else { return Vec::new() };
        if self.was_last(call.stream) { self.finish(call.stream) } else { Vec::new() }
    }

    pub(super) fn finish(&mut self, number: u64) -> Vec<Waker> {
        self.progress.retain(|_, stream| *stream != number);
        self.asked.retain(|_, stream| *stream != number);
        self.streams.get_mut(&number).map(|stream| stream.finish(Instant::now())).unwrap_or_default()
    }

    /// Puts a message of the handler, of `bytes` as JSON, where its reader is.
    pub(super) fn route(&mut self, message: ServerJsonRpcMessage, bytes: usize) -> (Vec<Waker>, bool) {
        let nothing = || (Vec::new(), false);
        let (number, last) = match &message {
            ServerJsonRpcMessage::Response(answer) => {
                if let Some(initializing) = self.initializing.take() {
                    if let ServerResult::InitializeResult(result) = &answer.result {
                        self.version = Some(result.protocol_version.clone());
                    }
                    let _ = initializing.send(message);
                    return nothing();
                }
                // None: it was cancelled, and its client expects no answer.
                let Some(call) = self.calls.remove(&answer.id) else { return nothing() };
                (call.stream, self.was_last(call.stream))
            }
            ServerJsonRpcMessage::Error(answer) => {
                if let Some(initializing) = self.initializing.take() {
                    let _ = initializing.send(message);
                    return nothing();
                }
                let call = answer.id.as_ref().and_then(|id| self.calls.remove(id));
                let Some(call) = call else { return nothing() };
                (call.stream, self.was_last(call.stream))
            }
            // Beside the request that it belongs to (SEP-2260), else where everybody listens.
            ServerJsonRpcMessage::Request(asking) => {
                let origin = asking.request.extensions().get::<OriginatingRequestId>();
                let call = origin.and_then(|origin| self.calls.get(&origin.0));
                let number = call.map(|call| call.stream).or_else(|| self.past_loop()).unwrap_or(STANDALONE);
                self.asked.insert(asking.id.clone(), number);
                (number, false)
            }
            ServerJsonRpcMessage::Notification(told) => {
                let number = match &told.notification {
                    ServerNotification::ProgressNotification(progress) => {
                        self.progress.get(&progress.params.progress_token)
                    }
                    ServerNotification::CancelledNotification(cancelled) => {
                        cancelled.params.request_id.as_ref().and_then(|id| self.asked.get(id))
                    }
                    _ => None,
                };
                let number = number.copied().unwrap_or(STANDALONE);
                if self.streams.get(&number).is_some_and(|stream| stream.repeats(&told.notification)) {
                    return nothing();
                }
                (number, false)
            }
        };
        // A log line that nobody reads is no reason to write.
        let logged = matches!(&message, ServerJsonRpcMessage::Notification(told)
            if matches!(told.notification, ServerNotification::LoggingMessageNotification(_)));
        let Some(stream) = self.streams.get_mut(&number) else { return nothing() };
        let mut wakers: Vec<Waker> = stream.say(message, bytes).into_iter().collect();
        let unsaved = !logged && !stream.is_read();
        self.events += 1;
        self.bytes += bytes;
        if last {
            wakers.extend(self.finish(number));
        }
        self.used = Instant::now();
        (wakers, unsaved)
    }

    /// Lets go of the oldest while there is too much, and of what nobody will come back for: answers that were
    /// delivered first, then those that nobody took, then what is said to nobody's question. The answer of a call
    /// that is still read stays.
    pub(super) fn prune(&mut self, most_events: usize, most_bytes: usize, by_age: bool) {
        if by_age {
            let old = |stream: &Stream| {
                stream.is_told() && !stream.is_read() && stream.finished.is_some_and(|at| at.elapsed() >= TOLD_KEPT)
            };
            let old: Vec<u64> = self.streams.iter().filter(|(_, stream)| old(stream)).map(|(at, _)| *at).collect();
            old.into_iter().for_each(|number| self.drop_stream(number));
            if let Some(standalone) = self.streams.get_mut(&STANDALONE)
                && !standalone.is_read()
            {
                let told = standalone.events.iter().take_while(|event| event.told && !event.stored).count();
                let gone: usize = standalone.events.drain(..told).map(|event| event.bytes).sum();
                self.events -= told;
                self.bytes -= gone;
            }
        }
        while self.events > most_events || self.bytes > most_bytes {
            let done = |stream: &&Stream| stream.finished.is_some() && !stream.is_read();
            let finished = self.streams.iter().find(|(_, stream)| done(stream) && stream.is_told());
            let finished = finished.or_else(|| self.streams.iter().find(|(_, stream)| done(stream)));
            if let Some(number) = finished.map(|(number, _)| *number) {
                self.drop_stream(number);
                continue;
            }
            // What runs: its progress may go, the oldest first; its answer, the last event, may not.
            let spare = self.streams.values_mut().find_map(|stream| {
                let keep = usize::from(stream.finished.is_some());
                (stream.events.len() > keep).then(|| stream.events.pop_front()).flatten()
            });
            let Some(gone) = spare else { break };
            self.events -= 1;
            self.bytes -= gone.bytes;
            if gone.stored {
                self.work.forget.push((gone.stream, gone.seq));
            }
        }
    }

    pub(super) fn drop_stream(&mut self, number: u64) {
        let Some(stream) = self.streams.remove(&number) else { return };
        self.restored.remove(&stream.name);
        self.events -= stream.events.len();
        for event in stream.events {
            self.bytes -= event.bytes;
            if event.stored {
                self.work.forget.push((event.stream, event.seq));
            }
        }
    }
}
