//! Where settings come from, and what an operator reads when one is wrong.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;

use super::{PublicUrl, Settings};
use crate::error::{Error, Result};

/// What the command line may override. `None` leaves the setting as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// `--listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// `--admin-listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<SocketAddr>,
    /// `--metrics-listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// `--data-dir`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// `--wait-for-lock`
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub wait_for_lock: Option<Duration>,
    /// `--public-url`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
    /// `--behind-proxy`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_proxy: Option<bool>,
    /// `--tls-cert`, `--tls-key`
    #[serde(skip_serializing_if = "TlsFlags::is_empty")]
    pub tls: TlsFlags,
}

/// `[tls]` by flag.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TlsFlags {
    /// `--tls-cert`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// `--tls-key`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl TlsFlags {
    fn is_empty(&self) -> bool {
        self.cert_file.is_none() && self.key_file.is_none()
    }
}

impl Settings {
    /// Joins defaults, `file`, the environment and `flags`, each overriding the one before.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the file is missing, a key is unknown (the
    /// message names the nearest right one), or a value does not fit.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        // These steer the program and are not settings.
        let environment = Env::prefixed("FREEHOLD_").ignore(&["config", "dev", "transport", "tenant"]).split("__");
        let settings: Self =
            figment.merge(environment).merge(Serialized::defaults(flags)).extract().map_err(|error| explain(&error))?;
        settings.check()?;
        Ok(settings)
    }

    /// What no single value shows.
    fn check(&self) -> Result<()> {
        for (name, class) in self.classes()? {
            if let Some(key) = class.limits.zero() {
                return Err(Error::invalid(format!(
                    "limits.{key} is 0 for class `{name}`: nothing could ever be done; set it to 1 or more"
                )));
            }
        }
        if !self.listen.ip().is_loopback() && self.public_url.is_none() {
            return Err(Error::invalid(
                "listen is not loopback and public_url is not set: give the address that agents type, \
                 such as --public-url https://mcp.example.com, or every request would be refused for its Host",
            ));
        }
        if self.admin_listen.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(Error::invalid(
                "admin_listen is not loopback: whoever reaches it with its token can do all that an operator can; \
                 name an address of this machine, such as 127.0.0.1:9000, and bring others there through a tunnel",
            ));
        }
        let taken = |address: &SocketAddr| *address == self.listen || self.admin_listen == Some(*address);
        if self.metrics_listen.is_some_and(|address| address.port() != 0 && taken(&address)) {
            return Err(Error::invalid(
                "metrics_listen is an address that is listened on for something else: give it a port of its own, such as \
                 127.0.0.1:9100",
            ));
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return Err(Error::invalid("TLS takes both files: set tls.cert_file and tls.key_file"));
        }
        if !self.listen.ip().is_loopback() && !self.speaks_tls() && !self.behind_proxy {
            return Err(Error::invalid(
                "listen is not loopback and speaks plain HTTP, where tokens can be read on the way (RFC 6750 section \
                 5.3): give --tls-cert and --tls-key, or say --behind-proxy if something in front ends TLS",
            ));
        }
        if self.connections.max == 0 || self.connections.in_flight == 0 {
            return Err(Error::invalid(
                "connections.max or connections.in_flight is 0: nothing could ever be served; set it to 1 or more",
            ));
        }
        if self.connections.proxy_protocol && self.trusted_proxies().is_empty() {
            return Err(Error::invalid(
                "connections.proxy_protocol is on and no proxy is trusted, so that nobody could connect: set \
                 trusted_proxies = [\"the balancer's address\"]",
            ));
        }
        if self.tenants.resident_max == 0 {
            return Err(Error::invalid("tenants.resident_max is 0: no tenant could ever be served"));
        }
        self.traces.check()?;
        if self.history.remote.url.is_some() && !self.history.enabled {
            return Err(Error::invalid(
                "history.remote.url is set and history.enabled is false, so that nothing would be sent: switch it on, or \
                 leave the address out",
            ));
        }
        self.history.remote.check()?;
        self.auth.check()
    }
}

fn explain(error: &figment::Error) -> Error {
    let place = error.metadata.as_ref().map(|metadata| metadata.name.to_string()).unwrap_or_default();
    Error::invalid(format!("configuration ({place}){}", explained(error, &[])))
}

/// Where it is and what is wrong: ` at ``limits``: unknown key …`. `known` are keys that figment does not know of.
pub(super) fn explained(error: &figment::Error, known: &[&'static str]) -> String {
    let key = error.path.join(".");
    let text = match &error.kind {
        Kind::UnknownField(unknown, expected) => {
            let nearest = expected
                .iter()
                .chain(known)
                .max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)))
                .map(|name| format!("; the nearest right one is `{name}`"));
            format!("unknown key `{unknown}`{}", nearest.unwrap_or_default())
        }
        kind => kind.to_string(),
    };
    if key.is_empty() { format!(": {text}") } else { format!(" at `{key}`: {text}") }
}
