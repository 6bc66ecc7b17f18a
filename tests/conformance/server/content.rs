//! Tools that return, report or refuse, and ask nobody.

use std::time::Duration;

use freehold::{List, Tenant};
use rmcp::handler::server::wrapper::{Json, Parameters};
#[expect(deprecated, reason = "the suite has tools that log")]
use rmcp::model::{
    AudioContent, CallToolResult, ClientCapabilities, ContentBlock, JsonObject, LoggingLevel,
    LoggingMessageNotificationParam, ProgressNotificationParam, ResourceContents,
};
use rmcp::{ErrorData, schemars, tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Cx, Fixture};

/// One red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";
/// Silence.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

#[derive(Deserialize, schemars::JsonSchema)]
struct Header {
    value: String,
}

#[derive(Serialize, schemars::JsonSchema)]
struct Count {
    value: i64,
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

fn schema_2020_12() -> JsonObject {
    object(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "address",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
        }},
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    }))
}

fn schema_header() -> JsonObject {
    object(json!({
        "type": "object",
        "properties": { "value": { "type": "string", "x-mcp-header": "Value" } },
        "required": ["value"],
    }))
}

fn document(uri: &str, mime: &str, text: &str) -> ContentBlock {
    let (uri, text) = (uri.to_owned(), text.to_owned());
    ContentBlock::resource(ResourceContents::TextResourceContents {
        uri,
        mime_type: Some(mime.to_owned()),
        text,
        meta: None,
    })
}

#[expect(deprecated, reason = "the suite has tools that log")]
#[tool_router(router = content_tools, vis = "pub(crate)")]
impl Fixture {
    /// What this server is for. First by name: the suite tries headers on whichever tool is listed first.
    #[tool]
    async fn about(&self) -> String {
        "Fixtures of the MCP conformance suite.".to_owned()
    }

    /// A line of text.
    #[tool]
    async fn test_simple_text(&self) -> String {
        "This is a simple text response for testing.".to_owned()
    }

    /// A picture.
    #[tool]
    async fn test_image_content(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::image(PNG, "image/png")])
    }

    /// A sound.
    #[tool]
    async fn test_audio_content(&self) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::Audio(AudioContent::new(WAV, "audio/wav"))])
    }

    /// A resource within the answer.
    #[tool]
    async fn test_embedded_resource(&self) -> CallToolResult {
        let text = "This is an embedded resource content.";
        CallToolResult::success(vec![document("test://embedded-resource", "text/plain", text)])
    }

    /// Text, picture and resource in one answer.
    #[tool]
    async fn test_multiple_content_types(&self) -> CallToolResult {
        CallToolResult::success(vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            document("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ])
    }

    /// Logs three lines.
    #[tool]
    async fn test_tool_with_logging(&self, context: Cx) -> String {
        for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
            let line = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
            // Nobody listens: the work goes on.
            let _ = context.peer.notify_logging_message(line).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        "Logging test completed".to_owned()
    }

    /// Logs only where the request asks for it.
    #[tool]
    async fn test_logging_tool(&self, context: Cx) -> String {
        if let Some(level) = context.meta.log_level() {
            let line = LoggingMessageNotificationParam::new(level, json!("a level was asked for"));
            let _ = context.peer.notify_logging_message(line).await;
        }
        "Logging tool completed".to_owned()
    }

    /// Refuses.
    #[tool]
    async fn test_error_handling(&self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text("This tool intentionally returns an error for testing")])
    }

    /// Reports how far it is.
    #[tool]
    async fn test_tool_with_progress(&self, context: Cx) -> String {
        for done in [0.0, 50.0, 100.0] {
            if let Some(token) = context.meta.get_progress_token() {
                let report = ProgressNotificationParam::new(token, done).with_total(100.0);
                let _ = context.peer.notify_progress(report).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        "Progress test completed".to_owned()
    }

    /// Answers late enough for a client to come back.
    #[tool]
    async fn test_reconnection(&self) -> String {
        tokio::time::sleep(Duration::from_millis(100)).await;
        "Reconnection test completed".to_owned()
    }

    /// A schema with everything of JSON Schema 2020-12.
    #[tool(input_schema = std::sync::Arc::new(schema_2020_12()))]
    async fn json_schema_2020_12_tool(&self) -> String {
        "Listed".to_owned()
    }

    /// An argument that is repeated in a header (SEP-2243).
    #[tool(input_schema = std::sync::Arc::new(schema_header()))]
    async fn test_custom_header(&self, Parameters(header): Parameters<Header>) -> String {
        header.value
    }

    /// Needs a client that samples.
    #[tool]
    async fn test_missing_capability(&self, context: Cx) -> Result<String, ErrorData> {
        if context.client_capabilities().is_some_and(|able| able.sampling.is_some()) {
            return Ok("Required capability declared".to_owned());
        }
        let required = ClientCapabilities::builder().enable_sampling().build();
        Err(ErrorData::missing_required_client_capability(required))
    }

    /// Counts one up, durably, and tells whoever subscribed to the watched resource. Not the suite's: the tests with
    /// foreign clients count with it across a restart.
    #[tool]
    async fn increment(&self, tenant: Tenant) -> freehold::Result<Json<Count>> {
        let counted = tenant
            .write(|tx| Ok(tx.query_row("UPDATE count SET value = value + 1 RETURNING value", [], |row| row.get(0))?))
            .await?;
        tenant.notify("test://watched-resource");
        Ok(Json(Count { value: counted }))
    }

    /// Tells whoever listens that the tools have changed.
    #[tool]
    async fn test_trigger_tool_change(&self, tenant: Tenant) -> String {
        tenant.list_changed(List::Tools);
        "Tool list change triggered".to_owned()
    }

    /// Tells whoever listens that the prompts have changed.
    #[tool]
    async fn test_trigger_prompt_change(&self, tenant: Tenant) -> String {
        tenant.list_changed(List::Prompts);
        "Prompt list change triggered".to_owned()
    }
}
