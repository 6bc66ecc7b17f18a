//! A listener in this process, on a port of the system's choice, and clients of it that write what they like.

use std::net::SocketAddr;

use freehold::{Host, Settings, serve};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Plain, soon};

/// A listener in this process.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) serving: JoinHandle<freehold::Result<()>>,
}

impl Listening {
    pub(crate) async fn start(edit: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings =
            Settings { data_dir: dir.path().to_path_buf().into(), listen: address, ..Settings::default() };
        edit(&mut settings);
        let host = Host::new(|_tenant| Plain).authenticate(Everybody);
        settings.tenants.auto_create = true;
        let (_router, service) = host.into_router(&settings).expect("a host");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, service, async move {
            let _ = stopped.await;
        }));
        Self { address, dir, stop, serving }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends `bytes` on a connection of their own; whatever comes until the other side closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // It may refuse before it has read all.
        let _ = stream.write_all(bytes).await;
        until_closed(stream).await
    }

    pub(crate) fn head(&self, line: &str, headers: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address)
    }

    pub(crate) fn call(&self, sql: &str) -> String {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": "sql_query", "arguments": { "sql": sql }, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
        let headers = format!(
            "Authorization: Bearer x\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: sql_query\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.head("POST /mcp", &headers) + &body
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        soon(self.serving).await.expect("no panic").expect("an orderly end");
    }
}

/// Takes every token for the tenant `a`'s.
pub(crate) struct Everybody;

impl freehold::Authenticate for Everybody {
    fn authenticate<'a>(&'a self, _token: &'a str) -> freehold::Verdict<'a> {
        let principal = freehold::TenantId::parse("a").map(|tenant| {
            freehold::Principal::new(tenant, "it".to_owned(), "it".to_owned(), freehold::Scopes::all(), None)
        });
        Box::pin(std::future::ready(principal))
    }
}

/// All that comes until the other side closes, which has to happen; a reset is an end too.
pub(crate) async fn until_closed(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = vec![0; 65_536];
    soon(async {
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            all.extend_from_slice(&piece[..read]);
        }
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one answer's head and the beginning of its body.
pub(crate) async fn status(stream: &mut TcpStream) -> String {
    let mut piece = vec![0; 65_536];
    let read = soon(stream.read(&mut piece)).await.expect("an answer");
    String::from_utf8_lossy(&piece[..read]).lines().next().unwrap_or_default().to_owned()
}
