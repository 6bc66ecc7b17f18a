//! The connection that came first, and who has it: it goes from one read to the next until somebody writes. How it is
//! opened it does not know.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::open::Guards;
use crate::error::Result;

/// A connection while it may only read, and its callbacks.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) conn: Connection,
    pub(super) guards: Guards,
}

/// Where it is.
#[derive(Debug, Default)]
pub(super) struct First(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nothing was asked for since the file was last closed.
    #[default]
    None,
    /// Nobody reads with it.
    Home(Box<Reading>),
    /// Somebody does.
    Lent,
    /// There is a writer, which has it, or came while somebody read with it and has another.
    Written,
}

impl First {
    /// There is one.
    pub(super) fn is(&self, reading: Box<Reading>) {
        *self.state() = State::Home(reading);
    }

    /// There is a writer from now on. It gets the connection, if that is there and nobody reads with it.
    pub(super) fn begin_writing(&self) -> Option<Box<Reading>> {
        match mem::replace(&mut *self.state(), State::Written) {
            State::Home(reading) => Some(reading),
            _ => None,
        }
    }

    /// The writer is gone.
    pub(super) fn end_writing(&self) {
        *self.state() = State::None;
    }

    /// Lends it to one who reads, had from `open` if there is none; `None`: there is a writer, or another has it.
    ///
    /// # Errors
    /// What `open` says.
    pub(super) fn lend(&self, open: impl FnOnce() -> Result<Box<Reading>>) -> Result<Option<Lent<'_>>> {
        let mut state = self.state();
        let reading = match &mut *state {
            State::Lent | State::Written => return Ok(None),
            state => match mem::replace(state, State::Lent) {
                State::Home(reading) => Some(reading),
                _ => None,
            },
        };
        drop(state);
        // Comes back as there is none, if it can't be opened.
        let mut lent = Lent { first: self, reading };
        if lent.reading.is_none() {
            lent.reading = Some(open()?);
        }
        Ok(Some(lent))
    }

    fn take_back(&self, reading: Option<Box<Reading>>) {
        let mut state = self.state();
        if matches!(*state, State::Lent) {
            *state = reading.map_or(State::None, State::Home);
            return;
        }
        drop(state);
        if let Some(reading) = reading {
            // Only the writer copies the log back, for it keeps the past: this may be the last to close.
            let _ = reading.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// Closes it, if nobody has it.
    pub(super) fn shed(&self) {
        let mut state = self.state();
        if matches!(*state, State::Home(_)) {
            let home = mem::take(&mut *state);
            // Not under the lock: it closes its files.
            drop(state);
            drop(home);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first connection with one who reads; it comes back as it falls.
pub(super) struct Lent<'a> {
    first: &'a First,
    reading: Option<Box<Reading>>,
}

impl Lent<'_> {
    /// The connection, and its callbacks. There while it is lent.
    pub(super) fn parts(&mut self) -> Option<(&mut Connection, Guards)> {
        self.reading.as_mut().map(|reading| (&mut reading.conn, reading.guards.clone()))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.first.take_back(self.reading.take());
    }
}
