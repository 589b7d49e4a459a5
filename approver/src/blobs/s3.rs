//! The adapter of blobs to a bucket of S3 with versions and Object Lock, by Amazon's own client over a connection of ours: one for
//! each request, under TLS to whom the CAs vouch for. Nothing is asked twice here, and no answer is believed that was not
//! looked at again: a put is followed by a look, and where the bucket says no SHA-256 by itself, by reading it back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime, Length};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumMode, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{BlobFault, Blobs, Kept, Listed, What};
use crate::post::Url;
use crate::private_file::{self, PrivateFault};

mod connector;

use connector::Connector;

/// Objects are looked for under keys that begin so: `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with; empty, or without a slash at either end.
    pub prefix: String,
}

/// Text that names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this names no bucket: write for example \"s3://mill3-recordings/holdpoint\"")]
pub struct BadBucketUrl;

impl FromStr for BucketUrl {
    type Err = BadBucketUrl;
    fn from_str(text: &str) -> Result<Self, BadBucketUrl> {
        let rest = text.strip_prefix("s3://").ok_or(BadBucketUrl)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_bucket_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let is_bucket = (3..=63).contains(&bucket.len()) && bucket.chars().all(is_bucket_char);
        // What needs escaping in an address is in nobody's way here.
        let is_part = |part: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain)
        };
        let is_prefix = prefix.is_empty() || prefix.len() <= 200 && prefix.split('/').all(is_part);
        if is_bucket && is_prefix {
            Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        } else {
            Err(BadBucketUrl)
        }
    }
}

impl BucketUrl {
    /// The same with this below its prefix.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let prefix = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Self { bucket: self.bucket.clone(), prefix }
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// How a bucket is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAt {
    /// Which, and where in it.
    pub url: BucketUrl,
    /// Where the service is asked; none: Amazon's of the region.
    pub endpoint: Option<Url>,
    /// What requests are signed for.
    pub region: String,
    /// Whether the bucket stands in the address's path, as most services but Amazon's want it.
    pub path_style: bool,
    /// The file of the CAs that may vouch for the service, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
    /// The file with the key to it, as Amazon's tools write it. Read with each request.
    pub credentials: PathBuf,
}

impl BucketAt {
    /// Which bucket and where in it, as nobody else's is called.
    pub fn name(&self) -> String {
        let endpoint = self.endpoint.as_ref().map(Url::address).unwrap_or_default();
        format!("{endpoint} {}", self.url)
    }
}

/// A bucket cannot be asked, whenever that is.
#[derive(Debug, thiserror::Error)]
pub enum CannotReach {
    /// Nobody who could vouch for it.
    #[error("{0}")]
    Ca(#[from] crate::post::NoCa),
    /// The file of CAs.
    #[error("{path}: {cause}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file with the key to it.
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
}

/// A file that has no key to a bucket.
#[derive(Debug, thiserror::Error)]
pub enum BadCredentials {
    /// It cannot be read, or others can read it, too.
    #[error(transparent)]
    File(#[from] PrivateFault),
    /// It does not hold what it should.
    #[error(
        "{path} has no key in it: write `aws_access_key_id = …` and, on a line of its own, `aws_secret_access_key = …`", path = .0.display()
    )]
    Shape(PathBuf),
}

/// A bucket.
pub struct Bucket {
    at: BucketAt,
    connector: Connector,
    /// The client, and the text of the credentials that it signs with.
    client: Mutex<Option<(String, Client)>>,
}

/// How long an answer takes at most, of which the bytes take none.
const PATIENCE: Duration = Duration::from_secs(20);
/// A connection that carries less than this in a second stands still.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// Versions of one key and one length that are looked at for one's own: there are several only where somebody else puts some.
const ALIKE_MAX: usize = 16;
/// A key under which nothing lies.
const ABSENT: &str = "nothing";
/// What is read back at once, to be hashed.
const PIECE: u64 = 8 << 20;
/// Nobody has longer ones.
const CREDENTIALS_BYTES_MAX: u64 = 16 << 10;

impl Bucket {
    /// This bucket; not asked yet.
    ///
    /// # Errors
    /// What is wrong on this machine.
    pub fn new(at: BucketAt) -> Result<Self, CannotReach> {
        let unreadable = |path: &Path, cause| CannotReach::Unreadable { path: path.to_owned(), cause };
        let ca = at.ca.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause)));
        let is_https = at.endpoint.as_ref().is_none_or(Url::is_https);
        let connector = Connector::new(is_https, ca.transpose()?.as_deref())?;
        let bucket = Self { at, connector, client: Mutex::default() };
        bucket.client()?;
        Ok(bucket)
    }

    /// With the credentials as they are now.
    fn client(&self) -> Result<Client, BadCredentials> {
        let bytes = private_file::read(&self.at.credentials, CREDENTIALS_BYTES_MAX)?;
        let bad = || BadCredentials::Shape(self.at.credentials.clone());
        let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
        // No change under this lock can stop halfway.
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = client.as_ref().filter(|(known, _)| known.as_str() == text) {
            return Ok(client.clone());
        }
        let credentials = parse_credentials(text).ok_or_else(bad)?;
        let new = Client::from_conf(self.config(credentials));
        *client = Some((text.to_owned(), new.clone()));
        Ok(new)
    }

    /// Whoever calls asks again when that is due, so nothing here does by itself. Each request has a connection of its own, so
    /// there is none to be marked as bad; and what is changed carries a checksum of its own already.
    fn config(&self, credentials: Credentials) -> Config {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.at.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(self.at.path_style)
            .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.connector.clone());
        match &self.at.endpoint {
            Some(endpoint) => config.endpoint_url(endpoint.address()).build(),
            None => config.build(),
        }
    }

    /// The client, the bucket's name and the key in it.
    fn ask(&self, key: &str) -> Result<(Client, String, String), BlobFault> {
        let client = self.client().map_err(|bad| BlobFault::Here(bad.to_string()))?;
        let prefix = &self.at.url.prefix;
        let key = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        Ok((client, self.at.url.bucket.clone(), key))
    }

    /// The newest version, or this one.
    async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<HeadObjectOutput>, BlobFault> {
        let (client, bucket, key) = self.ask(key)?;
        let asked = client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        let asked = asked.set_version_id(version.map(str::to_owned)).send();
        match in_time(0, asked).await? {
            Ok(found) => Ok(Some(found)),
            // A HEAD has no body that could say more; 405 is a delete marker.
            Err(error) if matches!(status(&error), Some(404 | 405)) => Ok(None),
            // Some services call a version that they never gave none at all.
            Err(error) if version.is_some() && status(&error) == Some(400) => Ok(None),
            Err(error) => Err(fault(&error)),
        }
    }

    /// The version under this key that is what was to be kept, if there is one. What others put under it, before or after, is
    /// in nobody's way.
    async fn find(&self, key: &str, asked: &Asked<'_>) -> Result<Option<HeadObjectOutput>, BlobFault> {
        let listed = self.list(key).await?;
        let as_long = listed.iter().filter(|one| one.key == key && one.bytes == Some(asked.what.len()));
        for one in as_long.take(ALIKE_MAX) {
            if let Some(found) = self.head(key, Some(&one.version)).await?
                && self.is_same(key, &one.version, asked, &found).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn is_same(
        &self,
        key: &str,
        version: &str,
        asked: &Asked<'_>,
        found: &HeadObjectOutput,
    ) -> Result<bool, BlobFault> {
        if bytes_of(found) != Some(asked.what.len()) {
            return Ok(false);
        }
        let sha256 = match found.checksum_sha256().and_then(from_base64) {
            Some(sha256) => sha256,
            None => self.hash(key, version, asked.what.len()).await?,
        };
        Ok(sha256 == asked.sha256)
    }

    /// That it is locked for long enough, too.
    async fn locked(&self, key: &str, asked: &Asked<'_>, found: HeadObjectOutput) -> Result<Kept, BlobFault> {
        let version = found.version_id().filter(|version| *version != "null").ok_or_else(no_versions)?.to_owned();
        let mut kept = kept(&found, version.clone());
        if kept.locked_until.is_none_or(|until| until < asked.until) {
            self.lock(key, &version, asked.until).await?;
            let again = self.head(key, Some(&version)).await?;
            kept = again.map_or(kept, |found| self::kept(&found, version));
        }
        if kept.locked_until.is_none_or(|until| until < asked.until) {
            return Err(no_lock());
        }
        Ok(kept)
    }

    async fn hash(&self, key: &str, version: &str, length: u64) -> Result<[u8; 32], BlobFault> {
        let (mut hash, mut at) = (Sha256::new(), 0);
        while at < length {
            let piece = self.read(key, version, at, PIECE.min(length - at) as usize).await?;
            if piece.is_empty() {
                return Err(BlobFault::Unreachable(format!("{key} ends before its length there")));
            }
            hash.update(&piece);
            at += piece.len() as u64;
        }
        Ok(hash.finalize().into())
    }
}

/// What is to lie under a key.
struct Asked<'a> {
    what: What<'a>,
    sha256: [u8; 32],
    /// Whole seconds, as the service has them.
    until: Timestamp,
}

fn no_versions() -> BlobFault {
    let remedy =
        "Make a bucket with Object Lock, which has versions (docs/administrator.md, \"A bucket for recordings\")";
    BlobFault::Unfit { said: "the bucket keeps no versions", remedy }
}

fn no_lock() -> BlobFault {
    let remedy = "Make a bucket with Object Lock (docs/administrator.md, \"A bucket for recordings\")";
    BlobFault::Unfit { said: "the bucket locks nothing", remedy }
}

impl Blobs for Bucket {
    fn keep<'a>(
        &'a self,
        key: &'a str,
        what: What<'a>,
        sha256: [u8; 32],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Kept, BlobFault>> {
        let asked = Asked { what, sha256, until: whole_seconds(until) };
        async move {
            // An answer may have been lost.
            if let Some(found) = self.find(key, &asked).await? {
                return self.locked(key, &asked, found).await;
            }
            let (client, bucket, full) = self.ask(key)?;
            let put = client
                .put_object()
                .bucket(bucket)
                .key(full)
                .content_length(i64::try_from(what.len()).unwrap_or(i64::MAX))
                .checksum_sha256(data_encoding::BASE64.encode(&sha256))
                .object_lock_mode(ObjectLockMode::Compliance)
                .object_lock_retain_until_date(DateTime::from_secs(asked.until.as_second()))
                .body(body(what).await?);
            let put = Box::pin(in_time(what.len(), put.send())).await?.map_err(|error| fault(&error))?;
            let version = put.version_id().filter(|version| *version != "null").ok_or_else(no_versions)?;
            match self.head(key, Some(version)).await? {
                Some(found) if self.is_same(key, version, &asked, &found).await? => {
                    self.locked(key, &asked, found).await
                }
                Some(_) => Err(BlobFault::Differs { key: key.to_owned(), version: version.to_owned() }),
                None => Err(BlobFault::Unreachable(format!("{key} was put there, and is not there"))),
            }
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), BlobFault>> {
        async move {
            let (client, bucket, key) = self.ask(key)?;
            let sha256 = data_encoding::BASE64.encode(&Sha256::digest(bytes));
            let put = client.put_object().bucket(bucket).key(key).checksum_sha256(sha256);
            let put = put.body(ByteStream::from(bytes.to_vec())).send();
            Box::pin(in_time(bytes.len() as u64, put)).await?.map(drop).map_err(|error| fault(&error))
        }
        .boxed()
    }

    fn look<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Kept>, BlobFault>> {
        async move { Ok(self.head(key, Some(version)).await?.map(|found| kept(&found, version.to_owned()))) }.boxed()
    }

    fn read<'a>(
        &'a self,
        key: &'a str,
        version: &'a str,
        offset: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<u8>, BlobFault>> {
        async move {
            if bytes == 0 {
                return Ok(Vec::new());
            }
            let (client, bucket, full) = self.ask(key)?;
            let range = format!("bytes={offset}-{}", offset + bytes as u64 - 1);
            let asked = client.get_object().bucket(bucket).key(full).version_id(version).range(range).send();
            let all = async {
                let answer = match asked.await {
                    Ok(answer) => answer,
                    // The offset is the end.
                    Err(error) if status(&error) == Some(416) => return Ok(Vec::new()),
                    Err(error) => return Err(fault(&error)),
                };
                let (mut body, mut all) = (answer.body, Vec::new());
                while let Some(piece) = body.next().await {
                    all.extend_from_slice(&piece.map_err(|error| BlobFault::Unreachable(format!("{key}: {error}")))?);
                    // A service that knows no ranges sends all there is.
                    if all.len() > bytes {
                        return Err(BlobFault::Unreachable(format!("{key}: more was sent than was asked for")));
                    }
                }
                Ok(all)
            };
            Box::pin(in_time(bytes as u64, all)).await?
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, BlobFault>> {
        async move {
            let (client, bucket, full) = self.ask(prefix)?;
            let inner = full.len() - prefix.len();
            let (mut listed, mut markers) = (Vec::new(), (None, None));
            loop {
                let asked = client.list_object_versions().bucket(&bucket).prefix(&full);
                let asked = asked.set_key_marker(markers.0.clone()).set_version_id_marker(markers.1.clone()).send();
                let page = in_time(PIECE, asked).await?.map_err(|error| fault(&error))?;
                let one = |key: Option<&str>, version: Option<&str>, bytes, is_latest: Option<bool>| {
                    let key = key?.get(inner..)?.to_owned();
                    Some(Listed { key, version: version?.to_owned(), bytes, is_latest: is_latest.unwrap_or(false) })
                };
                listed.extend(page.versions().iter().filter_map(|found| {
                    let bytes = found.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                    one(found.key(), found.version_id(), Some(bytes), found.is_latest())
                }));
                let of_markers = page.delete_markers().iter();
                listed.extend(of_markers.filter_map(|at| one(at.key(), at.version_id(), None, at.is_latest())));
                if !page.is_truncated().unwrap_or(false) {
                    break;
                }
                let next =
                    (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
                if next.0.is_none() || next == markers {
                    return Err(BlobFault::Unreachable("its list breaks off before its end".to_owned()));
                }
                markers = next;
            }
            listed.sort_by(|one, other| one.key.cmp(&other.key));
            Ok(listed)
        }
        .boxed()
    }

    fn lock<'a>(&'a self, key: &'a str, version: &'a str, until: Timestamp) -> BoxFuture<'a, Result<(), BlobFault>> {
        async move {
            let (client, bucket, key) = self.ask(key)?;
            let retention = ObjectLockRetention::builder()
                .mode(ObjectLockRetentionMode::Compliance)
                .retain_until_date(DateTime::from_secs(whole_seconds(until).as_second()))
                .build();
            let asked = client.put_object_retention().bucket(bucket).key(key).version_id(version).retention(retention);
            in_time(0, asked.send()).await?.map(drop).map_err(|error| fault(&error))
        }
        .boxed()
    }

    fn hold<'a>(&'a self, key: &'a str, version: &'a str, held: bool) -> BoxFuture<'a, Result<(), BlobFault>> {
        async move {
            let (client, bucket, key) = self.ask(key)?;
            let status = if held { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
            let hold = ObjectLockLegalHold::builder().status(status).build();
            let asked = client.put_object_legal_hold().bucket(bucket).key(key).version_id(version).legal_hold(hold);
            in_time(0, asked.send()).await?.map(drop).map_err(|error| fault(&error))
        }
        .boxed()
    }

    fn destroy<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), BlobFault>> {
        async move {
            let (client, bucket, full) = self.ask(key)?;
            let asked = client.delete_object().bucket(bucket).key(full).version_id(version).send();
            let error = match in_time(0, asked).await? {
                Ok(_) => return Ok(()),
                Err(error) if status(&error) == Some(404) => return Ok(()),
                Err(error) => error,
            };
            // A refusal says nothing of why: with 403 at Amazon, 400 at MinIO.
            if status(&error).is_some_and(|status| [400, 403, 409].contains(&status))
                && let Some(found) = self.head(key, Some(version)).await?
            {
                let found = kept(&found, version.to_owned());
                if found.held || found.locked_until.is_some_and(|until| Timestamp::now() < until) {
                    let until = found.locked_until.filter(|_| !found.held);
                    return Err(BlobFault::Locked { key: key.to_owned(), until });
                }
            }
            Err(fault(&error))
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), BlobFault>> {
        async move {
            let (client, bucket, _) = self.ask("")?;
            let versions = in_time(0, client.get_bucket_versioning().bucket(&bucket).send()).await?;
            let versions = versions.map_err(|error| fault(&error))?;
            if versions.status() != Some(&BucketVersioningStatus::Enabled) {
                return Err(no_versions());
            }
            let asked = client.get_object_lock_configuration().bucket(&bucket).send();
            let is_locking = match in_time(0, asked).await? {
                Ok(found) => {
                    let configuration = found.object_lock_configuration();
                    configuration.and_then(|found| found.object_lock_enabled()) == Some(&ObjectLockEnabled::Enabled)
                }
                Err(error) if status(&error) == Some(404) => false,
                Err(error) => return Err(fault(&error)),
            };
            if !is_locking {
                return Err(no_lock());
            }
            // Whoever may not list is not told of a missing key that it is missing.
            self.list(ABSENT).await?;
            self.head(ABSENT, None).await.map(drop)
        }
        .boxed()
    }
}

async fn body(what: What<'_>) -> Result<ByteStream, BlobFault> {
    match what {
        What::Bytes(bytes) => Ok(ByteStream::from(bytes.to_vec())),
        What::File(path, length) => {
            let file = ByteStream::read_from().path(path).length(Length::Exact(length)).build().await;
            file.map_err(|error| BlobFault::Here(format!("{}: {error}", path.display())))
        }
    }
}

/// An answer that comes while bytes pass, or none.
async fn in_time<T>(bytes: u64, asked: impl Future<Output = T>) -> Result<T, BlobFault> {
    let limit = PATIENCE + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    tokio::time::timeout(limit, asked)
        .await
        .map_err(|_| BlobFault::Unreachable(format!("it did not answer in {} seconds", limit.as_secs())))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Whose fault, and what to do.
fn fault<E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static>(error: &SdkError<E>) -> BlobFault {
    let code = error.code().unwrap_or_default();
    let Some(status) = status(error) else {
        return BlobFault::Unreachable(in_words(error));
    };
    let said = match (code, error.message()) {
        ("", _) => format!("it answers {status}"),
        (code, Some(message)) => format!("it answers {status} {code}: {message}"),
        (code, None) => format!("it answers {status} {code}"),
    };
    let remedy = match (status, code) {
        // Of an answer that broke off, the head may say that all is well.
        (200..=299 | 500.. | 408 | 429, _) | (_, "SlowDown" | "RequestTimeout") => return BlobFault::Unreachable(said),
        (_, "RequestTimeTooSkewed") => "Set this machine's clock: it and the bucket's differ",
        (_, "NoSuchBucket") => "Make the bucket, or correct its name under [store]",
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken") => {
            "Put a key that counts there into the file `credentials` under [store.s3]"
        }
        (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            "Write the bucket's own `region` and `endpoint` under [store.s3]"
        }
        (403, _) => "Let this key do what docs/administrator.md lists, \"A bucket for recordings\"",
        _ => "docs/administrator.md, \"A bucket for recordings\", says what the bucket must be like",
    };
    BlobFault::Refused { said, remedy }
}

/// What went wrong on the way, the innermost cause last.
fn in_words<E: std::error::Error + 'static>(error: &SdkError<E>) -> String {
    let mut causes = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.pop().unwrap_or_else(|| DisplayErrorContext(error).to_string())
}

fn bytes_of(found: &HeadObjectOutput) -> Option<u64> {
    found.content_length().and_then(|length| u64::try_from(length).ok())
}

/// Only what nobody can shorten counts as a lock.
fn kept(found: &HeadObjectOutput, version: String) -> Kept {
    let is_locked = found.object_lock_mode() == Some(&ObjectLockMode::Compliance);
    let until = found.object_lock_retain_until_date().filter(|_| is_locked);
    Kept {
        version,
        bytes: bytes_of(found).unwrap_or(0),
        locked_until: until.and_then(|until| Timestamp::from_second(until.secs()).ok()),
        held: found.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On),
    }
}

/// Never earlier: services keep whole seconds.
fn whole_seconds(at: Timestamp) -> Timestamp {
    let up = i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(at.as_second() + up).unwrap_or(at)
}

fn from_base64(text: &str) -> Option<[u8; 32]> {
    data_encoding::BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// The lines that count; headers of sections are Amazon's.
fn parse_credentials(text: &str) -> Option<Credentials> {
    let value = |wanted: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = pairs.find(|(name, _)| name.trim() == wanted)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let (key, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
    Some(Credentials::new(key, secret, value("aws_session_token"), None, "holdpoint"))
}
