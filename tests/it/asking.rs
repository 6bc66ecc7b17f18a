//! Questions to the user from 2026-07-28 on: asked by the answer to the call, answered with the next call, and
//! good for that caller and that call alone.

use freehold::{Ask as Question, Clock as _, Host, Tenant, TestHost};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{schemars, tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::wire::Ask;
use crate::support::{refusal, start};

struct Vault;

#[derive(Deserialize, schemars::JsonSchema)]
struct Which {
    name: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Age {
    age: u32,
}

#[derive(Deserialize, Serialize)]
struct Plan {
    step: u32,
}

#[tool_router(server_handler)]
impl Vault {
    #[tool]
    async fn burn(
        &self,
        tenant: Tenant,
        ask: Question,
        Parameters(which): Parameters<Which>,
    ) -> freehold::Result<String> {
        ask.confirm("burn", format!("Burn {}?", which.name)).await?;
        Ok(format!("{} of {} is gone", which.name, tenant.id()))
    }

    #[tool]
    async fn ages(&self, ask: Question) -> freehold::Result<String> {
        let plan = ask.kept::<Plan>()?.unwrap_or(Plan { step: 0 });
        ask.keep(&Plan { step: plan.step + 1 })?;
        let mine: Age = ask.form("mine", "How old are you?").await?;
        let yours: Age = ask.form("yours", "And they?").await?;
        Ok(format!("{} after {} rounds", mine.age + yours.age, plan.step))
    }

    #[tool]
    async fn backwards(&self, Parameters(_): Parameters<Which>, ask: Question) -> freehold::Result<String> {
        ask.confirm("never", "Never asked").await?;
        Ok(String::new())
    }
}

fn vault() -> TestHost {
    start(Host::new(|_tenant| Vault), &["acme", "globex"], |_| {})
}

/// A call of a client that can show forms, and what it brings back with it.
fn call(tool: &str, arguments: Value, answers: Value, state: &Value) -> Ask {
    let mut params = json!({ "name": tool, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    }});
    params["arguments"] = arguments;
    if !answers.is_null() {
        params["inputResponses"] = answers;
    }
    if !state.is_null() {
        params["requestState"] = state.clone();
    }
    Ask::post(crate::support::wire::rpc("tools/call", &params))
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool)
}

fn yes() -> Value {
    json!({ "burn": { "action": "accept", "content": { "confirm": true } } })
}

async fn asked(host: &TestHost, call: Ask) -> Value {
    let answer = call.of(host, "acme").send(host).await.json();
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    assert!(answer["result"]["requestState"].is_string(), "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn a_tool_goes_on_when_its_question_is_answered() {
    let host = vault();
    let old = json!({ "name": "the letters" });
    let question = asked(&host, call("burn", old.clone(), Value::Null, &Value::Null)).await;
    assert_eq!(question["inputRequests"]["burn"]["params"]["message"], "Burn the letters?");
    let state = &question["requestState"];
    let done = call("burn", old.clone(), yes(), state).of(&host, "acme").send(&host).await.json();
    assert_eq!(done["result"]["content"][0]["text"], "the letters of acme is gone", "{done}");
    // A no is a refusal that the model reads, and no question again.
    let no = json!({ "burn": { "action": "decline" } });
    let declined = call("burn", old, no, state).of(&host, "acme").send(&host).await.json();
    assert!(refusal(&declined).contains("declined"), "{declined}");
}

#[tokio::test]
async fn a_confirmation_that_nobody_asked_for_is_none() {
    let host = vault();
    asked(&host, call("burn", json!({ "name": "x" }), yes(), &Value::Null)).await;
}

#[tokio::test]
async fn rounds_add_up_and_what_is_unfit_is_asked_again() {
    let host = vault();
    let form = |age: Value| json!({ "action": "accept", "content": { "age": age } });
    let first = asked(&host, call("ages", json!({}), Value::Null, &Value::Null)).await;
    let unfit = json!({ "mine": form(json!("old")) });
    let again = asked(&host, call("ages", json!({}), unfit, &first["requestState"])).await;
    assert!(again["inputRequests"]["mine"].is_object(), "{again}");
    let mine = json!({ "mine": form(json!(30)), "else": 1 });
    let second = asked(&host, call("ages", json!({}), mine, &again["requestState"])).await;
    assert!(second["inputRequests"]["yours"].is_object() && second["inputRequests"]["mine"].is_null(), "{second}");
    let yours = json!({ "yours": form(json!(12)) });
    let done = call("ages", json!({}), yours, &second["requestState"]).of(&host, "acme").send(&host).await.json();
    assert_eq!(done["result"]["content"][0]["text"], "42 after 3 rounds", "{done}");
}

#[tokio::test]
async fn a_state_is_good_for_its_own_caller_and_call_and_for_ten_minutes() {
    let host = vault();
    let arguments = json!({ "name": "x" });
    let question = asked(&host, call("burn", arguments.clone(), Value::Null, &Value::Null)).await;
    let state = &question["requestState"];
    let mut forged = state.as_str().expect("text").to_owned();
    forged.push('A');
    let attempts = [
        ("a forged state", call("burn", arguments.clone(), yes(), &json!(forged)).of(&host, "acme")),
        ("another tenant", call("burn", arguments.clone(), yes(), state).of(&host, "globex")),
        ("other arguments", call("burn", json!({ "name": "y" }), yes(), state).of(&host, "acme")),
        ("another tool", call("ages", json!({}), yes(), state).of(&host, "acme")),
    ];
    let mut said = Vec::new();
    for (what, attempt) in attempts {
        let answer = attempt.send(&host).await.json();
        assert_eq!(answer["error"]["code"], -32602, "{what}: {answer}");
        said.push(answer["error"]["message"].clone());
    }
    host.clock().set(host.clock().unix_seconds() + 601);
    let late = call("burn", arguments.clone(), yes(), state).of(&host, "acme").send(&host).await.json();
    said.push(late["error"]["message"].clone());
    assert!(said.iter().all(|message| *message == said[0] && message.is_string()), "told apart: {said:?}");
}

#[tokio::test]
async fn a_state_outlives_a_restart() {
    let host = vault();
    let arguments = json!({ "name": "x" });
    let question = asked(&host, call("burn", arguments.clone(), Value::Null, &Value::Null)).await;
    let host = host.restart().await.expect("starts again");
    let done = call("burn", arguments, yes(), &question["requestState"]).of(&host, "acme").send(&host).await.json();
    assert_eq!(done["result"]["content"][0]["text"], "x of acme is gone", "{done}");
}

#[tokio::test]
async fn a_client_that_can_not_ask_is_told_what_it_lacks() {
    let host = vault();
    let answer = Ask::tool("burn", &json!({ "name": "x" })).of(&host, "acme").send(&host).await;
    assert_eq!(answer.status, 400);
    let said = answer.json();
    assert_eq!(said["error"]["code"], -32021, "{said}");
    assert!(said["error"]["data"]["requiredCapabilities"]["elicitation"].is_object(), "{said}");
}

#[tokio::test]
async fn a_question_that_would_not_see_its_arguments_is_refused() {
    let host = vault();
    let call = call("backwards", json!({ "name": "x" }), Value::Null, &Value::Null);
    let answer = call.of(&host, "acme").send(&host).await.json();
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
}
