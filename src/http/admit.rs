//! Whether a tenant may have this request now: its rate, then its place among what the tenant has under way.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;

use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::Result;
use crate::telemetry::{Step, Trace};
use crate::tenant::{Handle, Place, Running, Stream};

const SESSION_ID: &str = "mcp-session-id";

/// A request that was let in and whose body is still outside.
pub(super) enum Admitted {
    /// It takes part in the tenant's calls.
    Call(Place),
    /// It waits for news, and holds no call's place while it does.
    News(Stream),
}

/// What the request holds of its tenant until it is answered, or until what it set off has ended. Carried in
/// the request's extensions too: a call of an older client goes on when its client is gone.
#[derive(Clone)]
pub(super) struct Held {
    _what: Arc<What>,
}

enum What {
    Call {
        _running: Running,
    },
    /// Something that no call waits behind: an answer to the server's own question, a notification.
    Aside {
        _place: Place,
    },
    News {
        _stream: Stream,
    },
}

/// Counts the request and gives it a place, before its body is read.
pub(super) fn admit(
    tenant: &Handle,
    caller: &Principal,
    head: &Parts,
    waits_for_news: bool,
    clock: &dyn Clock,
) -> Result<Admitted> {
    let quota = tenant.quota();
    quota.request(caller, clock.now())?;
    if !waits_for_news {
        return Ok(Admitted::Call(quota.call()?));
    }
    let session = head.headers.get(SESSION_ID).and_then(|id| id.to_str().ok());
    Ok(Admitted::News(quota.stream(session.unwrap_or_else(|| caller.subject()))?))
}

impl Admitted {
    /// Waits for its turn, now that its body is here and says whether it asks for an answer.
    pub(super) async fn begin(self, is_call: bool, trace: Option<&Trace>) -> Result<Held> {
        let what = match self {
            Self::News(stream) => What::News { _stream: stream },
            Self::Call(place) => match place.try_run() {
                Ok(running) => What::Call { _running: running },
                // All that run may be waiting for just this.
                Err(place) if !is_call => What::Aside { _place: place },
                Err(place) => {
                    let begun = Instant::now();
                    let running = place.run().await?;
                    if let Some(trace) = trace {
                        trace.step(Step::Admission, begun, Instant::now());
                    }
                    What::Call { _running: running }
                }
            },
        };
        Ok(Held { _what: Arc::new(what) })
    }
}
