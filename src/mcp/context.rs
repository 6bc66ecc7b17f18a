//! How a tool gets its [`Tenant`]: as one more argument.

use rmcp::ErrorData;
use rmcp::handler::server::common::{AsRequestContext, FromContextPart};

use crate::tenant::Tenant;

impl<C: AsRequestContext> FromContextPart<C> for Tenant {
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        context.as_request_context().extensions.get::<Self>().cloned().ok_or_else(|| {
            ErrorData::internal_error("a tool that takes `Tenant` has to be served by a freehold host", None)
        })
    }
}
