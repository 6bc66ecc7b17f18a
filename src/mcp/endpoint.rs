//! One tenant's door: its rmcp service, its sessions, and the way to close both.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::transport::IntoTransport;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{self, Reads};
use super::direct::Call;
use super::handler::TenantHandler;
use super::pipe::Traced;
use super::sessions::{Batch, Seat, TenantSessions, no_such_session};
use super::weight::{self, Scales, Weight};
use crate::ask::{Sealing, StateKeys};
use crate::auth::{Principal, Scope};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::packs::Packs;
use crate::tasks::TaskBoard;
use crate::telemetry::Traces;
use crate::tenant::{Handle, Resident};

type Async<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub(super) type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

const SESSION_ID: &str = "mcp-session-id";
/// How long a stream of notifications may take to say its last words when its tenant closes.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// Whether the answer to such a request is a stream of notifications, which nobody has to wait for.
pub(crate) fn waits_for_news(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET || headers.get("mcp-method").is_some_and(|method| method == "subscriptions/listen")
}

/// What every tenant's endpoint is made with.
#[derive(Clone)]
pub(crate) struct EndpointSettings {
    /// The built-in tools.
    pub packs: Arc<Packs>,
    /// What seals the questions to users on their way.
    pub state_keys: Arc<StateKeys>,
    /// The host's clock.
    pub clock: Arc<dyn Clock>,
    /// Serve the person at this machine's pipe, whom nobody has to authenticate. Never with HTTP.
    pub stdio: bool,
    /// How many big answers are written at once, over all tenants.
    pub scales: Scales,
    /// Show callers tools that their tokens do not grant, so that they can ask for another token.
    pub lists_all: bool,
}

/// Serves one tenant, whatever the type of the embedder's server.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// Answers one request, whose extensions hold the caller's [`Principal`].
    fn handle(&self, request: Request<Bytes>) -> Async<'_, Result<Answer>>;

    /// The scope that a tool needs, if there is one of that name as far as its description is known.
    fn scope_of(&self, tool: &str) -> Option<Scope>;

    /// Serves standard input and output until they end, with a span for each request if there are `traces`.
    fn serve_stdio(&self, traces: Traces) -> Async<'_, Result<()>>;

    /// Ends every stream and every task, and lets go of every session. What ends well is told so, if it reads;
    /// what does not read is cut.
    fn close(&self) -> Async<'_, ()>;

    /// Whether work goes on that no request waits for.
    fn is_busy(&self) -> bool;
}

/// A resident tenant: its state and its door.
pub(crate) struct Hosted {
    /// Its state.
    pub tenant: Handle,
    /// Its door.
    pub endpoint: Box<dyn Endpoint>,
}

impl Resident for Hosted {
    fn is_closed(&self) -> bool {
        self.tenant.is_closed()
    }

    fn is_busy(&self) -> bool {
        self.endpoint.is_busy()
    }

    async fn rest(&self) {
        self.tenant.rest().await;
    }

    async fn close(&self) {
        self.endpoint.close().await;
        // The actor logs why, if it can't; there is nobody else to tell.
        let _ = self.tenant.close().await;
    }
}

/// Puts `server` behind `tenant`'s door.
///
/// # Errors
/// As [`Sealing::new`].
pub(crate) fn hosted<S: ServerHandler>(server: S, tenant: Handle, settings: &EndpointSettings) -> Result<Hosted> {
    let local = settings.stdio.then(|| Principal::local(tenant.id().clone()));
    let sealing = Sealing::new(&settings.state_keys, tenant.id(), Arc::clone(&settings.clock))?;
    let named = server.get_info().capabilities.supports_tasks();
    let tasks = TaskBoard::new(tenant.clone(), Arc::clone(&settings.clock), named);
    let sessions = TenantSessions::new(tenant.clone(), Arc::clone(&settings.clock));
    let handler = TenantHandler::new(server, settings, tenant.clone(), sealing, tasks, sessions.clone(), local);
    let handler = Arc::new(handler);
    let stop = CancellationToken::new();
    let body_bytes = usize::try_from(tenant.limits().body_bytes.as_u64()).unwrap_or(usize::MAX);
    let mut config = StreamableHttpServerConfig::default()
        // Older clients get their sessions and SSE, the modern ones plain JSON where one message is all.
        .with_legacy_session_mode(true)
        .with_json_response(true)
        // The edge has looked at both, before it asked who calls.
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(body_bytes)
        // A session primes its streams itself, where its client knows such events.
        .with_sse_retry(None)
        .with_cancellation_token(stop.clone());
    config.session_store = Some(Arc::new(sessions.clone()));
    let shared = Arc::clone(&handler);
    let service = StreamableHttpService::new(move || Ok(Arc::clone(&shared)), Arc::new(sessions.clone()), config);
    let listening = TaskTracker::new();
    let scales = settings.scales.clone();
    Ok(Hosted { tenant, endpoint: Box::new(TenantEndpoint { service, sessions, handler, stop, listening, scales }) })
}

struct TenantEndpoint<S: ServerHandler> {
    service: StreamableHttpService<Arc<TenantHandler<S>>, TenantSessions>,
    sessions: TenantSessions,
    handler: Arc<TenantHandler<S>>,
    stop: CancellationToken,
    /// The open streams of notifications.
    listening: TaskTracker,
    scales: Scales,
}

impl<S: ServerHandler> TenantEndpoint<S> {
    /// The call in `request` that need not go rmcp's way, and its place in a session if it names one.
    fn short(&self, request: &Request<Bytes>, caller: &Principal) -> Option<(Call, Option<Seat>)> {
        match request.headers().get(SESSION_ID) {
            None => Some((Call::of(request, |tool| self.handler.get_tool(tool))?, None)),
            Some(id) => {
                let seat = self.sessions.seat(id.to_str().ok()?, caller)?;
                Some((Call::in_session(request)?, Some(seat)))
            }
        }
    }

    /// `answer`, written as big ones are if it is a stream.
    fn written(&self, answer: Answer) -> Answer {
        if accept::is_stream(&answer) { weight::streamed(answer, &self.scales) } else { answer }
    }

    /// The batch that `request` brings, if it does, whose first message takes its place.
    ///
    /// # Errors
    /// As [`Batch::split`]; [`ErrorKind::Busy`](crate::error::ErrorKind::Busy): each of its messages is a request
    /// to the caller's rate.
    fn batch(&self, request: &mut Request<Bytes>, caller: &Principal) -> Result<Option<Batch>> {
        if !Batch::is(request) {
            return Ok(None);
        }
        let tenant = self.handler.tenant();
        let Some(mut batch) = Batch::split(request, tenant.limits().batch_messages)? else { return Ok(None) };
        // The first was counted when the request came.
        for _ in 1..batch.length {
            tenant.quota().request(caller, tenant.clock().now())?;
        }
        std::mem::swap(request, &mut batch.first);
        Ok(Some(batch))
    }
}

impl<S: ServerHandler> Endpoint for TenantEndpoint<S> {
    fn handle(&self, mut request: Request<Bytes>) -> Async<'_, Result<Answer>> {
        Box::pin(async move {
            let caller = request.extensions().get::<Principal>().cloned();
            let caller = caller.ok_or_else(|| Error::internal("a request without a principal"))?;
            if let Some((call, seat)) = self.short(&request, &caller) {
                let reads = accept::widen(&Method::POST, request.headers_mut(), false, false);
                if reads != Reads::Nothing {
                    let (mut parts, _) = request.into_parts();
                    let (handler, stop) = (Arc::clone(&self.handler), &self.stop);
                    let answer = match seat {
                        None => call.alone(handler.tenant(), Arc::clone(&handler), parts, stop).await,
                        Some(seat) => {
                            let weight = Weight::on(&self.scales, &mut parts.extensions);
                            weight.carry(Box::pin(call.in_seat(handler, parts, seat, stop))).await
                        }
                    };
                    return accept::fold(self.written(answer?), reads).await;
                }
            }
            let weight = Weight::on(&self.scales, request.extensions_mut());
            let ends = (request.method() == Method::DELETE).then(|| session_id(request.headers())).flatten();
            let waits = waits_for_news(request.method(), request.headers());
            let listens = waits.then(|| self.listening.token());
            let batch = self.batch(&mut request, &caller)?;
            let method = request.method().clone();
            let reads = accept::widen(&method, request.headers_mut(), waits, batch.is_some());
            let serving = weight.carry(Box::pin(self.service.handle(request.map(Full::new))));
            let mut answer = self.written(self.sessions.serving(caller.clone(), batch, serving).await?);
            if let (Some(id), true) = (ends, answer.status().is_success()) {
                self.sessions.delete(&id, &caller).await?;
                // It is done and not only taken: some clients warn of 202 here.
                *answer.status_mut() = StatusCode::NO_CONTENT;
            }
            if answer.status() == StatusCode::NOT_FOUND && !answer.headers().contains_key(CONTENT_TYPE) {
                // rmcp's bare text: it found no session. One answer for every reason why.
                return Err(no_such_session());
            }
            let Some(open) = listens else { return accept::fold(answer, reads).await };
            Ok(answer.map(|body| {
                body.map_frame(move |frame| {
                    let _ = &open;
                    frame
                })
                .boxed()
            }))
        })
    }

    fn scope_of(&self, tool: &str) -> Option<Scope> {
        self.handler.scope_of(tool)
    }

    fn serve_stdio(&self, traces: Traces) -> Async<'_, Result<()>> {
        Box::pin(async move {
            let failed = |error| Error::internal("serving standard input failed").with_source(error);
            let (handler, pipe) = (Arc::clone(&self.handler), rmcp::transport::stdio());
            let serving = if traces.are_on() {
                let (tools, tenant) = (Arc::clone(&handler), handler.tenant().id().clone());
                let has = Box::new(move |name: &str| tools.get_tool(name).is_some());
                handler.serve(Traced::new(pipe.into_transport(), traces, tenant, has)).await
            } else {
                handler.serve(pipe).await
            };
            let service = serving.map_err(|error| failed(error.to_string()))?;
            service.waiting().await.map_err(|error| failed(error.to_string()))?;
            Ok(())
        })
    }

    fn close(&self) -> Async<'_, ()> {
        Box::pin(async move {
            self.handler.subscriptions.close();
            self.sessions.close().await;
            self.listening.close();
            if timeout(LAST_WORDS_WITHIN, self.listening.wait()).await.is_err() {
                tracing::debug!(tenant = %self.handler.tenant().id(), "a stream that nobody reads was cut");
            }
            self.stop.cancel();
            self.handler.tasks().stop();
        })
    }

    fn is_busy(&self) -> bool {
        self.handler.tasks().is_busy() || self.sessions.is_busy()
    }
}

fn session_id(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(SESSION_ID)?.to_str().ok()?.to_owned())
}
