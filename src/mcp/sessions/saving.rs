//! What of a session goes to the tenant's file and comes back from it: events that were not delivered, behind the
//! answers and never in front of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::super::weight::BIG;
use super::event_id::EventId;
use super::events::{Saved, Work};
use super::reader::lost;
use super::session::Session;
use super::size::json_bytes;
use super::state::{STANDALONE, State, TOLD_KEPT};
use super::stream::Stream;

impl Session {
    /// Puts back what an earlier life of it had left. What that life had not ended, nobody will: its client is told.
    pub(super) fn restore(&self, events: Vec<Saved>) {
        let mut state = self.state();
        let mut cut = Vec::new();
        for saved in events {
            let Some((event, last)) = saved.into_event() else { continue };
            let Some(id) = EventId::parse(&self.id, &event.id) else { continue };
            let known = state.number_of(&event.stream);
            let number = if id.standalone { STANDALONE } else { known.unwrap_or(state.next_stream) };
            if !id.standalone && known.is_none() {
                state.next_stream += 1;
                state.restored.insert(Arc::clone(&event.stream), number);
                state.streams.insert(number, Stream::new(Arc::clone(&event.stream), &id.requests));
                cut.push((number, id.requests));
            }
            state.events += 1;
            state.bytes += event.bytes;
            if let Some(stream) = state.streams.get_mut(&number) {
                stream.put_back(event);
                if last {
                    stream.finish(Instant::now());
                }
            }
        }
        for (number, requests) in cut {
            let State { streams, events, bytes, .. } = &mut *state;
            let Some(stream) = streams.get_mut(&number).filter(|stream| stream.finished.is_none()) else { continue };
            let open: Vec<_> = requests.into_iter().filter(|request| !stream.answers(request)).collect();
            for message in open.into_iter().map(lost) {
                let size = json_bytes(&message);
                (*events, *bytes) = (*events + 1, *bytes + size);
                stream.say(message, size);
            }
            stream.finish(Instant::now());
        }
    }

    /// What has to be written down now: all that was not delivered, and with `resting` what only just was. It counts
    /// as written from here on; [`Session::put_back`] is for what was not.
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

    /// Takes note that `work` was not written down, so that it is the next time.
    pub(super) fn put_back(&self, work: &Work) {
        let mut state = self.state();
        for saved in &work.save {
            let events = state.streams.values_mut().flat_map(|stream| &mut stream.events);
            for event in events.filter(|event| *event.stream == *saved.stream && event.seq == saved.seq) {
                event.stored = false;
            }
        }
        state.work.forget.extend(work.forget.iter().cloned());
    }

    /// Whether something waits to be written down.
    pub(super) fn is_unsaved(&self) -> bool {
        let state = self.state();
        let waits = |stream: &Stream| !stream.is_read() && stream.is_unsaved();
        !state.work.forget.is_empty() || state.streams.values().any(waits)
    }

    /// Whether writing down all that it holds takes long.
    pub(super) fn has_much(&self) -> bool {
        self.state().bytes >= BIG
    }

    /// Lets go of what is old or too much.
    pub(super) fn prune(&self) {
        self.state().prune(self.most_events, self.most_bytes, true);
    }

    /// Writes down what nobody has taken, with the tenant's next commit.
    pub(super) fn save_soon(self: &Arc<Self>) {
        if self.saving.swap(true, Ordering::AcqRel) {
            return;
        }
        let (session, mine) = (Arc::clone(self), Arc::clone(self));
        let taken = Arc::new(Mutex::new(Work::default()));
        let kept = Arc::clone(&taken);
        let failed = move || mine.put_back(&taken.lock().unwrap_or_else(PoisonError::into_inner));
        let saving = self.tenant.later_or(
            move |tx| {
                session.saving.store(false, Ordering::Release);
                let work = session.take_work(session.clock.unix_seconds(), false);
                let applied = work.apply(tx, &session.id, &session.shelf);
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = work;
                applied
            },
            failed,
        );
        if let Err(error) = saving {
            // Kept in memory, and tried again with the next event, at the next sweep, or when the session rests.
            self.saving.store(false, Ordering::Release);
            tracing::debug!(error = error.chain(), "events wait to be written down");
        }
    }
}
