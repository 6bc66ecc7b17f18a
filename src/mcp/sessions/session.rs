//! One session in memory: where each message of its handler goes, and what may be asked of it meanwhile.
//!
//! It stands where rmcp's own session worker would, which awaits its readers: there one that stalls holds up the
//! whole session, an answer that nobody took is gone, and a quiet GET is cut with the session.

use std::iter::once;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::transport::streamable_http_server::SessionId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

use super::super::weight::{aside, is_big, poll_turn};
use super::batch::{self, Rest, follow, question};
use super::event_id::{EventId, new_mark, stream_name};
use super::events::Shelf;
use super::reader::{Reader, Start};
use super::size::json_bytes;
use super::state::{STANDALONE, State};
use super::stream::{Stream, Turn};
use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::tenant::Handle;

/// Messages on their way to the handler; rmcp takes them as they come.
const INBOX: usize = 16;

/// A session that is in memory.
pub(super) struct Session {
    pub id: SessionId,
    pub owner: Principal,
    /// In seconds since 1970.
    pub created_at: u64,
    mark: String,
    pub(super) tenant: Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shelf: Arc<Shelf>,
    /// Whether events are on their way to the tenant's file.
    pub(super) saving: AtomicBool,
    pub(super) most_events: usize,
    pub(super) most_bytes: usize,
    state: Mutex<State>,
}

impl Session {
    /// A session, and what its handler receives.
    pub(super) fn new(
        id: SessionId,
        owner: Principal,
        created_at: u64,
        tenant: Handle,
        clock: Arc<dyn Clock>,
        shelf: Arc<Shelf>,
    ) -> (Arc<Self>, mpsc::Receiver<ClientJsonRpcMessage>) {
        let limits = tenant.limits();
        let (sender, inbox) = mpsc::channel(INBOX);
        let mark = new_mark(&id);
        let standalone = Stream::new(stream_name(&mark, STANDALONE).into(), &[]);
        let state = State::new(sender, standalone);
        let session = Arc::new(Self {
            id,
            owner,
            created_at,
            mark,
            most_events: limits.session_events,
            most_bytes: usize::try_from(limits.session_event_bytes.as_u64()).unwrap_or(usize::MAX),
            saving: AtomicBool::new(false),
            tenant,
            clock,
            shelf,
            state: Mutex::new(state),
        });
        (session, inbox)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().inbox.is_none()
    }

    /// Whether the handler has answered `initialize`, and well.
    pub(super) fn is_initialized(&self) -> bool {
        self.state().version.is_some()
    }

    /// Notes that it is used. `false` if it is over.
    pub(super) fn touch(&self) -> bool {
        let mut state = self.state();
        state.used = Instant::now();
        state.inbox.is_some()
    }

    /// Whether a call runs in it or somebody reads one of its streams.
    pub(super) fn is_in_use(&self) -> bool {
        self.state().is_in_use()
    }

    /// Whether it is used and the file was not told so for `long`.
    pub(super) fn is_worn(&self, long: Duration) -> bool {
        let mut state = self.state();
        let worn = state.noted.elapsed() >= long && state.used >= state.noted;
        if worn {
            state.noted = Instant::now();
        }
        worn
    }

    /// Whether a call runs in it.
    pub(super) fn is_calling(&self) -> bool {
        !self.state().calls.is_empty()
    }

    pub(super) fn quiet_for(&self) -> Duration {
        let state = self.state();
        if state.is_in_use() { Duration::ZERO } else { state.used.elapsed() }
    }

    /// Ends it: every stream, and the handler.
    pub(super) fn end(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.state();
            state.inbox = None;
            state.calls.clear();
            (state.initializing, state.peer) = (None, None);
            state.streams.values_mut().flat_map(Stream::wakers).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sends `initialize` to the handler and returns its answer.
    pub(super) async fn initialize(&self, message: ClientJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        let (sender, answer) = oneshot::channel();
        let inbox = {
            let mut state = self.state();
            state.initializing = Some(sender);
            state.inbox.clone()?
        };
        inbox.send(message).await.ok()?;
        answer.await.ok()
    }

    /// Sends a request of the client to the handler, and then those of a batch that came with it, each when the one
    /// before is answered. All their answers come by the one reader.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid): one of that id is under way, whose answer could
    /// not be told from this one's.
    pub(super) async fn ask(self: &Arc<Self>, message: ClientJsonRpcMessage, rest: Rest) -> Result<Option<Reader>> {
        let questions: Vec<_> = once(&message).chain(&rest.asked).filter_map(question).collect();
        let (inbox, reader, turns) = {
            let mut state = self.state();
            let Some(inbox) = state.inbox.clone() else { return Ok(None) };
            if questions.iter().any(|(id, _)| state.calls.contains_key(id)) {
                return Err(under_way());
            }
            let ids: Vec<RequestId> = questions.iter().map(|(id, _)| id.clone()).collect();
            let (number, reader) = self.open(&mut state, &ids);
            let turns = state.call(number, questions, rest.asked.len());
            (inbox, reader, turns)
        };
        for told in rest.told {
            self.tell(told).await;
        }
        // The handler's loop waits for no reader, so that this is short.
        if inbox.send(message).await.is_err() {
            return Ok(None);
        }
        if !rest.asked.is_empty() {
            let queue = turns.into_iter().zip(rest.asked).map(|((turn, id), message)| (turn, id, message)).collect();
            tokio::spawn(follow(Arc::downgrade(self), queue));
        }
        Ok(Some(reader))
    }

    /// Enters a request that is answered by what ends with `answering`, and not by rmcp's loop. `None` if it is over.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub(super) fn begin(
        self: &Arc<Self>,
        id: &RequestId,
        progress: Option<ProgressToken>,
        answering: DropGuard,
    ) -> Result<Option<Reader>> {
        let mut state = self.state();
        if state.inbox.is_none() {
            return Ok(None);
        }
        if state.calls.contains_key(id) {
            return Err(under_way());
        }
        let (number, reader) = self.open(&mut state, std::slice::from_ref(id));
        state.call_one(number, id.clone(), progress, answering);
        Ok(Some(reader))
    }

    /// A stream of its own for the answers to `requests`, and its reader.
    fn open(self: &Arc<Self>, state: &mut State, requests: &[RequestId]) -> (u64, Reader) {
        let number = state.next_stream;
        state.next_stream += 1;
        let mut stream = Stream::new(stream_name(&self.mark, number).into(), requests);
        let start = if state.primes() { Start::Priming(stream.next_id().0) } else { Start::Plain };
        let reader = Reader::new(Arc::clone(self), number, stream.enter(), start);
        state.streams.insert(number, stream);
        (number, reader)
    }

    /// The way to the handler, if the request `id` still waits for its answer.
    pub(super) fn inbox_for(&self, id: &RequestId) -> Option<mpsc::Sender<ClientJsonRpcMessage>> {
        let state = self.state();
        state.inbox.clone().filter(|_| state.calls.contains_key(id))
    }

    /// Whether its version of the protocol has batches.
    pub(super) fn takes_batches(&self) -> bool {
        self.state().version == Some(batch::VERSION)
    }

    /// Sends a notification of the client, or its answer, to the handler. `false` if it is over.
    pub(super) async fn tell(&self, message: ClientJsonRpcMessage) -> bool {
        let (inbox, wakers) = {
            let mut state = self.state();
            let wakers = match &message {
                ClientJsonRpcMessage::Notification(told) => match &told.notification {
                    ClientNotification::CancelledNotification(cancelled) => {
                        cancelled.params.request_id.as_ref().map(|id| state.cancel(id)).unwrap_or_default()
                    }
                    _ => Vec::new(),
                },
                ClientJsonRpcMessage::Response(answer) => {
                    state.asked.remove(&answer.id);
                    Vec::new()
                }
                ClientJsonRpcMessage::Error(answer) => {
                    answer.id.as_ref().map(|id| state.asked.remove(id));
                    Vec::new()
                }
                ClientJsonRpcMessage::Request(_) => Vec::new(),
            };
            (state.inbox.clone(), wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        match inbox {
            Some(inbox) => inbox.send(message).await.is_ok(),
            None => false,
        }
    }

    /// A GET: what was said to nobody's question, and not delivered yet.
    pub(super) fn listen(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state();
        state.inbox.as_ref()?;
        let primes = state.primes();
        let stream = state.streams.get_mut(&STANDALONE)?;
        let start = if primes { Start::Priming(stream.next_id().0) } else { Start::Plain };
        let reader = stream.enter();
        Some(Reader::new(Arc::clone(self), STANDALONE, reader, start))
    }

    /// A GET with `Last-Event-ID`: what came after that event on its stream.
    pub(super) fn resume(self: &Arc<Self>, last: &str) -> Option<Reader> {
        let Some(last) = EventId::parse(&self.id, last) else {
            // The number that some clients begin to count with, before they have seen an event.
            return if last == "0" { self.listen() } else { None };
        };
        let mut state = self.state();
        state.inbox.as_ref()?;
        let number = if last.standalone { Some(STANDALONE) } else { state.number_of(&last.stream) };
        let Some((number, stream)) = number.and_then(|number| Some((number, state.streams.get_mut(&number)?))) else {
            drop(state);
            return (!last.requests.is_empty()).then(|| Reader::lost(Arc::clone(self), last.requests));
        };
        stream.rewind(&last.stream, last.seq);
        let reader = stream.enter();
        Some(Reader::new(Arc::clone(self), number, reader, Start::Plain))
    }

    /// The next event of a reader.
    pub(super) fn turn(self: &Arc<Self>, number: u64, reader: u64, context: &mut Context<'_>) -> Turn {
        let mut state = self.state();
        let over = state.inbox.is_none();
        let State { streams, work, .. } = &mut *state;
        let Some(stream) = streams.get_mut(&number) else { return Turn::End };
        if poll_turn(stream.next_bytes(reader), context).is_pending() {
            return Turn::Wait;
        }
        match stream.turn(reader, context.waker()) {
            Turn::Event(id, message) => {
                if let Some(event) = stream.events.iter_mut().find(|event| event.id == id)
                    && std::mem::take(&mut event.stored)
                {
                    work.forget.push((Arc::clone(&event.stream), event.seq));
                    drop(state);
                    self.save_soon();
                }
                Turn::Event(id, message)
            }
            Turn::Wait if over => Turn::End,
            turn => turn,
        }
    }

    /// A reader has gone. What it did not get is written down.
    pub(super) fn leave(self: &Arc<Self>, number: u64, reader: u64) {
        let mut state = self.state();
        state.used = Instant::now();
        let over = state.inbox.is_none();
        let Some(stream) = state.streams.get_mut(&number) else { return };
        let next = stream.leave(reader);
        let unsaved = !over && !stream.is_read() && stream.is_unsaved();
        drop(state);
        if let Some(next) = next {
            next.wake();
        }
        if unsaved {
            self.save_soon();
        }
    }

    /// Something has changed of which this session wants to know. `false` if it is over, and will not tell.
    pub(super) fn push(self: &Arc<Self>, news: ServerNotification) -> bool {
        self.route(ServerJsonRpcMessage::notification(news))
    }

    /// Puts a message of the handler where its reader is. `false` if it is over.
    pub(super) fn route(self: &Arc<Self>, message: ServerJsonRpcMessage) -> bool {
        let bytes = aside(is_big(&message), || json_bytes(&message));
        let (wakers, unsaved) = {
            let mut state = self.state();
            if state.inbox.is_none() {
                return false;
            }
            let routed = state.route(message, bytes);
            state.prune(self.most_events, self.most_bytes, false);
            routed
        };
        wakers.into_iter().for_each(Waker::wake);
        if unsaved {
            self.save_soon();
        }
        true
    }
}

fn under_way() -> Error {
    Error::invalid("a request of this id is still under way in this session: use each id once")
}
