//! `[cors]`, `[connections]`, `[tls]` and `trusted_proxies`: who may knock, how often and how slowly.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use figment::value::magic::RelativePathBuf;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AllowedOrigin;
use crate::error::{Error, Result};

/// Which pages of other origins may call from a browser.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSettings {
    /// Beside the host's own: `https://app.example.com`, `http://localhost:*`, `null`, or `*`.
    pub allowed_origins: Vec<AllowedOrigin>,
}

/// TLS in this process. Without it, something in front of the host has to do it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificate and those that lead to its root, PEM.
    pub cert_file: Option<RelativePathBuf>,
    /// Its private key, PEM, for its owner's eyes alone (0600).
    pub key_file: Option<RelativePathBuf>,
}

/// What connections may cost. Durations as `"15s"`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSettings {
    /// Connections open at once; further ones are closed at the door. Each takes a file descriptor.
    pub max: usize,
    /// Of these, from one address (one /64 of IPv6). This machine and `trusted_proxies` are not counted.
    pub per_address: usize,
    /// The longest from a connection's first moment, or a request's first byte, to the end of its headers.
    #[serde(with = "humantime_serde")]
    pub header_deadline: Duration,
    /// The longest that a connection may stay open between requests. Longer than that of the balancer in
    /// front (60 s is usual), or the balancer meets closed connections and answers 502.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// The longest that a client may leave what was sent to it unread.
    #[serde(with = "humantime_serde")]
    pub write_stall: Duration,
    /// After this (give or take a tenth) a connection ends with its next answer, so that balancers rebalance.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    /// Requests that are being answered at once, over all tenants; further ones get 503 and a second's wait.
    pub in_flight: usize,
    /// The longest until an answer begins; then 504. A stream that has begun may go on.
    #[serde(with = "humantime_serde")]
    pub answer_deadline: Duration,
    /// The longest that a TLS handshake may take.
    #[serde(with = "humantime_serde")]
    pub handshake_deadline: Duration,
    /// TLS handshakes under way at once.
    pub handshakes: usize,
    /// Whether a balancer passes TCP on and says for whom in a PROXY header (version 2): then every connection has to
    /// be one of `trusted_proxies` and to begin with that header, within 2 s.
    pub proxy_protocol: bool,
    /// How long `/readyz` says 503 before stopping begins, so that a balancer can look elsewhere. Unset:
    /// 5 s with `behind_proxy`, else nothing.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Option<Duration>,
    /// How long calls that are under way may take to end once stopping has begun; then they are cut.
    #[serde(with = "humantime_serde")]
    pub drain_deadline: Duration,
    /// How long the tenants' files may take to close after that. Whoever kills a process that does not stop has to
    /// wait for longer than these three together.
    #[serde(with = "humantime_serde")]
    pub close_deadline: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max: 10_000,
            per_address: 256,
            header_deadline: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
            age: Duration::from_secs(3_600),
            in_flight: 1_024,
            answer_deadline: Duration::from_secs(60),
            handshake_deadline: Duration::from_secs(5),
            handshakes: 512,
            proxy_protocol: false,
            drain_delay: None,
            drain_deadline: Duration::from_secs(25),
            close_deadline: Duration::from_secs(30),
        }
    }
}

/// An address or a block of them: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressBlock(IpNet);

impl AddressBlock {
    /// Whether `address` is in it. An IPv4 address in IPv6's clothes is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// This machine.
    pub(crate) fn loopback() -> [Self; 2] {
        [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])].map(|address| {
            let bits = if address.is_ipv4() { 8 } else { 128 };
            Self(IpNet::new_assert(address, bits).trunc())
        })
    }
}

impl FromStr for AddressBlock {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let block = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        block.map(Self).map_err(|_| Error::invalid("write an address or a block such as \"10.0.0.0/8\""))
    }
}

impl TryFrom<String> for AddressBlock {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AddressBlock> for String {
    fn from(block: AddressBlock) -> Self {
        block.0.to_string()
    }
}
