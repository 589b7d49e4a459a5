//! The uploads of one channel that are checked first: kept while they come, looked at one after another, and handed over by
//! the gate itself.

use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use policies::digest::Digest;
use recordings::ledger::RemotePath;
use recordings::notes::{CheckOutcome, Checked, Note};
use recordings::words::Words;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::channel::{BROKEN, Carriage, CarryFault, End, lock, reply};
use crate::files::{Concluded, HandOver, Next, UploadKey, UploadStep};
use crate::relay::Recorder;
use crate::uploads::{Bounds, CheckVerdict, Checks, Staged};

/// What is kept of a channel's uploads, and how far the one under way is.
pub(super) struct OnChannel {
    bounds: Bounds,
    kept: Mutex<HashMap<UploadKey, io::Result<Staged>>>,
    /// Those that wait to be checked, in order, and the one that is: at most as many as may be open.
    waiting: watch::Sender<Vec<UploadKey>>,
    handing: watch::Sender<bool>,
    /// How often the target took something of a file, or sent something.
    moves: watch::Sender<u64>,
    left: CancellationToken,
    /// Something that the target said was thrown away, since nobody read it: nothing behind it may be sent.
    is_torn: AtomicBool,
    begins_no_more: AtomicBool,
}

impl OnChannel {
    /// Nothing is kept yet.
    pub(super) fn new(bounds: Bounds) -> Self {
        let (waiting, handing, moves) =
            (watch::Sender::new(Vec::new()), watch::Sender::new(false), watch::Sender::new(0));
        let (left, is_torn, begins_no_more) = Default::default();
        Self { bounds, kept: Mutex::default(), waiting, handing, moves, left, is_torn, begins_no_more }
    }

    /// The target took something of a file, or sent something.
    pub(super) fn note_move(&self) {
        self.moves.send_modify(|moves| *moves += 1);
    }

    /// The technician left, or it comes to the same: a file that is being handed over is finished, and no other is begun.
    pub(super) fn leave(&self) {
        self.begin_no_more();
        self.left.cancel();
    }

    /// Completes when nobody is there any more to be told anything.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    /// As [`OnChannel::left`].
    pub(super) fn has_left(&self) -> bool {
        self.left.is_cancelled()
    }

    /// Whether something was thrown away that the technician did not read.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn.load(Ordering::Relaxed)
    }

    /// No file is handed over any more that is not yet.
    pub(super) fn begin_no_more(&self) {
        self.begins_no_more.store(true, Ordering::Relaxed);
    }

    /// Completes when nobody reads what the target says, though a file is handed over, whose answers stand behind it. Whoever
    /// has read nothing for a while is taken for gone, else they would decide by it how much of the file the target has.
    pub(super) async fn nobody_reads(&self) {
        let unread = async {
            loop {
                until(&self.handing, |handing| *handing).await;
                if tokio::time::timeout(self.bounds.reads_within, self.handed_over()).await.is_err() {
                    self.is_torn.store(true, Ordering::Relaxed);
                    return self.leave();
                }
            }
        };
        tokio::select! {
            () = self.left() => {}
            () = unread => {}
        }
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

    /// Completes when nothing is being handed over. That is bounded: who hands over gives up on a target that is stuck, and on
    /// input that stays stopped.
    pub(super) async fn handed_over(&self) {
        until(&self.handing, |handing| !handing).await;
    }

    /// Does what takes something of the target. `too_long` is [`OnChannel::frozen_too_long`] of all of the hand-over.
    ///
    /// # Errors
    /// The target has neither taken nor sent anything for as long as that may last, though input was not stopped meanwhile; or
    /// input was stopped for longer than others may wait.
    async fn unless_stuck<T>(
        &self,
        frozen: &watch::Receiver<bool>,
        too_long: Pin<&mut impl Future<Output = ()>>,
        work: impl Future<Output = T>,
    ) -> Result<T, Stuck> {
        tokio::select! {
            biased;
            // First, so that it is asked although there is always something to do.
            () = too_long => Err(Stuck::Frozen),
            done = work => Ok(done),
            () = self.target_stuck(frozen.clone()) => Err(Stuck::Target),
        }
    }

    /// Completes when input has stayed stopped for longer than others may wait, whatever the target says meanwhile.
    async fn frozen_too_long(&self, mut frozen: watch::Receiver<bool>) {
        loop {
            if frozen.wait_for(|frozen| *frozen).await.is_err() {
                return std::future::pending().await;
            }
            let thaws = async { frozen.wait_for(|frozen| !frozen).await.is_ok() };
            // Also where whoever froze it is gone and can let nothing go.
            if !tokio::time::timeout(self.bounds.thaws_within, thaws).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Completes when the target has not moved for as long as that may last; time in which input is stopped does not count.
    async fn target_stuck(&self, mut frozen: watch::Receiver<bool>) {
        let mut moves = self.moves.subscribe();
        loop {
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return std::future::pending().await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.bounds.moves_within) => return,
                Ok(()) = moves.changed() => {}
                true = async { frozen.wait_for(|frozen| *frozen).await.is_ok() } => {}
            }
        }
    }

    /// Completes when nothing waits or is being handed over.
    pub(super) async fn all_done(&self) {
        until(&self.waiting, Vec::is_empty).await;
    }
}

/// What stands still in the middle of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    Target,
    /// Whoever stopped the technician's input did not let it go on.
    Frozen,
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
        let mut moves = self.uploads.moves.subscribe();
        let mut too_long = pin!(self.uploads.frozen_too_long(self.terms.frozen.clone()));
        self.with_uploads((), |uploads| uploads.begin(upload, bytes, sha256));
        loop {
            match self.with_uploads(Next::Done(Concluded::default()), |uploads| uploads.next()) {
                Next::Send(bytes) => {
                    self.unless_stuck(upload, too_long.as_mut(), reply(&self.to_target, vec![bytes])).await?;
                }
                Next::Content { offset, bytes } => match staged.part(offset, bytes).await {
                    Ok(part) => {
                        let part = self.with_uploads(bytes::Bytes::new(), |uploads| uploads.content(&part));
                        self.unless_stuck(upload, too_long.as_mut(), reply(&self.to_target, vec![part])).await?;
                    }
                    Err(error) => {
                        tracing::error!(%error, "an upload that was checked cannot be read any more");
                        self.refuse("the gate can no longer read what it hands over", true, BROKEN);
                        return std::future::pending().await;
                    }
                },
                Next::Wait => {
                    let moved = async { drop(moves.changed().await) };
                    self.unless_stuck(upload, too_long.as_mut(), moved).await?;
                }
                Next::Done(concluded) => return Ok(concluded),
            }
        }
    }

    /// Does what takes something of the target; where that is stuck, the technician is told, and the channel is over.
    async fn unless_stuck(
        &self,
        upload: UploadKey,
        too_long: Pin<&mut impl Future<Output = ()>>,
        work: impl Future<Output = ()>,
    ) -> Result<(), CarryFault> {
        let Err(stuck) = self.uploads.unless_stuck(&self.terms.frozen, too_long, work).await else { return Ok(()) };
        let path = self.with_uploads(RemotePath::new(&[]), |uploads| uploads.path(upload));
        let (target, bounds) = (&self.target.name, self.uploads.bounds);
        let (why, fault) = match stuck {
            Stuck::Target => {
                let patience = bounds.moves_within.as_secs_f32();
                (format!("{target} has taken nothing more of {path} for {patience} s"), CarryFault::TargetStuck)
            }
            Stuck::Frozen => {
                let patience = bounds.thaws_within.as_secs_f32();
                let why = format!("input was stopped for {patience} s in the middle of {path}");
                (format!("{why}, and others may wait for {target}"), CarryFault::FrozenTooLong)
            }
        };
        self.last_words(&format!("{why}, so the gate gave up; a part of it may be there")).await;
        Err(fault)
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    const MOVES: Duration = Duration::from_secs(120);
    const READS: Duration = Duration::from_secs(60);
    const ALMOST: Duration = Duration::from_secs(119);
    const THAWS: Duration = Duration::from_secs(3_601);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// As one hand-over with this work alone does it.
    async fn unless_stuck(
        uploads: &OnChannel,
        frozen: &watch::Receiver<bool>,
        work: impl Future<Output = ()>,
    ) -> Result<(), Stuck> {
        let too_long = pin!(uploads.frozen_too_long(frozen.clone()));
        uploads.unless_stuck(frozen, too_long, work).await
    }

    fn on_channel() -> OnChannel {
        OnChannel::new(Bounds { moves_within: MOVES, reads_within: READS, thaws_within: THAWS })
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_moves_is_waited_for_and_one_that_stands_still_is_not() {
        let (uploads, frozen) = (on_channel(), watch::Sender::new(false));
        let begun = Instant::now();
        let moves = async {
            for _ in 0..5 {
                sleep(ALMOST).await;
                uploads.note_move();
            }
        };
        let frozen = frozen.subscribe();
        let (stuck, ()) = tokio::join!(unless_stuck(&uploads, &frozen, pending()), moves);
        assert_eq!(stuck, Err(Stuck::Target));
        assert_eq!(begun.elapsed().as_secs(), (ALMOST * 5 + MOVES).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_input_is_not_laid_at_the_targets_door() {
        let (uploads, frozen) = (on_channel(), watch::Sender::new(false));
        let begun = Instant::now();
        let freezes = async {
            for _ in 0..2 {
                sleep(ALMOST).await;
                frozen.send_replace(true);
                sleep(HOUR).await;
                frozen.send_replace(false);
            }
        };
        let seen = frozen.subscribe();
        let (stuck, ()) = tokio::join!(unless_stuck(&uploads, &seen, pending()), freezes);
        assert_eq!(stuck, Err(Stuck::Target));
        assert_eq!(begun.elapsed().as_secs(), ((ALMOST + HOUR) * 2 + MOVES).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_input_holds_up_others_for_so_long_and_no_longer() {
        let (uploads, frozen) = (on_channel(), watch::Sender::new(false));
        let begun = Instant::now();
        let freezes = async {
            sleep(ALMOST).await;
            frozen.send_replace(true);
            // What the target still says does not let it go on.
            for _ in 0..8 {
                sleep(HOUR / 4).await;
                uploads.note_move();
            }
        };
        let (seen, mut moves) = (frozen.subscribe(), uploads.moves.subscribe());
        let hands_over = async {
            let mut too_long = pin!(uploads.frozen_too_long(seen.clone()));
            loop {
                let moved = async { drop(moves.changed().await) };
                if let Err(stuck) = uploads.unless_stuck(&seen, too_long.as_mut(), moved).await {
                    return (stuck, begun.elapsed());
                }
            }
        };
        let ((stuck, waited), ()) = tokio::join!(hands_over, freezes);
        assert_eq!(stuck, Stuck::Frozen);
        assert_eq!(waited.as_secs(), (ALMOST + THAWS).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_nothing_while_a_file_is_handed_over_is_taken_for_gone() {
        let uploads = on_channel();
        let begun = Instant::now();
        let hands_over = async {
            sleep(HOUR).await;
            uploads.handing.send_replace(true);
            sleep(READS / 2).await;
            // That one is there; and with the next they have as long again.
            uploads.handing.send_replace(false);
            uploads.handing.send_replace(true);
            assert!(!uploads.has_left());
        };
        tokio::join!(uploads.nobody_reads(), hands_over);
        assert!(uploads.has_left() && uploads.is_torn() && uploads.begins_no_more.load(Ordering::Relaxed));
        let waited = begun.elapsed();
        assert!(HOUR + READS <= waited && waited < HOUR + READS * 2, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_nothing_is_handed_over_a_technician_may_read_as_late_as_they_like() {
        let uploads = on_channel();
        assert!(tokio::time::timeout(HOUR, uploads.nobody_reads()).await.is_err());
        assert!(!uploads.has_left() && !uploads.is_torn());
    }
}
