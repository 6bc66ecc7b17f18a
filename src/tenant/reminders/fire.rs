//! Delivers what is due in one open tenant, and says when to open it next.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rusqlite::Transaction;
use tokio::time::timeout;

use super::{Reminder, store};
use crate::auth::Principal;
use crate::db::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::Trace;
use crate::tenant::job::once;
use crate::tenant::meter::Meter;
use crate::tenant::{Handle, Tenant};

/// The longest that the embedding program may take over one reminder: then it has failed.
const HANDLED_WITHIN: Duration = Duration::from_secs(30);

type Handled = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What the embedding program does with a reminder.
pub(crate) type OnReminder = Arc<dyn Fn(Tenant, Reminder) -> Handled + Send + Sync>;

/// Delivers all that is due in `handle`'s tenant, as a part of `trace` if there is one.
///
/// # Errors
/// What kept it from it: it is then still due.
pub(crate) async fn fire(handle: &Handle, on_reminder: Option<&OnReminder>, trace: Option<&Trace>) -> Result<()> {
    let spent = trace.map(|trace| Arc::new(Meter::of(Some(trace.clone()))));
    let mut delivered = 0_usize;
    loop {
        let now = handle.clock().unix_millis();
        let limits = handle.limits().clone();
        let hooked = on_reminder.is_some();
        let look = move |tx: &Transaction<'_>| {
            let room = store::room(tx, &limits)?;
            let mut due = store::due(tx, now)?;
            // The embedding program gets only what the inbox takes after it, or it would get it again and again.
            if hooked && room > 0 {
                due.truncate(room);
                return Ok((due, true));
            }
            for reminder in &due {
                store::deliver(tx, reminder, None, now, &limits)?;
            }
            Ok((due, false))
        };
        let (due, to_hand_over) = write(handle, spent.as_ref(), look).await?;
        if due.is_empty() {
            break;
        }
        delivered += due.len();
        if let Some(on_reminder) = on_reminder.filter(|_| to_hand_over) {
            for reminder in due {
                hand_over(handle, on_reminder, reminder, spent.as_ref()).await?;
            }
        }
    }
    settle(handle, spent.as_ref()).await?;
    if let Some(trace) = trace {
        trace.counted("freehold.reminders", delivered as u64);
    }
    if delivered > 0 {
        handle.notify(super::INBOX);
    }
    Ok(())
}

/// On the account of what is being traced.
async fn write<T: Send + 'static>(
    handle: &Handle,
    spent: Option<&Arc<Meter>>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    handle.send(Mode::Host, false, spent, once(work)).await
}

/// Gives one reminder to the embedding program, then delivers it, has it tried again or gives up on it.
async fn hand_over(
    handle: &Handle,
    on_reminder: &OnReminder,
    reminder: Reminder,
    spent: Option<&Arc<Meter>>,
) -> Result<()> {
    let tenant = handle.on_behalf_of(Principal::local(handle.id().clone()))?.on_account_of(spent.cloned());
    // What the program traces itself belongs to it.
    let attached = || spent.and_then(|spent| spent.trace()).map(Trace::attach);
    let mut handled = {
        let _attached = attached();
        on_reminder(tenant, reminder.clone())
    };
    let handled = poll_fn(|cx| {
        let _attached = attached();
        handled.as_mut().poll(cx)
    });
    let handled = AssertUnwindSafe(handled).catch_unwind();
    let failure = match timeout(HANDLED_WITHIN, handled).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error),
        Ok(Err(_)) => Some(Error::internal("the program's on_reminder panicked")),
        Err(_) => Some(Error::internal("the program's on_reminder took too long")),
    };
    if let Some(error) = &failure {
        let (reminder, attempts) = (reminder.id, reminder.attempts + 1);
        tracing::warn!(tenant = %handle.id(), reminder, attempts, error = error.chain(), "a reminder was not handled");
    }
    let (now, limits) = (handle.clock().unix_millis(), handle.limits().clone());
    let end = move |tx: &Transaction<'_>| match failure {
        Some(_) if reminder.attempts + 1 < store::TRIES => store::retry(tx, &reminder, now),
        failure => {
            let said = failure.map(|error| match error.kind() {
                ErrorKind::Internal => "it was not handled".to_owned(),
                _ => error.to_string(),
            });
            store::deliver(tx, &reminder, said.as_deref(), now, &limits).map(drop)
        }
    };
    write(handle, spent, end).await
}

/// Forgets what was cancelled, then puts the wake-up off. In two steps: the second must see nothing that a
/// crash could still undo, for the tenant would be opened too late.
async fn settle(handle: &Handle, spent: Option<&Arc<Meter>>) -> Result<()> {
    let now = handle.clock().unix_millis();
    write(handle, spent, move |tx| store::forget_cancelled(tx, now)).await?;
    let (id, wakes) = (handle.id().clone(), Arc::clone(handle.wakes()));
    write(handle, spent, move |tx| wakes.put_off(&id, store::next(tx)?)).await
}
