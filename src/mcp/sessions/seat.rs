//! A session as one call has it that goes past rmcp's loop.

use std::sync::Arc;

use futures_util::Stream;
use rmcp::model::{ProgressToken, RequestId, ServerJsonRpcMessage};
use rmcp::service::{Peer, RoleServer};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio_util::sync::DropGuard;

use super::TenantSessions;
use super::session::Session;
use crate::auth::Principal;
use crate::error::Result;

/// A call's place in a session.
pub(in crate::mcp) struct Seat {
    session: Arc<Session>,
    peer: Peer<RoleServer>,
}

impl TenantSessions {
    /// Notes that the client of the session `id` is ready, and how its handler reaches it.
    pub(in crate::mcp) fn ready(&self, id: &str, peer: &Peer<RoleServer>) {
        if let Some(session) = self.0.live().get(id) {
            session.state().peer = Some(peer.clone());
        }
    }

    /// A place in the session `id` of `principal`, if that is in memory and its client is ready and can't be asked
    /// anything: what a handler asks belongs beside the call (SEP-2260), and only rmcp's loop can tell whose it is.
    pub(in crate::mcp) fn seat(&self, id: &str, principal: &Principal) -> Option<Seat> {
        let session = self.0.own_of(id, principal)?;
        let peer = session.state().peer.clone()?;
        let client = peer.peer_info()?;
        let can = &client.capabilities;
        let asked = can.elicitation.is_some() || can.sampling.is_some() || can.roots.is_some();
        (!asked && session.is_initialized()).then_some(Seat { session, peer })
    }
}

impl Seat {
    pub(in crate::mcp) fn peer(&self) -> &Peer<RoleServer> {
        &self.peer
    }

    /// As [`Session::begin`].
    pub(in crate::mcp) fn begin(
        &self,
        id: &RequestId,
        progress: Option<ProgressToken>,
        answering: DropGuard,
    ) -> Result<Option<impl Stream<Item = ServerSseMessage> + Send + Sync + Unpin + use<>>> {
        self.session.begin(id, progress, answering)
    }

    /// Puts the answer where its reader is.
    pub(in crate::mcp) fn route(&self, answer: ServerJsonRpcMessage) {
        // If the session is over meanwhile, nobody waits for it.
        self.session.route(answer);
    }
}
