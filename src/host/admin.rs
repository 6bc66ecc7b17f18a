//! The admin listener: a socket in the data directory, for its owner, and with `admin_listen` a port of this machine,
//! for who has the token; with `metrics_listen` a port that has the metrics alone, for whoever reaches it. It answers for
//! as long as the process has anything to tell, past the end of the public one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Service;
use super::listen::{Server, Spoken};
use crate::auth::AdminToken;
use crate::config::Settings;
use crate::db::DataDir;
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};

/// Connections open at once on each of them.
const CONNECTIONS_MAX: usize = 64;
/// A unix socket's path is no longer than this (unix(7)).
const PATH_MAX: usize = 107;

/// How long the port is tried for: the process that this one replaces may have it for a moment longer.
const PORT_WITHIN: Duration = Duration::from_secs(5);

/// An admin listener that runs. Dropped, it is cut.
pub(crate) struct AdminListener {
    leave: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    socket: PathBuf,
    /// The socket's own number: another process may have one of the same name by the time this one ends.
    number: Option<u64>,
    port: Option<(SocketAddr, PathBuf)>,
}

impl AdminListener {
    /// Listens for `service`, and on `port` too if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the port can't be had, or its token can't be used.
    pub(crate) async fn start(service: &Service, port: Option<SocketAddr>) -> Result<Self> {
        let mut own = Self {
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            connections: TaskTracker::new(),
            socket: service.dir.admin_socket(),
            number: None,
            port: None,
        };
        match own.bind() {
            Ok(socket) => own.serve(Door::Socket(socket), service, service.admin_router()),
            // Everything else goes without it.
            Err(error) => tracing::warn!(error = error.chain(), "commands can't reach this host while it runs"),
        }
        if let Some(address) = port {
            let path = admin_token_file(&service.settings(), &service.dir);
            let token = AdminToken::load(&path, true)?;
            let listener = listen(address, "admin_listen").await?;
            let address = listener.local_addr().map_err(|error| Error::internal("no address").with_source(error))?;
            own.serve(Door::Port(listener), service, service.desk().guarded(Arc::new(token)));
            own.port = Some((address, path));
        }
        Ok(own)
    }

    /// Answers `/metrics` on `metrics_listen` too, if it is set, and returns where that is.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the port can't be had.
    pub(crate) async fn expose_metrics(&mut self, service: &Service) -> Result<Option<SocketAddr>> {
        let Some(address) = service.settings().metrics_listen else { return Ok(None) };
        let listener = listen(address, "metrics_listen").await?;
        let address = listener.local_addr().map_err(|error| Error::internal("no address").with_source(error))?;
        self.serve(Door::Port(listener), service, service.desk().metrics_alone());
        Ok(Some(address))
    }

    /// Where the port is, and the file of its token.
    pub(crate) fn port(&self) -> Option<(SocketAddr, &Path)> {
        self.port.as_ref().map(|(address, token)| (*address, token.as_path()))
    }

    /// The directory's lock is held: a socket that is there is left over.
    fn bind(&mut self) -> Result<UnixListener> {
        let unusable = |error| Error::new(ErrorKind::Unavailable, "the admin socket can't be made").with_source(error);
        if self.socket.as_os_str().len() > PATH_MAX {
            return Err(Error::invalid(format!(
                "the data directory's path is too long for a socket in it (more than {PATH_MAX} bytes): \
                 set admin_listen, or choose a shorter one"
            )));
        }
        let _ = fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).map_err(unusable)?;
        // Its folder is its owner's alone already; this holds where somebody has opened the folder.
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        self.number = fs::symlink_metadata(&self.socket).ok().map(|there| there.ino());
        Ok(listener)
    }

    fn serve(&self, door: Door, service: &Service, routes: Router) {
        let (_, routes) = watch::channel(routes);
        // Its own: connections here don't end because the public listener is about to.
        let server = Server::new(routes, service.settings().connections.clone(), Drain::default());
        let (leave, cut, connections) = (self.leave.clone(), self.cut.clone(), self.connections.clone());
        let (server, places) = (Arc::new(server), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let accepted = tokio::select! {
                    () = leave.cancelled() => return,
                    accepted = door.accept() => accepted,
                };
                let (io, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "the admin listener can't accept");
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (server, leave, cut) = (Arc::clone(&server), leave.clone(), cut.clone());
                connections.spawn(async move {
                    let _place = place;
                    match io {
                        Stream::Unix(io) => server.serve(io, peer, Spoken::Http1, &leave, &cut).await,
                        Stream::Tcp(io) => server.serve(io, peer, Spoken::Http1, &leave, &cut).await,
                    }
                });
            }
        });
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
        let there = fs::symlink_metadata(&self.socket).ok().map(|there| there.ino());
        if there.is_some() && there == self.number {
            let _ = fs::remove_file(&self.socket);
        }
    }
}

enum Door {
    Socket(UnixListener),
    Port(TcpListener),
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Door {
    async fn accept(&self) -> std::io::Result<(Stream, SocketAddr)> {
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Ok(match self {
            Self::Socket(listener) => (Stream::Unix(listener.accept().await?.0), here),
            Self::Port(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Stream::Tcp(stream), peer)
            }
        })
    }
}

/// Where the token of `admin_listen` is.
pub(crate) fn admin_token_file(settings: &Settings, dir: &DataDir) -> PathBuf {
    settings.admin_token_file.as_ref().map_or_else(|| dir.keys().join("admin.token"), |file| file.relative())
}

async fn listen(address: SocketAddr, key: &str) -> Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(_) if begun.elapsed() < PORT_WITHIN => sleep(Duration::from_millis(50)).await,
            Err(error) => {
                let said = format!("{address} can't be listened on: choose another {key}");
                return Err(Error::new(ErrorKind::Unavailable, said).with_source(error));
            }
        }
    }
}
