//! Which scope a tool needs: what its author wrote into `_meta`, else what its annotations say.

use rmcp::model::Tool;
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};

use crate::auth::{Scope, insufficient};
use crate::tenant::{Handle, Tenant};

/// The key in a tool's `_meta` that names its scope: `read`, `write` or `admin`.
const SCOPE: &str = "freehold/scope";

/// A tool that says that it only reads needs `read`; every other one `write`, as the specification takes a
/// tool without annotations to change things. A word that is no scope needs `admin`: a slip must not open
/// what was to be shut.
pub(super) fn scope_of(tool: &Tool) -> Scope {
    if let Some(named) = tool.meta.as_ref().and_then(|meta| meta.0.get(SCOPE)) {
        return named.as_str().and_then(Scope::named).unwrap_or(Scope::Admin);
    }
    let only_reads = tool.annotations.as_ref().and_then(|annotations| annotations.read_only_hint);
    if only_reads == Some(true) { Scope::Read } else { Scope::Write }
}

/// Refuses a call that the caller's token does not grant; `scope` is what the tool needs, if it is described.
/// The edge has asked the same of most calls: this is for a server that only lists its tools, and for what
/// comes past the edge.
pub(super) async fn permit<S: ServerHandler>(
    server: &S,
    handle: &Handle,
    name: &str,
    scope: Option<Scope>,
    context: &mut RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    let Some(tenant) = context.extensions.get::<Tenant>() else { return Ok(()) };
    let caller = tenant.principal().clone();
    let scope = match scope {
        Some(scope) => scope,
        None if caller.scopes().allow(Scope::Write) => return Ok(()),
        None => {
            let listed = server.list_tools(None, context.clone()).await?;
            let tool = listed.tools.iter().find(|tool| tool.name == name).map(scope_of);
            let missing = "there is no such tool: `tools/list` names those there are";
            tool.ok_or_else(|| ErrorData::invalid_params(missing, None))?
        }
    };
    if caller.scopes().allow(scope) {
        return Ok(());
    }
    if !caller.scopes().names_tool(name) {
        return Err(insufficient(scope).into());
    }
    // The tool does what it does, whoever may call it.
    context.extensions.insert(handle.on_behalf_of(caller.raised_to(scope))?);
    Ok(())
}
