//! The storage: objects by name, below one prefix. It knows no tenant. What it says of a failure holds neither a
//! credential nor what the service answered, but for its own code of the error.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use crate::config::{RemoteSettings, RemoteUrl};
use crate::error::{Error, ErrorKind, Result};

/// What is sent in one request, and held in memory for it.
pub(super) const CHUNK_BYTES: u64 = 8 * 1024 * 1024;

/// Objects below a prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Store {
    /// That of `settings`; nothing is asked of it yet.
    pub(super) fn open(url: &RemoteUrl, settings: &RemoteSettings) -> Result<Self> {
        match url {
            RemoteUrl::S3 { bucket, prefix } => Ok(Self { objects: s3(bucket, settings)?, prefix: prefix.clone() }),
            RemoteUrl::File(folder) => {
                let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
                    Error::new(ErrorKind::Unavailable, "the folder of history.remote.url can't be used")
                        .with_source(error)
                };
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(|error| unusable(error.into()))?;
                let local = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(error.into()))?;
                let local = local.with_automatic_cleanup(true).with_fsync(true);
                Ok(Self { objects: Arc::new(local), prefix: String::new() })
            }
        }
    }

    fn path(&self, name: &str) -> Result<Path> {
        let whole = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(whole).map_err(|error| Error::internal("no name of an object").with_source(error))
    }

    /// Names below `folder`, from there on, with their sizes in bytes.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let folder = self.path(folder)?;
        let listed: Vec<_> = self.objects.list(Some(&folder)).try_collect().await.map_err(explained)?;
        let below = |meta: object_store::ObjectMeta| {
            let parts: Vec<_> = meta.location.prefix_match(&folder)?.map(|part| part.as_ref().to_owned()).collect();
            Some((parts.join("/"), meta.size))
        };
        Ok(listed.into_iter().filter_map(below).collect())
    }

    /// The folders in `folder`.
    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.objects.list_with_delimiter(Some(&self.path(folder)?)).await.map_err(explained)?;
        Ok(listed.common_prefixes.iter().filter_map(|path| Some(path.filename()?.to_owned())).collect())
    }

    /// Puts a whole object.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.objects.put(&self.path(name)?, bytes.into()).await.map(drop).map_err(explained)
    }

    /// Begins an object that comes in chunks of [`CHUNK_BYTES`]; it is there when it is complete.
    pub(super) async fn begin(&self, name: &str) -> Result<Upload> {
        Ok(Upload(Some(self.objects.put_multipart(&self.path(name)?).await.map_err(explained)?)))
    }

    /// An object, chunk by chunk; `None` if it is not there.
    pub(super) async fn get(&self, name: &str) -> Result<Option<BoxStream<'static, Result<Bytes>>>> {
        match self.objects.get(&self.path(name)?).await {
            Ok(got) => Ok(Some(got.into_stream().map_err(explained).boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(explained(error)),
        }
    }

    /// Some bytes of an object; `None` if it is not there.
    pub(super) async fn get_range(&self, name: &str, from: u64, to: u64) -> Result<Option<Bytes>> {
        match self.objects.get_range(&self.path(name)?, from..to).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(explained(error)),
        }
    }

    /// A small object as a whole.
    pub(super) async fn get_whole(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut chunks) = self.get(name).await? else { return Ok(None) };
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// Removes objects; those that are not there are as good.
    pub(super) async fn remove(&self, names: &[String]) -> Result<()> {
        let paths = names.iter().map(|name| self.path(name)).collect::<Result<Vec<_>>>()?;
        let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut removed = self.objects.delete_stream(paths);
        while let Some(one) = removed.next().await {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(explained(error)),
            }
        }
        Ok(())
    }
}

/// An object on its way.
pub(super) struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    /// The next chunk, [`CHUNK_BYTES`] long but for the last.
    pub(super) async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let upload = self.0.as_mut().ok_or_else(|| Error::internal("the object has ended"))?;
        upload.put_part(bytes.into()).await.map_err(explained)
    }

    /// It is whole.
    pub(super) async fn end(mut self) -> Result<()> {
        let mut upload = self.0.take().ok_or_else(|| Error::internal("the object has ended"))?;
        upload.complete().await.map(drop).map_err(explained)
    }

    /// It won't be: what has arrived of it is let go of there.
    pub(super) async fn give_up(mut self) {
        if let Some(mut upload) = self.0.take() {
            // What can't be removed now a rule of the bucket removes (docs/operate.md).
            let _ = upload.abort().await;
        }
    }
}

#[cfg(not(feature = "s3"))]
fn s3(_: &str, _: &RemoteSettings) -> Result<Arc<dyn ObjectStore>> {
    Err(Error::invalid("this program was built without the feature `s3`: history.remote.url can be a `file://` alone"))
}

#[cfg(feature = "s3")]
fn s3(bucket: &str, settings: &RemoteSettings) -> Result<Arc<dyn ObjectStore>> {
    use std::time::Duration;

    use object_store::aws::AmazonS3Builder;
    use object_store::{BackoffConfig, ClientOptions, RetryConfig};

    // Whoever sends tries again, with a patience of its own: here only what a connection that was closed needs.
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: Duration::from_secs(20) };
    let options =
        ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout(Duration::from_secs(60));
    let mut builder =
        AmazonS3Builder::from_env().with_client_options(options).with_retry(retry).with_bucket_name(bucket);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (&settings.access_key_id_file, &settings.secret_access_key_file) {
        let (id, secret) = (secret_in(&id.relative())?, secret_in(&secret.relative())?);
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    let wrong = |_| Error::invalid("history.remote is not enough to reach the storage with: check endpoint and region");
    Ok(Arc::new(builder.build().map_err(wrong)?))
}

/// One line in a file that its owner alone can read.
#[cfg(feature = "s3")]
fn secret_in(path: &std::path::Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;

    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unusable =
        |why: &str| Error::new(ErrorKind::Unavailable, format!("the storage's credential file {name} {why}"));
    let mode = fs::metadata(path).map_err(|error| unusable("can't be read").with_source(error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(unusable("can be read by others: run `chmod 600` on it and consider the key known"));
    }
    let text = fs::read_to_string(path).map_err(|_| unusable("can't be read as text"))?;
    match text.trim() {
        "" => Err(unusable("is empty")),
        word => Ok(word.to_owned()),
    }
}

/// The codes that say so (S3's "Error responses").
const OF_CREDENTIALS: [&str; 6] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// What an operator has to know, and nothing that the service's answer may hold beside it.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn explained(error: object_store::Error) -> Error {
    use object_store::Error as Said;

    let code = code_in(&error);
    let said = match error {
        _ if code == "NoSuchBucket" => "the storage has no such bucket: check history.remote.url",
        Said::PermissionDenied { .. } | Said::Unauthenticated { .. } => REFUSED,
        _ if OF_CREDENTIALS.contains(&code.as_str()) => REFUSED,
        _ => "the storage of history.remote can't be reached, or it failed: check its endpoint and its state",
    };
    Error::new(ErrorKind::Unavailable, said).with_source(code)
}

const REFUSED: &str = "the storage refuses the credentials: check history.remote's key files (or AWS_ACCESS_KEY_ID and \
                       AWS_SECRET_ACCESS_KEY), this machine's clock, and that the key may list, read, write and delete \
                       in the bucket";

/// The service's own code of the error (`<Code>…`), or what the last cause says where there was no answer.
fn code_in(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut last, mut code) = (error.to_string(), None);
    let mut cause = Some(error);
    while let Some(error) = cause {
        last = error.to_string();
        let found = last.split_once("<Code>").map(|(_, rest)| rest);
        let word = found.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).take(64).collect::<String>());
        code = code.or(word);
        cause = error.source();
    }
    match code {
        Some(code) => code,
        None if last.contains('<') => "an answer that is none of S3".to_owned(),
        None => last.chars().take(200).collect(),
    }
}
