//! A server with tables of its own: notes with tags, each tenant's in its own file.
//!
//! ```text
//! cargo run --example notes -- serve --transport stdio
//! cargo run --example notes -- serve --dev
//! ```

mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    server::host().run()
}
