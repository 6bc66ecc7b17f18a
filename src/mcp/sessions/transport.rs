//! The handler's end of a session: what rmcp's loop reads from and writes to. Writing waits for nobody.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;

use super::session::Session;

/// The handler's end of a session.
pub(crate) struct SessionTransport {
    session: Arc<Session>,
    inbox: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl SessionTransport {
    pub(super) fn new(session: Arc<Session>, inbox: mpsc::Receiver<ClientJsonRpcMessage>) -> Self {
        Self { session, inbox }
    }
}

impl Transport<RoleServer> for SessionTransport {
    type Error = Infallible;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = std::result::Result<(), Self::Error>> + Send + 'static {
        self.session.route(message);
        ready(Ok(()))
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.inbox.recv().await
    }

    fn close(&mut self) -> impl Future<Output = std::result::Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }
}

impl Drop for SessionTransport {
    /// Nobody would answer any more.
    fn drop(&mut self) {
        self.session.end();
    }
}
