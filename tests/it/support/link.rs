//! One connection to the real program, written to byte by byte and read answer by answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATIENCE;
use super::process::{Server, must};
use super::wire::MODERN;

/// The program with the tenants `a` and `b`, a token of each, and one of `a` that may only read.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) reader: String,
    pub(crate) data: PathBuf,
    /// Gone last.
    _dir: TempDir,
}

impl Served {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        must(&data, &["key", "generate"]);
        let token = |arguments: &[&str]| must(&data, &[&["token", "issue"], arguments].concat()).trim().to_owned();
        for tenant in ["a", "b"] {
            must(&data, &["tenant", "create", tenant]);
        }
        let (a, b) = (token(&["--tenant", "a"]), token(&["--tenant", "b"]));
        let reader = token(&["--tenant", "a", "--scope", "read"]);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let server = Server::start_with(&data, arguments, &environment);
        Self { server, a, b, reader, data, _dir: dir }
    }

    pub(crate) fn link(&self) -> Link {
        Link::to(self.server.address())
    }

    /// A request of 2026-07-28 as it is written, with `more` as further header lines.
    pub(crate) fn call(&self, token: &str, tool: &str, arguments: &Value, more: &str) -> String {
        let body = tool_call(tool, arguments);
        self.post(token, &format!("{}{more}Content-Length: {}\r\n", modern(tool), body.len()), &body)
    }

    /// A POST to `/mcp` with these header lines.
    pub(crate) fn post(&self, token: &str, headers: &str, body: &str) -> String {
        let host = self.server.address();
        let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{bearer}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{headers}\r\n{body}"
        )
    }

    /// Whether somebody who asks in order is answered now.
    pub(crate) fn serves(&self) -> bool {
        let mut link = self.link();
        link.send(self.call(&self.b, "sql_query", &json!({ "sql": "SELECT 7" }), "").as_bytes());
        link.answer().is_some_and(|answer| answer.status == 200)
    }
}

/// The headers that a call of `tool` repeats its body in.
pub(crate) fn modern(tool: &str) -> String {
    format!("MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n")
}

/// The body of a call of `tool`.
pub(crate) fn tool_call(tool: &str, arguments: &Value) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

/// An open connection.
pub(crate) struct Link(BufReader<TcpStream>);

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Link {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    /// Writes `bytes`, and says whether the other side took them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// The next whole answer; `None` where the connection ends before.
    pub(crate) fn answer(&mut self) -> Option<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        if (100..200).contains(&status) {
            return self.answer();
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let mut body = Vec::new();
        if let Some(length) = field("content-length:") {
            body.resize(length.parse().ok()?, 0);
            self.0.read_exact(&mut body).ok()?;
        } else if field("transfer-encoding:") == Some("chunked") {
            self.chunks(&mut body)?;
        }
        Some(Reply { status, body: String::from_utf8(body).ok()?, head })
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            self.0.read_exact(&mut chunk).ok()?;
            if length == 0 {
                return Some(());
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}
