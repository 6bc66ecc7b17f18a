//! Owns who asks a contender: a tenant's token, its session where there is one, and the requests of both generations.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::super::request::modern_call;
use super::super::response::{Malformed, find, parse};
use super::super::{Done, sessions};
use super::contender::{Contender, Place};

pub const PATH: &str = "/mcp";
const PATIENCE: Duration = Duration::from_secs(30);

/// A tenant's agent.
#[derive(Clone)]
pub struct Caller {
    addr: SocketAddr,
    token: Option<String>,
    session: Option<String>,
}

impl Caller {
    /// Who calls `contender` for `tenant` the way that its state is asked for.
    pub fn new(contender: &Contender, place: &Place, addr: SocketAddr, tenant: &str) -> Done<Self> {
        let token = if contender.tokens { Some(place.token(tenant)?) } else { None };
        let caller = Self { addr, token, session: None };
        if contender.within_session { caller.with_session() } else { Ok(caller) }
    }

    /// The same within a new session.
    pub fn with_session(&self) -> Done<Self> {
        let (token, host) = (self.token.as_deref(), self.addr.to_string());
        // The end of the answer is told by its framing: some keep the connection, whatever they are asked.
        let mut link = self.link()?;
        let answer = link.exchange(&sessions::initialize(token).post(PATH, &host))?;
        let session = sessions::session_of(&answer.head).ok_or_else(|| format!("no session: {}", answer.body))?;
        link.exchange(&sessions::initialized(token, &session).post(PATH, &host))?;
        Ok(Self { session: Some(session), ..self.clone() })
    }

    /// The same in nobody's session.
    pub fn without_session(&self) -> Self {
        Self { session: None, ..self.clone() }
    }

    /// The same within the session of `other`.
    pub fn in_session_of(&self, other: &Self) -> Self {
        Self { session: other.session.clone(), ..self.clone() }
    }

    /// The same for a server that has moved.
    pub fn at(&self, addr: SocketAddr) -> Self {
        Self { addr, ..self.clone() }
    }

    /// A call of `tool`. Calls at once within one session need an `id` each.
    pub fn call(&self, tool: &str, arguments: &str, id: usize) -> Vec<u8> {
        let call = match &self.session {
            Some(session) => {
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
                );
                sessions::call(self.token.as_deref(), Some(session), body)
            }
            None => match &self.token {
                Some(token) => modern_call(tool, arguments).bearer(token),
                None => modern_call(tool, arguments),
            },
        };
        call.post(PATH, &self.addr.to_string())
    }

    /// The status and the body of the answer to one call on a connection of its own.
    pub fn ask(&self, tool: &str, arguments: &str) -> io::Result<(u16, String)> {
        Link::open(self.addr)?.ask(&self.call(tool, arguments, 1))
    }

    pub fn link(&self) -> io::Result<Link> {
        Link::open(self.addr)
    }
}

/// A connection that is kept.
pub struct Link(TcpStream);

impl Link {
    fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// The status and the body of the answer.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, String)> {
        let Answer { status, body, .. } = self.exchange(request)?;
        Ok((status, body))
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.0.write_all(request)?;
        let (mut bytes, mut joined, mut more) = (Vec::new(), Vec::new(), [0; 4096]);
        loop {
            let read = self.0.read(&mut more)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&more[..read]);
            match parse(&bytes, &mut joined) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let (status, body) = (answer.status, text(answer.body));
                    let head = find(&bytes, b"\r\n\r\n").map(|end| text(&bytes[..end])).unwrap_or_default();
                    return Ok(Answer { status, head, body });
                }
                Err(Malformed) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// The counter's value in an answer.
pub fn value(body: &str) -> Option<u64> {
    let rest = body.split(r#""value":"#).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
