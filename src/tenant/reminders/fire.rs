//! Delivers what is due in one open tenant, and says when to open it next.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::{Reminder, store};
use crate::auth::Principal;
use crate::db::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Handle, Tenant};

/// The longest that the embedding program may take over one reminder: then it has failed.
const HANDLED_WITHIN: Duration = Duration::from_secs(30);

type Handled = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What the embedding program does with a reminder.
pub(crate) type OnReminder = Arc<dyn Fn(Tenant, Reminder) -> Handled + Send + Sync>;

/// Delivers all that is due in `handle`'s tenant.
///
/// # Errors
/// What kept it from it: it is then still due.
pub(crate) async fn fire(handle: &Handle, on_reminder: Option<&OnReminder>) -> Result<()> {
    let mut delivered = false;
    loop {
        let now = handle.clock().unix_millis();
        let limits = handle.limits().clone();
        let hooked = on_reminder.is_some();
        let look = move |tx: &rusqlite::Transaction<'_>| {
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
        let (due, to_hand_over) = handle.write(Mode::Host, look).await?;
        if due.is_empty() {
            break;
        }
        delivered = true;
        if let Some(on_reminder) = on_reminder.filter(|_| to_hand_over) {
            for reminder in due {
                hand_over(handle, on_reminder, reminder).await?;
            }
        }
    }
    settle(handle).await?;
    if delivered {
        handle.notify(super::INBOX);
    }
    Ok(())
}

/// Gives one reminder to the embedding program, then delivers it, has it tried again or gives up on it.
async fn hand_over(handle: &Handle, on_reminder: &OnReminder, reminder: Reminder) -> Result<()> {
    let tenant = handle.on_behalf_of(Principal::local(handle.id().clone()))?;
    let handled = AssertUnwindSafe(on_reminder(tenant, reminder.clone())).catch_unwind();
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
    handle
        .write(Mode::Host, move |tx| match failure {
            Some(_) if reminder.attempts + 1 < store::TRIES => store::retry(tx, &reminder, now),
            failure => {
                let said = failure.map(|error| match error.kind() {
                    ErrorKind::Internal => "it was not handled".to_owned(),
                    _ => error.to_string(),
                });
                store::deliver(tx, &reminder, said.as_deref(), now, &limits).map(drop)
            }
        })
        .await
}

/// Forgets what was cancelled, then puts the wake-up off. In two steps: the second must see nothing that a
/// crash could still undo, for the tenant would be opened too late.
async fn settle(handle: &Handle) -> Result<()> {
    let now = handle.clock().unix_millis();
    handle.write(Mode::Host, move |tx| store::forget_cancelled(tx, now)).await?;
    let (id, wakes) = (handle.id().clone(), Arc::clone(handle.wakes()));
    handle.write(Mode::Host, move |tx| wakes.put_off(&id, store::next(tx)?)).await
}
