//! Traces as a collector gets them: each call under its caller's span, with what it waited for, nothing that is
//! anybody's secret, and nothing at all in a call's way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use freehold::{Host, Ratio, TestHost};
use http::{Method, StatusCode};
use opentelemetry::trace::TraceContextExt;
use rmcp::handler::server::wrapper::Json;
use rmcp::schemars::{self, JsonSchema};
use rmcp::{tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::collector::{Collector, INTERNAL, SERVER, Seen, endpoint};
use crate::support::process::{Server, call, exchange, freehold, must, output};
use crate::support::wire::{Ask, LEGACY, MODERN, Session, rpc};
use crate::support::{content, plain, refusal, soon, start, until};

const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// The `traceparent` of the trace `number`, and its ids.
fn parent(number: u8, sampled: bool) -> (String, String, &'static str) {
    let (trace, span) = (format!("{number:032x}"), "b7ad6b7169203331");
    (format!("00-{trace}-{span}-0{}", u8::from(sampled)), trace, span)
}

fn create() -> Value {
    json!({ "statements": [{ "sql": "CREATE TABLE IF NOT EXISTS mark (n)" }] })
}

/// A call of 2026-07-28 that carries `meta` too.
fn modern(tool: &str, arguments: &Value, meta: &[(&str, &str)]) -> Ask {
    let mut carried = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (key, value) in meta {
        carried[*key] = json!(value);
    }
    let params = json!({ "name": tool, "arguments": arguments, "_meta": carried });
    Ask::tool(tool, arguments).body(rpc("tools/call", &params))
}

fn request(spans: &[Seen]) -> &Seen {
    let mut all = spans.iter().filter(|span| span.kind == SERVER);
    let first = all.next().expect("a request's span");
    assert!(all.next().is_none(), "one span for each request: {spans:?}");
    first
}

fn under<'a>(spans: &'a [Seen], parent: &Seen) -> Vec<&'a str> {
    let mut steps: Vec<_> = spans.iter().filter(|span| span.parent == parent.id).collect();
    steps.sort_by_key(|span| span.nanos.0);
    steps.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test]
async fn a_call_is_part_of_its_callers_trace_in_both_generations() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| collector.takes(settings));
    let session = Session::open(&host, "a", LEGACY[2]).await;
    for (number, old, in_meta) in [(1, false, false), (2, false, true), (3, true, false), (4, true, true)] {
        let (traceparent, trace, caller) = parent(number, true);
        let carried = [("traceparent", traceparent.as_str()), ("tracestate", "vendor=abc")];
        let in_body: &[_] = if in_meta { &carried } else { &[] };
        let mut ask = if old {
            let meta: serde_json::Map<_, _> =
                in_body.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            let params = json!({ "name": "sql_execute", "arguments": create(), "_meta": meta });
            session.dress(Ask::post(rpc("tools/call", &params)))
        } else {
            modern("sql_execute", &create(), in_body).of(&host, "a")
        };
        if !in_meta {
            ask = carried.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        }
        let answer = ask.send(&host).await;
        content(&answer.json());
        let spans = collector.trace(&trace).await;
        let request = request(&spans);
        assert_eq!((request.name.as_str(), request.parent.as_str()), ("tools/call sql_execute", caller), "{request:?}");
        assert_eq!((request.state.as_str(), &request.links), ("vendor=abc", &Vec::new()), "{request:?}");
        let version = if old { LEGACY[2] } else { MODERN };
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "sql_execute"),
            ("mcp.protocol.version", version),
            ("tenant.id", "a"),
            ("request.id", answer.header("x-request-id")),
            ("network.transport", "tcp"),
            ("http.response.status_code", "200"),
        ] {
            assert_eq!(request.attributes.get(key).map(String::as_str), Some(value), "{key}: {request:?}");
        }
        assert!(!request.failed && !request.attributes.contains_key("error.type"), "{request:?}");
        assert_eq!(under(&spans, request), ["queue", "sqlite write", "sqlite commit"], "{spans:?}");
        for step in &spans {
            let within =
                step.nanos.0 >= request.nanos.0 && step.nanos.0 <= step.nanos.1 && step.nanos.1 <= request.nanos.1;
            assert!(within, "{spans:?}");
        }
        assert_eq!(request.resource["service.name"], "freehold");
        assert!(request.resource.contains_key("service.instance.id"), "{request:?}");
    }
    host.close().await;
}

/// SEP-414 and the conventions for MCP: the message's own parent is the parent, that of the request is linked.
#[tokio::test]
async fn what_the_message_says_goes_before_what_its_request_says() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| collector.takes(settings));
    let (traceparent, trace, _) = parent(5, true);
    let ask = modern("sql_query", &json!({ "sql": "SELECT 1" }), &[("traceparent", &traceparent)]).of(&host, "a");
    content(&ask.header("traceparent", OTHER).send(&host).await.json());
    let spans = collector.trace(&trace).await;
    assert_eq!(request(&spans).links, [OTHER[3..52].to_owned()]);
    assert_eq!(under(&spans, request(&spans)), ["queue", "sqlite read"]);
    // What is no parent to the letter is none.
    let ask = modern("sql_query", &json!({ "sql": "SELECT 1" }), &[("traceparent", "00-nonsense")]).of(&host, "a");
    content(&ask.header("traceparent", OTHER).send(&host).await.json());
    let spans = collector.trace(&OTHER[3..35]).await;
    assert_eq!(request(&spans).parent, OTHER[36..52]);
    host.close().await;
}

/// Sends a call in the trace `number`; its id once it has come, and then all before it have.
async fn marked(host: &TestHost, collector: &Collector, number: u8) -> String {
    let (traceparent, trace, _) = parent(number, true);
    let ask = modern("sql_query", &json!({ "sql": "SELECT 1" }), &[("traceparent", &traceparent)]).of(host, "a");
    content(&ask.send(host).await.json());
    collector.trace(&trace).await;
    trace
}

#[tokio::test]
async fn what_nobody_wants_traced_is_not() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| {
        collector.takes(settings);
        settings.traces.sample_ratio = Ratio::try_from(0.0).expect("a ratio");
    });
    let query = json!({ "sql": "SELECT 1" });
    let (unsampled, ..) = parent(6, false);
    for _ in 0..10 {
        content(&Ask::tool("sql_query", &query).of(&host, "a").send(&host).await.json());
        content(&modern("sql_query", &query, &[("traceparent", &unsampled)]).of(&host, "a").send(&host).await.json());
        // Nobody who is not let in decides anything.
        let stranger = Ask::tool("sql_query", &query).bearer("not.a.token").header("traceparent", OTHER);
        assert_eq!(stranger.send(&host).await.status, 401);
    }
    let trace = marked(&host, &collector, 7).await;
    let traces: BTreeSet<_> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces, BTreeSet::from([trace]));
    host.close().await;

    // Where callers are not followed, none of them is traced.
    let host = plain(&["a"], |settings| {
        collector.takes(settings);
        settings.traces.sample_ratio = Ratio::try_from(0.0).expect("a ratio");
        settings.traces.follow_callers = false;
    });
    let before = collector.spans().len();
    let (sampled, ..) = parent(8, true);
    content(&modern("sql_query", &query, &[("traceparent", &sampled)]).of(&host, "a").send(&host).await.json());
    // It sends what it has before it is closed.
    host.close().await;
    assert_eq!(collector.spans().len(), before);
}

#[tokio::test]
async fn what_failed_says_how() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| {
        collector.takes(settings);
        settings.limits.body_bytes = bytesize::ByteSize(2_000);
    });
    let of = async |ask: Ask, number: u8| {
        let (traceparent, trace, _) = parent(number, true);
        let answer = ask.header("traceparent", &traceparent).send(&host).await;
        let spans = collector.trace(&trace).await;
        let mut span = request(&spans).clone();
        assert!(span.failed, "{span:?}");
        let error = span.attributes.remove("error.type").expect("what failed");
        (answer, span, error)
    };
    // A tool that says no.
    let (answer, span, error) = of(Ask::tool("sql_query", &json!({ "sql": "nonsense" })).of(&host, "a"), 20).await;
    refusal(&answer.json());
    assert_eq!((error.as_str(), span.attributes["freehold.refusal"].as_str()), ("tool_error", "invalid"));
    // A resource that is not there: a JSON-RPC error of the handler's.
    let (answer, span, error) =
        of(Ask::modern("resources/read", json!({ "uri": "x://y" })).header("mcp-name", "x://y").of(&host, "a"), 21)
            .await;
    assert_eq!(answer.json()["error"]["code"].to_string(), error, "{answer:?}");
    assert_eq!((span.name.as_str(), &span.attributes["rpc.response.status_code"]), ("resources/read", &error));
    // A scope that its token has not.
    let token = host.token_with("a", "read", Duration::from_secs(60)).expect("a token");
    let (answer, span, error) = of(Ask::tool("sql_execute", &create()).bearer(&token), 22).await;
    assert_eq!(answer.status, 403);
    assert_eq!((span.name.as_str(), error.as_str()), ("tools/call sql_execute", "insufficient_scope"));
    assert_eq!(span.attributes["http.response.status_code"], "403");
    // What was refused before anybody looked into it.
    let big = json!({ "sql": format!("SELECT '{}'", "x".repeat(3_000)) });
    let (answer, span, error) = of(Ask::tool("sql_query", &big).of(&host, "a"), 23).await;
    assert_eq!(answer.status, 413);
    assert_eq!((span.name.as_str(), error.as_str()), ("POST /mcp", "body_bytes"));
    host.close().await;
}

/// Callers choose names; a collector's bill and its lists of names are the operator's.
#[tokio::test]
async fn neither_secrets_nor_a_callers_words_leave() {
    const CANARY: &str = "canary-7f3a";
    let collector = Collector::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&file, "x-collector-key: k3y\n").expect("written");
    let host = plain(&["a"], |settings| {
        collector.takes(settings);
        settings.traces.headers_file = Some(PathBuf::from(file.path()).into());
    });
    let token = host.token("a").expect("a token");
    let statement = format!("INSERT INTO mark VALUES ('{CANARY}')");
    for arguments in [create(), json!({ "statements": [{ "sql": statement }] })] {
        content(&Ask::tool("sql_execute", &arguments).bearer(&token).send(&host).await.json());
    }
    let broken = json!({ "sql": format!("SELECT {CANARY}") });
    refusal(&Ask::tool("sql_query", &broken).bearer(&token).send(&host).await.json());
    // Names of no tool, no method, no resource, no version, and a baggage.
    Ask::tool(CANARY, &json!({})).bearer(&token).send(&host).await;
    Ask::modern(CANARY, json!({})).bearer(&token).send(&host).await;
    Ask::modern("resources/read", json!({ "uri": format!("tenant://{CANARY}") }))
        .header("mcp-name", &format!("tenant://{CANARY}"))
        .bearer(&token)
        .send(&host)
        .await;
    Ask::modern("prompts/get", json!({ "name": CANARY })).bearer(&token).send(&host).await;
    let session = Session::open(&host, "a", LEGACY[2]).await;
    content(&session.call(&host, "sql_query", json!({ "sql": "SELECT * FROM mark" })).await);
    let odd = Ask::tool("sql_query", &json!({ "sql": "SELECT 1" })).bearer(&token);
    odd.header("baggage", CANARY)
        .without("mcp-protocol-version")
        .header("mcp-protocol-version", CANARY)
        .send(&host)
        .await;
    marked(&host, &collector, 9).await;
    host.close().await;

    let names: BTreeSet<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(names.contains("tools/call") && names.contains("initialize"), "{names:?}");
    let bytes = collector.bytes();
    let session_id = session.id.as_bytes();
    for secret in [CANARY.as_bytes(), token.as_bytes(), session_id, b"SELECT", b"INSERT", b"k3y"] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{:?}", String::from_utf8_lossy(secret));
    }
    assert_eq!(collector.headers()["x-collector-key"], "k3y");
    assert_eq!(collector.headers()["content-type"], "application/x-protobuf");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let open = TestHost::start(Host::new(|_tenant| crate::support::Plain), |settings| {
        collector.takes(settings);
        settings.traces.headers_file = Some(PathBuf::from(file.path()).into());
    });
    let said = open.err().expect("others can read it").to_string();
    assert!(said.contains("chmod 600") && !said.contains("k3y"), "{said}");
}

async fn spans_that(host: &TestHost, outcome: &str) -> f64 {
    let answer = Ask::new(Method::GET, "/metrics").send_to(host.admin_router()).await;
    let series = format!("freehold_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let line = answer.text().lines().find_map(|line| line.strip_prefix(&series)).expect("the series");
    line.parse().expect("a number")
}

/// No test of speed: each call is answered while the collector answers nobody at all.
#[tokio::test]
async fn a_collector_that_is_gone_or_silent_costs_spans_and_no_call() {
    // Nobody listens there, and nobody else can have it.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let gone = socket.local_addr().expect("an address");
    let silent = Collector::start().await;
    let held = silent.hold();
    for address in [gone, silent.address] {
        let host = plain(&["a"], |settings| {
            settings.traces.endpoint = Some(endpoint(address));
            settings.traces.queue = 8;
            settings.traces.timeout = Duration::from_secs(1);
        });
        for _ in 0..600 {
            content(&host.call("a", "sql_query", json!({ "sql": "SELECT 1" })).await);
        }
        assert!(spans_that(&host, "queue_full").await > 0.0);
        let mut lost = 0.0;
        soon(async {
            while lost == 0.0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                lost = spans_that(&host, "lost").await;
            }
        })
        .await;
        assert_eq!(spans_that(&host, "sent").await, 0.0);
        soon(host.close()).await;
    }
    held.notify_waiters();
    // One that refuses is asked again with the next spans.
    let refusing = Collector::start().await;
    refusing.answers(StatusCode::BAD_REQUEST);
    let host = plain(&["a"], |settings| refusing.takes(settings));
    content(&host.call("a", "sql_query", json!({ "sql": "SELECT 1" })).await);
    until("a first message", || refusing.asked() > 0).await;
    refusing.answers(StatusCode::OK);
    marked(&host, &refusing, 10).await;
    let counted = async {
        while spans_that(&host, "sent").await < 3.0 || spans_that(&host, "lost").await < 3.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(counted).await;
    host.close().await;
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Place {
    trace: String,
    span: String,
    sampled: bool,
}

struct Tracing;

#[tool_router(server_handler)]
impl Tracing {
    /// Tell where it is.
    #[tool]
    async fn place(&self) -> Json<Place> {
        // Also behind a pause, on whatever thread it goes on.
        tokio::task::yield_now().await;
        let context = opentelemetry::Context::current();
        let span = context.span().span_context().clone();
        Json(Place { trace: span.trace_id().to_string(), span: span.span_id().to_string(), sampled: span.is_sampled() })
    }
}

#[tokio::test]
async fn a_tools_own_spans_belong_to_its_call() {
    let collector = Collector::start().await;
    let host = start(Host::new(|_tenant| Tracing), &["a"], |settings| collector.takes(settings));
    let session = Session::open(&host, "a", LEGACY[2]).await;
    for (number, old) in [(11, false), (12, true)] {
        let (traceparent, trace, _) = parent(number, true);
        let ask = match old {
            true => session.dress(Ask::post(rpc("tools/call", &json!({ "name": "place", "arguments": {} })))),
            false => Ask::tool("place", &json!({})).of(&host, "a"),
        };
        let answer = ask.header("traceparent", &traceparent).send(&host).await.json();
        let place: Place = serde_json::from_value(content(&answer).clone()).expect("a place");
        let spans = collector.trace(&trace).await;
        let own = (trace, request(&spans).id.clone(), true);
        assert_eq!((place.trace, place.span, place.sampled), own);
    }
    host.close().await;
    let host = start(Host::new(|_tenant| Tracing), &["a"], |_| {});
    let answer = host.call("a", "place", json!({})).await;
    assert_eq!(content(&answer)["trace"], "0".repeat(32), "nothing is traced without a collector");
    host.close().await;
}

/// A tool that reads a thousand times is told by its sums.
#[tokio::test]
async fn the_steps_of_one_request_are_bounded() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| collector.takes(settings));
    let (traceparent, trace, _) = parent(13, true);
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let one = |id: usize| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "sql_query", "arguments": { "sql": "SELECT 1" } } });
    let batch = Value::from((1_000..1_032).map(one).collect::<Vec<_>>());
    let ask = session.dress(Ask::post(batch.to_string())).header("traceparent", &traceparent);
    assert_eq!(ask.send(&host).await.status, 200);
    let spans = collector.trace(&trace).await;
    assert_eq!(request(&spans).attributes["freehold.messages"], "32");
    let steps: usize = request(&spans).attributes["freehold.steps"].parse().expect("a number");
    assert!(steps >= 64 && spans.len() <= 65, "{steps} steps, {} spans", spans.len());
    host.close().await;
}

/// The real program: named in the environment, in its log, and nothing is lost when it stops.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_sends_what_it_has_before_it_ends() {
    let collector = Collector::start().await;
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let (address, name) = (format!("http://{}", collector.address), "notes");
    let environment =
        [("FREEHOLD_TRACES__ENDPOINT", address.as_ref()), ("FREEHOLD_TRACES__SERVICE_NAME", name.as_ref())];
    let (traceparent, trace, _) = parent(14, true);
    let server = Server::start_with(&data, &[], &environment);
    let listens = server.address();
    let raw = format!(
        "POST /mcp HTTP/1.1\r\nHost: {listens}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: */*\r\nMCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/list\r\ntraceparent: {traceparent}\r\n\
         Connection: close\r\n"
    );
    let log = tokio::task::spawn_blocking(move || {
        let body = rpc(
            "tools/list",
            &json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } }),
        );
        exchange(listens, format!("{raw}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("an answer");
        call(listens, &token, "sql_query", &json!({ "sql": "SELECT 1" })).expect("an answer");
        let log = data.with_extension("log");
        assert!(server.terminate().success());
        fs::read_to_string(log).expect("a log")
    });
    let log = log.await.expect("no panic");
    // No waiting here: the process has ended.
    let spans = collector.spans();
    let listed = spans.iter().find(|span| span.trace == trace).expect("its span");
    assert_eq!((listed.name.as_str(), listed.resource["service.name"].as_str()), ("tools/list", name));
    let called = spans.iter().find(|span| span.name == "tools/call sql_query").expect("its span");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for span in [listed, called] {
        let line = lines.iter().find(|line| line["request.id"] == span.attributes["request.id"].as_str());
        assert_eq!(line.expect("a line")["trace_id"], span.trace.as_str(), "{log}");
    }
}

/// What a client sends down the pipe of the real program, and what it is answered, by the ids of its messages.
async fn piped(environment: &[(&str, &str)], messages: Vec<Value>) -> BTreeMap<String, Value> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = freehold(&dir.path().join("data"), &["serve", "--transport", "stdio"]);
    command.envs(environment.iter().copied());
    let mut input = tempfile::tempfile().expect("a file");
    for message in messages {
        writeln!(input, "{message}").expect("written");
    }
    input.rewind().expect("a start");
    command.stdin(Stdio::from(input));
    // What its answers need it has in hand when its input ends.
    let done = tokio::task::spawn_blocking(move || output(command)).await.expect("no panic");
    assert!(done.status.success(), "{done:?}");
    let lines = String::from_utf8(done.stdout).expect("text");
    let answers = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    answers.map(|answer| (answer["id"].to_string(), answer)).collect()
}

/// A request on a pipe, whose id is the number of its trace, in that trace.
fn line(number: u8, sampled: bool, old: bool, method: &str, params: Value) -> Value {
    let (traceparent, ..) = parent(number, sampled);
    let mut meta = json!({ "traceparent": traceparent, "tracestate": "vendor=abc" });
    if !old {
        meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "it", "version": "0" });
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let mut params = params;
    params["_meta"] = meta;
    json!({ "jsonrpc": "2.0", "id": number, "method": method, "params": params })
}

/// The real program on a pipe: each request has one span in its caller's trace, ended and sent when the program is.
#[tokio::test(flavor = "multi_thread")]
async fn requests_on_a_pipe_have_spans_in_both_generations() {
    const CANARY: &str = "canary-51c7";
    for old in [false, true] {
        let collector = Collector::start().await;
        let address = format!("http://{}", collector.address);
        let environment = [("FREEHOLD_TRACES__ENDPOINT", address.as_str())];
        let tool = |number, sampled, name: &str, arguments: Value| {
            line(number, sampled, old, "tools/call", json!({ "name": name, "arguments": arguments }))
        };
        // It ends with its caller's patience, long before the bound of a statement.
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let mut messages = vec![
            tool(41, true, "sql_execute", create()),
            tool(42, true, "sql_query", json!({ "sql": format!("SELECT {CANARY}") })),
            line(43, true, old, "resources/read", json!({ "uri": format!("x://{CANARY}") })),
            tool(44, true, CANARY, json!({})),
            line(45, true, old, CANARY, json!({})),
            tool(46, false, "sql_query", json!({ "sql": "SELECT 1" })),
            tool(47, true, "sql_query", json!({ "sql": endless })),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 47 } }),
        ];
        if old {
            let client = json!({ "name": "it", "version": "0" });
            let params = json!({ "protocolVersion": LEGACY[2], "capabilities": {}, "clientInfo": client });
            messages.insert(0, line(40, true, old, "initialize", params));
            messages.insert(1, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        }
        let answers = piped(&environment, messages).await;
        // No waiting here: the process has ended.
        let all = collector.spans();
        let of = |number: u8| {
            let (_, trace, caller) = parent(number, true);
            let spans: Vec<_> = all.iter().filter(|span| span.trace == trace).cloned().collect();
            let span = request(&spans).clone();
            assert_eq!((span.parent.as_str(), span.state.as_str()), (caller, "vendor=abc"), "{span:?}");
            let version = if old { LEGACY[2] } else { MODERN };
            let id = number.to_string();
            for (key, value) in [
                ("network.transport", "pipe"),
                ("tenant.id", "local"),
                ("jsonrpc.request.id", &id),
                ("mcp.protocol.version", version),
            ] {
                let told = span.attributes.get(key).map(String::as_str);
                assert!(told == Some(value) || (number == 40 && told.is_none()), "{key}: {span:?}");
            }
            for other in ["http.response.status_code", "network.protocol.name", "request.id"] {
                assert!(!span.attributes.contains_key(other), "{span:?}");
            }
            (spans, span)
        };
        let told = |span: &Seen, key: &str| span.attributes.get(key).cloned().unwrap_or_default();
        content(&answers["41"]);
        let (spans, span) = of(41);
        assert_eq!((span.name.as_str(), span.failed), ("tools/call sql_execute", false), "{span:?}");
        assert_eq!(told(&span, "gen_ai.tool.name"), "sql_execute");
        assert_eq!(under(&spans, &span), ["queue", "sqlite write", "sqlite commit"], "{spans:?}");
        // A tool that says no; errors of the handler's, and of what has no handler.
        refusal(&answers["42"]);
        let (_, span) = of(42);
        assert!(span.failed && told(&span, "error.type") == "tool_error", "{span:?}");
        assert_eq!(told(&span, "freehold.refusal"), "invalid", "{span:?}");
        for (number, name) in [(43, "resources/read"), (44, "tools/call"), (45, "stdio")] {
            let (_, span) = of(number);
            let code = answers[&number.to_string()]["error"]["code"].to_string();
            assert_eq!((span.name.as_str(), span.failed), (name, true), "{span:?}");
            assert_eq!((told(&span, "error.type"), told(&span, "rpc.response.status_code")), (code.clone(), code));
        }
        assert_eq!(told(&of(45).1, "mcp.method.name"), "_OTHER");
        // Nobody was answered, and yet it is over.
        assert!(!answers.contains_key("47"), "{answers:?}");
        assert_eq!((of(47).1.failed, told(&of(47).1, "error.type")), (true, "cancelled".to_owned()));
        content(&answers["46"]);
        let unsampled = parent(46, true).1;
        assert!(!all.iter().any(|span| span.trace == unsampled), "its caller wants none");
        if old {
            assert_eq!((of(40).1.name.as_str(), of(40).1.failed), ("initialize", false));
        }
        assert!(!String::from_utf8_lossy(&collector.bytes()).contains(CANARY));

        // Off: whatever else names a collector, and whatever a message carries.
        let quiet = Collector::start().await;
        let address = format!("http://{}", quiet.address);
        let mut messages = vec![tool(48, true, "sql_query", json!({ "sql": "SELECT 1" }))];
        if old {
            let client = json!({ "name": "it", "version": "0" });
            let params = json!({ "protocolVersion": LEGACY[2], "capabilities": {}, "clientInfo": client });
            messages.insert(0, line(40, true, old, "initialize", params));
        }
        content(&piped(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)], messages).await["48"]);
        assert_eq!(quiet.asked(), 0);
    }
}

/// An operator's requests are in the trace of who asks; what asks all the time leaves none.
#[tokio::test]
async fn an_operators_requests_have_spans_and_scrapes_have_none() {
    let collector = Collector::start().await;
    let host = plain(&["a"], |settings| collector.takes(settings));
    let ask = async |method: Method, path: &str, body: &str, number: u8| {
        let (traceparent, trace, _) = parent(number, true);
        let ask = Ask::new(method, path).body(body.to_owned()).header("traceparent", &traceparent);
        (ask.send_to(host.admin_router()).await, trace)
    };
    for path in ["/healthz", "/readyz", "/metrics", "/elsewhere", "/v1/elsewhere"] {
        ask(Method::GET, path, "", 30).await;
    }
    let canary = "SELECT 'canary-3b9d'";
    let body = json!({ "sql": canary }).to_string();
    let (answer, trace) = ask(Method::POST, "/v1/tenants/a/sql", &body, 31).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let spans = collector.trace(&trace).await;
    let span = request(&spans);
    assert_eq!((span.name.as_str(), span.parent.as_str()), ("POST /v1/tenants/{id}/sql", "b7ad6b7169203331"));
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/tenants/{id}/sql"),
        ("http.response.status_code", "200"),
        ("tenant.id", "a"),
    ] {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{key}: {span:?}");
    }
    // A refusal is an answer, and what answers line by line ends with its last one.
    let (answer, trace) = ask(Method::GET, "/v1/tenants/nobody", "", 32).await;
    assert_eq!(answer.status, 404);
    let spans = collector.trace(&trace).await;
    assert!(!request(&spans).failed && request(&spans).attributes["http.response.status_code"] == "404", "{spans:?}");
    let (answer, trace) = ask(Method::POST, "/v1/verify", "{}", 33).await;
    assert!(answer.text().contains("result"), "{answer:?}");
    let spans = collector.trace(&trace).await;
    assert_eq!(request(&spans).name, "POST /v1/verify");
    let scraped = parent(30, true).1;
    assert!(!collector.spans().iter().any(|span| span.trace == scraped), "health and metrics have none");
    host.close().await;
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains("canary-3b9d"));
}

/// Reminders that fire are a trace of their own, with what it took to deliver them and what the program does with them.
#[tokio::test]
async fn reminders_that_fire_have_a_trace_of_their_own() {
    let collector = Collector::start().await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = std::sync::Arc::clone(&seen);
    let host = Host::new(|_tenant| crate::support::Plain).on_reminder(move |_tenant, _reminder| {
        let sees = std::sync::Arc::clone(&sees);
        let first = opentelemetry::Context::current().span().span_context().trace_id();
        async move {
            tokio::task::yield_now().await;
            let then = opentelemetry::Context::current().span().span_context().trace_id();
            sees.lock().expect("no panic").push((first.to_string(), then.to_string()));
            Ok(())
        }
    });
    let host = start(host, &["a"], |settings| collector.takes(settings));
    for message in ["one", "two"] {
        let set = json!({ "when": "in 2h", "message": message });
        content(&host.call("a", "reminder_set", set).await);
    }
    host.clock().set(1_893_456_000 + 3 * 3_600);
    let fired = || collector.spans().into_iter().find(|span| span.name == "reminders");
    until("they fire", || fired().is_some()).await;
    let span = fired().expect("it is there");
    assert_eq!((span.kind, span.parent.as_str(), span.failed), (INTERNAL, "", false), "{span:?}");
    assert_eq!((&*span.attributes["tenant.id"], &*span.attributes["freehold.reminders"]), ("a", "2"), "{span:?}");
    let spans: Vec<_> = collector.spans().into_iter().filter(|one| one.trace == span.trace).collect();
    let steps = under(&spans, &span);
    assert!(steps.contains(&"sqlite write") && steps.contains(&"sqlite commit"), "{spans:?}");
    let own = (span.trace.clone(), span.trace);
    assert_eq!(*seen.lock().expect("no panic"), [own.clone(), own]);
    host.close().await;
}
