//! A terminal on a page, as a shell by SSH is.

use std::sync::Arc;

use futures::FutureExt as _;

use super::outlet::Outlet;
use super::ways::{self, FromPage, Ways};
use super::{Beside, last_words};
use crate::flow::{Brake, Event, Queue, Request, Valve, WindowSize};
use crate::session::{Session, VendorChannel};
use crate::ssh::channel::VendorEnd;
use crate::websocket::Socket;

/// What the browser may have that it has not drawn: some screens, and nothing to wait for on a line that is not slow. So a target
/// that prints for ever is held at its own socket, and Ctrl-C is not behind megabytes.
const UNDRAWN_BYTES_MAX: usize = 256 << 10;
/// Cells: the largest screens there are, in the smallest script.
const SIDE_MAX: u32 = 1_000;

const TOO_MUCH: &str = "More was typed than the machine takes, so the terminal was closed. Bring large files by sftp.";

/// Carries a terminal to its end; gives the last words.
pub(super) async fn carry(session: Session, socket: &mut Socket, beside: Beside) -> Option<String> {
    let (outlet, outgoing) = Outlet::new(UNDRAWN_BYTES_MAX);
    let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
    let end = VendorEnd::in_browser(outlet.clone(), beside.from, Arc::clone(&upload));
    if session.channel(VendorChannel::Typed(end)).await.is_err() {
        return session.over_in_words();
    }
    let mut asking = Asking { upload: &upload, asked: false };
    let heard = |said| match said {
        FromPage::Size { columns, rows } => {
            asking.sized(columns, rows);
            true
        }
        FromPage::Drawn { .. } => false,
    };
    let over = session.ended().map(drop);
    let ways = Ways { socket, beside, outlet: &outlet, outgoing, upload: &upload, too_much: TOO_MUCH };
    let end = ways::carry(ways, heard, over).await;
    last_words(end, session, |target| outlet.end_in_words(target)).await
}

/// Asks for a shell, in a terminal that is as large as the page says.
struct Asking<'a> {
    upload: &'a Queue,
    asked: bool,
}

impl Asking<'_> {
    fn sized(&mut self, columns: u32, rows: u32) {
        let side = |cells: u32| cells.clamp(1, SIDE_MAX);
        let size = WindowSize { columns: side(columns), rows: side(rows), width_pixels: 0, height_pixels: 0 };
        if std::mem::replace(&mut self.asked, true) {
            return self.upload.push(Event::Request(Request::WindowChange(size)));
        }
        let term = "xterm-256color".to_owned();
        self.upload.push(Event::Request(Request::Pty { term, size, modes: Vec::new() }));
        self.upload.push(Event::Request(Request::Shell));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_terminal_is_as_large_as_is_said_within_reason_and_asks_for_one_shell() {
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        let mut asking = Asking { upload: &upload, asked: false };
        asking.sized(0, u32::MAX);
        asking.sized(80, 24);
        upload.end();
        let mut asked = Vec::new();
        while let Some(Event::Request(request)) = upload.pop().await {
            asked.push(format!("{request:?}"));
        }
        assert!(asked[0].contains("columns: 1, rows: 1000,") && asked[0].starts_with("Pty"), "{asked:?}");
        assert!(asked[1] == "Shell" && asked[2].contains("columns: 80, rows: 24,") && asked.len() == 3, "{asked:?}");
    }
}
