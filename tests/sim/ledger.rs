//! Calls of two statements each, who was told that they are done, and what is in the file: half a call, or one
//! that was acknowledged and is gone, shows.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::process::{Server, call, must};
use crate::support::{content, numbers, recovered, tenant_file};

/// One tenant's side of the story.
pub(crate) struct Ledger {
    pub(crate) tenant: &'static str,
    pub(crate) token: String,
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
}

/// How a call ended for its caller.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    Acknowledged,
    Refused(Value),
    /// The connection broke.
    Unknown,
}

impl Ledger {
    /// A new tenant in `data`, where there is a key.
    pub(crate) fn new(data: &Path, tenant: &'static str) -> Self {
        must(data, &["tenant", "create", tenant]);
        let token = must(data, &["token", "issue", "--tenant", tenant]).trim().to_owned();
        Self { tenant, token, next: 0.into(), acknowledged: Mutex::default() }
    }

    /// Makes its tables.
    pub(crate) fn prepare(&self, server: &Server) {
        let make =
            ["CREATE TABLE debit (n INTEGER PRIMARY KEY, pad BLOB)", "CREATE TABLE credit (n INTEGER PRIMARY KEY)"];
        let make = json!({ "statements": make.map(|sql| json!({ "sql": sql })) });
        content(&call(server.address(), &self.token, "sql_execute", &make).expect("an answer"));
    }

    /// One call of two statements, with so many bytes in it.
    pub(crate) fn write(&self, address: SocketAddr, bytes: u64) -> Ended {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        let both = json!({ "statements": [
            { "sql": "INSERT INTO debit VALUES (?, zeroblob(?))", "params": [n, bytes] },
            { "sql": "INSERT INTO credit VALUES (?)", "params": [n] },
        ]});
        let Some(answer) = call(address, &self.token, "sql_execute", &both) else { return Ended::Unknown };
        if answer["error"].is_object() || answer["result"]["isError"] == true {
            return Ended::Refused(answer);
        }
        content(&answer);
        self.acknowledged.lock().expect("whole").insert(n);
        Ended::Acknowledged
    }

    /// How many calls were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("whole").len()
    }

    /// Holds the file, as a copy of it recovers, against what was told.
    pub(crate) fn audit(&self, data: &Path) {
        let (conn, _copy) = recovered(&tenant_file(data, self.tenant));
        let (debit, credit) = (numbers(&conn, "debit"), numbers(&conn, "credit"));
        assert_eq!(debit, credit, "{}: a call is there by half", self.tenant);
        let acknowledged = self.acknowledged.lock().expect("whole");
        let lost: Vec<_> = acknowledged.difference(&debit).collect();
        assert!(lost.is_empty(), "{}: acknowledged and lost: {lost:?}", self.tenant);
    }
}
