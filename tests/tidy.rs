//! The law: layers, banned names, file headers, file lengths. It reads the source and needs no tool.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, top to bottom: a file may import from its own entry and from those above it.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["id"],
    &["clock", "drain", "hex", "random"],
    &["config"],
    &["telemetry"],
    &["auth"],
    &["db"],
    &["store"],
    &["catalog", "embed"],
    &["tenant"],
    &["archive"],
    &["ask", "tasks"],
    &["packs"],
    &["mcp"],
    &["admin"],
    &["http"],
    &["host"],
    &["cli", "testing"],
    &["lib"],
    &["main"],
];

/// A name, the files that may say it (by the start of their path under `src/`), and what would break.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("axum", &["http/", "host/", "testing"], "HTTP is the edge's business"),
    (
        "rmcp",
        &[
            "mcp/",
            "packs/",
            "ask/",
            "tasks/",
            "host/mod",
            "lib",
            "main",
            "telemetry",
            "config/log_filter",
            "http/respond",
        ],
        "the protocol is mcp's business",
    ),
    ("opentelemetry", &["telemetry/"], "what a span says is decided in one place"),
    ("jsonwebtoken", &["auth/"], "no one below the edge sees a token"),
    (
        "rusqlite",
        &[
            "db/",
            "catalog",
            "tenant/caller",
            "tenant/checkpoints",
            "tenant/handles",
            "tenant/journal",
            "tenant/usage",
            "tenant/handle",
            "tenant/job",
            "tenant/reminders/",
            "packs/sql/",
            "tasks/store",
            "mcp/sessions/events",
            "mcp/sessions/records",
            "store/",
            "tenant/kv",
            "lib",
        ],
        "SQL lives in db; elsewhere only the types that closures take",
    ),
    ("r2d2", &["db/"], "connections are db's business"),
    ("PRAGMA", &["db/"], "what a file is set to is decided in one place"),
    ("pragma_update", &["db/"], "what a file is set to is decided in one place"),
    ("OpenFlags", &["db/"], "how a file is opened is decided in one place"),
    ("join(\"tenants\")", &["db/layout"], "a path is built from a TenantId in one place"),
    ("SystemTime::now", &["clock"], "the time comes in by the door, so that a test can hold it"),
    ("rand::", &["random"], "what nobody can guess is drawn in one place"),
    ("spawn_blocking", &[], "blocking work has one bounded place: tenant/executor"),
    ("unbounded", &[], "a queue without an end is the outage"),
    ("unsafe", &["db/memory"], "only SQLite's allocator can't be had without"),
    ("set_var", &[], "the environment is shared by every thread"),
    ("process::exit", &["host/serve"], "stopping is in order, but for the second signal"),
    (".unwrap()", &[], "say what was expected, or return the error"),
    ("#[allow", &[], "#[expect] with a reason says when it is no longer needed"),
    ("TODO", &[], "open an issue"),
];

const LINES_MAX: usize = 400;

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("src can be read") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    assert!(found.len() > 40, "the source was not found");
    found
}

/// The source without what stands behind `//`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module that a path names first: `tenant/actor.rs` and `tenant.rs` are both `tenant`.
fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

fn report(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn files_import_only_from_above() {
    let mut breaches = Vec::new();
    for (file, text) in sources() {
        let own = module_of(&file);
        let layer = layer_of(own).unwrap_or_else(|| panic!("{file} has no place in LAYERS: give it one"));
        for (line, text) in code(&text) {
            for path in text.split("crate::").skip(1) {
                let used: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // Names that lib.rs gives to the outside, in a macro's `$crate::`.
                let Some(theirs) = layer_of(&used) else { continue };
                if theirs > layer || (theirs == layer && used != own) {
                    breaches.push(format!("{file}:{line} imports {used}, which stands below it"));
                }
            }
        }
    }
    report(&breaches);
}

#[test]
fn names_stay_where_they_belong() {
    let mut breaches = Vec::new();
    for (file, text) in sources() {
        for (line, text) in code(&text) {
            for (name, homes, reason) in BANNED {
                if text.contains(name) && !homes.iter().any(|home| file.starts_with(home)) {
                    breaches.push(format!("{file}:{line} says `{name}`: {reason}"));
                }
            }
        }
    }
    report(&breaches);
}

#[test]
fn files_open_with_what_they_own_and_stay_short() {
    let mut breaches = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//! ") {
            breaches.push(format!("{file} does not open with `//!`: say what it owns and what it does not know"));
        }
        if text.lines().count() > LINES_MAX {
            breaches.push(format!("{file} is longer than {LINES_MAX} lines: split it"));
        }
    }
    report(&breaches);
}

#[test]
fn the_law_sees_a_breach() {
    let line = "use crate::http::Edge; let x = y.unwrap(); // crate::db";
    let (_, seen) = code(line).next().expect("a line");
    assert!(seen.contains(".unwrap()") && !seen.contains("crate::db"));
    assert!(layer_of("http") > layer_of(module_of("tenant/actor.rs")));
}
