//! The promises of the host, each a module of its own, tried from outside: through the router, the files and
//! the real program. Nothing here looks into the crate.

mod admission;
mod asking;
mod auth;
mod auth_edge;
mod cli;
mod durability;
mod edge_cors;
mod edge_form;
mod gone;
mod isolation;
mod kill;
mod kv;
mod limits;
mod memory;
mod migrations;
mod neighbours;
mod notes;
mod notify;
mod protocol;
mod residency;
mod resources;
mod rust_client;
mod scope;
mod sessions;
mod sql;
mod sql_bounds;
mod sql_refused;
mod streams;
mod support;
mod tasks;
mod threats;
mod tools;
