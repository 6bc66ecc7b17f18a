//! Settings: defaults, then `freehold.toml`, then `FREEHOLD_*`, then flags. Data only: what is done
//! with them is the business of whoever is handed them.

mod audit;
mod auth;
mod change;
mod class;
mod edge;
mod history;
mod journal;
mod limits;
mod load;
mod log_filter;
mod origin;
mod public_url;
mod remote;
mod tenant_map;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use figment::value::magic::RelativePathBuf;
use serde::{Deserialize, Serialize};

pub use audit::AuditSettings;
pub(crate) use auth::fetchable;
pub use auth::{AuthSettings, IssuerSettings};
pub(crate) use change::Changes;
pub(crate) use class::DEFAULT_CLASS;
pub use class::{Class, Overrides};
pub use edge::{AddressBlock, ConnectionSettings, CorsSettings, TlsSettings};
pub use history::HistorySettings;
pub use journal::{Arguments, JournalSettings};
pub use limits::Limits;
pub(crate) use load::{Flags, TlsFlags};
pub use log_filter::LogFilter;
pub use origin::{AllowedOrigin, Origin};
pub use public_url::PublicUrl;
pub use remote::{RemoteSettings, RemoteUrl};
pub use tenant_map::TenantMap;
pub use traces::{CollectorUrl, Ratio, TracesSettings};

/// Everything that an operator can set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where agents connect. Loopback unless told otherwise: a host on the open internet is a decision.
    pub listen: SocketAddr,
    /// Where operators' programs ask and Prometheus scrapes: on this machine alone, with the token of
    /// `admin_token_file`. Unset: only on the socket `admin.sock` in the data directory, which is its owner's.
    pub admin_listen: Option<SocketAddr>,
    /// The token of `admin_listen`, 0600; made when it is not there. Unset: `keys/admin.token` in the data directory.
    pub admin_token_file: Option<RelativePathBuf>,
    /// Where `/metrics` is answered without a token, in plain HTTP, and nothing else is: for a Prometheus on another
    /// machine or in the cluster. Whoever reaches it reads who the busiest tenants are and how busy: let in the scraper
    /// alone. Unset: nowhere, and `admin_listen` has it with the token.
    pub metrics_listen: Option<SocketAddr>,
    /// The folder that holds everything: the catalog, the keys and a folder per tenant.
    pub data_dir: RelativePathBuf,
    /// How long to wait at the start for another process that has `data_dir`, as while it is replaced by this one.
    /// What comes in meanwhile is kept, from when the other one is about to leave. `"0s"`: not at all.
    #[serde(with = "humantime_serde")]
    pub wait_for_lock: Duration,
    /// The address that agents type, without `/mcp`. Sets allowed host, allowed origin and audience.
    pub public_url: Option<PublicUrl>,
    /// Something in front of the host ends TLS: plain HTTP on an address that others reach is meant.
    pub behind_proxy: bool,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed, for the log and for bounds by address.
    /// Unset: nobody's, or this machine's with `behind_proxy`.
    pub trusted_proxies: Option<Vec<AddressBlock>>,
    /// Which pages of other origins may call from a browser.
    pub cors: CorsSettings,
    /// TLS in this process.
    pub tls: TlsSettings,
    /// What connections may cost.
    pub connections: ConnectionSettings,
    /// What an acknowledged write has survived.
    pub durability: Durability,
    /// The built-in tools that every tenant gets.
    pub packs: Vec<Pack>,
    /// Who may call.
    pub auth: AuthSettings,
    /// Which events are logged: a level, and levels of parts of the program.
    pub log: LogFilter,
    /// Where traces of requests go.
    pub traces: TracesSettings,
    /// What is recorded of callers and operators.
    pub audit: AuditSettings,
    /// How tenants come to be and how many are open.
    pub tenants: TenantSettings,
    /// How a tenant's past is kept.
    pub history: HistorySettings,
    /// What is kept of each tool call.
    pub journal: JournalSettings,
    /// What one tenant may use.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            admin_listen: None,
            admin_token_file: None,
            metrics_listen: None,
            data_dir: RelativePathBuf::from(PathBuf::from("./data")),
            wait_for_lock: Duration::ZERO,
            public_url: None,
            behind_proxy: false,
            trusted_proxies: None,
            cors: CorsSettings::default(),
            tls: TlsSettings::default(),
            connections: ConnectionSettings::default(),
            durability: Durability::Full,
            packs: vec![Pack::Sql, Pack::Kv, Pack::Memory, Pack::Reminders, Pack::Itself],
            auth: AuthSettings::default(),
            log: LogFilter::default(),
            traces: TracesSettings::default(),
            audit: AuditSettings::default(),
            tenants: TenantSettings::default(),
            history: HistorySettings::default(),
            journal: JournalSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// What an acknowledged write has survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A loss of power: the write-ahead log is fsynced before the reply (`synchronous=FULL`).
    #[default]
    Full,
    /// The end of the process, kill -9 included, but not a loss of power (`synchronous=NORMAL`).
    Normal,
}

/// A set of built-in tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pack {
    /// `sql_query`, `sql_execute`, `sql_schema`: the tenant's own database.
    Sql,
    /// `kv_get`, `kv_set`, `kv_delete`, `kv_list`: JSON values by key.
    Kv,
    /// `memory_save`, `memory_search`, `memory_list`, `memory_forget`: notes, found again by their words.
    Memory,
    /// `reminder_set`, `reminder_list`, `reminder_cancel`, `inbox_read`, `inbox_ack`.
    Reminders,
    /// `self`: `tenant_status`, `checkpoint_create`, `checkpoint_list`, `checkpoint_restore`, `checkpoint_delete`.
    #[serde(rename = "self")]
    Itself,
}

/// How tenants come to be and how many are open.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantSettings {
    /// Whether a valid token for an unknown tenant creates it. Off: a token must not make files.
    pub auto_create: bool,
    /// Tenants open at once; beyond it the least recently used idle one is closed. Fewer where memory
    /// allows no more, and fewer in use at once where file descriptors do not: the log says so at the start.
    pub resident_max: usize,
    /// What open tenants may take of memory. No more are open than have room in it at 150 KB each, and where SQLite
    /// holds more for them than it, those that were left first are closed.
    pub resident_bytes: ByteSize,
    /// What running statements of all tenants may take of memory together, beyond a megabyte of each: a sort of
    /// many rows waits for another, and a small statement for none. One alone has `limits.statement_memory`.
    pub statements_bytes: ByteSize,
    /// A tenant that nobody has called for so long is closed; its next call opens it again. After a tenth of it
    /// it rests: its file is closed until it is asked for.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            auto_create: false,
            resident_max: 5_000,
            resident_bytes: ByteSize::gib(1),
            statements_bytes: ByteSize::mib(512),
            idle_after: Duration::from_secs(300),
        }
    }
}

impl Settings {
    /// Whose word about a caller's address is taken.
    #[must_use]
    pub fn trusted_proxies(&self) -> Vec<AddressBlock> {
        match &self.trusted_proxies {
            Some(listed) => listed.clone(),
            None if self.behind_proxy => AddressBlock::loopback().into(),
            None => Vec::new(),
        }
    }

    /// Whether this process speaks TLS itself.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls.cert_file.is_some()
    }

    /// The audiences that a token may name, the one that this host issues for first.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        match (&self.auth.audiences[..], &self.public_url) {
            ([], Some(url)) => vec![format!("{}/mcp", url.origin())],
            ([], None) => vec!["freehold".to_owned()],
            (listed, _) => listed.to_vec(),
        }
    }

    /// The address of this resource (RFC 8707), for metadata: never taken from a request.
    #[must_use]
    pub fn resource(&self) -> String {
        let origin = self.public_url.as_ref().map_or_else(|| format!("http://{}", self.listen), PublicUrl::origin);
        format!("{origin}/mcp")
    }
}
