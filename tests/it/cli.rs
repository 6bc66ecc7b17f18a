//! The program as an operator types it.

use std::path::Path;
use std::process::Command;

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};

use crate::support::process::{Server, call, freehold, must, output, run};
use crate::support::{content, soon, tenant_file};

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn without_keys_it_says_how_to_make_some() {
    let dir = tempfile::tempdir().expect("a folder");
    let done = run(&dir.path().join("data"), &["serve", "--listen", "127.0.0.1:0"]);
    assert!(!done.status.success());
    assert!(said(&done.stderr).contains("freehold key generate"), "{done:?}");
    assert!(!said(&done.stdout).contains("listening"), "{done:?}");
    let token = run(&dir.path().join("data"), &["token", "issue", "--tenant", "a"]);
    assert!(!token.status.success() && token.stdout.is_empty(), "{token:?}");
    assert!(said(&token.stderr).contains("freehold key generate"), "{token:?}");
}

#[test]
fn a_key_a_tenant_and_a_token_are_enough() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let key = must(&data, &["key", "generate"]);
    assert_eq!(must(&data, &["key", "generate", "--if-none"]), "", "there is one");
    assert_eq!(must(&data, &["key", "list"]), key);
    let server = Server::start(&data, &[]);
    // Beside the running host, as an operator does it.
    assert_eq!(must(&data, &["tenant", "create", "a"]), "a\n");
    let issued = must(&data, &["token", "issue", "--tenant", "a", "--ttl", "5m"]);
    assert_eq!(issued.lines().count(), 1, "{issued:?}");
    assert!(issued.ends_with('\n') && issued.trim().split('.').count() == 3, "{issued:?}");
    let answer = call(server.address(), issued.trim(), "sql_query", &json!({ "sql": "SELECT 7" }));
    assert_eq!(content(&answer.expect("an answer"))["rows"], json!([[7]]));

    let listed = must(&data, &["tenant", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed["id"], "a");
    for wrong in [&["tenant", "create", "a"][..], &["tenant", "create", "../b"], &["tenant", "create", "B"]] {
        let done = run(&data, wrong);
        assert!(!done.status.success() && done.stdout.is_empty(), "{wrong:?}: {done:?}");
    }
    for (option, wrong) in [("--scope", "read wirte"), ("--ttl", "91d"), ("--ttl", "0s"), ("--subject", "")] {
        let done = run(&data, &["token", "issue", "--tenant", "a", option, wrong]);
        assert!(!done.status.success() && done.stdout.is_empty(), "{option} {wrong}: {done:?}");
    }
    // Issued all the same, and said on the other stream.
    let early = run(&data, &["token", "issue", "--tenant", "later"]);
    assert!(early.status.success() && said(&early.stderr).contains("freehold tenant create later"), "{early:?}");
    assert_eq!(said(&early.stdout).lines().count(), 1, "{early:?}");
    assert!(server.terminate().success());
}

#[test]
fn a_mistyped_key_is_answered_with_the_right_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (dir.path().join("freehold.toml"), dir.path().join("data"));
    let check = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        run(&data, &["config", "check", "--config", file.to_str().expect("text")])
    };
    for (text, wanted) in [
        ("lissten = '127.0.0.1:1'", "`listen`"),
        ("[limits]\nmailbx = 1", "`mailbox`"),
        ("[auth]\ntenant_clam = 'x'", "`tenant_claim`"),
        ("[tenants]\nauto_crate = true", "`auto_create`"),
        ("[limits.class.gold]\nmailbx = 1", "`mailbox`"),
        ("[limits.class.gold]\ndurabilty = 'full'", "`durability`"),
    ] {
        let done = check(text);
        assert!(!done.status.success(), "{text}: {done:?}");
        assert!(said(&done.stderr).contains(wanted), "{text}: {done:?}");
    }
    for wrong in ["listen = 7", "[limits]\nmailbox = 0", "listen = '0.0.0.0:8000'", "public_url = 'x/y'", "listen ="]
        .into_iter()
        .chain([
            "[limits.class.gold]\nmailbox = 0",
            "[limits.class.gold]\nmailbox = 'many'",
            "[limits.class.gold]\ndurability = 'some'",
            "[limits.class.gold.class.more]\nmailbox = 1",
            "[limits.class.default]\nmailbox = 1",
            "[limits.class.'G d']\nmailbox = 1",
        ])
    {
        let done = check(wrong);
        assert!(!done.status.success() && !done.stderr.is_empty(), "{wrong}: {done:?}");
    }
    assert!(check("[limits]\nmailbox = 7").status.success());
    let mut by_environment = freehold(&data, &["config", "check"]);
    by_environment.env("FREEHOLD_LIMITS__MAILBX", "7");
    let done = output(by_environment);
    assert!(!done.status.success() && said(&done.stderr).contains("`mailbox`"), "{done:?}");
}

#[test]
fn the_settings_shown_are_settings() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let file = dir.path().join("freehold.toml");
    let text =
        "[limits]\nmailbox = 7\nstatement_deadline = '3s'\n[limits.class.gold]\ndurability = 'normal'\nsessions = 8";
    std::fs::write(&file, text).expect("a file");
    let arguments = ["config", "show", "--config", file.to_str().expect("text")];
    let mut command = freehold(&data, &arguments);
    command.env("FREEHOLD_LIMITS__SESSIONS", "9");
    let shown = said(&output(command).stdout);
    for line in ["mailbox = 7", "statement_deadline = \"3s\"", "sessions = 9", "listen = \"127.0.0.1:8000\""]
        .into_iter()
        .chain(["[limits.class.gold]", "durability = \"normal\"", "sessions = 8"])
    {
        assert!(shown.lines().any(|there| there == line), "{line}: {shown}");
    }
    // Shown again from what was shown, they are the same.
    std::fs::write(&file, &shown).expect("a file");
    assert_eq!(must(&data, &arguments), shown);
}

#[test]
fn sigterm_ends_it_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let server = Server::start(&data, &[]);
    let make = json!({ "statements": [{ "sql": "CREATE TABLE t AS SELECT 7 AS n" }] });
    content(&call(server.address(), &token, "sql_execute", &make).expect("an answer"));
    content(&call(server.address(), &token, "sql_query", &json!({ "sql": "SELECT n FROM t" })).expect("an answer"));
    assert_eq!(server.terminate().code(), Some(0));
    let log = tenant_file(&data, "a").with_file_name("tenant.db-wal");
    assert!(std::fs::metadata(&log).map_or(0, |log| log.len()) == 0, "the log holds something still");
    let again = Server::start(&data, &[]);
    let kept = call(again.address(), &token, "sql_query", &json!({ "sql": "SELECT n FROM t" })).expect("an answer");
    assert_eq!(content(&kept)["rows"], json!([[7]]));
    assert_eq!(again.terminate().code(), Some(0));
}

/// What `--dev` prints is pasted by people who see the host for the first time.
#[test]
fn the_lines_of_dev_work_as_they_stand() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(&dir.path().join("data"), &["--dev"]);
    for tenant in ["acme", "globex"] {
        let mut commands = Vec::new();
        let mut seen = String::new();
        while commands.len() < 2 {
            let mut line = server.line();
            seen.push_str(&line);
            if !line.starts_with("curl ") {
                continue;
            }
            while line.ends_with('\\') {
                line = format!("{line}\n{}", server.line());
            }
            commands.push(line);
        }
        assert!(seen.contains(&format!("# tenant {tenant}")), "{seen}");
        let [legacy, modern] = [&commands[0], &commands[1]].map(|command| paste(command));
        assert!(legacy.starts_with("HTTP/1.1 200") && legacy.to_lowercase().contains("\nmcp-session-id: "), "{legacy}");
        assert!(legacy.contains("\"protocolVersion\":\"2025-06-18\""), "{legacy}");
        assert!(modern.starts_with("HTTP/1.1 200"), "{modern}");
        let body = modern.split_once("\r\n\r\n").expect("a body").1;
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(content(&body)["columns"], json!(["version"]));
    }
    assert_eq!(server.terminate().code(), Some(0));
}

fn paste(line: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{line} --max-time 30 --no-progress-meter")]);
    let done = output(bash);
    assert!(done.status.success(), "{line}: {done:?}");
    said(&done.stdout)
}

#[test]
fn dev_is_for_this_machine_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = ["--public-url", "https://mcp.example.com"];
    let arguments = [&["serve", "--dev", "--listen", "0.0.0.0:0"][..], &url].concat();
    let done = run(&dir.path().join("data"), &arguments);
    assert!(!done.status.success() && said(&done.stderr).contains("loopback"), "{done:?}");
    assert!(!said(&done.stdout).contains("eyJ"), "{done:?}");
}

/// A client that rmcp ships, on a pipe: no token, no tenant to make, and the same tools.
#[tokio::test]
async fn a_pipe_serves_one_tenant() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    for round in 1..=2 {
        let command = stdio(&data);
        let client = soon(().serve(TokioChildProcess::new(command).expect("it starts"))).await.expect("initialize");
        let tools = soon(client.list_all_tools()).await.expect("tools");
        assert!(tools.iter().any(|tool| tool.name == "sql_execute"), "{tools:?}");
        let call = async |tool: &'static str, arguments: Value| {
            let arguments = arguments.as_object().expect("an object").clone();
            let asked = CallToolRequestParams::new(tool).with_arguments(arguments);
            let answer = soon(client.call_tool(asked)).await.expect("an answer");
            serde_json::to_value(answer).expect("JSON")
        };
        let statements = [
            json!({ "sql": "CREATE TABLE IF NOT EXISTS t (n)" }),
            json!({ "sql": "INSERT INTO t VALUES (?)", "params": [round] }),
        ];
        let done = call("sql_execute", json!({ "statements": statements })).await;
        assert_eq!(done["isError"], false, "{done}");
        let rows = call("sql_query", json!({ "sql": "SELECT count(*) FROM t" })).await;
        assert_eq!(rows["structuredContent"]["rows"], json!([[round]]), "{rows}");
        soon(client.cancel()).await.expect("an end");
    }
    // The default tenant's, and nobody else's.
    assert!(tenant_file(&data, "local").exists());
}

/// What a client on a pipe has subscribed to, it hears of.
#[tokio::test]
async fn a_pipe_carries_news() {
    struct Ear(tokio::sync::mpsc::Sender<String>);

    impl rmcp::ClientHandler for Ear {
        async fn on_resource_updated(
            &self,
            update: rmcp::model::ResourceUpdatedNotificationParam,
            _: rmcp::service::NotificationContext<rmcp::RoleClient>,
        ) {
            let _ = self.0.send(update.uri).await;
        }
    }

    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let (told, mut heard) = tokio::sync::mpsc::channel(4);
    let transport = TokioChildProcess::new(stdio(&data)).expect("it starts");
    let client = soon(Ear(told).serve(transport)).await.expect("initialize");
    #[expect(deprecated, reason = "clients on pipes still subscribe this way")]
    let subscribed = client.subscribe(rmcp::model::SubscribeRequestParams::new("tenant://schema"));
    soon(subscribed).await.expect("a subscription");
    let make = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    let asked = CallToolRequestParams::new("sql_execute").with_arguments(make.as_object().expect("an object").clone());
    soon(client.call_tool(asked)).await.expect("an answer");
    assert_eq!(soon(heard.recv()).await.as_deref(), Some("tenant://schema"));
    soon(client.cancel()).await.expect("an end");
}

/// Commands work beside a client that has the pipe: they ask the socket in the data directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipes_host_answers_its_operator() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let transport = TokioChildProcess::new(stdio(&data)).expect("it starts");
    let client = soon(().serve(transport)).await.expect("initialize");
    let make = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }, { "sql": "INSERT INTO t VALUES (7)" }] });
    let asked = CallToolRequestParams::new("sql_execute").with_arguments(make.as_object().expect("an object").clone());
    soon(client.call_tool(asked)).await.expect("an answer");
    let (there, out) = (data.clone(), dir.path().join("copy.sqlite"));
    let commands = tokio::task::spawn_blocking(move || {
        let rows = must(&there, &["tenant", "sql", "local", "SELECT n FROM t", "--json"]);
        must(&there, &["tenant", "export", "local", "--out", out.to_str().expect("text")]);
        let copy = freehold::rusqlite::Connection::open(out).expect("a copy");
        (rows, copy.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)).expect("a row"))
    });
    let (rows, copied) = soon(commands).await.expect("no panic");
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!((&rows["results"][0]["rows"], copied), (&json!([[7]]), 7), "{rows}");
    assert!(data.join("admin.sock").exists());
    soon(client.cancel()).await.expect("an end");
}

fn stdio(data: &Path) -> tokio::process::Command {
    freehold(data, &["serve", "--transport", "stdio"]).into()
}

/// A client reads a pipe line by line and gives up at the first that is no message.
#[test]
fn a_pipe_carries_messages_and_nothing_else() {
    use std::io::Write;
    use std::process::Stdio;
    let dir = tempfile::tempdir().expect("a folder");
    let mut input = tempfile::tempfile().expect("a file");
    let client = json!({ "name": "it", "version": "0" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    let call = json!({ "name": "sql_query", "arguments": { "sql": "SELECT 7" } });
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call }),
    ] {
        writeln!(input, "{message}").expect("written");
    }
    std::io::Seek::rewind(&mut input).expect("a start");
    let mut command = freehold(&dir.path().join("data"), &["serve", "--transport", "stdio"]);
    command.stdin(Stdio::from(input)).env("FREEHOLD_LOG", "debug");
    let done = output(command);
    assert!(done.status.success(), "{done:?}");
    let lines = said(&done.stdout);
    let messages: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(messages.iter().all(|message| message["jsonrpc"] == "2.0"), "{messages:?}");
    let ids: Vec<_> = messages.iter().map(|message| &message["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2)], "{messages:?}");
    assert_eq!(content(&messages[1])["rows"], json!([[7]]));
    assert!(!done.stderr.is_empty(), "the log has a place of its own");
}

#[test]
fn a_tenant_is_of_a_class_that_there_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (dir.path().join("freehold.toml"), dir.path().join("data"));
    std::fs::write(&file, "[limits.class.gold]\nsessions = 1\n[limits.class.free]\nsessions = 2").expect("a file");
    let with = |arguments: &[&str]| run(&data, &[arguments, &["--config", file.to_str().expect("text")]].concat());
    let unknown = with(&["tenant", "create", "a", "--class", "silver"]);
    assert!(!unknown.status.success() && unknown.stdout.is_empty(), "{unknown:?}");
    for name in ["default", "free", "gold"] {
        assert!(said(&unknown.stderr).contains(name), "{name}: {unknown:?}");
    }
    assert!(with(&["tenant", "create", "a", "--class", "gold"]).status.success());
    assert!(with(&["tenant", "create", "b"]).status.success());
    assert!(!with(&["tenant", "class", "b", "silver"]).status.success());
    assert!(!with(&["tenant", "class", "c", "free"]).status.success());
    let classes = || {
        let listed = said(&with(&["tenant", "list", "--json"]).stdout);
        let listed = listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        listed.map(|tenant| tenant["class"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(classes(), ["gold", "default"]);
    assert!(with(&["tenant", "class", "b", "free"]).status.success());
    assert_eq!(classes(), ["gold", "free"]);
}
