//! A bucket in this process that does what Object Lock promises, and what a plant's network does to it: it stalls, tears
//! uploads, answers with faults, does what it was asked and loses the answer. It checks no signature.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::blobs::s3::{Bucket, BucketAt};
use crate::post::Url;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This answer, and nothing is done.
    Answers(u16, &'static str),
    /// Nothing is done and nothing answered.
    Stalls,
    /// What was asked is done, and the answer is lost.
    LosesAnswer,
    /// The connection breaks after half of what is sent.
    Tears,
}

/// How the bucket differs from one as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind {
    /// It keeps no versions.
    pub without_versions: bool,
    /// It locks nothing.
    pub without_locks: bool,
    /// It says no checksum of what lies there, as Ceph before 19.
    pub without_checksums: bool,
    /// It locks for a day what is put without a lock.
    pub locks_by_itself: bool,
    /// It calls a request for what is locked malformed, as MinIO does.
    pub says_400_of_locked: bool,
    /// It sends all of an object, whichever part was asked for.
    pub without_ranges: bool,
    /// Its key may not list, so of a missing key nobody is told that it is missing.
    pub without_listing: bool,
}

#[derive(Debug, Clone)]
struct Version {
    id: String,
    /// None of a delete marker.
    bytes: Option<Vec<u8>>,
    until: Option<Timestamp>,
    held: bool,
}

#[derive(Default)]
struct Held {
    kind: Kind,
    objects: BTreeMap<String, Vec<Version>>,
    troubles: VecDeque<(Method, Trouble)>,
    /// What every request meets.
    always: Option<Trouble>,
    asked: Vec<String>,
    made: usize,
    /// What its versions are called, and those of no other.
    name: String,
    lists_for_ever: bool,
    /// It refuses to put anything under keys that hold one of these.
    refuses: Vec<String>,
    /// It cannot for now, whenever it is asked, put anything under keys that hold this.
    is_busy_at: Option<String>,
    /// What happens each time something was put under keys that hold this.
    meanwhile: Option<(String, Box<dyn Fn() + Send>)>,
}

/// The bucket. It goes with the last of these.
#[derive(Clone)]
pub struct FakeBucket {
    held: Arc<Mutex<Held>>,
    address: SocketAddr,
    dir: Arc<tempfile::TempDir>,
    _serving: Arc<JoinSet<()>>,
}

/// Its name.
pub const BUCKET: &str = "mill3";
/// Entries on one page of a list: few, so that lists have pages.
const PAGE: usize = 3;

impl FakeBucket {
    /// Starts it.
    pub async fn start(kind: Kind) -> Self {
        let name = crate::mint::nonce();
        let held = Arc::new(Mutex::new(Held { kind, name, ..Held::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let app = Router::new().fallback(serve).with_state(Arc::clone(&held));
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(axum::serve(listener, app).await) });
        let dir = tempfile::tempdir().expect("a folder");
        write_credentials(&dir.path().join("credentials"), "AK1", "secret");
        Self { held, address, dir: Arc::new(dir), _serving: Arc::new(serving) }
    }

    /// How it is reached.
    pub fn at(&self, prefix: &str) -> BucketAt {
        BucketAt {
            url: format!("s3://{BUCKET}/{prefix}").parse().expect("a bucket"),
            endpoint: Some(self.endpoint().parse::<Url>().expect("an address")),
            region: "us-east-1".to_owned(),
            path_style: true,
            ca: None,
            credentials: self.credentials(),
        }
    }

    /// A client of it.
    pub fn open(&self, prefix: &str) -> Bucket {
        Bucket::new(self.at(prefix)).expect("right")
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file with the key to it.
    pub fn credentials(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// The next request by this method meets it.
    pub fn fail_next(&self, method: &Method, trouble: Trouble) {
        lock(&self.held).troubles.push_back((method.clone(), trouble));
    }

    /// Every request meets it from now on, or none.
    pub fn fail_all(&self, trouble: Option<Trouble>) {
        lock(&self.held).always = trouble;
    }

    /// Keys and how many versions each has, markers counted.
    pub fn keys(&self) -> BTreeMap<String, usize> {
        lock(&self.held).objects.iter().map(|(key, versions)| (key.clone(), versions.len())).collect()
    }

    /// What the newest version that is no marker holds, until when it is locked, and whether it is held.
    pub fn object(&self, key: &str) -> Option<(Vec<u8>, Option<Timestamp>, bool)> {
        let held = lock(&self.held);
        let found = held.objects.get(key)?.iter().rev().find(|version| version.bytes.is_some())?;
        Some((found.bytes.clone()?, found.until, found.held))
    }

    /// Somebody with a key to it hides an object.
    pub fn hide(&self, key: &str) {
        let mut held = lock(&self.held);
        held.made += 1;
        let marker = Version { id: format!("v{}", held.made), bytes: None, until: None, held: false };
        held.objects.entry(key.to_owned()).or_default().push(marker);
    }

    /// Somebody with a key to it puts something, unlocked.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let mut held = lock(&self.held);
        held.made += 1;
        let new = Version { id: format!("v{}", held.made), bytes: Some(bytes.to_vec()), until: None, held: false };
        held.objects.entry(key.to_owned()).or_default().push(new);
    }

    /// Its disks lose every version of keys that hold this.
    pub fn lose(&self, part: &str) {
        lock(&self.held).objects.retain(|key, _| !key.contains(part));
    }

    /// It puts nothing under keys that hold one of these, and under all others.
    pub fn refuse(&self, parts: &[String]) {
        lock(&self.held).refuses = parts.to_vec();
    }

    /// From now on it cannot put anything under keys that hold this part, and all else it can.
    pub fn is_busy_at(&self, part: Option<String>) {
        lock(&self.held).is_busy_at = part;
    }

    /// Each time something is put under keys that hold this part, this happens before the answer.
    pub fn meanwhile(&self, part: String, what: impl Fn() + Send + 'static) {
        lock(&self.held).meanwhile = Some((part, Box::new(what)));
    }

    /// A list that has more than one page begins anew with each.
    pub fn lists_for_ever(&self) {
        lock(&self.held).lists_for_ever = true;
    }

    /// Somebody changes what its disks hold.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut held = lock(&self.held);
        let versions = held.objects.get_mut(key).expect("there");
        change(versions.iter_mut().rev().find_map(|version| version.bytes.as_mut()).expect("no marker alone"));
    }

    /// Time passes for its locks.
    pub fn unlock_all(&self) {
        for version in lock(&self.held).objects.values_mut().flatten() {
            version.until = version.until.map(|_| Timestamp::UNIX_EPOCH);
        }
    }

    /// What was asked, method and path.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.held).asked.clone()
    }
}

/// A file as Amazon's tools write it, for its owner alone.
pub fn write_credentials(path: &Path, key: &str, secret: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.expect("a file").write_all(text.as_bytes()).expect("written");
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(State(held): State<Arc<Mutex<Held>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let trouble = {
        let mut held = lock(&held);
        held.asked.push(format!("{} {}", parts.method, parts.uri));
        let next = held.troubles.front().filter(|(method, _)| *method == parts.method).map(|(_, trouble)| *trouble);
        if next.is_some() {
            held.troubles.pop_front();
        }
        next.or(held.always)
    };
    match trouble {
        Some(Trouble::Answers(status, code)) => return refused(status, code),
        Some(Trouble::Stalls) => std::future::pending().await,
        Some(Trouble::Tears) => return torn(),
        Some(Trouble::LosesAnswer) | None => {}
    }
    let Ok(bytes) = to_bytes(body, usize::MAX).await else { return refused(400, "IncompleteBody") };
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = parts.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let asked = Asked { key, query: &query, headers: &parts.headers, bytes: &bytes };
    let signed = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answer = if bucket != BUCKET {
        refused(404, "NoSuchBucket")
    } else if !signed.contains("Credential=AK1/") {
        refused(403, "InvalidAccessKeyId")
    } else {
        lock(&held).answer(&parts.method, &asked)
    };
    if trouble == Some(Trouble::LosesAnswer) { torn() } else { answer }
}

struct Asked<'a> {
    key: &'a str,
    query: &'a BTreeMap<String, String>,
    headers: &'a HeaderMap,
    bytes: &'a [u8],
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Held {
    fn answer(&mut self, method: &Method, asked: &Asked<'_>) -> Response {
        let of = |word: &str| asked.query.contains_key(word);
        match method.as_str() {
            "GET" if of("versioning") => self.versioning(),
            "GET" if of("object-lock") => self.locking(),
            "GET" if of("versions") => self.list(asked),
            "PUT" if of("retention") => self.retain(asked),
            "PUT" if of("legal-hold") => self.hold(asked),
            "PUT" => self.put(asked),
            "GET" | "HEAD" => self.get(asked, method == Method::HEAD),
            "DELETE" => self.delete(asked),
            _ => refused(405, "MethodNotAllowed"),
        }
    }

    fn versioning(&self) -> Response {
        let status = if self.kind.without_versions { "" } else { "<Status>Enabled</Status>" };
        xml(&format!("<VersioningConfiguration>{status}</VersioningConfiguration>"))
    }

    fn locking(&self) -> Response {
        if self.kind.without_locks {
            return refused(404, "ObjectLockConfigurationNotFoundError");
        }
        xml("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
    }

    fn put(&mut self, asked: &Asked<'_>) -> Response {
        if self.is_busy_at.as_ref().is_some_and(|part| asked.key.contains(part)) {
            return refused(503, "SlowDown");
        }
        if self.refuses.iter().any(|part| asked.key.contains(part)) {
            return refused(403, "AccessDenied");
        }
        let sum = data_encoding::BASE64.encode(&Sha256::digest(asked.bytes));
        if asked.header("x-amz-checksum-sha256") != Some(&sum) {
            return refused(400, "BadDigest");
        }
        let until = asked.header("x-amz-object-lock-retain-until-date").and_then(|at| at.parse().ok());
        let is_locked = asked.header("x-amz-object-lock-mode") == Some("COMPLIANCE");
        if is_locked && (self.kind.without_locks || until.is_none()) {
            return refused(400, "InvalidRequest");
        }
        self.made += 1;
        let id = if self.kind.without_versions { "null".to_owned() } else { format!("{}v{}", self.name, self.made) };
        let by_itself = || self.kind.locks_by_itself.then(|| Timestamp::now() + SignedDuration::from_hours(24));
        let until = until.filter(|_| is_locked).or_else(by_itself);
        let new = Version { id: id.clone(), bytes: Some(asked.bytes.to_vec()), until, held: false };
        self.objects.entry(asked.key.to_owned()).or_default().push(new);
        if let Some((_, what)) = self.meanwhile.as_ref().filter(|(part, _)| asked.key.contains(part)) {
            what();
        }
        answer(StatusCode::OK).header("x-amz-version-id", id).body(Body::empty()).expect("right")
    }

    /// The version that was named, or the newest.
    fn find(&mut self, asked: &Asked<'_>) -> Option<&mut Version> {
        let versions = self.objects.get_mut(asked.key)?;
        match asked.query.get("versionId") {
            Some(id) => versions.iter_mut().find(|version| version.id == *id),
            None => versions.last_mut(),
        }
    }

    fn get(&mut self, asked: &Asked<'_>, is_head: bool) -> Response {
        let Kind { without_checksums, without_ranges, .. } = self.kind;
        let missing = if self.kind.without_listing { (403, "AccessDenied") } else { (404, "NoSuchKey") };
        let Some(found) = self.find(asked) else { return refused(missing.0, missing.1) };
        let Some(bytes) = &found.bytes else { return refused(missing.0, missing.1) };
        let mut answer = answer(StatusCode::OK).header("x-amz-version-id", &found.id);
        if let Some(until) = found.until {
            answer = answer.header("x-amz-object-lock-mode", "COMPLIANCE");
            answer = answer.header("x-amz-object-lock-retain-until-date", until.to_string());
        }
        if found.held {
            answer = answer.header("x-amz-object-lock-legal-hold", "ON");
        }
        if !without_checksums && asked.header("x-amz-checksum-mode") == Some("ENABLED") {
            answer = answer.header("x-amz-checksum-sha256", data_encoding::BASE64.encode(&Sha256::digest(bytes)));
        }
        if is_head {
            return answer.header("content-length", bytes.len()).body(Body::empty()).expect("right");
        }
        let range = asked
            .header("range")
            .filter(|_| !without_ranges)
            .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?)));
        let part = match range {
            Some((from, _)) if from >= bytes.len() => return refused(416, "InvalidRange"),
            Some((from, to)) => &bytes[from..bytes.len().min(to + 1)],
            None => bytes,
        };
        answer.body(Body::from(part.to_vec())).expect("right")
    }

    fn retain(&mut self, asked: &Asked<'_>) -> Response {
        let until = within(asked.bytes, "RetainUntilDate").and_then(|at| at.parse::<Timestamp>().ok());
        let (Some(until), Some(found)) = (until, self.find(asked)) else { return refused(400, "MalformedXML") };
        if found.until.is_some_and(|now| until < now) {
            return refused(403, "AccessDenied");
        }
        found.until = Some(until);
        answer(StatusCode::OK).body(Body::empty()).expect("right")
    }

    fn hold(&mut self, asked: &Asked<'_>) -> Response {
        let held = within(asked.bytes, "Status").as_deref() == Some("ON");
        match self.find(asked) {
            Some(found) => found.held = held,
            None => return refused(404, "NoSuchVersion"),
        }
        answer(StatusCode::OK).body(Body::empty()).expect("right")
    }

    fn delete(&mut self, asked: &Asked<'_>) -> Response {
        let Some(id) = asked.query.get("versionId") else { return refused(400, "a marker would hide it") };
        if let Some(found) = self.find(asked)
            && (found.held || found.until.is_some_and(|until| Timestamp::now() < until))
        {
            return if self.kind.says_400_of_locked {
                refused(400, "InvalidRequest")
            } else {
                refused(403, "AccessDenied")
            };
        }
        if let Some(versions) = self.objects.get_mut(asked.key) {
            versions.retain(|version| version.id != *id);
            if versions.is_empty() {
                self.objects.remove(asked.key);
            }
        }
        answer(StatusCode::NO_CONTENT).body(Body::empty()).expect("right")
    }

    fn list(&self, asked: &Asked<'_>) -> Response {
        let of = |word: &str| asked.query.get(word).cloned().unwrap_or_default();
        let (prefix, after) = (of("prefix"), if self.lists_for_ever { String::new() } else { of("key-marker") });
        let keys = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let keys: Vec<_> = keys.collect();
        let mut page = String::new();
        for (key, versions) in keys.iter().take(PAGE) {
            for (place, version) in versions.iter().enumerate().rev() {
                let latest = place + 1 == versions.len();
                let inner =
                    format!("<Key>{key}</Key><VersionId>{}</VersionId><IsLatest>{latest}</IsLatest>", version.id);
                page += &match &version.bytes {
                    Some(bytes) => format!("<Version>{inner}<Size>{}</Size></Version>", bytes.len()),
                    None => format!("<DeleteMarker>{inner}</DeleteMarker>"),
                };
            }
        }
        let is_more = keys.len() > PAGE;
        let next = keys.iter().take(PAGE).next_back().filter(|_| is_more);
        let next = next.map_or_else(String::new, |(key, _)| format!("<NextKeyMarker>{key}</NextKeyMarker>"));
        xml(&format!("<ListVersionsResult><IsTruncated>{is_more}</IsTruncated>{next}{page}</ListVersionsResult>"))
    }
}

/// What stands in the first element of this name.
fn within(bytes: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0.to_owned())
}

fn answer(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status)
}

fn xml(text: &str) -> Response {
    answer(StatusCode::OK).body(Body::from(format!("<?xml version=\"1.0\"?>{text}"))).expect("right")
}

fn refused(status: u16, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    answer(StatusCode::from_u16(status).expect("a status")).body(Body::from(body)).expect("right")
}

/// Headers that promise more than comes.
fn torn() -> Response {
    let none = futures::stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("torn"))]);
    answer(StatusCode::OK).header("content-length", "100").body(Body::from_stream(none)).expect("right")
}
