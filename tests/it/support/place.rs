//! A data directory whose tenants' past is in a real S3 server too, and what is done with it from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use freehold::rusqlite::Connection;
use serde_json::{Value, json};

use super::process::{Server, call, output};
use super::s3::{S3, SECRET};
use super::{PATIENCE, content, numbers};

/// A data directory and the configuration that it is used with.
pub(crate) struct Place {
    pub(crate) data: PathBuf,
    pub(crate) config: PathBuf,
}

impl Place {
    pub(crate) fn new(s3: &S3, folder: &Path) -> Self {
        Self::with(s3, folder, "fleet/a", "")
    }

    pub(crate) fn with(s3: &S3, folder: &Path, prefix: &str, more: &str) -> Self {
        let place = Self { data: folder.join("data"), config: s3.config(folder, prefix, SECRET, more) };
        place.must(&["key", "generate"]);
        place
    }

    pub(crate) fn run(&self, args: &[&str]) -> std::process::Output {
        let config = self.config.to_str().expect("text");
        output(super::process::freehold(&self.data, &[args, &["--config", config]].concat()))
    }

    pub(crate) fn must(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(!done.status.success(), "{args:?} succeeded: {done:?}");
        String::from_utf8(done.stderr).expect("text")
    }

    pub(crate) fn serve(&self) -> Server {
        Server::start(&self.data, &["--config", self.config.to_str().expect("text")])
    }

    pub(crate) fn tenant(&self, name: &str, more: &[&str]) -> String {
        self.must(&[&["tenant", "create", name], more].concat());
        self.token(name)
    }

    pub(crate) fn token(&self, name: &str) -> String {
        self.must(&["token", "issue", "--tenant", name]).trim().to_owned()
    }

    /// The machine is gone.
    pub(crate) fn burn(&self) {
        fs::remove_dir_all(&self.data).expect("gone");
    }

    /// The rows of `tenant` in the storage, at `at` or at the last moment that is there.
    pub(crate) fn there(&self, tenant: &str, at: Option<SystemTime>, out: &str) -> Vec<u64> {
        self.looked(tenant, at, out).unwrap_or_else(|said| panic!("{tenant} is not there: {said}"))
    }

    /// The same, or what the command says.
    pub(crate) fn looked(&self, tenant: &str, at: Option<SystemTime>, out: &str) -> Result<Vec<u64>, String> {
        let out = self.data.with_file_name(out);
        let _ = fs::remove_file(&out);
        let mut args = vec!["tenant", "export", tenant, "--from-remote", "--out", out.to_str().expect("text")];
        let time = at.map(rfc3339);
        if let Some(time) = &time {
            args.extend(["--at", time]);
        }
        let done = self.run(&args);
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let copy = Connection::open(&out).expect("a database");
        let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
        assert_eq!(check, "ok");
        Ok(numbers(&copy, "hit").into_iter().collect())
    }

    /// Waits until the storage has every one of the first `rows` rows.
    pub(crate) fn until_there(&self, tenant: &str, rows: u64) {
        let begun = Instant::now();
        loop {
            let told = self.run(&["tenant", "verify", tenant, "--from-remote"]);
            if told.status.success() && self.there(tenant, None, "looked").len() as u64 >= rows {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{tenant} is not in the storage: {told:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub(crate) fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

pub(crate) fn begin(server: &Server, token: &str) {
    sql(server, token, "CREATE TABLE hit (n INTEGER PRIMARY KEY, b)", &json!([]));
}

pub(crate) fn sql(server: &Server, token: &str, sql: &str, params: &Value) {
    let statements = json!({ "statements": [{ "sql": sql, "params": params }] });
    content(&call(server.address(), token, "sql_execute", &statements).expect("an answer"));
}

pub(crate) fn hits(server: &Server, token: &str, rows: std::ops::Range<u64>) {
    for n in rows {
        hit(server, token, n);
    }
}

/// Row `n`; when it was acknowledged.
pub(crate) fn hit(server: &Server, token: &str, n: u64) -> SystemTime {
    sql(server, token, "INSERT INTO hit VALUES (?, randomblob(300))", &json!([n]));
    SystemTime::now()
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
