//! The bare binary: the host with its built-in tools and no server beside them.

use std::process::ExitCode;

use freehold::Host;
use rmcp::ServerHandler;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};

/// Gives back to the system what closed tenants and quiet sessions leave: glibc's keeps most of it.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Adds nothing to the built-in tools but what they are for.
struct Bare;

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::default())
            .with_server_info(Implementation::new("freehold", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "A private database for this account: what is stored here stays, and nobody else sees it.",
            )
    }
}

fn main() -> ExitCode {
    Host::new(|_tenant| Bare).run()
}
