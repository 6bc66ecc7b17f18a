//! The suite's prompts.

use freehold::Ask;
use rmcp::model::{
    ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ImageContent, ListPromptsResult, Prompt,
    PromptArgument, PromptMessage, Role,
};
use rmcp::{ErrorData, schemars};
use serde::Deserialize;
use serde_json::Value;

use crate::content::PNG;

#[derive(Deserialize, schemars::JsonSchema)]
struct Context {
    context: String,
}

pub(crate) fn list() -> ListPromptsResult {
    let argument = |name: &str, required| PromptArgument::new(name).with_required(required);
    let prompts = [
        ("test_simple_prompt", None),
        ("test_prompt_with_arguments", Some(vec![argument("arg1", true), argument("arg2", true)])),
        ("test_prompt_with_embedded_resource", Some(vec![argument("resourceUri", true)])),
        ("test_prompt_with_image", None),
        ("test_input_required_result_prompt", None),
    ];
    let prompts = prompts.map(|(name, arguments)| Prompt::new(name, Some("A prompt of the suite"), arguments));
    ListPromptsResult { prompts: prompts.into(), ..Default::default() }
}

pub(crate) async fn get(request: GetPromptRequestParams, ask: &Ask) -> Result<GetPromptResponse, ErrorData> {
    let arguments = request.arguments.unwrap_or_default();
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let line = |text: String| PromptMessage::new_text(Role::User, text);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![line("This is a simple prompt for testing.".to_owned())],
        "test_prompt_with_arguments" => {
            vec![line(format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1"), argument("arg2")))]
        }
        "test_prompt_with_embedded_resource" => {
            let (mime, text) = (Some("text/plain".to_owned()), Some("Embedded resource content.".to_owned()));
            let resource =
                PromptMessage::new_resource(Role::User, argument("resourceUri"), mime, text, None, None, None);
            vec![resource, line("Please process the embedded resource above.".to_owned())]
        }
        "test_prompt_with_image" => {
            let image = ContentBlock::Image(ImageContent::new(PNG, "image/png"));
            vec![PromptMessage::new(Role::User, image), line("Please analyze the image above.".to_owned())]
        }
        "test_input_required_result_prompt" => {
            let answer: Context = ask.form("user_context", "What context should the prompt use?").await?;
            vec![line(format!("Use the following context: {}", answer.context))]
        }
        _ => return Err(ErrorData::invalid_params("there is no such prompt", None)),
    };
    Ok(GetPromptResult::new(messages).into())
}
