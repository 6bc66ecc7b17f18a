//! What the benches share: a load generator, the baselines they are held against, and pairing.

pub mod bare_rmcp;
pub mod bare_sqlite;
pub mod compare;
pub mod copies;
pub mod load;
pub mod noise;
pub mod operate;
pub mod pair;
pub mod process;
pub mod report;
pub mod request;
pub mod residents;
mod response;
pub mod sessions;
pub mod table;
pub mod tokens;
pub mod tools;

/// What a bench comes to, or why not.
pub type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;
