//! What a model reads when a tool says no, and what it reads when we failed.
//!
//! A refusal is a tool result with `isError`, for the model can mend it. A failure of the host is a
//! JSON-RPC error that tells nothing but that it happened (specification, server/tools, "Error Handling").

use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorCode};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};

impl IntoCallToolResult for Error {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        if self.kind() == ErrorKind::Internal {
            return Err(self.into());
        }
        let mut result = CallToolResult::error(vec![ContentBlock::text(self.to_string())]);
        if let Value::Object(details) = details(&self) {
            result.meta.get_or_insert_default().insert("freehold/refusal".to_owned(), Value::Object(details));
        }
        Ok(result.into())
    }
}

impl From<Error> for ErrorData {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Internal => {
                tracing::error!(error = error.chain(), "a call failed");
                Self::internal_error("internal error", None)
            }
            ErrorKind::Invalid | ErrorKind::NotFound => Self::invalid_params(error.to_string(), Some(details(&error))),
            // -32000 to -32019: the implementation's own range.
            _ => Self::new(ErrorCode(-32000), error.to_string(), Some(details(&error))),
        }
    }
}

fn details(error: &Error) -> Value {
    let mut details = error.data();
    details["kind"] = json!(format!("{:?}", error.kind()).to_lowercase());
    details
}
