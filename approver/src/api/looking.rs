//! A spectator's eyes on the screens of a session over VNC: they look a few times a second at most, and whoever takes what they
//! saw slowly gets the next look later, with all that changed until then.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::types::{VncOpen, VncScreen, WatchLine};
use crate::floor::{Look, OpenScreen, ScreenFacts, Screens, SeenScreen, WantedScreen};

/// From one look to the next. Enough to follow a hand, and little beside what the screen itself costs.
const BEAT: Duration = Duration::from_millis(300);
/// To the next look at the rest of a picture.
const SOON: Duration = Duration::from_millis(60);

pub(super) struct Eyes {
    screens: Arc<dyn Screens>,
    changed: watch::Receiver<()>,
    /// Whether a look might find something.
    is_new: bool,
    not_before: Instant,
    seen: SeenScreen,
    /// What was told last; at first, nothing.
    told: Option<Option<ScreenFacts>>,
    wanted: WantedScreen,
    wants_pictures: bool,
    skips: bool,
}

impl Eyes {
    pub(super) fn new(screens: Arc<dyn Screens>, wanted: WantedScreen, wants_pictures: bool) -> Self {
        Self {
            changed: screens.changed(),
            screens,
            is_new: true,
            not_before: Instant::now(),
            seen: SeenScreen::default(),
            told: None,
            wanted,
            wants_pictures,
            skips: false,
        }
    }

    /// Completes when it is time for a look. May be dropped and called again.
    pub(super) async fn due(&mut self) {
        if !self.is_new {
            if self.changed.changed().await.is_err() {
                // The session is gone.
                std::future::pending::<()>().await;
            }
            self.is_new = true;
        }
        sleep_until(self.not_before).await;
    }

    /// What was seen before was taken late: what the next look finds is not all that was drawn.
    pub(super) fn were_held_up(&mut self) {
        self.skips |= self.changed.has_changed().unwrap_or(false);
    }

    /// What there is to tell of a look.
    pub(super) async fn look(&mut self) -> Vec<WatchLine> {
        self.changed.mark_unchanged();
        let Look { seen, screen, pieces, is_more } = self.see().await;
        self.is_new = is_more;
        self.not_before = Instant::now() + if is_more { SOON } else { BEAT };
        self.seen = seen;
        let mut lines = Vec::new();
        // Where there is none, that is told to whoever may still show one.
        if self.told.as_ref() != Some(&screen) && (screen.is_some() || self.wants_pictures || self.told.is_some()) {
            self.told = Some(screen.clone());
            lines.push(WatchLine::Vnc { screen: screen.map(of_screen) });
        }
        let skipped = !pieces.is_empty() && std::mem::take(&mut self.skips);
        let picture = |piece: crate::floor::ScreenPiece| WatchLine::Picture {
            x: piece.x,
            y: piece.y,
            data: BASE64.encode(&piece.png),
            skipped,
        };
        lines.extend(pieces.into_iter().map(picture));
        lines
    }

    /// Beside the thread that all of a face runs on: a cut must not wait for a picture.
    async fn see(&self) -> Look {
        let (screens, wanted, seen) = (Arc::clone(&self.screens), self.wanted, self.seen);
        if !self.wants_pictures {
            return Look { seen, screen: screens.shown(wanted), pieces: Vec::new(), is_more: false };
        }
        let looked = tokio::task::spawn_blocking(move || screens.look(wanted, seen)).await;
        looked.unwrap_or_else(|fault| {
            tracing::error!(%fault, "a screen could not be looked at");
            Look { seen: self.seen, screen: self.told.clone().flatten(), pieces: Vec::new(), is_more: false }
        })
    }
}

fn of_screen(facts: ScreenFacts) -> VncScreen {
    let ScreenFacts { connection, open, width, height, lost } = facts;
    VncScreen { connection, open: open.into_iter().map(VncOpen::from).collect(), width, height, lost }
}

impl From<OpenScreen> for VncOpen {
    fn from(open: OpenScreen) -> Self {
        let OpenScreen { connection, width, height } = open;
        Self { connection, width, height }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use futures::FutureExt as _;

    use super::*;
    use crate::floor::ScreenPiece;

    /// A screen that was drawn on so often; whoever looks gets one piece where that is new.
    #[derive(Default)]
    struct Drawn {
        changed: watch::Sender<()>,
        times: AtomicU64,
    }

    impl Drawn {
        fn draw(&self) {
            self.times.fetch_add(1, Ordering::SeqCst);
            self.changed.send_replace(());
        }
    }

    impl Screens for Drawn {
        fn changed(&self) -> watch::Receiver<()> {
            self.changed.subscribe()
        }

        fn shown(&self, _: WantedScreen) -> Option<ScreenFacts> {
            let open = vec![OpenScreen { connection: 1, width: 8, height: 4 }];
            Some(ScreenFacts { connection: 1, open, width: 8, height: 4, lost: None })
        }

        fn look(&self, wanted: WantedScreen, seen: SeenScreen) -> Look {
            let stamp = self.times.load(Ordering::SeqCst);
            let piece = ScreenPiece { x: 1, y: 2, png: Bytes::from(stamp.to_string()) };
            let pieces = if stamp > seen.stamp { vec![piece] } else { Vec::new() };
            Look { seen: SeenScreen { stamp, ..seen }, screen: self.shown(wanted), pieces, is_more: false }
        }
    }

    fn picture(n: u64, skipped: bool) -> WatchLine {
        WatchLine::Picture { x: 1, y: 2, data: BASE64.encode(n.to_string().as_bytes()), skipped }
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_in_between_is_one_picture_and_who_was_held_up_reads_that() {
        let drawn = Arc::new(Drawn::default());
        let mut eyes = Eyes::new(Arc::clone(&drawn) as _, WantedScreen::Newest, true);
        drawn.draw();
        eyes.due().now_or_never().expect("whoever comes sees it at once");
        let lines = eyes.look().await;
        assert!(matches!(lines[..], [WatchLine::Vnc { screen: Some(_) }, WatchLine::Picture { .. }]), "{lines:?}");
        assert!(eyes.due().now_or_never().is_none(), "nothing changed");
        for _ in 0..50 {
            drawn.draw();
        }
        let begun = Instant::now();
        assert!(eyes.due().now_or_never().is_none(), "not so soon");
        eyes.due().await;
        assert!(begun.elapsed() >= BEAT);
        assert_eq!(eyes.look().await, [picture(51, false)]);
        eyes.were_held_up();
        drawn.draw();
        eyes.due().await;
        assert_eq!(eyes.look().await, [picture(52, false)], "nothing was drawn while they were held up");
        drawn.draw();
        eyes.were_held_up();
        drawn.draw();
        eyes.due().await;
        assert_eq!(eyes.look().await, [picture(54, true)]);
    }

    #[tokio::test]
    async fn who_wants_no_pictures_reads_that_there_is_a_screen_once() {
        let drawn = Arc::new(Drawn::default());
        let mut eyes = Eyes::new(Arc::clone(&drawn) as _, WantedScreen::Newest, false);
        drawn.draw();
        assert!(matches!(eyes.look().await[..], [WatchLine::Vnc { screen: Some(_) }]));
        drawn.draw();
        assert_eq!(eyes.look().await, []);
    }
}
