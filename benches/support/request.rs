//! Owns the bytes of the requests that the benches send. Built once, before any clock runs.

/// The generation of the protocol that `modern_call` speaks.
pub const MODERN: &str = "2026-07-28";

/// The headers and the body of one call; add to the headers what the endpoint wants besides.
pub struct Call {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Call {
    /// Adds `Authorization: Bearer …`.
    pub fn bearer(mut self, token: &str) -> Self {
        self.headers.push(("Authorization", format!("Bearer {token}")));
        self
    }

    /// The whole request, ready for the wire.
    pub fn post(&self, path: &str, host: &str) -> Vec<u8> {
        post(path, host, &self.headers, &self.body)
    }
}

/// A 2026-07-28 `tools/call`: everything it needs rides in the request, there is no session.
/// `tool` and `arguments` go into the JSON as they are.
pub fn modern_call(tool: &str, arguments: &str) -> Call {
    let meta = format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    );
    Call {
        headers: vec![
            ("Accept", "application/json, text/event-stream".into()),
            ("MCP-Protocol-Version", MODERN.into()),
            ("Mcp-Method", "tools/call".into()),
            ("Mcp-Name", tool.into()),
        ],
        body: format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{meta}}}}}"#
        ),
    }
}

/// A POST of JSON over a kept connection.
pub fn post(path: &str, host: &str, headers: &[(&str, String)], body: &str) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n" + body).into_bytes()
}
