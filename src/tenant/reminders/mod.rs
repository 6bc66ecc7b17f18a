//! Reminders: set in a tenant's file, delivered to its inbox when due, the tenant open or not.
//!
//! Delivery to the inbox and the step to the next time are one transaction, so that a message comes once. The
//! program that embeds the host is told before that transaction, so that it hears *at least* once. When the
//! tenant has to be opened stands in the catalog ([`Wakes`](crate::catalog::Wakes)).

mod fire;
mod store;
mod when;

use serde_json::Value;

use super::Tenant;
use crate::db::Mode;
use crate::error::{Error, Result};

pub(crate) use fire::{OnReminder, fire};
pub(in crate::tenant) use store::next as first_due;
pub(crate) use when::said;

/// The resource that changes when a message comes in.
const INBOX: &str = "tenant://inbox";

/// A reminder that was set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reminder {
    /// Its number, the tenant's own.
    pub id: i64,
    /// What to be reminded of.
    pub message: String,
    /// Whatever belongs to it.
    pub payload: Option<Value>,
    /// How it repeats, as it was said: `every 15m`, or cron fields and a zone.
    pub repeats: Option<String>,
    /// When it is due next, in milliseconds since 1970.
    pub due_at: i64,
    /// How often its delivery has failed.
    pub attempts: i64,
}

/// A reminder that was delivered and is not acknowledged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboxMessage {
    /// Its number in the inbox.
    pub id: i64,
    /// The reminder's number.
    pub reminder: i64,
    /// What to be reminded of.
    pub message: String,
    /// Whatever belongs to it.
    pub payload: Option<Value>,
    /// When it was due, in milliseconds since 1970.
    pub due_at: i64,
    /// When it was delivered, in milliseconds since 1970.
    pub delivered_at: i64,
    /// Why `Host::on_reminder` failed, if it did to the last.
    pub failure: Option<String>,
}

/// A tenant's reminders, on behalf of one caller. See [`Tenant::reminders`].
#[derive(Clone, Copy, Debug)]
pub struct Reminders<'a>(&'a Tenant);

impl Tenant {
    /// The tenant's reminders and its inbox, as the built-in tools use them.
    ///
    /// ```
    /// # async fn plan(tenant: freehold::Tenant) -> freehold::Result<()> {
    /// tenant.reminders().set("0 9 * * 1-5 Europe/Berlin", "send the report", None).await?;
    /// for message in tenant.reminders().inbox(0, 10).await? {
    ///     println!("{}", message.message);
    ///     tenant.reminders().acknowledge(vec![message.id]).await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reminders(&self) -> Reminders<'_> {
        Reminders(self)
    }
}

impl Reminders<'_> {
    /// Sets a reminder, durably. `when`: `in 2h`, a time of RFC 3339, `every 15m`, or five cron fields and a
    /// time zone.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): `when` can't be read or has passed;
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit): `limits.reminders`, `limits.reminder_bytes` or
    /// `limits.reminder_interval`; or as [`Tenant::write`].
    pub async fn set(&self, when: &str, message: &str, payload: Option<Value>) -> Result<Reminder> {
        let limits = self.0.limits().clone();
        let (when, message) = (when.to_owned(), message.to_owned());
        if message.trim().is_empty() {
            return Err(Error::invalid("message is empty: say what to be reminded of"));
        }
        let most = limits.reminder_bytes.as_u64();
        let bytes = message.len() + payload.as_ref().map_or(0, |payload| payload.to_string().len());
        if bytes as u64 > most {
            let said = format!("message and payload have {bytes} bytes and may have {most}: shorten them");
            return Err(Error::limit("reminder_bytes", most, said));
        }
        let handle = &self.0.handle;
        let (id, clock, wakes) = (self.0.id().clone(), handle.clock().clone(), handle.wakes().clone());
        let set = move |tx: &rusqlite::Transaction<'_>| {
            let now = clock.unix_millis();
            let parsed = when::When::parse(&when, now, limits.reminder_interval)?;
            let repeats = parsed.rule.is_some().then(|| when.trim().to_owned());
            let mut reminder = Reminder { id: 0, message, payload, repeats, due_at: parsed.first, attempts: 0 };
            if store::next(tx)?.is_none_or(|first| reminder.due_at < first) {
                wakes.no_later_than(&id, reminder.due_at)?;
            }
            reminder.id = store::insert(tx, &reminder, &limits)?;
            Ok(reminder)
        };
        self.0.write_as(Mode::Host, set).await
    }

    /// The next `most` reminders by time, from the one after `after` on, which is named by its `due_at` and its
    /// `id`.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn list(&self, after: Option<(i64, i64)>, most: usize) -> Result<Vec<Reminder>> {
        let after = after.unwrap_or((i64::MIN, 0));
        self.0.read_as(Mode::Host, move |conn| store::list(conn, after, most)).await
    }

    /// Strikes a reminder out. What is in the inbox stays there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that number; or as
    /// [`Tenant::write`].
    pub async fn cancel(&self, id: i64) -> Result<()> {
        self.0.write_as(Mode::Host, move |tx| store::cancel(tx, id)).await
    }

    /// The `most` oldest messages that are not acknowledged, from the one after number `after` on (0: from the
    /// first).
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn inbox(&self, after: i64, most: usize) -> Result<Vec<InboxMessage>> {
        self.0.read_as(Mode::Host, move |conn| store::inbox(conn, after, most)).await
    }

    /// Removes messages from the inbox; returns how many of them were there.
    ///
    /// # Errors
    /// As [`Tenant::write`].
    pub async fn acknowledge(&self, ids: Vec<i64>) -> Result<usize> {
        let handle = &self.0.handle;
        let (id, clock, wakes) = (self.0.id().clone(), handle.clock().clone(), handle.wakes().clone());
        let acknowledge = move |tx: &rusqlite::Transaction<'_>| {
            let now = clock.unix_millis();
            let (removed, room) = store::acknowledge(tx, &ids, now)?;
            if room {
                wakes.no_later_than(&id, now)?;
            }
            Ok(removed)
        };
        self.0.write_as(Mode::Host, acknowledge).await
    }
}
