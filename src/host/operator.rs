//! Where an operator's command is carried out: by the host that runs, or here if none does. Both go through the same
//! routes, so that both answer the same.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use super::{Host, Service, admin_token_file};
use crate::auth::AdminToken;
use crate::config::Settings;
use crate::db::DataDir;
use crate::error::{Error, ErrorKind, Result};

/// How long a command waits for another one that works on the files.
const WAIT: Duration = Duration::from_secs(5);
/// The longest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Carries out what is asked.
pub(crate) enum Operator {
    /// No host runs: this process holds the data directory.
    Here(Box<Service>, Router),
    /// The host that runs.
    There {
        /// Its socket.
        socket: PathBuf,
        /// Its port and its token, where the socket can't be used.
        port: Option<(std::net::SocketAddr, AdminToken)>,
    },
}

impl Operator {
    /// Finds the host of `settings`, or stands in for it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`]: another process holds the data directory and does not answer.
    pub(crate) async fn find(host: Host, settings: &Settings) -> Result<Self> {
        let begun = Instant::now();
        loop {
            match Service::offline(host.clone(), settings) {
                Ok(service) => {
                    let router = service.admin_router();
                    return Ok(Self::Here(Box::new(service), router));
                }
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                Err(error) => {
                    let dir = DataDir::open(&settings.data_dir.relative())?;
                    let there = Self::There { socket: dir.admin_socket(), port: port(settings, &dir) };
                    match there.ask(Method::GET, "/healthz", None).await {
                        Ok(_) => return Ok(there),
                        // A command beside this one, or a host that is just starting or stopping.
                        Err(_) if begun.elapsed() < WAIT => sleep(Duration::from_millis(50)).await,
                        Err(_) => return Err(error),
                    }
                }
            }
        }
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// What the host refused it with, in its words.
    pub(crate) async fn ask(&self, method: Method, path: &str, sent: Option<Value>) -> Result<Value> {
        let body = sent.map_or_else(Body::empty, |sent| Body::from(sent.to_string()));
        let answer = self.send(method, path, body, None).await?;
        let whole = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = whole.map_err(|error| broke_off(error.to_string()))?.to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Asks for a line of JSON after the other, and tells `each`.
    ///
    /// # Errors
    /// As [`Operator::ask`]; what `each` says.
    pub(crate) async fn lines(
        &self,
        path: &str,
        sent: &Value,
        mut each: impl FnMut(Value) -> Result<()>,
    ) -> Result<()> {
        let mut body = self.send(Method::POST, path, Body::from(sent.to_string()), None).await?.into_body();
        let mut waiting = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broke_off(error.to_string()))?;
            waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| &bytes[..]));
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                let word: Value = serde_json::from_slice(&line).map_err(|error| broke_off(error.to_string()))?;
                match word.get("error") {
                    Some(error) => return Err(refused(error)),
                    None => each(word)?,
                }
            }
        }
        Ok(())
    }

    /// Takes a file in; `each` hears every chunk of it, and how long the whole is.
    ///
    /// # Errors
    /// As [`Operator::ask`]; what `each` says.
    pub(crate) async fn download(&self, path: &str, mut each: impl FnMut(&Bytes, u64) -> Result<()>) -> Result<()> {
        let answer = self.send(Method::GET, path, Body::empty(), None).await?;
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: u64 = length.unwrap_or(0);
        let mut left = length;
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broke_off(error.to_string()))?;
            if let Some(bytes) = frame.data_ref() {
                left = left.saturating_sub(bytes.len() as u64);
                each(bytes, length)?;
            }
        }
        if left > 0 { Err(broke_off(format!("{left} bytes are missing"))) } else { Ok(()) }
    }

    /// Sends a file of `length` bytes.
    ///
    /// # Errors
    /// As [`Operator::ask`].
    pub(crate) async fn upload(&self, path: &str, file: Body, length: u64) -> Result<Value> {
        let answer = self.send(Method::PUT, path, file, Some(length)).await?;
        let bytes = answer.into_body().collect().await.map_err(|error| broke_off(error.to_string()))?.to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn send(&self, method: Method, path: &str, body: Body, length: Option<u64>) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        request = match length {
            Some(length) => request.header(CONTENT_LENGTH, length),
            None => request.header(CONTENT_TYPE, "application/json"),
        };
        let request = request.body(body).map_err(|error| Error::internal("not a request").with_source(error))?;
        let answer = match self {
            Self::Here(_, router) => match router.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            Self::There { socket, port } => there(socket, port.as_ref(), request).await?,
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = bytes.map(|bytes| bytes.to_bytes()).unwrap_or_default();
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match said.get("error") {
            Some(error) => Err(refused(error)),
            None => Err(Error::internal(format!("the host answered {status} and gave no reason"))),
        }
    }

    /// Closes every file that was opened for it.
    pub(crate) async fn close(self) {
        if let Self::Here(service, _) = self {
            service.close().await;
        }
    }
}

/// A request's body out of what `next` reads, until it reads nothing.
pub(crate) fn file_body(next: impl FnMut() -> io::Result<Option<Vec<u8>>> + Send + 'static) -> Body {
    Body::from_stream(stream::try_unfold(next, async |mut next| Ok::<_, io::Error>(next()?.map(|read| (read, next)))))
}

fn port(settings: &Settings, dir: &DataDir) -> Option<(std::net::SocketAddr, AdminToken)> {
    let token = AdminToken::load(&admin_token_file(settings, dir), false).ok()?;
    Some((settings.admin_listen.filter(|address| address.port() != 0)?, token))
}

async fn there(
    socket: &Path,
    port: Option<&(std::net::SocketAddr, AdminToken)>,
    mut request: Request<Body>,
) -> Result<Response<Body>> {
    let away = |error| {
        Error::new(ErrorKind::Unavailable, "the host that runs can't be reached on its admin socket").with_source(error)
    };
    match (UnixStream::connect(socket).await, port) {
        (Ok(stream), _) => over(stream, request).await,
        (Err(error), None) => Err(away(error)),
        (Err(_), Some((address, token))) => {
            let header = HeaderValue::from_str(&token.header());
            let mut header = header.map_err(|_| Error::invalid("the admin token is no text"))?;
            header.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, header);
            over(TcpStream::connect(address).await.map_err(away)?, request).await
        }
    }
}

async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: T,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let broken = |error: hyper::Error| broke_off(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    // Ends with the answer's body.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await.map_err(broken)?.map(Body::new))
}

fn broke_off(why: String) -> Error {
    Error::new(ErrorKind::Unavailable, "the host that runs broke off: what had begun is told by its log")
        .with_source(why)
}

/// The host's refusal, as this process tells it.
fn refused(error: &Value) -> Error {
    let kind = match error["kind"].as_str().unwrap_or_default() {
        "invalid" => ErrorKind::Invalid,
        "unauthenticated" => ErrorKind::Unauthenticated,
        "forbidden" => ErrorKind::Forbidden,
        "notfound" => ErrorKind::NotFound,
        "conflict" => ErrorKind::Conflict,
        "limit" => ErrorKind::Limit,
        "busy" => ErrorKind::Busy,
        "unavailable" => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error["message"].as_str().unwrap_or("the host gave no reason").to_owned())
}
