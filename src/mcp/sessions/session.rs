//! One session in memory: where each message of its handler goes, and what may be asked of it meanwhile.
//!
//! It stands where rmcp's own session worker would, which awaits its readers: there one that stalls holds up the
//! whole session, an answer that nobody took is gone, and a quiet GET is cut with the session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, GetMeta, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::SessionId;
use tokio::sync::{mpsc, oneshot};

use super::event_id::{EventId, new_mark, stream_name};
use super::reader::{Reader, Start};
use super::records::{Saved, Work};
use super::state::{STANDALONE, State, TOLD_KEPT};
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
    tenant: Handle,
    clock: Arc<dyn Clock>,
    /// Whether events are on their way to the tenant's file.
    saving: AtomicBool,
    most_events: usize,
    most_bytes: usize,
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
    ) -> (Arc<Self>, mpsc::Receiver<ClientJsonRpcMessage>) {
        let limits = tenant.limits();
        let (sender, inbox) = mpsc::channel(INBOX);
        let mark = new_mark(&id);
        let standalone = Stream::new(stream_name(&mark, STANDALONE).into(), None);
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
            state: Mutex::new(state),
        });
        (session, inbox)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().inbox.is_none()
    }

    /// Whether the handler has answered `initialize`, and well.
    pub(super) fn is_initialized(&self) -> bool {
        self.state().initialized
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
            state.initializing = None;
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

    /// Sends a request of the client to the handler; its answers come by the reader.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid): one of that id is under way, whose answer could
    /// not be told from this one's.
    pub(super) async fn ask(self: &Arc<Self>, message: ClientJsonRpcMessage) -> Result<Option<Reader>> {
        let ClientJsonRpcMessage::Request(request) = &message else { return Ok(None) };
        let token = request.request.get_meta().get_progress_token();
        let (inbox, reader) = {
            let mut state = self.state();
            let Some(inbox) = state.inbox.clone() else { return Ok(None) };
            if state.calls.contains_key(&request.id) {
                return Err(Error::invalid(
                    "a request of this id is still under way in this session: use each id once",
                ));
            }
            let number = state.next_stream;
            state.next_stream += 1;
            let mut stream = Stream::new(stream_name(&self.mark, number).into(), Some(request.id.clone()));
            let start = if state.primes { Start::Priming(stream.next_id().0) } else { Start::Plain };
            let reader = Reader::new(Arc::clone(self), number, stream.enter(), start);
            state.streams.insert(number, stream);
            state.calls.insert(request.id.clone(), number);
            if let Some(token) = token {
                state.progress.insert(token, number);
            }
            (inbox, reader)
        };
        // The handler's loop waits for no reader, so that this is short.
        Ok(inbox.send(message).await.ok().map(|()| reader))
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
        let primes = state.primes;
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
            let lost = last.request?;
            drop(state);
            return Some(Reader::lost(Arc::clone(self), lost));
        };
        stream.rewind(&last.stream, last.seq);
        let reader = stream.enter();
        Some(Reader::new(Arc::clone(self), number, reader, Start::Plain))
    }

    /// The next event of a reader.
    pub(super) fn turn(self: &Arc<Self>, number: u64, reader: u64, waker: &Waker) -> Turn {
        let mut state = self.state();
        let over = state.inbox.is_none();
        let State { streams, work, .. } = &mut *state;
        let Some(stream) = streams.get_mut(&number) else { return Turn::End };
        match stream.turn(reader, waker) {
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
        let unsaved = !over && !stream.is_read() && stream.events.iter().any(|event| !event.told && !event.stored);
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

    /// Puts back what an earlier life of it had left.
    pub(super) fn restore(&self, events: Vec<Saved>) {
        let mut state = self.state();
        for saved in events {
            let Some((event, last)) = saved.into_event() else { continue };
            let standalone = EventId::parse(&self.id, &event.id).is_some_and(|id| id.standalone);
            let known = state.number_of(&event.stream);
            let number = if standalone { STANDALONE } else { known.unwrap_or(state.next_stream) };
            if !standalone && known.is_none() {
                state.next_stream += 1;
                state.restored.insert(Arc::clone(&event.stream), number);
                state.streams.insert(number, Stream::new(Arc::clone(&event.stream), None));
            }
            state.events += 1;
            state.bytes += event.bytes;
            if let Some(stream) = state.streams.get_mut(&number) {
                stream.events.push_back(event);
                if last {
                    stream.finish(Instant::now());
                }
            }
        }
    }

    /// What has to be written down now: all that was not delivered, and with `resting` what only just was.
    pub(super) fn take_work(&self, at: u64, resting: bool) -> Work {
        let mut state = self.state();
        let State { streams, work, .. } = &mut *state;
        let mut taken = std::mem::take(work);
        for stream in streams.values_mut() {
            if !resting && stream.is_read() {
                continue;
            }
            let fresh = stream.finished.is_none_or(|at| at.elapsed() < TOLD_KEPT);
            let finished = stream.finished.is_some();
            let most = stream.events.len();
            for (place, event) in stream.events.iter_mut().enumerate() {
                if event.stored || (event.told && !(resting && fresh && finished)) {
                    continue;
                }
                event.stored = true;
                taken.save.extend(Saved::of(event, finished && place + 1 == most, at));
            }
        }
        taken
    }

    /// Lets go of what is old or too much.
    pub(super) fn prune(&self) {
        self.state().prune(self.most_events, self.most_bytes, true);
    }

    /// Puts a message of the handler where its reader is. `false` if it is over.
    pub(super) fn route(self: &Arc<Self>, message: ServerJsonRpcMessage) -> bool {
        let (wakers, unsaved) = {
            let mut state = self.state();
            if state.inbox.is_none() {
                return false;
            }
            let routed = state.route(message);
            state.prune(self.most_events, self.most_bytes, false);
            routed
        };
        wakers.into_iter().for_each(Waker::wake);
        if unsaved {
            self.save_soon();
        }
        true
    }

    /// Writes down what nobody has taken, with the tenant's next commit.
    fn save_soon(self: &Arc<Self>) {
        if self.saving.swap(true, Ordering::AcqRel) {
            return;
        }
        let session = Arc::clone(self);
        let saving = self.tenant.later(move |tx| {
            session.saving.store(false, Ordering::Release);
            session.take_work(session.clock.unix_seconds(), false).apply(tx, &session.id)
        });
        if let Err(error) = saving {
            // Kept in memory, and tried again with the next event, or when the session rests.
            self.saving.store(false, Ordering::Release);
            tracing::debug!(error = error.chain(), "events wait to be written down");
        }
    }
}
