//! Where an [`Ask`] comes from, and where its question is found when the call is over.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::ErrorData;
use rmcp::handler::server::common::FromContextPart;
use rmcp::handler::server::prompt::PromptContext;
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, GetPromptRequestParams, GetPromptResponse,
    InputRequiredResult, InputResponses, JsonObject, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
};
use rmcp::service::{RequestContext, RoleServer};

use super::state::{Rounds, binding};
use super::{Ask, Asking, Sealing};
use crate::tenant::Tenant;

type Cx = RequestContext<RoleServer>;

/// What a call ends with in place of the tool's own error.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The user has to answer first.
    Ask(Box<InputRequiredResult>),
    /// The client can't ask what has to be asked.
    Unable(Box<ClientCapabilities>),
}

/// One call's place for its question. In the request's extensions, put there by the host.
#[derive(Clone, Debug)]
pub(crate) struct AskSeat(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    sealing: Sealing,
    outcome: Mutex<Option<Outcome>>,
    responses: Option<InputResponses>,
    state: Option<String>,
    /// Whether there were arguments: an extractor before ours may have taken them.
    arguments: bool,
}

impl AskSeat {
    /// A place for a call that came with these.
    pub(crate) fn new(
        sealing: &Sealing,
        responses: Option<&InputResponses>,
        state: Option<&String>,
        arguments: bool,
    ) -> Self {
        let (responses, state) = (responses.cloned(), state.cloned());
        Self(Arc::new(Seat { sealing: sealing.clone(), outcome: Mutex::default(), responses, state, arguments }))
    }

    pub(super) fn leave(&self, outcome: Outcome) {
        *self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// What the call ends with: `failed` says whether the tool returned an error.
    ///
    /// # Errors
    /// -32021 when the client can't ask.
    pub(crate) fn take(&self, failed: bool) -> Result<Option<InputRequiredResult>, ErrorData> {
        match self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| failed) {
            Some(Outcome::Ask(question)) => Ok(Some(*question)),
            Some(Outcome::Unable(lacking)) => Err(ErrorData::missing_required_client_capability(*lacking)),
            None => Ok(None),
        }
    }

    /// A call's answer, or the question in its place.
    pub(crate) fn settle<T: From<InputRequiredResult> + MayFail>(
        &self,
        answer: Result<T, ErrorData>,
    ) -> Result<T, ErrorData> {
        let failed = answer.as_ref().map_or(true, MayFail::failed);
        match self.take(failed)? {
            Some(question) => Ok(question.into()),
            None => answer,
        }
    }
}

/// An answer that may tell of a failure.
pub(crate) trait MayFail {
    fn failed(&self) -> bool {
        false
    }
}

impl MayFail for CallToolResponse {
    fn failed(&self) -> bool {
        matches!(self, Self::Complete(result) if result.is_error == Some(true))
    }
}

impl MayFail for GetPromptResponse {}
impl MayFail for ReadResourceResponse {}

impl Ask {
    /// For a server whose `call_tool` is its own.
    ///
    /// # Errors
    /// -32602 when the call brings a `requestState` that it was not given, or that has ended.
    pub fn of_call(request: &CallToolRequestParams, context: &Cx) -> Result<Self, ErrorData> {
        Self::seated(context, "tools/call", &request.name, request.arguments.as_ref())
    }

    /// For a server whose `get_prompt` is its own.
    ///
    /// # Errors
    /// As [`Ask::of_call`].
    pub fn of_prompt(request: &GetPromptRequestParams, context: &Cx) -> Result<Self, ErrorData> {
        Self::seated(context, "prompts/get", &request.name, request.arguments.as_ref())
    }

    /// For `read_resource`.
    ///
    /// # Errors
    /// As [`Ask::of_call`].
    pub fn of_resource(request: &ReadResourceRequestParams, context: &Cx) -> Result<Self, ErrorData> {
        Self::seated(context, "resources/read", &request.uri, None)
    }

    fn seated(context: &Cx, method: &str, name: &str, arguments: Option<&JsonObject>) -> Result<Self, ErrorData> {
        let outside = || ErrorData::internal_error("`Ask` has to be served by a freehold host", None);
        let seat = context.extensions.get::<AskSeat>().ok_or_else(outside)?;
        let tenant = context.extensions.get::<Tenant>().ok_or_else(outside)?;
        if seat.0.arguments && arguments.is_none() {
            tracing::error!(tool = name, "a tool that takes `Ask` must take it before `Parameters`");
            return Err(ErrorData::internal_error("internal error", None));
        }
        let binding = binding(tenant.principal(), method, name, arguments);
        let sealing = seat.0.sealing.clone();
        let rounds = match &seat.0.state {
            Some(sealed) => sealing.open(sealed, &binding)?,
            None => Rounds::default(),
        };
        Ok(Self(Arc::new(Asking {
            peer: context.peer.clone(),
            in_rounds: context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28),
            able: context.client_capabilities().unwrap_or_default(),
            responses: seat.0.responses.clone().unwrap_or_default(),
            rounds: rounds.into(),
            sealing,
            binding,
            seat: seat.clone(),
        })))
    }
}

impl<S> FromContextPart<ToolCallContext<'_, S>> for Ask {
    fn from_context_part(context: &mut ToolCallContext<'_, S>) -> Result<Self, ErrorData> {
        Self::seated(&context.request_context, "tools/call", &context.name, context.arguments.as_ref())
    }
}

impl<S> FromContextPart<PromptContext<'_, S>> for Ask {
    fn from_context_part(context: &mut PromptContext<'_, S>) -> Result<Self, ErrorData> {
        Self::seated(&context.context, "prompts/get", &context.name, context.arguments.as_ref())
    }
}
