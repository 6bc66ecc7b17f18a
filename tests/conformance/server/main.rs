//! The server that the official MCP conformance suite asks for, on this host: `make conformance`.
//!
//! Nothing here is special to the suite but the names and the words, which it prescribes. A file each for
//! plain content, for questions to the user, for tasks, and for prompts, resources and skills.

mod asking;
mod content;
mod files;
mod prompts;
mod tasks;

use freehold::{Ask, Host, Migration};
use rmcp::handler::server::router::tool::ToolRouter;
#[expect(deprecated, reason = "the suite for older clients sets levels and subscribes this way")]
use rmcp::model::{
    CompleteRequestParams, CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse,
    GetSkillRequestParams, GetSkillResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListSkillsResult, PaginatedRequestParams, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, Reference, ServerCapabilities,
    ServerConfig, SetLevelRequestParams, SubscribeRequestParams, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler, tool_handler};

type Cx = RequestContext<RoleServer>;

struct Fixture {
    tool_router: ToolRouter<Self>,
}

impl Fixture {
    fn new() -> Self {
        Self { tool_router: Self::content_tools() + Self::asking_tools() + Self::task_tools() }
    }
}

#[expect(deprecated, reason = "the suite for older clients sets levels and subscribes this way")]
#[tool_handler(router = self.tool_router)]
impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("freehold-conformance", env!("CARGO_PKG_VERSION")))
    }

    async fn list_prompts(&self, _: Option<PaginatedRequestParams>, _: Cx) -> Result<ListPromptsResult, ErrorData> {
        Ok(prompts::list())
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, context: Cx) -> Result<GetPromptResponse, ErrorData> {
        let ask = Ask::of_prompt(&request, &context)?;
        prompts::get(request, &ask).await
    }

    async fn list_resources(&self, _: Option<PaginatedRequestParams>, _: Cx) -> Result<ListResourcesResult, ErrorData> {
        Ok(files::list())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Cx,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(files::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Cx,
    ) -> Result<ReadResourceResponse, ErrorData> {
        files::read(&request.uri).map(Into::into)
    }

    async fn list_skills(&self, _: Option<PaginatedRequestParams>, _: Cx) -> Result<ListSkillsResult, ErrorData> {
        Ok(files::skills())
    }

    async fn get_skill(&self, request: GetSkillRequestParams, _: Cx) -> Result<GetSkillResult, ErrorData> {
        files::skill(&request.uri)
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        _: Cx,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        files::directory(&request.uri)
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Cx) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Cx) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Cx) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn complete(&self, request: CompleteRequestParams, _: Cx) -> Result<CompleteResult, ErrorData> {
        let known: &[&str] = match &request.r#ref {
            Reference::Prompt(_) => &["testing", "test value", "other"],
            _ => &["123", "456"],
        };
        let fitting = known.iter().filter(|value| value.starts_with(&request.argument.value));
        let values = fitting.map(|value| (*value).to_owned()).collect();
        let values = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(values))
    }
}

fn main() -> std::process::ExitCode {
    let count = Migration {
        name: "0001_count".into(),
        sql: "CREATE TABLE count (value INTEGER NOT NULL) STRICT; INSERT INTO count VALUES (0);".into(),
    };
    Host::new(|_tenant| Fixture::new()).migrations([count]).packs([]).run()
}
