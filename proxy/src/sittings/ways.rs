//! Both ways of what a page shows: what its browser sends goes into a queue that has a bound, what it is sent comes out of an outlet.

use approver::floor::Shown;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::outlet::{Credit, Line, Outgoing, Outlet};
use super::{Beside, End, Heard, ODD, SIGNED_OUT, SILENT_MAX, ToPage};
use crate::floor::Telling;
use crate::flow::Queue;
use crate::websocket::{self, Socket, message};

/// What a page says beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromPage {
    /// So large is the terminal now. The first of them asks for the shell.
    Size { columns: u32, rows: u32 },
    /// So many more bytes are drawn.
    Drawn { bytes: usize },
}

/// What was typed or pasted and waits for the target: nobody types that, and a browser cannot be asked to wait.
const TYPED_BYTES_MAX: usize = 1 << 20;

/// What goes both ways.
pub(super) struct Ways<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) beside: Beside,
    pub(super) outlet: &'a Outlet,
    pub(super) outgoing: Outgoing,
    pub(super) upload: &'a Queue,
    /// What is said where more was typed than may wait.
    pub(super) too_much: &'static str,
}

/// Carries until either side ends it, or it is `over`. Whether what the page says means something there is what `heard` says.
pub(super) async fn carry(ways: Ways<'_>, heard: impl FnMut(FromPage) -> bool, over: impl Future<Output = ()>) -> End {
    let Ways { socket, beside, outlet, outgoing, upload, too_much } = ways;
    let Beside { tellings, signed_out, .. } = beside;
    let last = Heard::default();
    let (send, receive) = socket.split();
    let mut inward = Inward { receive, upload, credit: outlet.credit(), too_much };
    let mut outward = Outward { send, outgoing, tellings, heard: &last };
    let end = tokio::select! {
        biased;
        () = over => End::Closed,
        () = signed_out => End::Because(SIGNED_OUT),
        end = inward.run(heard, &last) => end,
        end = outward.run() => end,
    };
    // From here on nothing is sent, so the channel ends.
    drop((inward, outward));
    if matches!(end, End::Because(_)) {
        outlet.dismiss();
    }
    upload.end();
    end
}

/// From the page.
struct Inward<'a> {
    receive: SplitStream<&'a mut Socket>,
    upload: &'a Queue,
    credit: &'a Credit,
    too_much: &'static str,
}

impl Inward<'_> {
    async fn run(&mut self, mut heard: impl FnMut(FromPage) -> bool, last: &Heard) -> End {
        while let Some(Ok(message)) = self.receive.next().await {
            last.note();
            match message {
                Message::Binary(bytes) => self.upload.push_data(None, &bytes),
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(FromPage::Drawn { bytes }) => self.credit.give(bytes),
                    Ok(said) if heard(said) => {}
                    Ok(_) | Err(_) => return End::Because(ODD),
                },
                Message::Close(_) => return End::Left,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
            if self.upload.held_bytes() > TYPED_BYTES_MAX {
                return End::Because(self.too_much);
            }
        }
        End::Left
    }
}

/// To the page.
struct Outward<'a> {
    send: SplitSink<&'a mut Socket, Message>,
    outgoing: Outgoing,
    tellings: mpsc::Receiver<Telling>,
    heard: &'a Heard,
}

impl Outward<'_> {
    async fn run(&mut self) -> End {
        let mut pings = websocket::pings();
        let closed = self.outgoing.closed.clone();
        loop {
            let mut wanted = None;
            let next = tokio::select! {
                biased;
                Some(line) = self.outgoing.lines.recv() => match line {
                    Line::Drawn(bytes) => Message::Binary(bytes),
                    Line::Beside(said) => message(&said),
                },
                Some(telling) = self.tellings.recv() => {
                    wanted = telling.wanted;
                    message(&ToPage::Told { words: telling.text })
                }
                Some(bytes) = self.outgoing.pieces.recv() => Message::Binary(bytes),
                () = closed.cancelled() => return End::Closed,
                _ = pings.tick() => match self.heard.silent_for() > SILENT_MAX {
                    true => return End::Left,
                    false => Message::Ping(Bytes::new()),
                },
            };
            // A browser that takes nothing is waited for no longer than one that is gone.
            let Ok(Ok(())) = timeout(SILENT_MAX, self.send.send(next)).await else { return End::Left };
            Telling::shown(wanted, Shown::OnPage);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::super::outlet::{OUTGOING_MAX, ShellEnd};
    use super::*;
    use crate::flow::{Brake, Valve};
    use crate::websocket::PIECE_BYTES;

    #[tokio::test(start_paused = true)]
    async fn a_close_waits_for_no_page_and_comes_behind_what_was_shown() {
        let (outlet, outgoing) = Outlet::new(OUTGOING_MAX * PIECE_BYTES + 1);
        outlet.shown(vec![b'y'; OUTGOING_MAX * PIECE_BYTES].into()).await.unwrap();
        outlet.told(b"\r\n[holdpoint] Your input goes on.\r\nholdpoint: shell was refused\r\n").await.unwrap();
        outlet.note_end(ShellEnd::ByGate);
        outlet.close();
        // Nothing was taken until now.
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut socket, mut page) =
            tokio::join!(websocket::open(near, Role::Server), websocket::open(far, Role::Client));
        let (told, tellings) = mpsc::channel(1);
        let (wanted, shown) = tokio::sync::oneshot::channel();
        told.send(Telling { text: "the crane moves".into(), wanted: Some(wanted) }).await.unwrap();
        let heard = Heard::default();
        let mut outward = Outward { send: (&mut socket).split().0, outgoing, tellings, heard: &heard };
        assert!(matches!(outward.run().await, End::Closed));
        assert_eq!(shown.await, Ok(Shown::OnPage));
        drop(outward);
        drop(socket);
        let (mut words, mut bytes) = (Vec::new(), 0);
        while let Some(Ok(message)) = page.next().await {
            match message {
                Message::Text(text) => words.push(text.to_string()),
                message => bytes += message.len(),
            }
        }
        let told = |words: &str| format!(r#"{{"told":{{"words":"{words}"}}}}"#);
        assert_eq!(words, ["Your input goes on.", "shell was refused", "the crane moves"].map(told));
        assert_eq!(bytes, OUTGOING_MAX * PIECE_BYTES);
        let hmi = "hmi-2".parse().unwrap();
        assert_eq!(outlet.end_in_words(&hmi), "shell was refused. Your session ended with it.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_nothing_is_given_up() {
        let (outlet, outgoing) = Outlet::new(OUTGOING_MAX * PIECE_BYTES + 1);
        outlet.shown(vec![b'y'; OUTGOING_MAX * PIECE_BYTES].into()).await.unwrap();
        let (near, far) = tokio::io::duplex(PIECE_BYTES);
        let (mut socket, _page) = tokio::join!(websocket::open(near, Role::Server), websocket::open(far, Role::Client));
        let ((_told, tellings), heard) = (mpsc::channel(1), Heard::default());
        let begun = tokio::time::Instant::now();
        let mut outward = Outward { send: (&mut socket).split().0, outgoing, tellings, heard: &heard };
        assert!(matches!(outward.run().await, End::Left));
        assert_eq!(begun.elapsed().as_secs(), SILENT_MAX.as_secs());
    }

    /// How it ends when a page says these, nobody taking what it types.
    async fn ends(said: Vec<Message>) -> (End, Outlet) {
        let (near, far) = tokio::io::duplex(4 << 20);
        let (mut socket, mut page) =
            tokio::join!(websocket::open(near, Role::Server), websocket::open(far, Role::Client));
        let ((outlet, outgoing), (_told, tellings)) = (Outlet::new(1), mpsc::channel(1));
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        let signed_out = Box::pin(std::future::pending());
        let beside = Beside { tellings, from: ([127, 0, 0, 1], 1).into(), signed_out };
        for message in said {
            page.send(message).await.unwrap();
        }
        let ways =
            Ways { socket: &mut socket, beside, outlet: &outlet, outgoing, upload: &upload, too_much: "too much" };
        let end = carry(ways, |_| false, std::future::pending()).await;
        assert!(upload.is_ended());
        (end, outlet)
    }

    #[tokio::test]
    async fn what_is_typed_ahead_has_a_bound_and_goes_nowhere_beyond_it() {
        let typed = || Message::Binary(vec![b'a'; PIECE_BYTES].into());
        let (end, outlet) = ends((0..=TYPED_BYTES_MAX / PIECE_BYTES).map(|_| typed()).collect()).await;
        assert!(matches!(end, End::Because("too much")) && outlet.is_dismissed());
        let (end, outlet) = ends(vec![typed(), Message::text(r#"{"size":{"columns":1,"rows":1}}"#)]).await;
        assert!(matches!(end, End::Because(ODD)) && outlet.is_dismissed());
        let (end, outlet) = ends(vec![typed(), Message::Close(None)]).await;
        assert!(matches!(end, End::Left) && !outlet.is_dismissed());
    }
}
