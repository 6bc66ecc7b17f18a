//! Owns who is compared: how each is started, what it can, and what it has to be told for the comparison to be fair.
//! It measures nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::super::Done;

/// What all of them find: our program, the others', and the secret that tokens are signed with.
pub struct Place {
    program: PathBuf,
    cache: Option<PathBuf>,
    secret: PathBuf,
    key: EncodingKey,
}

impl Place {
    pub fn new(dir: &Path, cache: Option<PathBuf>) -> Done<Self> {
        // A copy, or the pages of its code would be shared with this process and counted half.
        let program = dir.join("program");
        std::fs::copy(std::env::current_exe()?, &program)?;
        // Letters: not every contender reads bytes.
        let secret: String = std::fs::read("/proc/sys/kernel/random/uuid")?.iter().map(|&byte| byte as char).collect();
        let secret = format!("{}{}", secret.trim(), secret.trim());
        let file = dir.join("secret");
        std::fs::write(&file, &secret)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { program, cache, secret: file, key: EncodingKey::from_secret(secret.as_bytes()) })
    }

    /// The token of `tenant`, good for an hour: the same for all contenders that read tokens.
    pub fn token(&self, tenant: &str) -> Done<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "iss": "freehold", "aud": "freehold", "sub": tenant, "scope": "read write", "tenant": tenant,
            "iat": now, "exp": now + 3_600,
        });
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &self.key)?)
    }

    /// A path of the others' programs.
    fn cached(&self, path: &str) -> PathBuf {
        self.cache.as_deref().unwrap_or_else(|| Path::new("")).join(path)
    }
}

/// One of them.
#[derive(Clone, Copy)]
pub struct Contender {
    pub name: &'static str,
    /// What it was told, for below the table.
    pub how: &'static str,
    /// Whether it reads bearer tokens. Without, whoever asks is nobody, and all of them share one file.
    pub tokens: bool,
    /// Whether it speaks 2026-07-28.
    pub modern: bool,
    /// Whether it has sessions of 2025-11-25.
    pub sessions: bool,
    /// Whether its state is asked for within sessions: where the other way is not spoken, or dear.
    pub within_session: bool,
    /// Whether it keeps state.
    pub state: bool,
    /// The tool that reads with SQL.
    pub query: &'static str,
    /// Whether a session is a process: then some must do.
    pub process_each: bool,
    /// Its program in the cache; empty where it is ours.
    program: &'static str,
    command: fn(&Place, &Path) -> Command,
}

impl Contender {
    /// The command that starts it with its data in `folder`.
    pub fn command(&self, place: &Place, folder: &Path) -> Command {
        (self.command)(place, folder)
    }
}

/// Those that can be run here, Freehold first: all others' ratios are to it.
pub fn contenders(place: &Place) -> Vec<Contender> {
    let all = [FREEHOLD, LEAST, BARE, FASTMCP, WORKERS, TYPESCRIPT, SUPERGATEWAY, MCP_PROXY];
    let here = |one: &Contender| one.program.is_empty() || place.cache.is_some() && place.cached(one.program).exists();
    all.into_iter().filter(here).collect()
}

const FREEHOLD: Contender = Contender {
    name: "Freehold",
    how: "`examples/counter`, durability `full`, everything on that is on by default: five packs, journal, history, log. \
          The bounds on rates are off",
    tokens: true,
    modern: true,
    sessions: true,
    within_session: false,
    state: true,
    query: "sql_query",
    process_each: false,
    program: "",
    command: freehold,
};

const LEAST: Contender = Contender {
    name: "Freehold least",
    how: "the same, durability `full`; one pack, no journal, no history, no audit, warnings alone in the log",
    command: |place, folder| {
        let mut command = freehold(place, folder);
        command.env("FREEHOLD_PACKS", r#"["sql"]"#).env("FREEHOLD_LOG", "warn");
        for part in ["JOURNAL", "HISTORY", "AUDIT"] {
            command.env(format!("FREEHOLD_{part}__ENABLED"), "false");
        }
        command
    },
    ..FREEHOLD
};

const BARE: Contender = Contender {
    name: "bare rmcp",
    how: "rmcp and axum, one pure tool: no tokens, no state, no limits, no log",
    tokens: false,
    state: false,
    command: |place, _| {
        let mut command = Command::new(&place.program);
        command.arg("bare");
        command
    },
    ..FREEHOLD
};

const FASTMCP: Contender = Contender {
    name: "FastMCP",
    how: "its `JWTVerifier`, `uvicorn app:app`; SQLite by hand, a file for each user (`benches/compare/fastmcp_app.py`), WAL and \
          `synchronous=FULL`",
    query: "query",
    program: "python/bin/uvicorn",
    command: fastmcp,
    ..FREEHOLD
};

const WORKERS: Contender = Contender {
    name: "FastMCP 2 workers",
    how: "the same with `--workers 2` and `FASTMCP_STATELESS_HTTP=true`, which its guide wants for more than one process",
    sessions: false,
    command: |place, folder| {
        let mut command = fastmcp(place, folder);
        command.args(["--workers", "2"]).env("FASTMCP_STATELESS_HTTP", "true");
        command
    },
    ..FASTMCP
};

const TYPESCRIPT: Contender = Contender {
    name: "TypeScript SDK",
    how: "`@modelcontextprotocol/server` with Express and jose, sessions by its guide's map; `node:sqlite` by hand, a file for each \
          user (`benches/compare/http.mjs`), WAL and `synchronous=FULL`",
    query: "query",
    program: "compare/http.mjs",
    command: |place, folder| {
        let mut command = node();
        command.arg(place.cached("compare/http.mjs")).arg(folder.join("data")).arg(&place.secret);
        command
    },
    ..FREEHOLD
};

/// In front of the same tools on a pipe: no tokens, and a call outside a session starts a process.
const SUPERGATEWAY: Contender = Contender {
    name: "supergateway",
    how: "`--stateful`, in front of the same tools on stdio (`benches/compare/stdio.mjs`): a process for each session, one file \
          for all",
    tokens: false,
    within_session: true,
    process_each: true,
    program: "compare/node_modules/supergateway/dist/index.js",
    command: |place, folder| {
        let tools = format!("node {} {}", place.cached("compare/stdio.mjs").display(), folder.join("data").display());
        let mut command = node();
        command
            .arg(format!("--import={}", place.cached("compare/loopback.mjs").display()))
            .arg(place.cached("compare/node_modules/supergateway/dist/index.js"))
            .args(["--stdio", &tools, "--outputTransport", "streamableHttp", "--stateful"])
            .args(["--port", "0", "--logLevel", "none"]);
        command
    },
    ..TYPESCRIPT
};

const MCP_PROXY: Contender = Contender {
    name: "mcp-proxy",
    how: "in front of the same tools on stdio: one process behind it for all sessions, one file for all",
    tokens: false,
    modern: false,
    within_session: true,
    program: "mcp-proxy/bin/mcp-proxy",
    command: |place, folder| {
        let mut command = Command::new(place.cached("mcp-proxy/bin/mcp-proxy"));
        command.args(["--host", "127.0.0.1", "--port", "0", "--pass-environment", "--", "node"]);
        command.arg(place.cached("compare/stdio.mjs")).arg(folder.join("data"));
        command
    },
    ..TYPESCRIPT
};

fn freehold(place: &Place, folder: &Path) -> Command {
    let mut command = Command::new(&place.program);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env("FREEHOLD_AUTH__HS256_SECRET_FILE", &place.secret)
        .env("FREEHOLD_TENANTS__AUTO_CREATE", "true")
        .env("FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "0")
        .env("FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND", "0");
    command
}

fn fastmcp(place: &Place, folder: &Path) -> Command {
    let mut command = Command::new(place.cached("python/bin/uvicorn"));
    command
        .args(["fastmcp_app:app", "--host", "127.0.0.1", "--port", "0", "--app-dir"])
        .arg(place.cached("compare"))
        .env("FOLDER", folder.join("data"))
        .env("SECRET_FILE", &place.secret);
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.env("NODE_ENV", "production");
    command
}
