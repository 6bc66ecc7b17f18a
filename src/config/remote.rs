//! `[history.remote]`: where the past of tenants is kept besides this disk.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::magic::RelativePathBuf;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The same past in S3-compatible storage, so that it outlives the machine. Off until `url` is set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// `"s3://BUCKET/PREFIX"`, or `"file:///FOLDER"` for another disk. One data directory has it for itself.
    pub url: Option<RemoteUrl>,
    /// Where the service is, such as `"https://minio.example.com:9000"`. Unset: Amazon's, for the region.
    pub endpoint: Option<String>,
    /// The bucket's region. Unset: `AWS_REGION`, or `us-east-1`.
    pub region: Option<String>,
    /// The access key's id, in a file that its owner alone can read. Unset, both: `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`, or the role of the machine.
    pub access_key_id_file: Option<RelativePathBuf>,
    /// Its secret, in a file that its owner alone can read.
    pub secret_access_key_file: Option<RelativePathBuf>,
    /// How often the changes of one tenant are sent, a request each time: it is this and `history.every` behind at
    /// most while storage answers.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// Tenants whose changes are sent at once; each takes up to 8 MiB of memory.
    pub at_once: usize,
    /// How long stopping waits until the last changes are sent. What is left the next start sends.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            access_key_id_file: None,
            secret_access_key_file: None,
            every: Duration::from_secs(10),
            at_once: 4,
            stop_within: Duration::from_secs(5),
        }
    }
}

impl RemoteSettings {
    /// What no single value shows.
    pub(super) fn check(&self) -> Result<()> {
        if self.access_key_id_file.is_some() != self.secret_access_key_file.is_some() {
            return Err(Error::invalid(
                "credentials take both files: set history.remote.access_key_id_file and secret_access_key_file",
            ));
        }
        if self.at_once == 0 {
            return Err(Error::invalid("history.remote.at_once is 0: nothing would ever be sent"));
        }
        let spoken = self.endpoint.as_deref().is_none_or(|at| at.starts_with("https://") || at.starts_with("http://"));
        if !spoken || self.endpoint.as_deref().is_some_and(|at| at.contains('@')) {
            return Err(Error::invalid(
                "history.remote.endpoint is no address: write \"https://storage.example.com\", without credentials",
            ));
        }
        Ok(())
    }
}

/// A bucket and what all names in it begin with, or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum RemoteUrl {
    /// `s3://BUCKET/PREFIX`
    S3 {
        /// The bucket.
        bucket: String,
        /// Names joined by `/`; may be empty.
        prefix: String,
    },
    /// `file:///FOLDER`
    File(PathBuf),
}

impl FromStr for RemoteUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("write \"s3://BUCKET/PREFIX\" or \"file:///FOLDER\", with no `..` in it");
        let plain = |name: &str| {
            let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !name.is_empty() && name.bytes().all(letters) && !name.bytes().all(|b| b == b'.')
        };
        if let Some(folder) = text.strip_prefix("file://") {
            let path = PathBuf::from(folder);
            return if path.is_absolute() && !folder.contains("..") { Ok(Self::File(path)) } else { Err(wrong()) };
        }
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?.trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !plain(bucket) || !(prefix.is_empty() || prefix.split('/').all(plain)) {
            return Err(wrong());
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl TryFrom<String> for RemoteUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RemoteUrl> for String {
    fn from(url: RemoteUrl) -> Self {
        match url {
            RemoteUrl::S3 { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}"),
            RemoteUrl::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
            RemoteUrl::File(folder) => format!("file://{}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RemoteUrl;

    #[test]
    fn an_address_is_a_place_and_climbs_out_of_none() {
        for good in ["s3://b", "s3://my.bucket/a/b-c_d", "file:///mnt/backup"] {
            assert_eq!(String::from(good.parse::<RemoteUrl>().expect(good)), good);
        }
        for bad in [
            "",
            "s3://",
            "s3:///p",
            "s3://b/../c",
            "s3://b/a//c",
            "s3://k:s@b/p",
            "file://relative",
            "file:///a/../b",
            "https://b",
            "s3://b/a?x",
            "s3://b/.",
        ] {
            assert!(bad.parse::<RemoteUrl>().is_err(), "{bad} was taken");
        }
    }
}
