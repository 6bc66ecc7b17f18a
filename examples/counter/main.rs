//! The server that comparisons run: a tool that only computes, and one that writes durably.
//!
//! ```text
//! cargo run --release --example counter -- serve --dev
//! ```

mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    server::host().run()
}
