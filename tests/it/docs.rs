//! What docs/ says of settings and errors is what the code has. `make docs` writes the tables anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use freehold::{IssuerSettings, Settings};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The source files below `folder`, by their text.
fn sources(folder: &str) -> Vec<String> {
    let (mut open, mut found) = (vec![root().join(folder)], Vec::<PathBuf>::new());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|kind| kind == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found.iter().map(|path| fs::read_to_string(path).expect("a source file")).collect()
}

/// A public field of a struct of settings.
struct Field {
    name: String,
    kind: String,
    says: String,
}

/// The structs of src/config by name, with their fields as they are documented.
fn structs() -> BTreeMap<String, Vec<Field>> {
    let mut structs = BTreeMap::new();
    for text in sources("src/config") {
        let (mut open, mut says): (Option<String>, Vec<&str>) = (None, Vec::new());
        for line in text.lines() {
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
                open = Some(name.to_owned());
                structs.insert(name.to_owned(), Vec::new());
            } else if line == "}" {
                open = None;
            } else if let Some(said) = line.trim_start().strip_prefix("///") {
                says.push(said.trim());
                continue;
            } else if let (Some(name), Some((field, kind))) =
                (&open, line.strip_prefix("    pub ").and_then(|rest| rest.strip_suffix(',')?.split_once(": ")))
            {
                let field = Field { name: field.to_owned(), kind: kind.to_owned(), says: says.join(" ") };
                structs.get_mut(name).expect("it is open").push(field);
            } else if line.trim_start().starts_with("#[") {
                continue;
            }
            says.clear();
        }
    }
    structs
}

/// The keys that need a restart, as the code that reloads has them.
fn at_start() -> Vec<String> {
    let text = read("src/config/change.rs");
    let (_, list) = text.split_once("AT_START: &[&str] = &[").expect("the list");
    let (list, _) = list.split_once("];").expect("its end");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// One line of a table for each key of `of`.
fn table(
    structs: &BTreeMap<String, Vec<Field>>,
    at_start: &[String],
    prefix: &str,
    of: &str,
    defaults: &Value,
) -> String {
    let mut lines = String::new();
    for Field { name, kind, says } in &structs[of] {
        let key = format!("{prefix}{name}");
        let default = &defaults[name];
        if key == "limits.class" || key == "auth.issuers" {
            continue;
        }
        if structs.contains_key(kind) {
            continue;
        }
        let default = match default {
            Value::Null => "unset".to_owned(),
            // How figment writes a path.
            Value::Object(path) => path
                .iter()
                .find(|(name, _)| name.ends_with("relative_path"))
                .map_or_else(|| "empty".to_owned(), |(_, path)| format!("`{path}`")),
            Value::Array(list) if list.is_empty() => "`[]`".to_owned(),
            value => format!("`{value}`"),
        };
        let restart = at_start.iter().any(|start| key == *start || (start.ends_with('.') && key.starts_with(start)));
        let says = plain(says);
        lines.push_str(&format!("| `{key}` | {default} | {says}{} |\n", if restart { " ↻" } else { "" }));
    }
    lines
}

/// Rust's links to its own names, without the links.
fn plain(says: &str) -> String {
    let mut text = String::new();
    let mut rest = says;
    while let Some(at) = rest.find("](") {
        let (before, after) = rest.split_at(at + 1);
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    (text + rest).replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

/// Every table of docs/settings.md, by the struct that it is of.
fn tables() -> Vec<(&'static str, String)> {
    let (structs, at_start) = (structs(), at_start());
    let defaults = serde_json::to_value(Settings::default()).expect("JSON");
    let mut tables = vec![("Settings", table(&structs, &at_start, "", "Settings", &defaults))];
    let inner = structs["Settings"].iter().filter(|field| structs.contains_key(&field.kind));
    for Field { name, kind, .. } in inner {
        let lines = table(&structs, &at_start, &format!("{name}."), kind, &defaults[name]);
        let name: &'static str = name.clone().leak();
        tables.push((name, lines));
    }
    let remote = table(&structs, &at_start, "history.remote.", "RemoteSettings", &defaults["history"]["remote"]);
    tables.push(("history.remote", remote));
    let issuer = serde_json::to_value(IssuerSettings::default()).expect("JSON");
    tables.push(("auth.issuers", table(&structs, &at_start, "", "IssuerSettings", &issuer)));
    tables
}

#[test]
fn every_setting_and_its_default_is_in_the_documents() {
    let path = "docs/settings.md";
    let mut text = read(path);
    for (name, lines) in tables() {
        assert!(!lines.is_empty(), "{name} has no keys: the source is read wrongly");
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let table = format!("{open}| key | default | what it does |\n|---|---|---|\n{lines}{close}");
        let (before, rest) = text.split_once(&open).unwrap_or_else(|| panic!("{path} has no {open}"));
        let (_, after) = rest.split_once(&close).unwrap_or_else(|| panic!("{path} has no {close}"));
        text = format!("{before}{table}{after}");
    }
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(root().join(path), &text).expect("written");
    }
    assert!(text == read(path), "{path} is not what src/config says: `make docs` writes it anew");
}

/// The words between `before` and the next quotation mark in what is no test.
fn words(before: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in sources("src") {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        // One line, whatever the formatter made of it.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
        for rest in text.split(before).skip(1) {
            let word = rest.split('"').next().unwrap_or_default();
            assert!(!word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{before}{word}");
            found.insert(word.to_owned());
        }
    }
    found
}

/// The names in the first column of the table behind `<!-- name -->`.
fn rows(text: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no table {name}"));
    let (table, _) = rest.split_once("<!-- / -->").expect("its end");
    let first = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    first.map(|(word, _)| word.to_owned()).collect()
}

#[test]
fn every_error_is_in_the_documents() {
    let text = read("docs/errors.md");
    let bounds = ["Error::busy(\"", "Error::limit(\"", "with_bound(\"", "Rule::new(\"", "late(\""].map(words);
    let mut bounds: BTreeSet<_> = bounds.into_iter().flatten().collect();
    // Those that the code names elsewhere than where it refuses.
    let named = ["database_bytes", "value_bytes", "statement_memory", "sessions", "sessions_per_principal"];
    let source = sources("src").concat();
    for name in named.into_iter().chain(["resident_max", "resident_bytes", "open_files"]) {
        assert!(source.contains(&format!("\"{name}\"")), "no bound is called {name} any more");
        bounds.insert(name.to_owned());
    }
    assert_eq!(rows(&text, "limits"), bounds, "limits");
    assert_eq!(rows(&text, "reasons"), words("with_reason(\""), "reasons");
    let rejected: BTreeSet<_> = ["unauthenticated(\"", "tenant_unknown(\""].map(words).into_iter().flatten().collect();
    assert_eq!(rows(&text, "rejected"), rejected, "why a token was refused");
    let kinds = read("src/error.rs");
    let (_, kinds) = kinds.split_once("pub enum ErrorKind {").expect("the kinds");
    let (kinds, _) = kinds.split_once('}').expect("their end");
    let kinds = kinds.lines().filter_map(|line| line.trim().strip_suffix(','));
    let kinds: BTreeSet<_> = kinds.map(str::to_lowercase).collect();
    assert_eq!(rows(&text, "kinds"), kinds, "kinds");
}

/// A rule or a panel on a metric that there is not says nothing, for ever.
#[test]
fn alerts_and_panels_are_on_metrics_that_there_are() {
    let known = rows(&read("docs/metrics.md"), "metrics");
    let mut asked = BTreeSet::new();
    for path in ["deploy/prometheus/freehold.rules.yml", "deploy/grafana/freehold.json"] {
        for rest in read(path).split("freehold_").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_bucket")).unwrap_or(&name);
            asked.insert(format!("freehold_{name}"));
        }
    }
    assert!(asked.len() > 10, "{asked:?}");
    assert_eq!(asked.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A link to a file that is not there is worse than none.
#[test]
fn links_lead_somewhere() {
    let mut documents = vec![PathBuf::from("README.md"), PathBuf::from("deploy/tunnel.md")];
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        documents.push(Path::new("docs").join(entry.expect("an entry").file_name()));
    }
    for document in documents {
        let text = read(document.to_str().expect("text"));
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = root().join(document.parent().expect("a folder")).join(target);
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
}
