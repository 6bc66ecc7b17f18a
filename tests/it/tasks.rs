//! Tasks: begun by a call, fetched by whoever began them and nobody else, and there after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freehold::{Clock as _, Host, Tasks, Tenant, TestHost};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ElicitRequest, ElicitRequestParams, InputRequest,
    ServerCapabilities, ServerConfig,
};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::wire::{Ask, rpc};
use crate::support::{PATIENCE, soon, start};

/// Tools whose work waits at a gate that the test opens.
struct Works {
    gate: Arc<Semaphore>,
    dropped: Arc<AtomicUsize>,
    tool_router: ToolRouter<Self>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn text(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

#[tool_router]
impl Works {
    #[tool]
    async fn wait(&self, tenant: Tenant, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        let (gate, dropped) = (Arc::clone(&self.gate), Dropped(Arc::clone(&self.dropped)));
        let work = move |task: freehold::TaskContext| async move {
            let _dropped = dropped;
            task.say("at the gate");
            gate.acquire().await.expect("a gate").forget();
            Ok(text(tenant.id().as_str()))
        };
        tasks.run(work).await
    }

    #[tool]
    async fn greet(&self, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        let work = |task: freehold::TaskContext| async move {
            let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } } });
            let form = ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: "Who?".to_owned(),
                requested_schema: serde_json::from_value(schema).expect("a form"),
            };
            let answer = task.ask("who", InputRequest::Elicitation(ElicitRequest::new(form))).await?;
            Ok(text(answer["content"]["name"].as_str().unwrap_or_default()))
        };
        tasks.required()?.run(work).await
    }

    #[tool]
    async fn fall(&self, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
        tasks.run(|_| async { panic!("on purpose") }).await
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Works {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tasks().build())
    }
}

struct Bench {
    host: TestHost,
    gate: Arc<Semaphore>,
    dropped: Arc<AtomicUsize>,
}

fn bench(edit: impl FnOnce(&mut freehold::Settings)) -> Bench {
    let (gate, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (theirs, falls) = (Arc::clone(&gate), Arc::clone(&dropped));
    let make =
        move |_| Works { gate: Arc::clone(&theirs), dropped: Arc::clone(&falls), tool_router: Works::tool_router() };
    Bench { host: start(Host::new(make), &["acme", "globex"], edit), gate, dropped }
}

/// A request of a client that knows tasks.
fn request(method: &str, name: &str, mut params: Value) -> Ask {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} },
        },
    });
    Ask::post(rpc(method, &params))
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", name)
}

fn tool(name: &str) -> Ask {
    request("tools/call", name, json!({ "name": name, "arguments": {} }))
}

async fn begin(host: &TestHost, name: &str) -> String {
    let answer = tool(name).of(host, "acme").send(host).await.json();
    assert_eq!(answer["result"]["resultType"], "task", "{answer}");
    answer["result"]["taskId"].as_str().expect("an id").to_owned()
}

async fn get(host: &TestHost, tenant: &str, id: &str) -> Value {
    request("tasks/get", id, json!({ "taskId": id })).of(host, tenant).send(host).await.json()
}

/// The task once it is no longer what it was.
async fn past(host: &TestHost, id: &str, status: &str) -> Value {
    let watch = async {
        loop {
            let task = get(host, "acme", id).await;
            if task["result"]["status"] != status {
                return task["result"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.expect("a task that goes on")
}

fn generous(settings: &mut freehold::Settings) {
    // The watch above asks as fast as it can.
    settings.limits.requests_per_second = 0;
    settings.limits.principal_requests_per_second = 0;
}

#[tokio::test]
async fn a_task_is_fetched_by_its_owner_alone_and_outlives_a_restart() {
    let Bench { host, gate, .. } = bench(generous);
    let id = begin(&host, "wait").await;
    let working = get(&host, "acme", &id).await;
    assert_eq!(working["result"]["status"], "working", "{working}");
    let strangers = get(&host, "globex", &id).await;
    assert_eq!(strangers["error"]["code"], -32602, "{strangers}");
    assert_eq!(get(&host, "acme", "nothing").await["error"]["message"], strangers["error"]["message"]);
    gate.add_permits(1);
    let done = past(&host, &id, "working").await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["result"]["content"][0]["text"], "acme", "{done}");
    let host = host.restart().await.expect("starts again");
    let later = get(&host, "acme", &id).await;
    assert_eq!(later["result"]["result"], done["result"], "{later}");
    // An hour after its end it is gone.
    host.clock().set(host.clock().unix_seconds() + 3_600);
    assert_eq!(get(&host, "acme", &id).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_task_that_the_process_took_with_it_says_so() {
    let Bench { host, .. } = bench(generous);
    let id = begin(&host, "wait").await;
    let host = host.restart().await.expect("starts again");
    let task = get(&host, "acme", &id).await;
    assert_eq!(task["result"]["status"], "failed", "{task}");
    let said = task["result"]["error"]["message"].as_str().expect("words");
    assert!(said.contains("stopped while this task ran"), "{said}");
}

/// Tasks that a process took with it, and for which nobody has asked since, are no room taken for ever.
#[tokio::test]
async fn what_nobody_asked_for_makes_room() {
    let Bench { host, .. } = bench(|settings| {
        generous(settings);
        (settings.limits.tasks, settings.limits.task_ttl) = (2, std::time::Duration::from_secs(60));
    });
    for _ in 0..2 {
        begin(&host, "wait").await;
    }
    let host = host.restart().await.expect("starts again");
    let full = tool("wait").of(&host, "acme").send(&host).await.json();
    assert_eq!(full["error"]["data"]["limit"], "tasks", "{full}");
    host.clock().set(host.clock().unix_seconds() + 120);
    begin(&host, "wait").await;
}

#[tokio::test]
async fn cancelling_ends_the_work() {
    let Bench { host, dropped, .. } = bench(generous);
    let id = begin(&host, "wait").await;
    let foreign = request("tasks/cancel", &id, json!({ "taskId": id })).of(&host, "globex").send(&host).await.json();
    assert_eq!(foreign["error"]["code"], -32602, "{foreign}");
    let ended = request("tasks/cancel", &id, json!({ "taskId": id })).of(&host, "acme").send(&host).await.json();
    assert_eq!(ended["result"]["resultType"], "complete", "{ended}");
    assert_eq!(past(&host, &id, "working").await["status"], "cancelled");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_task_asks_and_goes_on_with_the_answer() {
    let Bench { host, .. } = bench(generous);
    let id = begin(&host, "greet").await;
    let asks = past(&host, &id, "working").await;
    assert_eq!(asks["status"], "input_required", "{asks}");
    assert_eq!(asks["inputRequests"]["who"]["params"]["message"], "Who?", "{asks}");
    let answers = json!({ "who": { "action": "accept", "content": { "name": "Ada" } }, "else": {} });
    let update = json!({ "taskId": id, "inputResponses": answers });
    let taken = request("tasks/update", &id, update).of(&host, "acme").send(&host).await.json();
    assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    let watch = async {
        loop {
            let task = get(&host, "acme", &id).await;
            if task["result"]["status"] == "completed" {
                return task["result"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon(watch).await["result"]["content"][0]["text"], "Ada");
}

#[tokio::test]
async fn without_tasks_the_work_is_done_within_the_call() {
    let Bench { host, gate, .. } = bench(|_| {});
    gate.add_permits(1);
    let answer = host.call("acme", "wait", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "acme", "{answer}");
    let required = host.call("acme", "greet", json!({})).await;
    assert_eq!(required["error"]["code"], -32021, "{required}");
}

#[tokio::test]
async fn a_panic_fails_the_task_and_tells_nothing() {
    let Bench { host, .. } = bench(generous);
    let id = begin(&host, "fall").await;
    let task = past(&host, &id, "working").await;
    assert_eq!(task["status"], "failed", "{task}");
    assert_eq!(task["error"]["message"], "internal error", "{task}");
}

#[tokio::test]
async fn tasks_are_bounded_running_and_kept() {
    let Bench { host, gate, .. } = bench(|settings| {
        generous(settings);
        settings.limits.tasks_running = 2;
        settings.limits.tasks = 3;
    });
    let (first, second) = (begin(&host, "wait").await, begin(&host, "wait").await);
    let third = tool("wait").of(&host, "acme").send(&host).await.json();
    assert_eq!(third["error"]["data"]["limit"], "tasks_running", "{third}");
    gate.add_permits(2);
    past(&host, &first, "working").await;
    past(&host, &second, "working").await;
    gate.add_permits(1);
    begin(&host, "wait").await;
    let fourth = tool("wait").of(&host, "acme").send(&host).await.json();
    assert_eq!(fourth["error"]["data"]["limit"], "tasks", "{fourth}");
}
