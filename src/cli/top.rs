//! `freehold top`: who does the most just now, and who is turned away and why. It asks the host that runs.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{Place, operate, say};
use crate::error::{Error, Result};
use crate::host::{Host, Operator};

/// Example: freehold top --every 2s
#[derive(Args)]
pub(super) struct Top {
    #[command(flatten)]
    place: Place,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Look so many times, then end [default: without end on a terminal, else once]
    #[arg(long, value_name = "N")]
    times: Option<u64>,
    /// Print a JSON object for each look
    #[arg(long)]
    json: bool,
}

/// What was seen of a tenant the last time.
type Seen = HashMap<String, [u64; 4]>;

impl Top {
    pub(super) fn run(&self, host: Host) -> Result<()> {
        if self.every.is_zero() {
            return Err(Error::invalid("--every 0s would only keep the host busy: give 1s or more"));
        }
        let live = std::io::stdout().is_terminal() && !self.json;
        let times = self.times.unwrap_or(if live { u64::MAX } else { 1 });
        operate(host, &self.place.settings()?, async |operator| {
            let mut seen = Seen::new();
            for look in 0..times {
                if look > 0 {
                    tokio::time::sleep(self.every).await;
                }
                self.look(operator, &mut seen, live).await?;
            }
            Ok(())
        })
    }

    async fn look(&self, operator: &Operator, seen: &mut Seen, live: bool) -> Result<()> {
        let told = operator.ask(Method::GET, "/v1/top", None).await?;
        if self.json {
            return say(&told);
        }
        // The screen is cleared and written from its first line (ECMA-48: ED, CUP).
        let clear = if live { "\u{1b}[2J\u{1b}[H" } else { "" };
        say(format_args!(
            "{clear}{} tenants open, {} threads for SQL, {} jobs wait in front and {} in the background",
            told["open"], told["threads"], told["fast_waiting"], told["background_waiting"]
        ))?;
        say(format_args!(
            "{:<32} {:>9} {:>9} {:>8} {:>8}  turned away by",
            "tenant", "calls", "refused", "sql ms", "wait ms"
        ))?;
        for tenant in told["tenants"].as_array().into_iter().flatten() {
            let name = tenant["tenant"].as_str().unwrap_or_default();
            let now = ["requests", "refused", "sql_us", "queue_us"].map(|key| tenant[key].as_u64().unwrap_or(0));
            let before = seen.insert(name.to_owned(), now).unwrap_or_default();
            // One that was opened anew counts from nothing again.
            let [requests, refused, sql, queue] =
                std::array::from_fn(|at| if now[at] >= before[at] { now[at] - before[at] } else { now[at] });
            let why = tenant["last_refusal"].as_str().filter(|_| refused > 0).unwrap_or_default();
            let lane = if tenant["in_background"] == Value::Bool(true) { " (in the background)" } else { "" };
            say(format_args!(
                "{name:<32} {requests:>9} {refused:>9} {:>8} {:>8}  {why}{lane}",
                sql / 1_000,
                queue / 1_000
            ))?;
        }
        Ok(())
    }
}
