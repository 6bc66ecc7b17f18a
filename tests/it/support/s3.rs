//! A real S3 server on this machine, its objects in a folder: one that can be switched off and on.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;

use super::tree;

/// The key that opens it.
pub(crate) const KEY_ID: &str = "AKIDOFTHETESTS000000";
/// Its secret, which nothing may tell.
pub(crate) const SECRET: &str = "Vq3-not-to-be-told-by-anybody-9f2c";

/// It ends with what holds it.
pub(crate) struct S3 {
    dir: TempDir,
    address: SocketAddr,
    on: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

impl S3 {
    /// One with the empty bucket `past`.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("objects/past")).expect("a bucket");
        let mut service = S3ServiceBuilder::new(FileSystem::new(dir.path().join("objects")).expect("a store"));
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener of ours");
        let address = listener.local_addr().expect("an address");
        let on = Arc::new(AtomicBool::new(true));
        let is_on = Arc::clone(&on);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of ours");
            while let Ok((stream, _)) = listener.accept().await {
                let (service, is_on) = (service.clone(), Arc::clone(&is_on));
                // One request a connection, so that switching off is at once.
                tokio::spawn(async move {
                    if is_on.load(Ordering::SeqCst) {
                        let mut builder = Builder::new(TokioExecutor::new());
                        builder.http1().keep_alive(false);
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self { dir, address, on, _runtime: runtime }
    }

    /// Whether it answers from now on.
    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// A configuration in `folder` that keeps history there, under `prefix`, with `secret` and `more` of `[history]`.
    pub(crate) fn config(&self, folder: &Path, prefix: &str, secret: &str, more: &str) -> PathBuf {
        fs::create_dir_all(folder).expect("a folder");
        for (name, text) in [("id", KEY_ID), ("secret", secret)] {
            fs::write(folder.join(name), format!("{text}\n")).expect("written");
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).expect("a file of ours");
        }
        let path = folder.join("freehold.toml");
        let text = format!(
            "[history]\nevery = \"100ms\"\n{more}\n[history.remote]\nurl = \"s3://past/{prefix}\"\n\
             endpoint = \"http://{}\"\nregion = \"us-east-1\"\naccess_key_id_file = \"id\"\n\
             secret_access_key_file = \"secret\"\nevery = \"100ms\"\n\
             [limits]\nrequests_per_second = 0\nprincipal_requests_per_second = 0\n[limits.class.gold]\nmailbox = 9\n",
            self.address
        );
        fs::write(&path, text).expect("written");
        path
    }

    /// The objects that there are, by name.
    pub(crate) fn objects(&self) -> Vec<String> {
        let bucket = self.dir.path().join("objects/past");
        let files = tree(&bucket).into_iter().filter(|path| bucket.join(path).is_file());
        files.map(|path| path.to_string_lossy().into_owned()).filter(|name| !name.starts_with('.')).collect()
    }

    /// Loses the objects whose names `which` holds of.
    pub(crate) fn remove(&self, which: impl Fn(&str) -> bool) {
        let bucket = self.dir.path().join("objects/past");
        for name in self.objects().into_iter().filter(|name| which(name)) {
            fs::remove_file(bucket.join(name)).expect("an object");
        }
    }

    /// The files, of objects and of what the server keeps beside them, in which `word` is to be read.
    pub(crate) fn traces(&self, word: &str) -> Vec<PathBuf> {
        let root = self.dir.path().join("objects");
        let holds = |path: &PathBuf| {
            let bytes = fs::read(root.join(path)).unwrap_or_default();
            bytes.windows(word.len()).any(|window| window == word.as_bytes())
        };
        tree(&root).into_iter().filter(holds).collect()
    }
}
