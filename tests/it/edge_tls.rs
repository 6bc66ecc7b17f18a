//! TLS in the host itself: what is agreed, what is told to browsers, and whoever does not finish a handshake.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freehold::{Host, Settings};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::listening::{Listening, until_closed};
use crate::support::{Plain, soon};

const DEADLINE: Duration = Duration::from_millis(300);

/// A certificate of this run's, in files.
struct Certified {
    dir: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certified {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        };
        let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
        write("cert.pem", pem("CERTIFICATE", made.cert.der()));
        write("key.pem", pem("PRIVATE KEY", &made.signing_key.serialize_der()));
        Self { der: made.cert.der().clone(), dir }
    }

    fn tell(&self, settings: &mut Settings) {
        let dir: &Path = self.dir.path();
        settings.tls.cert_file = Some(dir.join("cert.pem").into());
        settings.tls.key_file = Some(dir.join("key.pem").into());
        settings.connections.handshake_deadline = DEADLINE;
    }

    async fn listening(&self, edit: impl FnOnce(&mut Settings)) -> Listening {
        Listening::start(|settings| {
            self.tell(settings);
            edit(settings);
        })
        .await
    }

    async fn shake(&self, host: &Listening, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        soon(TlsConnector::from(Arc::new(config)).connect(name, host.connect().await)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spoken_is_agreed_in_the_handshake() {
    let certified = Certified::new();
    let host = certified.listening(|_| {}).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = certified.shake(&host, protocols).await.expect("a handshake");
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(host.head("GET /healthz", "Connection: close\r\n").as_bytes()).await.expect("sent");
        let mut said = String::new();
        let _ = soon(stream.read_to_string(&mut said)).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert!(said.contains("strict-transport-security: max-age=31536000\r\n"), "{said}");
    }
    let mut stream = certified.shake(&host, &["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut head = [0; 9];
    soon(stream.read_exact(&mut head)).await.expect("a frame");
    assert_eq!(head[3], 4, "its settings come first: {head:?}");
    // HTTP/1.1 where HTTP/2 was agreed is nothing.
    let mut stream = certified.shake(&host, &["h2"]).await.expect("a handshake");
    stream.write_all(host.head("GET /healthz", "").as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    let _ = soon(stream.read_to_end(&mut said)).await;
    assert!(!String::from_utf8_lossy(&said).contains(" 200 "));
    assert!(certified.shake(&host, &["spdy/3"]).await.is_err(), "nothing in common");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_handshake_is_let_go() {
    let certified = Certified::new();
    let host = certified.listening(|_| {}).await;
    // The start of a ClientHello, and plain HTTP on this port.
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let said = host.exchange(begun).await;
        assert!(!said.contains("HTTP/1.1 200"), "{begun:?}: {said}");
    }
    // A byte now and then is no sign of life.
    let (mut read, mut write) = host.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        for byte in b"\x16\x03\x01\x40\x00".iter().chain(std::iter::repeat(&0)) {
            tick.tick().await;
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let mut rest = Vec::new();
    let _ = soon(read.read_to_end(&mut rest)).await;
    soon(dripping).await.expect("the writer sees the end");
    assert!(certified.shake(&host, &[]).await.is_ok(), "others are served");
    host.stop().await;
}

/// Handshakes cost the most: so many at once, and a place comes back.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_counted() {
    let certified = Certified::new();
    let host = certified
        .listening(|settings| {
            settings.connections.handshakes = 1;
            settings.connections.handshake_deadline = Duration::from_secs(5);
        })
        .await;
    let silent = host.connect().await;
    // The accept loop takes them in turn: the second finds the place taken.
    assert_eq!(until_closed(host.connect().await).await, "");
    drop(silent);
    soon(async { while certified.shake(&host, &[]).await.is_err() {} }).await;
    host.stop().await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named_at_the_start() {
    let (certified, other) = (Certified::new(), Certified::new());
    let start = || {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = Settings { data_dir: dir.path().join("data").into(), ..Settings::default() };
        certified.tell(&mut settings);
        let host = Host::new(|_tenant| Plain).authenticate(crate::support::listening::Everybody);
        host.into_router(&settings).err().map(|error| error.to_string())
    };
    assert_eq!(start(), None);
    let (key, cert) = (certified.dir.path().join("key.pem"), certified.dir.path().join("cert.pem"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    assert!(start().is_some_and(|error| error.contains("chmod")), "{:?}", start());
    std::fs::copy(other.dir.path().join("key.pem"), &key).expect("another's key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    assert!(start().is_some_and(|error| error.contains("cert_file")), "{:?}", start());
    std::fs::write(&cert, "nothing").expect("written");
    assert!(start().is_some_and(|error| error.contains("cert_file")), "{:?}", start());
    std::fs::remove_file(&key).expect("removed");
    assert!(start().is_some(), "no key");
}

/// Without TLS of its own the host does not speak for whoever has it.
#[tokio::test(flavor = "multi_thread")]
async fn without_tls_nobody_is_told_to_insist_on_it() {
    let host = Listening::start(|_| {}).await;
    let said = host.exchange(host.head("GET /healthz", "Connection: close\r\n").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200") && !said.contains("strict-transport-security"), "{said}");
    host.stop().await;
}
