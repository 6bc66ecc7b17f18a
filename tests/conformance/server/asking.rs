//! Tools that ask the user, the model or the client, each the same in both generations.

use freehold::Ask;
use rmcp::handler::server::wrapper::Parameters;
#[expect(deprecated, reason = "the suite still samples and lists roots")]
use rmcp::model::{
    CallToolResult, ContentBlock, CreateMessageRequest, CreateMessageRequestParams, ElicitRequest, ElicitRequestParams,
    InputRequest, InputRequests, ListRootsRequest, SamplingMessage,
};
use rmcp::{ErrorData, schemars, tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Cx, Fixture};

#[derive(Deserialize, schemars::JsonSchema)]
struct Prompt {
    /// What to ask.
    prompt: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Message {
    /// What to show.
    message: String,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
pub(crate) struct Name {
    pub(crate) name: String,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
struct Color {
    color: String,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
struct Confirmation {
    ok: bool,
}

/// A form with these fields.
pub(crate) fn form(message: &str, properties: &Value, required: &[&str]) -> Result<InputRequest, ErrorData> {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let requested_schema =
        serde_json::from_value(schema).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let form = ElicitRequestParams::FormElicitationParams { meta: None, message: message.to_owned(), requested_schema };
    Ok(InputRequest::Elicitation(ElicitRequest::new(form)))
}

#[expect(deprecated, reason = "the suite still samples")]
fn sampling(prompt: &str) -> InputRequest {
    let params = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    InputRequest::CreateMessage(CreateMessageRequest::new(params))
}

#[expect(deprecated, reason = "the suite still lists roots")]
fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

async fn one(ask: &Ask, key: &str, request: InputRequest) -> Result<Value, ErrorData> {
    let mut answers = ask.answers(InputRequests::from([(key.to_owned(), request)])).await?;
    Ok(answers.remove(key).unwrap_or_default())
}

fn said(sampled: &Value) -> String {
    sampled["content"]["text"]
        .as_str()
        .or_else(|| sampled["content"][0]["text"].as_str())
        .unwrap_or("no text")
        .to_owned()
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

#[tool_router(router = asking_tools, vis = "pub(crate)")]
impl Fixture {
    /// Asks the model of the client.
    #[tool]
    async fn test_sampling(&self, ask: Ask, Parameters(with): Parameters<Prompt>) -> Result<CallToolResult, ErrorData> {
        let answer = one(&ask, "llm", sampling(&with.prompt)).await?;
        Ok(text(format!("LLM response: {}", said(&answer))))
    }

    /// Asks for a name and an address.
    #[tool]
    async fn test_elicitation(
        &self,
        ask: Ask,
        Parameters(with): Parameters<Message>,
    ) -> Result<CallToolResult, ErrorData> {
        let fields = json!({
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        });
        let answer = one(&ask, "user", form(&with.message, &fields, &["username", "email"])?).await?;
        Ok(text(format!("User response: {answer}")))
    }

    /// Asks with a default in each field (SEP-1034).
    #[tool]
    async fn test_elicitation_sep1034_defaults(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let fields = json!({
            "name": { "type": "string", "description": "User's name", "default": "John Doe" },
            "age": { "type": "integer", "description": "User's age", "default": 30 },
            "score": { "type": "number", "description": "User's score", "default": 95.5 },
            "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "description": "Verified", "default": true },
        });
        let answer = one(&ask, "defaults", form("Please review the values", &fields, &[])?).await?;
        Ok(text(format!("Elicitation completed: {answer}")))
    }

    /// Asks with every kind of choice (SEP-1330).
    #[tool]
    async fn test_elicitation_sep1330_enums(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let titled = json!([
            { "const": "value1", "title": "First Option" },
            { "const": "value2", "title": "Second Option" },
            { "const": "value3", "title": "Third Option" },
        ]);
        let fields = json!({
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": { "type": "string", "oneOf": titled },
            "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"] },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": ["option1", "option2", "option3"] } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled } },
        });
        let answer = one(&ask, "choices", form("Please choose", &fields, &[])?).await?;
        Ok(text(format!("Elicitation completed: {answer}")))
    }

    /// Asks in the answer to the call.
    #[tool]
    async fn test_streaming_elicitation(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let name: Name = ask.form("streaming", "Provide a name").await?;
        Ok(text(name.name))
    }

    /// Asks for a name.
    #[tool]
    async fn test_input_required_result_elicitation(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let name: Name = ask.form("user_name", "What is your name?").await?;
        Ok(text(format!("Hello, {}!", name.name)))
    }

    /// Asks the model of the client.
    #[tool]
    async fn test_input_required_result_sampling(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let answer = one(&ask, "capital_question", sampling("What is the capital of France?")).await?;
        Ok(text(said(&answer)))
    }

    /// Asks for the client's roots.
    #[tool]
    async fn test_input_required_result_list_roots(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let answer = one(&ask, "client_roots", roots()).await?;
        Ok(text(format!("Client roots: {}", answer["roots"])))
    }

    /// Asks, and knows by its state that it did.
    #[tool]
    async fn test_input_required_result_request_state(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        Self::confirmed(&ask).await
    }

    /// The same, for states that were tampered with.
    #[tool]
    async fn test_input_required_result_tampered_state(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        Self::confirmed(&ask).await
    }

    /// Asks three ways at once.
    #[tool]
    async fn test_input_required_result_multiple_inputs(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let name = form("What is your name?", &json!({ "name": { "type": "string" } }), &["name"])?;
        let questions = [("user_name", name), ("greeting", sampling("Generate a greeting")), ("client_roots", roots())];
        let answers = ask.answers(questions.map(|(key, request)| (key.to_owned(), request)).into()).await?;
        Ok(text(format!("{} answers received", answers.len())))
    }

    /// Asks twice, one after the other.
    #[tool]
    async fn test_input_required_result_multi_round(&self, ask: Ask) -> Result<CallToolResult, ErrorData> {
        let name: Name = ask.form("step1", "Step 1: What is your name?").await?;
        let color: Color = ask.form("step2", "Step 2: What is your favorite color?").await?;
        Ok(text(format!("{} likes {}", name.name, color.color)))
    }

    /// Asks only what the client can answer.
    #[tool]
    async fn test_input_required_result_capabilities(
        &self,
        ask: Ask,
        context: Cx,
    ) -> Result<CallToolResult, ErrorData> {
        let able = context.client_capabilities().unwrap_or_default();
        let mut questions = InputRequests::new();
        if able.elicitation.is_some() {
            let name = form("What is your name?", &json!({ "name": { "type": "string" } }), &["name"])?;
            questions.insert("user_name".to_owned(), name);
        }
        if able.sampling.is_some() {
            questions.insert("greeting".to_owned(), sampling("Generate a greeting"));
        }
        if able.roots.is_some() {
            questions.insert("client_roots".to_owned(), roots());
        }
        let answers = ask.answers(questions).await?;
        Ok(text(format!("{} answers received", answers.len())))
    }

    async fn confirmed(ask: &Ask) -> Result<CallToolResult, ErrorData> {
        let answer: Confirmation = ask.form("confirm", "Please confirm").await?;
        Ok(text(format!("state-ok: {}", answer.ok)))
    }
}
