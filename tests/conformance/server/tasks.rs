//! Tools that may run as tasks (SEP-2663).

use std::time::Duration;

use freehold::{Ask, Tasks};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::{ErrorData, schemars, tool, tool_router};
use serde::Deserialize;
use serde_json::json;

use crate::Fixture;
use crate::asking::{Name, form};

#[derive(Deserialize, schemars::JsonSchema)]
struct Compute {
    seconds: Option<f64>,
    label: Option<String>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct File {
    filename: Option<String>,
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

#[tool_router(router = task_tools, vis = "pub(crate)")]
impl Fixture {
    /// Greets at once, and never as a task.
    #[tool]
    async fn greet(&self, Parameters(name): Parameters<Name>) -> String {
        format!("Hello, {}!", name.name)
    }

    /// Takes its time.
    #[tool]
    async fn slow_compute(
        &self,
        tasks: Tasks,
        Parameters(with): Parameters<Compute>,
    ) -> Result<CallToolResponse, ErrorData> {
        let wait = Duration::try_from_secs_f64(with.seconds.unwrap_or(1.0))
            .map_err(|_| ErrorData::invalid_params("seconds is no time to wait", None))?;
        tasks
            .run(move |_| async move {
                tokio::time::sleep(wait).await;
                Ok(text(format!("{} after {} s", with.label.unwrap_or_default(), wait.as_secs_f64())))
            })
            .await
    }

    /// Ends with a refusal.
    #[tool]
    async fn failing_job(&self, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        let refusal = || CallToolResult::error(vec![ContentBlock::text("failing_job: refused on purpose")]);
        tasks.required()?.run(move |_| async move { Ok(refusal()) }).await
    }

    /// Ends with an error of the protocol.
    #[tool]
    async fn protocol_error_job(&self, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        tasks.run(|_| async { Err(ErrorData::internal_error("protocol_error_job: failed on purpose", None)) }).await
    }

    /// Asks before it goes on.
    #[tool]
    async fn confirm_delete(
        &self,
        tasks: Tasks,
        Parameters(file): Parameters<File>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = file.filename.unwrap_or_default();
        let question = form(&format!("Delete {name}?"), &json!({ "confirm": { "type": "boolean" } }), &["confirm"])?;
        tasks
            .required()?
            .run(move |task| async move {
                let answer = task.ask("confirm", question).await?;
                Ok(text(format!("{name}: {}", answer["content"]["confirm"])))
            })
            .await
    }

    /// Asks two things side by side.
    #[tool]
    async fn multi_input(&self, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        let value = json!({ "value": { "type": "string" } });
        let (first, second) =
            (form("Provide value A", &value, &["value"])?, form("Provide value B", &value, &["value"])?);
        tasks
            .required()?
            .run(move |task| async move {
                let (a, b) = tokio::try_join!(task.ask("input-a", first), task.ask("input-b", second))?;
                Ok(text(format!("{} and {}", a["content"]["value"], b["content"]["value"])))
            })
            .await
    }

    /// Asks first, then goes on as a task.
    #[tool]
    async fn test_tool_with_task(&self, ask: Ask, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        let tasks = tasks.required()?;
        let name: Name = ask.form("user_name", "What is your name?").await?;
        tasks.run(move |_| async move { Ok(text(format!("Hello, {}!", name.name))) }).await
    }
}
