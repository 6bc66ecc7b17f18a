//! A data directory as an earlier version left it (after kill -9) opens in this one, and everything is there.
//!
//! The fixtures are made by tests/fixtures/make.py, which says how.

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use freehold::{HeldClock, Host, Migration, Pack, Service, Settings};
use http::Method;
use rmcp::ServerHandler;
use rmcp::model::{ServerCapabilities, ServerConfig};
use serde_json::{Value, json};

use crate::support::wire::{Ask, rpc};
use crate::support::{content, recovered, tenant_file};

/// The versions, by their commit.
const EARLIER: [&str; 1] = ["fbc272e"];

/// A server that knows tasks: those of an earlier version are to be fetched.
struct Server;

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tasks().build())
    }
}

struct Upgraded {
    told: Value,
    router: Router,
    service: Service,
    data: PathBuf,
    _dir: tempfile::TempDir,
}

impl Upgraded {
    fn of(version: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{version}.tar.gz"));
        let unpacked = Command::new("tar").arg("-xpzf").arg(&archive).arg("-C").arg(&data).status().expect("tar");
        assert!(unpacked.success(), "{}", archive.display());
        let told = std::fs::read_to_string(data.join("told.json")).expect("what was done");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let mut settings = Settings { data_dir: data.clone().into(), ..Settings::default() };
        settings.packs = vec![Pack::Sql, Pack::Kv, Pack::Memory, Pack::Reminders];
        settings.limits.class.insert("gold".to_owned(), freehold::Overrides::default().with("sessions", 8));
        // Shortly after: tokens, sessions and tasks end at some time.
        let clock = HeldClock::at(told["at"].as_u64().expect("a time") + 30);
        // As the example `conformance` has it.
        let count = Migration {
            name: "0001_count".into(),
            sql: "CREATE TABLE count (value INTEGER NOT NULL) STRICT; INSERT INTO count VALUES (0);".into(),
        };
        let host = Host::new(|_| Server).migrations([count]).clock(clock);
        let (router, service) = host.into_router(&settings).expect("it opens");
        Self { told, router, service, data, _dir: dir }
    }

    fn token(&self, of: &str) -> &str {
        self.told["tokens"][of].as_str().expect("a token")
    }

    async fn tool(&self, of: &str, name: &str, arguments: Value) -> Value {
        let answer = Ask::tool(name, &arguments).bearer(self.token(of)).send_to(self.router.clone()).await;
        content(&answer.json()).clone()
    }

    async fn task(&self) -> Value {
        let task = self.told["task"].as_str().expect("a task");
        let params = json!({ "taskId": task, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } },
        }});
        let ask = Ask::post(rpc("tasks/get", &params))
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tasks/get")
            .header("mcp-name", task);
        ask.bearer(self.token("umbrella")).send_to(self.router.clone()).await.json()
    }
}

#[tokio::test]
async fn what_an_earlier_version_kept_is_there() {
    for version in EARLIER {
        let host = Upgraded::of(version);
        let rows = host.tool("acme", "sql_query", json!({ "sql": "SELECT n, who FROM invoice ORDER BY n" })).await;
        assert_eq!(rows["rows"], json!([[1, "Wile E."], [2, "Road Runner"]]), "{version}");

        let theme = host.tool("acme", "kv_get", json!({ "key": "settings/theme" })).await;
        assert_eq!((&theme["value"], &theme["version"]), (&json!({ "dark": false }), &json!(2)), "{version}: {theme}");
        let theirs = host.tool("globex", "kv_get", json!({ "key": "settings/theme" })).await;
        assert_eq!(theirs["value"], "theirs", "{version}: {theirs}");

        let found = host.tool("acme", "memory_search", json!({ "query": "anvil" })).await.to_string();
        assert!(found.contains("The anvil ships on Tuesdays.") && found.contains("shipping"), "{version}: {found}");

        let set = host.tool("acme", "reminder_list", json!({})).await.to_string();
        assert!(set.contains("renew the certificate"), "{version}: {set}");
        let inbox = host.tool("acme", "inbox_read", json!({})).await.to_string();
        assert!(inbox.contains("call Wile E. back"), "{version}: {inbox}");

        let task = host.task().await;
        assert_eq!(task["result"]["status"], "completed", "{version}: {task}");
        assert!(task.to_string().contains("sums after 0.1 s"), "{version}: {task}");

        for (protocol, id) in host.told["sessions"].as_object().expect("sessions") {
            let ask = Ask::post(rpc("tools/list", &json!({}))).header("mcp-session-id", id.as_str().expect("an id"));
            let ask = ask.header("mcp-protocol-version", protocol).bearer(host.token("acme"));
            let listed = ask.send_to(host.router.clone()).await;
            assert!(listed.status == 200 && listed.text().contains("kv_get"), "{version}, {protocol}: {listed:?}");
        }
        host.service.close().await;
        drop(host.router);
        let (file, _copy) = recovered(&tenant_file(&host.data, "acme"));
        let calls: i64 = file.query_row("SELECT count(*) FROM _fh_call", [], |row| row.get(0)).expect("a journal");
        assert!(calls > 5, "{version}: the journal of calls has {calls}");
    }
}

#[tokio::test]
async fn who_may_call_is_what_an_earlier_version_knew() {
    for version in EARLIER {
        let host = Upgraded::of(version);
        let status = async |token: &str| {
            Ask::tool("sql_schema", &json!({})).bearer(token).send_to(host.router.clone()).await.status.as_u16()
        };
        assert_eq!(status(host.told["api_key"].as_str().expect("a key")).await, 200, "{version}");
        assert_eq!(status(host.told["revoked"].as_str().expect("a token")).await, 401, "{version}");
        assert_eq!(status(host.token("initech")).await, 403, "{version}: it was suspended");
        assert_eq!(Ask::new(Method::GET, "/readyz").send_to(host.router.clone()).await.status, 200, "{version}");
        // What comes in later is kept beside what was there.
        host.tool("acme", "kv_set", json!({ "key": "new", "value": 1 })).await;
        host.service.close().await;
    }
}
