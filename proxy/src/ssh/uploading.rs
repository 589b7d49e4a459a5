//! The uploads of one channel that are checked first: kept while they come, looked at one after another, and handed over by
//! the gate itself.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use policies::digest::Digest;
use recordings::ledger::RemotePath;
use recordings::notes::{CheckOutcome, Checked, Note};
use recordings::words::Words;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::channel::{BROKEN, Carriage, CarryFault, End, lock, reply};
use crate::files::{Concluded, HandOver, Next, UploadKey, UploadStep};
use crate::flow::QueueFault;
use crate::relay::Recorder;
use crate::uploads::{CheckVerdict, Checks, Staged};

/// What is kept of a channel's uploads, and how far the one under way is.
pub(super) struct OnChannel {
    kept: Mutex<HashMap<UploadKey, io::Result<Staged>>>,
    /// Those that wait to be checked, in order, and the one that is: at most as many as may be open.
    waiting: watch::Sender<Vec<UploadKey>>,
    handing: watch::Sender<bool>,
    answered: Notify,
    answers: AtomicU64,
    left: CancellationToken,
    begins_no_more: AtomicBool,
}

/// A target that answers nothing for so long has stopped taking a file.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

impl Default for OnChannel {
    fn default() -> Self {
        let (waiting, handing) = (watch::Sender::new(Vec::new()), watch::Sender::new(false));
        let (answers, left, begins_no_more) = Default::default();
        Self { kept: Mutex::default(), waiting, handing, answered: Notify::new(), answers, left, begins_no_more }
    }
}

impl OnChannel {
    /// The target sent something.
    pub(super) fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.answered.notify_one();
    }

    /// The technician left.
    pub(super) fn leave(&self) {
        self.left.cancel();
    }

    /// No file is handed over any more that is not yet.
    pub(super) fn begin_no_more(&self) {
        self.begins_no_more.store(true, Ordering::Relaxed);
    }

    /// Completes when the technician left while a file is handed over: what the target says meanwhile is for the gate.
    pub(super) async fn nobody_reads(&self) {
        self.left.cancelled().await;
        until(&self.handing, |handing| *handing).await;
    }

    /// Whether any waits or is being handed over.
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Whether a file is on its way to the target just now.
    pub(super) fn is_handing_over(&self) -> bool {
        *self.handing.borrow()
    }

    /// Completes when nothing is being handed over.
    pub(super) async fn handed_over(&self) {
        until(&self.handing, |handing| !handing).await;
    }

    /// As [`OnChannel::handed_over`], or when the target has answered nothing for a while, though input was not stopped.
    pub(super) async fn handed_over_or_stuck(&self, silence: Duration, frozen: &watch::Receiver<bool>) {
        loop {
            let answers = self.answers.load(Ordering::Relaxed);
            let handed_over = tokio::time::timeout(silence, self.handed_over()).await.is_ok();
            if handed_over || (answers == self.answers.load(Ordering::Relaxed) && !*frozen.borrow()) {
                return;
            }
        }
    }

    /// Completes with the target's next answer.
    ///
    /// # Errors
    /// It gives none, though input was not stopped.
    async fn next_answer(&self, frozen: &watch::Receiver<bool>) -> Result<(), QueueFault> {
        while tokio::time::timeout(ANSWERS_WITHIN, self.answered.notified()).await.is_err() {
            if !*frozen.borrow() {
                return Err(QueueFault::Stalled);
            }
        }
        Ok(())
    }

    /// Completes when nothing waits or is being handed over.
    pub(super) async fn all_done(&self) {
        until(&self.waiting, Vec::is_empty).await;
    }
}

async fn until<T>(state: &watch::Sender<T>, holds: impl FnMut(&T) -> bool) {
    // Its sender is beside it, so it does not end before.
    if state.subscribe().wait_for(holds).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl<R: Recorder> Carriage<'_, R> {
    /// Does with an upload what the inspector said. What goes wrong is kept, and told when the file is whole.
    pub(super) async fn upload_step(&self, step: UploadStep) {
        let Some(checks) = &self.terms.checks else { return };
        let take = |upload| lock(&self.uploads.kept).remove(&upload);
        let (upload, kept) = match step {
            UploadStep::Discard(upload) => return drop(take(upload)),
            UploadStep::Check(upload) => return self.uploads.waiting.send_modify(|waiting| waiting.push(upload)),
            UploadStep::Begin(upload) => (upload, Some(checks.begin().await)),
            UploadStep::Keep { upload, offset, bytes } => {
                (upload, and_then(take(upload), async |staged| staged.keep(offset, bytes).await).await)
            }
            UploadStep::Resize { upload, bytes } => {
                (upload, and_then(take(upload), async |staged| staged.resize(bytes).await).await)
            }
        };
        let Some(kept) = kept else { return };
        if kept.is_err() {
            self.with_uploads((), |uploads| uploads.spoil(upload));
        }
        lock(&self.uploads.kept).insert(upload, kept);
    }

    /// Has each file looked at, and hands it over or refuses it. Ends with the channel alone.
    pub(super) async fn check_uploads(&self) -> Result<End, CarryFault> {
        let Some(checks) = &self.terms.checks else { return std::future::pending().await };
        loop {
            until(&self.uploads.waiting, |waiting| !waiting.is_empty()).await;
            let upload = self.uploads.waiting.borrow()[0];
            let concluded = self.check_upload(checks, upload).await?;
            let Concluded { to_technician, say, ledger } = concluded;
            // The recording first, so that whoever reads the answer finds it there.
            self.conclude(say, ledger).await?;
            self.uploads.handing.send_replace(false);
            reply(&self.vendor.made, to_technician).await;
            self.uploads.waiting.send_modify(|waiting| {
                waiting.remove(0);
            });
        }
    }

    async fn check_upload(&self, checks: &Checks, upload: UploadKey) -> Result<Concluded, CarryFault> {
        let path = self.with_uploads(RemotePath::new(&[]), |uploads| uploads.path(upload));
        let kept = lock(&self.uploads.kept).remove(&upload).unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
        let read = match kept {
            Ok(staged) => staged.digest().await.map(|(bytes, sha256)| (staged, bytes, sha256)),
            Err(error) => Err(error),
        };
        let (staged, bytes, sha256) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "an upload could not be kept to be checked, so it was refused");
                let why = if error.kind() == io::ErrorKind::StorageFull {
                    "the gate has no room to keep it while it is checked; tell the plant"
                } else {
                    "the gate could not keep it while it is checked; tell the plant"
                };
                return Ok(self.with_uploads(Concluded::default(), |uploads| uploads.refuse(upload, why)));
            }
        };
        let CheckVerdict { outcome, said } = checks.check(&staged, (bytes, sha256)).await;
        self.note_verdict(path, bytes, sha256, outcome, said.clone()).await?;
        let why = match outcome {
            CheckOutcome::Passed => return self.hand_over(checks, upload, &staged, bytes, sha256).await,
            CheckOutcome::Refused => format!("the file check refused it: {said}"),
            CheckOutcome::NotRun => "the file check could not say anything of it; tell the plant".to_owned(),
        };
        Ok(self.with_uploads(Concluded::default(), |uploads| uploads.refuse(upload, &why)))
    }

    async fn note_verdict(
        &self,
        path: RemotePath,
        bytes: u64,
        sha256: Digest,
        outcome: CheckOutcome,
        said: Words,
    ) -> Result<(), CarryFault> {
        let what = match outcome {
            CheckOutcome::Passed => "the file check passed it",
            CheckOutcome::Refused => "the file check refused it",
            CheckOutcome::NotRun => "the file check had no verdict",
        };
        let words = Words::new(format!("put {path}, {bytes} bytes, SHA-256 {sha256}: {what}: {said}"));
        let (allowed, checked) = (outcome == CheckOutcome::Passed, Checked { path, bytes, sha256, outcome, said });
        let (operation, spliced, checked) = (None, Vec::new(), Some(Box::new(checked)));
        self.note(&Note::GateVerdict { allowed, words, operation, spliced, checked }).await
    }

    /// Hands over a file that passed, as it lies on the gate.
    async fn hand_over(
        &self,
        checks: &Checks,
        upload: UploadKey,
        staged: &Staged,
        bytes: u64,
        sha256: Digest,
    ) -> Result<Concluded, CarryFault> {
        let _turn = checks.turn().await;
        if self.vendor.has_left() || self.uploads.begins_no_more.load(Ordering::Relaxed) {
            // Nobody waits for it, and nothing of it is at the target: it is not begun.
            return std::future::pending().await;
        }
        self.uploads.handing.send_replace(true);
        self.with_uploads((), |uploads| uploads.begin(upload, bytes, sha256));
        loop {
            match self.with_uploads(Next::Done(Concluded::default()), |uploads| uploads.next()) {
                Next::Send(bytes) => reply(&self.to_target, vec![bytes]).await,
                Next::Content { offset, bytes } => match staged.part(offset, bytes).await {
                    Ok(part) => {
                        let part = self.with_uploads(bytes::Bytes::new(), |uploads| uploads.content(&part));
                        reply(&self.to_target, vec![part]).await;
                    }
                    Err(error) => {
                        tracing::error!(%error, "an upload that was checked cannot be read any more");
                        self.refuse("the gate can no longer read what it hands over", true, BROKEN);
                        return std::future::pending().await;
                    }
                },
                Next::Wait => self.uploads.next_answer(&self.terms.frozen).await?,
                Next::Done(concluded) => return Ok(concluded),
            }
        }
    }

    fn with_uploads<T>(&self, without: T, work: impl FnOnce(&mut dyn HandOver) -> T) -> T {
        match lock(&self.inspect).as_mut().and_then(|inspect| inspect.uploads()) {
            Some(uploads) => work(uploads),
            None => without,
        }
    }
}

async fn and_then(
    kept: Option<io::Result<Staged>>,
    work: impl AsyncFnOnce(&Staged) -> io::Result<()>,
) -> Option<io::Result<Staged>> {
    let staged = match kept? {
        Ok(staged) => staged,
        failed => return Some(failed),
    };
    Some(work(&staged).await.map(|()| staged))
}
