//! The embedder's server and the built-in tools as one rmcp handler, bound to one tenant.
//!
//! Whatever the server does runs under three guarantees that rmcp does not give: a panic is an answer
//! (-32603) and not a silence, a call that nobody waits for any more is dropped, and what a list says
//! may be cached for its caller alone.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use rmcp::handler::server::tool::ToolCallContext;
#[expect(deprecated, reason = "older clients still subscribe and set levels this way")]
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam,
    CompleteRequestParams, CompleteResult, CustomNotification, CustomRequest, CustomResult, DiscoverResult,
    GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult,
    InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListSkillsResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ReadResourceDirectoryRequestParams, ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse,
    ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ErrorData, ServerHandler};

use super::endpoint::EndpointSettings;
use super::guard::{Guard, guarded, spent, with_host};
use super::sessions::TenantSessions;
use super::subscriptions::{Subscriptions, allowed, session_of};
use super::weight::Weight;
use super::{access, journal, resources, tasks};
use crate::ask::{AskSeat, Sealing};
use crate::auth::{Principal, Scope};
use crate::packs::Packs;
use crate::tasks::TaskBoard;
use crate::tenant::{Handle, Tenant};

/// One tenant's handler; sessions and requests share it.
pub(super) struct TenantHandler<S> {
    server: S,
    packs: Arc<Packs>,
    tenant: Handle,
    sealing: Sealing,
    tasks: TaskBoard,
    /// Who calls where no HTTP request says it: the person at the pipe.
    local: Option<Principal>,
    pub(super) subscriptions: Subscriptions,
    sessions: TenantSessions,
    /// Whether a caller is shown tools that its token does not grant. With an authorization server it can get
    /// another token; without one it would only try in vain.
    lists_all: bool,
}

type Cx = RequestContext<RoleServer>;

impl<S: ServerHandler> TenantHandler<S> {
    pub(super) fn new(
        server: S,
        settings: &EndpointSettings,
        tenant: Handle,
        sealing: Sealing,
        tasks: TaskBoard,
        sessions: TenantSessions,
        local: Option<Principal>,
    ) -> Self {
        let (subscriptions, packs) = (Subscriptions::new(tenant.clone()), Arc::clone(&settings.packs));
        let lists_all = settings.lists_all;
        Self { server, packs, tenant, sealing, tasks, local, subscriptions, sessions, lists_all }
    }

    pub(super) fn tenant(&self) -> &Handle {
        &self.tenant
    }

    pub(super) fn tasks(&self) -> &TaskBoard {
        &self.tasks
    }

    /// Who makes a bound request.
    fn asker(&self, context: &Cx) -> Result<Principal, ErrorData> {
        Ok(self.bound(context)?.principal().clone())
    }

    /// The tenant as the caller of a bound request may use it.
    fn bound(&self, context: &Cx) -> Result<Tenant, ErrorData> {
        context.extensions.get::<Tenant>().cloned().ok_or_else(|| ErrorData::internal_error("internal error", None))
    }

    /// Puts the tenant, on the caller's behalf, where the extractor finds it.
    fn bind(&self, context: &mut Cx) -> Result<(), ErrorData> {
        let request = context.extensions.get::<Parts>().map(|parts| &parts.extensions);
        let spent = spent(&context.extensions).cloned();
        let caller = request.and_then(|request| request.get::<Principal>()).or(self.local.as_ref()).cloned();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("internal error", None))?;
        context.extensions.insert(self.tenant.on_behalf_of(caller)?.on_account_of(spent));
        Ok(())
    }

    /// A built-in tool, unless the embedder's server has one of that name.
    fn built_in(&self, name: &str) -> Option<&Tool> {
        self.packs.tools.get(name).filter(|_| self.server.get_tool(name).is_none())
    }

    /// The scope that the tool `name` needs, if the server describes such a tool.
    pub(super) fn scope_of(&self, name: &str) -> Option<Scope> {
        let own = || self.server.get_tool(name).as_ref().map(access::scope_of);
        self.built_in(name).map(access::scope_of).or_else(own)
    }

    /// Enters or ends a subscription that the server has let pass.
    async fn watch(&self, session: Option<String>, uri: &str, on: bool) -> Result<(), ErrorData> {
        match session {
            Some(session) => Ok(self.sessions.subscribe(&session, uri, on).await?),
            None => Ok(self.subscriptions.watch_at_pipe(uri, on)?),
        }
    }

    async fn call(&self, request: CallToolRequestParams, context: Cx) -> Result<CallToolResponse, ErrorData> {
        if self.built_in(&request.name).is_some() {
            return self.packs.tools.call(ToolCallContext::new(&*self.packs, request, context)).await;
        }
        self.server.call_tool(request, context).await
    }
}

/// Gives a call its place to ask the user from.
macro_rules! seated {
    ($handler:ident, $request:ident, $context:ident, $arguments:expr) => {{
        let (responses, state) = ($request.input_responses.as_ref(), $request.request_state.as_ref());
        let seat = AskSeat::new(&$handler.sealing, responses, state, $arguments);
        $context.extensions.insert(seat.clone());
        seat
    }};
}

/// Hands requests on: bound, then guarded. `Private` marks what differs from tenant to tenant and may be cached for its
/// caller alone.
macro_rules! hand_on {
    ($($method:ident($request:ty) -> $answer:ty $(, $private:ident)?;)*) => {$(
        fn $method(&self, request: $request, mut context: Cx) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.bind(&mut context)?;
                    let answer = guarded(Guard::of(&context), self.server.$method(request, context)).await;
                $(let answer = answer.map(|mut listed| { listed.cache_scope = Some(CacheScope::$private); listed });)?
                answer
            })
        }
    )*};
}

/// An answer under way. Every one is boxed: rmcp moves the future of a request, as large as the largest of its
/// handler's, from task to task.
type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, ErrorData>> + Send + 'a>>;

#[expect(deprecated, reason = "older clients still subscribe and set levels this way")]
#[expect(refining_impl_trait_internal, reason = "what they return is `Answering`, and nobody outside sees it")]
impl<S: ServerHandler> ServerHandler for TenantHandler<S> {
    hand_on! {
        complete(CompleteRequestParams) -> CompleteResult;
        set_level(SetLevelRequestParams) -> ();
        list_prompts(Option<PaginatedRequestParams>) -> ListPromptsResult, Private;
        on_custom_request(CustomRequest) -> CustomResult;
        list_skills(Option<PaginatedRequestParams>) -> ListSkillsResult, Private;
        get_skill(GetSkillRequestParams) -> GetSkillResult, Private;
        read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult, Private;
    }

    fn subscribe(&self, request: SubscribeRequestParams, mut context: Cx) -> Answering<'_, ()> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (uri, session, ended) = (request.uri.clone(), session_of(&context.extensions), Guard::of(&context));
            allowed(guarded(ended, self.server.subscribe(request, context)).await)?;
            self.watch(session, &uri, true).await
        })
    }

    fn unsubscribe(&self, request: UnsubscribeRequestParams, mut context: Cx) -> Answering<'_, ()> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (uri, session, ended) = (request.uri.clone(), session_of(&context.extensions), Guard::of(&context));
            allowed(guarded(ended, self.server.unsubscribe(request, context)).await)?;
            self.watch(session, &uri, false).await
        })
    }

    async fn ping(&self, context: Cx) -> Result<(), ErrorData> {
        self.server.ping(context).await
    }

    fn initialize(&self, request: InitializeRequestParams, mut context: Cx) -> Answering<'_, InitializeResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let ours = self.negotiate_initialize(&request)?;
            let mut answer = guarded(Guard::of(&context), self.server.initialize(request, context)).await?;
            answer.protocol_version = ours.protocol_version;
            answer.capabilities = with_host(answer.capabilities, !self.packs.is_empty());
            Ok(answer)
        })
    }

    fn discover(&self, mut context: Cx) -> Answering<'_, DiscoverResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let mut answer = guarded(Guard::of(&context), self.server.discover(context)).await?;
            answer.supported_versions = self.supported_protocol_versions().into_owned();
            answer.capabilities = with_host(answer.capabilities, !self.packs.is_empty());
            answer.cache_scope = CacheScope::Private;
            Ok(answer)
        })
    }

    /// All that the server speaks but 2024-11-05, whose transport (two endpoints) this host has not.
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.server.supported_protocol_versions() {
            Cow::Borrowed([oldest, newer @ ..]) if *oldest == ProtocolVersion::V_2024_11_05 => Cow::Borrowed(newer),
            versions => versions.iter().filter(|version| **version != ProtocolVersion::V_2024_11_05).cloned().collect(),
        }
    }

    fn get_info(&self) -> ServerConfig {
        let mut info = self.server.get_info();
        info.capabilities = with_host(info.capabilities, !self.packs.is_empty());
        info
    }

    fn call_tool(&self, request: CallToolRequestParams, mut context: Cx) -> Answering<'_, CallToolResponse> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let scope = self.scope_of(&request.name);
            access::permit(&self.server, &self.tenant, &request.name, scope, &mut context).await?;
            let (ended, weight) = (Guard::of(&context), Weight::of(context.extensions.get::<Parts>()));
            let begun =
                journal::begin(&self.tenant, &self.bound(&context)?, context.extensions.get::<Parts>(), &request);
            let seat = seated!(self, request, context, request.arguments.is_some());
            context.extensions.insert(self.tasks.clone());
            let answer = ended.told(seat.settle(guarded(ended.clone(), self.call(request, context)).await));
            begun.end(ended.is_cancelled(), &answer);
            Weight::weigh(weight, &answer).await;
            answer
        })
    }

    fn get_task(&self, request: GetTaskParams, mut context: Cx) -> Answering<'_, GetTaskResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (caller, ended) = (self.asker(&context)?, Guard::of(&context));
            let theirs = guarded(ended, self.server.get_task(request.clone(), context));
            tasks::get(&self.tasks, &caller, &request.task_id, theirs).await
        })
    }

    fn update_task(&self, request: UpdateTaskParams, mut context: Cx) -> Answering<'_, ()> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (caller, ended) = (self.asker(&context)?, Guard::of(&context));
            let theirs = guarded(ended, self.server.update_task(request.clone(), context));
            tasks::update(&self.tasks, &caller, request, theirs).await
        })
    }

    fn cancel_task(&self, request: CancelTaskParams, mut context: Cx) -> Answering<'_, ()> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (caller, ended) = (self.asker(&context)?, Guard::of(&context));
            let theirs = guarded(ended, self.server.cancel_task(request.clone(), context));
            tasks::cancel(&self.tasks, &caller, &request.task_id, theirs).await
        })
    }

    fn get_prompt(&self, request: GetPromptRequestParams, mut context: Cx) -> Answering<'_, GetPromptResponse> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let (ended, seat) = (Guard::of(&context), seated!(self, request, context, request.arguments.is_some()));
            seat.settle(guarded(ended, self.server.get_prompt(request, context)).await)
        })
    }

    fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        mut context: Cx,
    ) -> Answering<'_, ReadResourceResponse> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let ended = Guard::of(&context);
            if self.packs.answers(&request.uri) {
                let tenant = self.bound(&context)?;
                return guarded(ended, resources::read(&self.packs, &tenant, &request.uri)).await;
            }
            let seat = seated!(self, request, context, false);
            let mut answer = seat.settle(guarded(ended, self.server.read_resource(request, context)).await)?;
            if let ReadResourceResponse::Complete(read) = &mut answer {
                read.cache_scope = Some(CacheScope::Private);
            }
            Ok(answer)
        })
    }

    fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: Cx,
    ) -> Answering<'_, ListResourcesResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let first = request.as_ref().is_none_or(|page| page.cursor.is_none());
            let mut listed = guarded(Guard::of(&context), self.server.list_resources(request, context)).await?;
            if first {
                resources::join(&self.packs, &mut listed);
            }
            listed.cache_scope = Some(CacheScope::Private);
            Ok(listed)
        })
    }

    fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: Cx,
    ) -> Answering<'_, ListResourceTemplatesResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let first = request.as_ref().is_none_or(|page| page.cursor.is_none());
            let mut all = guarded(Guard::of(&context), self.server.list_resource_templates(request, context)).await?;
            if first {
                resources::join_templates(&self.packs, &mut all);
            }
            all.cache_scope = Some(CacheScope::Private);
            Ok(all)
        })
    }

    /// The built-in tools by name, then the server's own; a further page is the server's alone.
    fn list_tools(&self, request: Option<PaginatedRequestParams>, mut context: Cx) -> Answering<'_, ListToolsResult> {
        Box::pin(async move {
            self.bind(&mut context)?;
            let first = request.as_ref().is_none_or(|page| page.cursor.is_none());
            let caller = context.extensions.get::<Tenant>().map(|tenant| tenant.principal().clone());
            let mut listed = guarded(Guard::of(&context), self.server.list_tools(request, context)).await?;
            if first {
                let mut tools = self.packs.tools.list_all();
                tools.retain(|tool| self.built_in(&tool.name).is_some());
                tools.append(&mut listed.tools);
                listed.tools = tools;
            }
            if let Some(caller) = caller.filter(|_| !self.lists_all) {
                listed.tools.retain(|tool| caller.scopes().allow_tool(&tool.name, access::scope_of(tool)));
            }
            listed.cache_scope = Some(CacheScope::Private);
            Ok(listed)
        })
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.server.get_tool(name).or_else(|| self.packs.tools.get(name).cloned())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.subscriptions.expect_one();
        // A server that chooses for itself is asked; for one that does not, whatever is asked for may be listened to.
        self.server.accepted_subscription_filter(requested).or_else(|| Some(requested.clone()))
    }

    /// Ends with the tenant, with the listener, or when the server that accepted it says so.
    fn listen(&self, context: SubscriptionContext) -> Answering<'_, ()> {
        Box::pin(async move {
            let sink = context.sink().clone();
            tokio::select! {
                answer = guarded(Guard::until(context.request_context().ct.clone()), self.server.listen(context)) => answer,
                () = self.subscriptions.forward(&sink) => Ok(()),
            }
        })
    }

    async fn on_cancelled(&self, notification: CancelledNotificationParam, context: NotificationContext<RoleServer>) {
        self.server.on_cancelled(notification, context).await;
    }

    async fn on_progress(&self, notification: ProgressNotificationParam, context: NotificationContext<RoleServer>) {
        self.server.on_progress(notification, context).await;
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        match session_of(&context.extensions) {
            Some(session) => self.sessions.ready(&session, &context.peer),
            None => self.subscriptions.serve_pipe(context.peer.clone()),
        }
        self.server.on_initialized(context).await;
    }

    async fn on_roots_list_changed(&self, context: NotificationContext<RoleServer>) {
        self.server.on_roots_list_changed(context).await;
    }

    async fn on_custom_notification(&self, notification: CustomNotification, context: NotificationContext<RoleServer>) {
        self.server.on_custom_notification(notification, context).await;
    }
}
