//! What the benches share: a load generator, the baselines they are held against, and pairing.
//! It knows nothing of the host itself.
#![expect(dead_code, reason = "each bench uses a part of it")]

pub mod bare_rmcp;
pub mod bare_sqlite;
pub mod load;
pub mod pair;
pub mod report;
pub mod request;
mod response;
