//! What differs between two settings, and which of it a running host can take up. It takes nothing up itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;

/// Keys, and beginnings of keys, that are read when the process starts and never again. [`Settings::kept`] is the
/// same list in code.
pub(crate) const AT_START: &[&str] = &[
    "listen",
    "data_dir",
    "wait_for_lock",
    "admin_listen",
    "admin_token_file",
    "metrics_listen",
    "behind_proxy",
    "trusted_proxies",
    "tls.",
    "audit.",
    "traces.",
    "connections.max",
    "connections.per_address",
    "connections.header_deadline",
    "connections.idle",
    "connections.write_stall",
    "connections.age",
    "connections.handshake_deadline",
    "connections.handshakes",
    "connections.proxy_protocol",
    "tenants.resident_max",
    "tenants.resident_bytes",
    "tenants.idle_after",
    "history.remote.",
];

/// What another configuration changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What holds from now on: `limits.mailbox: 64 -> 7`.
    pub now: Vec<String>,
    /// What holds from the next start on.
    pub at_start: Vec<String>,
}

impl Changes {
    /// Whether something changes now whose key begins with one of `keys`.
    pub(crate) fn touch(&self, keys: &[&str]) -> bool {
        self.now.iter().any(|change| keys.iter().any(|key| change.starts_with(key)))
    }
}

impl Settings {
    /// `next`, but for what only a start can change.
    #[must_use]
    pub(crate) fn kept(&self, next: &Self) -> Self {
        let mut kept = next.clone();
        (kept.listen, kept.data_dir, kept.wait_for_lock) = (self.listen, self.data_dir.clone(), self.wait_for_lock);
        (kept.behind_proxy, kept.trusted_proxies) = (self.behind_proxy, self.trusted_proxies.clone());
        (kept.tls, kept.audit, kept.traces) = (self.tls.clone(), self.audit.clone(), self.traces.clone());
        (kept.admin_listen, kept.admin_token_file) = (self.admin_listen, self.admin_token_file.clone());
        kept.metrics_listen = self.metrics_listen;
        let (new, old) = (&mut kept.connections, &self.connections);
        (new.max, new.per_address, new.handshakes) = (old.max, old.per_address, old.handshakes);
        (new.header_deadline, new.idle, new.write_stall) = (old.header_deadline, old.idle, old.write_stall);
        (new.age, new.handshake_deadline) = (old.age, old.handshake_deadline);
        new.proxy_protocol = old.proxy_protocol;
        let (new, old) = (&mut kept.tenants, &self.tenants);
        (new.resident_max, new.resident_bytes, new.idle_after) = (old.resident_max, old.resident_bytes, old.idle_after);
        kept.history.remote = self.history.remote.clone();
        kept
    }

    /// What `next` has other than these.
    #[must_use]
    pub(crate) fn changes(&self, next: &Self) -> Changes {
        let (old, new) = (flat(self), flat(next));
        let mut changes = Changes::default();
        let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let (before, after) = (old.get(key), new.get(key));
            if before == after {
                continue;
            }
            let word = |value: Option<&String>| value.map_or("unset", String::as_str).to_owned();
            let told = format!("{key}: {} -> {}", word(before), word(after));
            match AT_START.iter().any(|start| key == start || (start.ends_with('.') && key.starts_with(start))) {
                true => changes.at_start.push(told),
                false => changes.now.push(told),
            }
        }
        changes
    }
}

/// Every key with its value as JSON.
fn flat(settings: &Settings) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    gather(String::new(), &serde_json::to_value(settings).unwrap_or_default(), &mut keys);
    keys
}

fn gather(key: String, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        // A path is a table of figment's own.
        Value::Object(inner) if !inner.keys().any(|name| name.starts_with("___figment")) => {
            for (name, value) in inner {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                gather(key, value, keys);
            }
        }
        Value::Object(path) => {
            let path = path.iter().find(|(name, _)| name.ends_with("relative_path"));
            keys.insert(key, path.map(|(_, path)| path.to_string()).unwrap_or_default());
        }
        value => {
            keys.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Overrides;

    /// Other settings in every key that there is, as far as it has a value at all.
    fn other() -> Settings {
        let mut other = Settings::default();
        other.listen.set_port(1);
        other.data_dir = std::path::PathBuf::from("./elsewhere").into();
        other.wait_for_lock = Duration::from_secs(1);
        other.public_url = "https://mcp.example.com".parse().ok();
        other.trusted_proxies = Some(Vec::new());
        (other.behind_proxy, other.audit.enabled, other.tenants.auto_create) = (true, false, true);
        (other.connections.max, other.connections.in_flight) = (1, 1);
        (other.tenants.resident_max, other.limits.mailbox) = (1, 1);
        other.limits.class.insert("gold".to_owned(), Overrides::default().with("mailbox", 8));
        (other.admin_listen, other.metrics_listen) = (Some(other.listen), Some(other.listen));
        other.admin_token_file = Some(std::path::PathBuf::from("admin.token").into());
        (other.traces.follow_callers, other.traces.queue) = (false, 1);
        other.history.remote.at_once = 1;
        other.tls.cert_file = Some(std::path::PathBuf::from("cert.pem").into());
        other
    }

    #[test]
    fn what_is_kept_and_what_is_told_are_one_list() {
        let (old, new) = (Settings::default(), other());
        let kept = old.kept(&new);
        let changes = old.changes(&new);
        assert_eq!(old.changes(&kept).at_start, Vec::<String>::new(), "kept is kept");
        assert_eq!(kept.changes(&new).now, Vec::<String>::new(), "and nothing else");
        assert_eq!(old.changes(&kept).now, changes.now);
        assert_eq!(kept.changes(&new).at_start, changes.at_start);
        assert!(changes.touch(&["limits."]) && !changes.touch(&["auth."]), "{changes:?}");
        for told in
            ["limits.mailbox: 64 -> 1", "limits.class.gold.mailbox: unset -> 8", "connections.in_flight: 1024 -> 1"]
        {
            assert!(changes.now.iter().any(|change| change == told), "{told}: {changes:?}");
        }
        assert!(changes.at_start.iter().any(|change| change.starts_with("data_dir: ")), "{changes:?}");
        assert_eq!(old.changes(&old), Changes::default());
    }

    /// A key that was renamed would be taken up and told wrong.
    #[test]
    fn the_keys_are_keys() {
        let (old, new) = (flat(&Settings::default()), flat(&other()));
        for start in AT_START {
            let known = |keys: &BTreeMap<String, String>| keys.keys().any(|key| key.starts_with(start));
            assert!(known(&old) || known(&new), "{start}");
        }
    }
}
