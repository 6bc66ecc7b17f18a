//! `subscriptions/listen`: a tenant's news on the streams of those who asked for it. The sessions of older
//! clients get theirs from `sessions`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rmcp::model::{
    PromptListChangedNotification, ResourceListChangedNotification, ResourceUpdatedNotification,
    ResourceUpdatedNotificationParam, ServerNotification, SubscriptionFilter, ToolListChangedNotification,
};
use rmcp::service::{SubscriptionSendError, SubscriptionSink};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::tenant::{Handle, List, News};

/// Listens that have been accepted and not begun: each is a moment.
const BEGINNING_MAX: usize = 64;

/// One tenant's listens.
pub(super) struct Subscriptions {
    tenant: Handle,
    /// Ears from before the acknowledgement, which rmcp sends before it hands the stream over: what changes
    /// between the two would be lost to a client that has been told that it is subscribed.
    beginning: Mutex<VecDeque<Receiver<News>>>,
    closing: CancellationToken,
}

impl Subscriptions {
    pub(super) fn new(tenant: Handle) -> Self {
        Self { tenant, beginning: Mutex::default(), closing: CancellationToken::new() }
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

    /// Ends every listen with its result.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }
}

/// Ends when the stream does, or the tenant.
async fn relay(mut ear: Receiver<News>, sink: &SubscriptionSink) -> Result<(), SubscriptionSendError> {
    loop {
        match ear.recv().await {
            Ok(news) => tell(sink, notification(&news)).await?,
            Err(RecvError::Lagged(_)) => {
                // Which changes were missed, nobody knows any more: so all that was asked for.
                for news in everything(sink.accepted()) {
                    tell(sink, notification(&news)).await?;
                }
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn tell(sink: &SubscriptionSink, news: ServerNotification) -> Result<(), SubscriptionSendError> {
    match sink.send(news).await {
        // Not what this one asked for.
        Err(SubscriptionSendError::NotificationNotAccepted(_)) => Ok(()),
        told => told,
    }
}

/// All that a listener of `filter` may have missed.
fn everything(filter: &SubscriptionFilter) -> impl Iterator<Item = News> {
    let resources = filter.resource_subscriptions.iter().flatten().map(|uri| News::Resource(uri.as_str().into()));
    resources.chain([List::Tools, List::Prompts, List::Resources].map(News::List))
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
