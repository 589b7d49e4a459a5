//! The bucket to which recordings are brought, as the configuration says. The one place above `approver` that knows which kind
//! of bucket it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use approver::blobs::s3::{Bucket, BucketAt, CannotReach};
use approver::blobs::{BlobFault, Blobs};
use approver::deposits::{Copies, Depositor, Deposits, Progress, PublishedLog};
use approver::desk::Desk;

use super::stores::{Identity, Stores, records_dir};
use crate::config::RecordingsAt;

/// A start waits no longer for a bucket: the plant decides by itself, whatever is reached from it.
const ASKED_FOR: Duration = Duration::from_secs(5);

/// Why no recording could ever be brought there.
#[derive(Debug, thiserror::Error)]
pub enum CannotDeposit {
    /// What is wrong here.
    #[error("store.s3: {0}")]
    Reach(#[from] CannotReach),
    /// What is wrong there.
    #[error("store.recordings: {0}")]
    Unfit(BlobFault),
}

/// A bucket, before the stores are open.
pub(super) struct Begun {
    bucket: Arc<dyn Blobs>,
    bucket_name: String,
    keep_local: Duration,
    place: String,
}

/// What it takes to bring recordings to a bucket.
pub(super) struct Depositing {
    to: Begun,
    pub(super) copies: Copies,
    pub(super) standing: Deposits,
}

/// The bucket, where one is configured; not asked yet.
///
/// # Errors
/// What is wrong on this machine.
pub(crate) fn open(recordings: &RecordingsAt) -> Result<Option<BucketAt>, CannotDeposit> {
    let RecordingsAt::Bucket { at, .. } = recordings else { return Ok(None) };
    drop(Bucket::new((**at).clone())?);
    Ok(Some((**at).clone()))
}

/// A bucket for whoever asks it without a gate.
///
/// # Errors
/// What is wrong on this machine.
pub(crate) fn reach(at: BucketAt) -> Result<Arc<dyn Blobs>, CannotReach> {
    Ok(Arc::new(Bucket::new(at)?))
}

/// Whether it keeps versions and locks. That it does not answer is no reason not to start.
///
/// # Errors
/// It answers that it does not.
pub(super) async fn begin(
    recordings: &RecordingsAt,
    at: Option<BucketAt>,
    identity: &Identity,
) -> Result<Option<Begun>, CannotDeposit> {
    let (RecordingsAt::Bucket { keep_local, .. }, Some(at)) = (recordings, at) else { return Ok(None) };
    let place = identity.place();
    let url = at.url.clone();
    let bucket_name = at.name();
    let bucket: Arc<dyn Blobs> = Arc::new(Bucket::new(at)?);
    match tokio::time::timeout(ASKED_FOR, bucket.check()).await {
        Ok(Ok(())) => tracing::info!(%url, "recordings go to the bucket, which has versions and Object Lock"),
        Ok(Err(unfit @ BlobFault::Unfit { .. })) => return Err(CannotDeposit::Unfit(unfit)),
        Ok(Err(why)) => tracing::warn!(%url, %why, "the bucket for recordings cannot be looked at: they wait here"),
        Err(_) => tracing::warn!(%url, "the bucket for recordings does not answer: they wait here"),
    }
    Ok(Some(Begun { bucket, bucket_name, keep_local: *keep_local, place }))
}

impl Begun {
    pub(super) fn on(self, stores: &Stores, data: &Path) -> Depositing {
        let copies = Copies::new(Arc::clone(&stores.directory), records_dir(data), self.place.clone());
        let standing = Deposits::new(Arc::clone(&self.bucket), stores.identity.node.clone(), copies.clone());
        Depositing { to: self, copies, standing }
    }
}

impl Depositing {
    pub(super) fn depositor(&self, desk: &Desk, stores: &Stores, data: &Path) -> Depositor {
        let logs = [
            PublishedLog::journal(stores.journal_log(), data),
            PublishedLog::records(Arc::clone(&stores.records), data),
        ];
        Depositor {
            desk: desk.clone(),
            records: Arc::clone(&stores.records),
            logs,
            data: data.to_owned(),
            bucket: Arc::clone(&self.to.bucket),
            bucket_name: self.to.bucket_name.clone(),
            keep_local: self.to.keep_local,
            copying: stores.copying.clone(),
            place: self.to.place.clone(),
            copies: self.copies.clone(),
            standing: self.standing.clone(),
            progress: Progress::default(),
        }
    }
}
