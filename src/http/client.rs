//! Who is at the other end: the peer of the connection or, where that is a proxy we trust, the caller that
//! it names. For the log and for bounds by address; it proves nothing, and nobody is let in by it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::config::AddressBlock;

/// Proxies in a row that are looked behind.
const HOPS_MAX: usize = 5;
/// What proxies say about a caller. From anybody else it is the caller's own tale.
const FORWARDED: [HeaderName; 7] = [
    http::header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];

/// The caller's address, as an extension of its request. Absent where no connection is known, as in a test
/// that asks the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddr(pub(crate) IpAddr);

/// Puts [`ClientAddr`] into the request and says whether the peer is one of `trusted`. What others than
/// those claim about addresses is taken out, so that no tool believes it.
pub(super) fn identify(head: &mut Parts, trusted: &[AddressBlock]) -> bool {
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
    let Some(peer) = peer else {
        return false;
    };
    let by_proxy = is_trusted(peer);
    let client = if by_proxy { named(&head.headers, peer, is_trusted) } else { peer };
    // Most requests have none of them: one look at their names is cheaper than seven searches.
    if !by_proxy && head.headers.keys().any(|name| FORWARDED.contains(name)) {
        for name in &FORWARDED {
            head.headers.remove(name);
        }
    }
    head.extensions.insert(ClientAddr(client));
    by_proxy
}

/// The right-most hop that is not a trusted proxy: what stands left of it, its sender may have invented.
fn named(headers: &HeaderMap, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = address(hop.trim()) else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// An address as proxies write it: some add the port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = plain.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> (Option<IpAddr>, bool) {
        let mut request = http::Request::builder();
        for line in forwarded {
            request = request.header("x-forwarded-for", *line);
        }
        let mut head = request.body(()).expect("a request").into_parts().0;
        let peer: IpAddr = peer.parse().expect("an address");
        head.extensions.insert(ConnectInfo(SocketAddr::new(peer, 1)));
        let trusted: Vec<AddressBlock> = trusted.iter().map(|block| block.parse().expect("a block")).collect();
        let by_proxy = identify(&mut head, &trusted);
        assert_eq!(head.headers.contains_key("x-forwarded-for"), by_proxy && !forwarded.is_empty());
        (head.extensions.get::<ClientAddr>().map(|client| client.0), by_proxy)
    }

    #[test]
    fn the_right_most_stranger_is_the_caller() {
        let cases: [(&str, &[&str], &str); 9] = [
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (peer, forwarded, caller) in cases {
            let (client, by_proxy) = seen(peer, forwarded, &["10.0.0.0/8"]);
            assert_eq!(client, caller.parse().ok(), "{peer} {forwarded:?}");
            assert_eq!(by_proxy, peer.contains("10.0.0.1"), "{peer}");
        }
        let far = "6.6.6.6, 10.0.0.9, 10.0.0.8, 10.0.0.7, 10.0.0.6, 10.0.0.5";
        assert_eq!(seen("10.0.0.1", &[far], &["10.0.0.0/8"]).0, "10.0.0.9".parse().ok(), "five hops and no more");
    }
}
