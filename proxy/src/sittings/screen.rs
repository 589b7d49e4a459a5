//! A target's screen on a page, over VNC: the WebSocket's bytes are the stream of RFB, as one by `ssh -L` or `connect` is.

use std::sync::Arc;

use approver::lease::Orders;
use policies::actions::Action;

use super::outlet::Outlet;
use super::ways::{self, Ways};
use super::{Beside, ToPage, last_words};
use crate::flow::{Brake, Queue, Valve};
use crate::gates::Need;
use crate::session::{Session, VendorChannel};
use crate::tcp::VendorEnd;
use crate::websocket::Socket;

/// What the browser may have that it has not drawn: a picture that is hard to compress, so that a quick line is used, and no more
/// than a slow browser draws in a moment.
const UNDRAWN_BYTES_MAX: usize = 1 << 20;

const TOO_MUCH: &str = "More was typed than the machine takes, so the screen was closed.";

/// Carries a screen to its end; gives the last words.
pub(super) async fn carry(session: Session, socket: &mut Socket, beside: Beside) -> Option<String> {
    let (outlet, outgoing) = Outlet::new(UNDRAWN_BYTES_MAX);
    let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
    let end = VendorEnd::in_browser(outlet.clone(), beside.from, Arc::clone(&upload));
    if session.channel(VendorChannel::Tcp(end)).await.is_err() {
        return session.over_in_words();
    }
    let stopped = session.stopped();
    let over = async {
        tokio::select! {
            biased;
            // Of what waits to be drawn then, nothing is.
            () = stopped => {}
            () = tell_rights(session.orders(), &outlet) => {}
        }
    };
    let ways = Ways { socket, beside, outlet: &outlet, outgoing, upload: &upload, too_much: TOO_MUCH };
    let end = ways::carry(ways, |_| false, over).await;
    let in_words = |target: &_| match outlet.why() {
        Some(why) => {
            format!("The screen of {target} was closed: {}. Your session ended with it.", why.trim_end_matches('.'))
        }
        None => format!("The screen of {target} was closed, and your session with it."),
    };
    last_words(end, session, in_words).await
}

/// Tells the page whether what is typed passes as it is granted, now and whenever that changes: a viewer that only looks sends nothing.
/// Completes when nobody is there to be told.
async fn tell_rights(mut orders: Orders, outlet: &Outlet) {
    let mut told = None;
    loop {
        let granted = orders.look(|order| Need::one(Action::Operate).lacks(&order.actions).is_none());
        if told.replace(granted) != Some(granted) && outlet.beside(ToPage::Input { granted }).await.is_err() {
            return;
        }
        orders.changed().await;
    }
}
