//! A server whose tools misbehave when asked to: panic, fail, block, count.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use freehold::{Error, Host, Migration, Tenant};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::schemars::{self, JsonSchema};
use rmcp::{tool, tool_router};
use serde::{Deserialize, Serialize};

/// One tenant's server.
pub(crate) struct Probe {
    /// Calls of `bump` so far: state in memory that must be one tenant's own.
    bumps: AtomicUsize,
    shared: Shared,
}

/// What the test holds in its hand.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Default)]
struct Inner {
    made: AtomicUsize,
    begun: AtomicUsize,
    gates: Mutex<Vec<Receiver<()>>>,
}

/// What a write is to do after its row is in.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Then {
    Succeed,
    Fail,
    Panic,
}

#[derive(Deserialize, JsonSchema)]
struct Put {
    n: i64,
    then: Then,
}

#[derive(Deserialize, JsonSchema)]
struct Sql {
    sql: String,
}

#[derive(Serialize, JsonSchema)]
struct Number {
    value: i64,
}

type Answer = freehold::Result<Json<Number>>;

fn number(value: i64) -> Answer {
    Ok(Json(Number { value }))
}

#[tool_router(server_handler)]
impl Probe {
    /// Insert a row, then do as told.
    #[tool]
    async fn put(&self, tenant: Tenant, Parameters(Put { n, then }): Parameters<Put>) -> Answer {
        tenant
            .write(move |tx| {
                tx.execute("INSERT INTO mark (n) VALUES (?1)", [n])?;
                match then {
                    Then::Succeed => number(n),
                    Then::Fail => Err(Error::invalid("failed as told")),
                    Then::Panic => panic!("panicked as told"),
                }
            })
            .await
    }

    /// Panic outside of any closure.
    #[tool]
    async fn explode(&self) -> Answer {
        panic!("exploded as told")
    }

    /// Panic inside a reading closure.
    #[tool]
    async fn explode_reading(&self, tenant: Tenant) -> Answer {
        tenant.read(|_| -> Answer { panic!("panicked as told") }).await
    }

    /// Count calls in memory.
    #[tool]
    async fn bump(&self) -> Answer {
        number(self.bumps.fetch_add(1, Ordering::SeqCst) as i64 + 1)
    }

    /// Hold the writer until the test lets go.
    #[tool]
    async fn hold_write(&self, tenant: Tenant) -> Answer {
        let shared = self.shared.clone();
        tenant
            .write(move |_| {
                shared.wait();
                number(0)
            })
            .await
    }

    /// Hold a reader until the test lets go.
    #[tool]
    async fn hold_read(&self, tenant: Tenant) -> Answer {
        let shared = self.shared.clone();
        tenant
            .read(move |_| {
                shared.wait();
                number(0)
            })
            .await
    }

    /// Run a statement as the program that embeds the host does.
    #[tool]
    async fn run(&self, tenant: Tenant, Parameters(Sql { sql }): Parameters<Sql>) -> Answer {
        tenant
            .write(move |tx| {
                let mut statement = tx.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
                number(0)
            })
            .await
    }

    /// Count the rows that `put` left.
    #[tool]
    async fn count(&self, tenant: Tenant) -> Answer {
        tenant.read(|conn| number(conn.query_row("SELECT count(*) FROM mark", [], |row| row.get(0))?)).await
    }
}

impl Shared {
    /// A host of this server.
    pub(crate) fn host(&self) -> Host {
        let shared = self.clone();
        let schema =
            Migration { name: "0001_mark".into(), sql: "CREATE TABLE mark (n INTEGER NOT NULL) STRICT".into() };
        let make = move |_tenant| {
            shared.0.made.fetch_add(1, Ordering::SeqCst);
            Probe { bumps: AtomicUsize::new(0), shared: shared.clone() }
        };
        Host::new(make).migrations([schema])
    }

    /// How many servers were made.
    pub(crate) fn made(&self) -> usize {
        self.0.made.load(Ordering::SeqCst)
    }

    /// How many `hold_…` calls have begun to hold.
    pub(crate) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// Lets the next `hold_…` call hold until the sender is dropped.
    pub(crate) fn gate(&self) -> Sender<()> {
        let (open, gate) = channel();
        self.0.gates.lock().expect("whole").push(gate);
        open
    }

    fn wait(&self) {
        let gate = self.0.gates.lock().expect("whole").pop();
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = gate {
            // Ends as well when the test does; the bound is for a test that is stuck.
            let _ = gate.recv_timeout(super::PATIENCE);
        }
    }
}
