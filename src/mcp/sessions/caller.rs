//! Who makes the request that is being served. rmcp asks for a session by its id alone; this is how the answer
//! comes to depend on the caller, wherever rmcp asks.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Rest;
use crate::auth::Principal;
use crate::error::Error;

tokio::task_local! {
    static CALLER: Arc<Caller>;
}

struct Caller {
    principal: Principal,
    /// What else came with the message that rmcp is shown.
    rest: Mutex<Option<Rest>>,
    /// Why a session was refused. rmcp tells every failure as the same 500.
    refusal: Mutex<Option<Error>>,
}

/// Serves one request of `principal`, and the `rest` of its batch. Returns the answer, or why a session was refused
/// meanwhile.
pub(super) async fn serving<T>(
    principal: Principal,
    rest: Option<Rest>,
    request: impl Future<Output = T>,
) -> Result<T, Error> {
    let caller = Arc::new(Caller { principal, rest: rest.into(), refusal: Mutex::default() });
    let answer = CALLER.scope(Arc::clone(&caller), request).await;
    let refusal = caller.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
    refusal.map_or(Ok(answer), Err)
}

/// Whose request this is. `None` outside of one.
pub(super) fn principal() -> Option<Principal> {
    CALLER.try_with(|caller| caller.principal.clone()).ok()
}

/// What else came with the message that rmcp is shown; `None` if that came alone.
pub(super) fn take_rest() -> Option<Rest> {
    CALLER.try_with(|caller| caller.rest.lock().unwrap_or_else(PoisonError::into_inner).take()).ok().flatten()
}

/// Says why the request that is being served gets no answer of rmcp's.
pub(super) fn refuse(error: Error) {
    // Outside of a request there is nobody to tell.
    let _ = CALLER.try_with(|caller| {
        *caller.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    });
}

/// Whether `one` and `other` are the same to a session. Its token may be another: tokens are refreshed.
pub(super) fn same(one: &Principal, other: &Principal) -> bool {
    one.issuer() == other.issuer() && one.subject() == other.subject() && one.client() == other.client()
}
