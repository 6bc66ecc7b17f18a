//! `subscriptions/listen`: a tenant's news on the streams of those who asked for it. The sessions of older
//! clients get theirs from `sessions`.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use rmcp::ErrorData;
use rmcp::model::{
    ErrorCode, Extensions, PromptListChangedNotification, ResourceListChangedNotification, ResourceUpdatedNotification,
    ResourceUpdatedNotificationParam, ServerNotification, SubscriptionFilter, ToolListChangedNotification,
};
use rmcp::service::{Peer, RoleServer, SubscriptionSendError, SubscriptionSink};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::tenant::{Handle, Heard, List, News};

/// Listens that have been accepted and not begun: each is a moment.
const BEGINNING_MAX: usize = 64;
/// Every list there is.
pub(super) const ALL_LISTS: [News; 3] =
    [News::List(List::Tools), News::List(List::Prompts), News::List(List::Resources)];

/// One tenant's listens.
pub(super) struct Subscriptions {
    tenant: Handle,
    /// Ears from before the acknowledgement, which rmcp sends before it hands the stream over: what changes
    /// between the two would be lost to a client that has been told that it is subscribed.
    beginning: Mutex<VecDeque<Receiver<Heard>>>,
    closing: CancellationToken,
    /// What the one client at a pipe has subscribed to.
    at_pipe: Arc<Mutex<HashSet<Arc<str>>>>,
}

impl Subscriptions {
    pub(super) fn new(tenant: Handle) -> Self {
        Self { tenant, beginning: Mutex::default(), closing: CancellationToken::new(), at_pipe: Arc::default() }
    }

    /// A listen is about to be acknowledged.
    pub(super) fn expect_one(&self) {
        let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if beginning.len() >= BEGINNING_MAX {
            beginning.pop_front();
        }
        beginning.push_back(self.tenant.news());
    }

    /// Forwards news until the tenant closes: the caller then ends the stream with its result.
    pub(super) async fn forward(&self, sink: &SubscriptionSink) {
        let ear = self.beginning.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let ear = ear.unwrap_or_else(|| self.tenant.news());
        // A reader that has stalled keeps its stream from ending well, and nothing else.
        tokio::select! {
            () = self.closing.cancelled() => {}
            _ = relay(ear, sink) => {}
        }
    }

    /// Enters or ends a subscription of the client at the pipe.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](crate::error::ErrorKind::Limit): it has as many as it may.
    pub(super) fn watch_at_pipe(&self, uri: &str, on: bool) -> Result<()> {
        let most = self.tenant.limits().session_subscriptions;
        let mut watched = self.at_pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if !on {
            watched.remove(uri);
        } else if watched.len() >= most && !watched.contains(uri) {
            return Err(too_many(most));
        } else {
            watched.insert(uri.into());
        }
        Ok(())
    }

    /// Tells the client at the pipe what it subscribed to, until the tenant closes.
    pub(super) fn serve_pipe(&self, peer: Peer<RoleServer>) {
        let (mut ear, closing, watched) = (self.tenant.news(), self.closing.clone(), Arc::clone(&self.at_pipe));
        let telling = async move {
            loop {
                let news = match ear.recv().await {
                    Ok(Heard::One(news)) => vec![news],
                    Ok(Heard::Everything) | Err(RecvError::Lagged(_)) => {
                        let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
                        watched.iter().map(|uri| News::Resource(Arc::clone(uri))).chain(ALL_LISTS).collect()
                    }
                    Err(RecvError::Closed) => return,
                };
                for news in news {
                    let wanted = match &news {
                        News::Resource(uri) => watched.lock().unwrap_or_else(PoisonError::into_inner).contains(uri),
                        News::List(_) => true,
                    };
                    if wanted && peer.send_notification(notification(&news)).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = telling => {}
            }
        });
    }

    /// Ends every listen with its result.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }
}

/// Ends when the stream does, or the tenant.
async fn relay(mut ear: Receiver<Heard>, sink: &SubscriptionSink) -> std::result::Result<(), SubscriptionSendError> {
    loop {
        match ear.recv().await {
            Ok(Heard::One(news)) => tell(sink, notification(&news)).await?,
            Ok(Heard::Everything) | Err(RecvError::Lagged(_)) => {
                // Which changes were missed, nobody knows any more: so all that was asked for.
                for news in everything(sink.accepted()) {
                    tell(sink, notification(&news)).await?;
                }
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn tell(sink: &SubscriptionSink, news: ServerNotification) -> std::result::Result<(), SubscriptionSendError> {
    match sink.send(news).await {
        // Not what this one asked for.
        Err(SubscriptionSendError::NotificationNotAccepted(_)) => Ok(()),
        told => told,
    }
}

/// All that a listener of `filter` may have missed.
fn everything(filter: &SubscriptionFilter) -> impl Iterator<Item = News> {
    let resources = filter.resource_subscriptions.iter().flatten().map(|uri| News::Resource(uri.as_str().into()));
    resources.chain(ALL_LISTS)
}

/// What a client is told that wants to watch more.
pub(super) fn too_many(most: usize) -> Error {
    let message = format!("{most} resources are watched here, as many as may be: end one subscription before the next");
    Error::limit("session_subscriptions", most as u64, message)
}

/// The wire's word for it.
pub(super) fn notification(news: &News) -> ServerNotification {
    match news {
        News::Resource(uri) => {
            let updated = ResourceUpdatedNotificationParam::new(&**uri);
            ServerNotification::ResourceUpdatedNotification(ResourceUpdatedNotification::new(updated))
        }
        News::List(List::Tools) => ServerNotification::ToolListChangedNotification(ToolListChangedNotification {
            method: Default::default(),
            extensions: Default::default(),
        }),
        News::List(List::Prompts) => ServerNotification::PromptListChangedNotification(PromptListChangedNotification {
            method: Default::default(),
            extensions: Default::default(),
        }),
        News::List(List::Resources) => {
            ServerNotification::ResourceListChangedNotification(ResourceListChangedNotification {
                method: Default::default(),
                extensions: Default::default(),
            })
        }
    }
}

/// The session of an older client in which this came. `None` at a pipe.
pub(super) fn session_of(extensions: &Extensions) -> Option<String> {
    let parts = extensions.get::<Parts>()?;
    Some(parts.headers.get("mcp-session-id")?.to_str().ok()?.to_owned())
}

/// Whether a server of this `answer` lets its client watch a resource. One that does not choose lets every resource
/// be watched.
pub(super) fn allowed(answer: std::result::Result<(), ErrorData>) -> std::result::Result<(), ErrorData> {
    match answer {
        Err(error) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(()),
        answered => answered,
    }
}
