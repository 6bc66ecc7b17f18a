//! TLS in this process: certificates from files, looked at again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsSettings;
use crate::error::{Error, ErrorKind, Result};

/// How often the files' times are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate of the moment.
pub(crate) struct Tls {
    files: Files,
    current: watch::Sender<Arc<ServerConfig>>,
}

#[derive(Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads what `settings` name; `None` where they name nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: a file is missing, is no PEM, lets others read the key, or the two do not
    /// belong together.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Arc<Self>>> {
        let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else { return Ok(None) };
        let files = Files { cert: cert.relative(), key: key.relative() };
        let current = watch::Sender::new(Arc::new(files.read()?));
        Ok(Some(Arc::new(Self { files, current })))
    }

    /// Takes a handshake by the certificate of the moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.borrow()))
    }

    /// What the files hold now, not yet in use.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub(crate) fn read(&self) -> Result<Arc<ServerConfig>> {
        self.files.read().map(Arc::new)
    }

    /// Takes handshakes by `certificate` from now on.
    pub(crate) fn present(&self, certificate: Arc<ServerConfig>) {
        self.current.send_replace(certificate);
    }

    /// Reads the files again when one of them changed. What can't be used changes nothing.
    pub(super) async fn keep_fresh(&self) {
        let mut seen = self.files.changed_at();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.files.changed_at();
            if now == seen {
                continue;
            }
            seen = now;
            match self.read() {
                Ok(certificate) => {
                    self.present(certificate);
                    tracing::info!("the TLS certificate was read again");
                }
                Err(error) => tracing::error!(error = error.chain(), "the TLS certificate stays as it was"),
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<ServerConfig> {
        let unusable = |what: &str, path: &Path| {
            Error::new(ErrorKind::Unavailable, format!("{what} {} can't be used", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(&self.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| unusable("tls.cert_file", &self.cert).with_source(error))?;
        self.check_mode()?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|error| unusable("tls.key_file", &self.key).with_source(error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| unusable("tls.cert_file", &self.cert).with_source(error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Nothing of a session is kept for another connection: no tickets to share, none to steal.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// A private key that others can read is none.
    fn check_mode(&self) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let others = std::fs::metadata(&self.key).map(|meta| meta.permissions().mode() & 0o007).unwrap_or_default();
        if others != 0 {
            let message = format!("tls.key_file {} is open to others: `chmod o= FILE` first", self.key.display());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(())
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}
