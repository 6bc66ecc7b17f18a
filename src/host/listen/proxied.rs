//! The PROXY protocol, version 2: a balancer that passes bytes on says for whom, before the first of them (HAProxy's
//! `proxy-protocol.txt`, section 2.2). It knows neither TLS nor HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(2);
/// Signature, command, family and the length of the rest.
const HEAD_BYTES: usize = 16;
const BYTES_MAX: usize = 536;

/// Reads the header off `stream` and no byte more. `balancer` itself where it speaks on its own behalf.
///
/// # Errors
/// There is no header, not in time, or not one for a connection over IP.
pub(super) async fn client_of(stream: &mut TcpStream, balancer: SocketAddr) -> io::Result<SocketAddr> {
    let mut bytes = [0; BYTES_MAX];
    let header = async {
        stream.read_exact(&mut bytes[..HEAD_BYTES]).await?;
        let whole = HEAD_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        let rest = bytes.get_mut(HEAD_BYTES..whole).ok_or_else(|| io::Error::other("it is no PROXY header"))?;
        stream.read_exact(rest).await?;
        Ok::<_, io::Error>(whole)
    };
    let whole = timeout(WITHIN, header).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let header = Header::try_from(&bytes[..whole]).map_err(io::Error::other)?;
    match (header.command, header.addresses) {
        (Command::Local, _) => Ok(balancer),
        (Command::Proxy, Addresses::IPv4(ip)) => Ok((ip.source_address, ip.source_port).into()),
        (Command::Proxy, Addresses::IPv6(ip)) => Ok((ip.source_address, ip.source_port).into()),
        (Command::Proxy, _) => Err(io::Error::other("it names no address")),
    }
}
