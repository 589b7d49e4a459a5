//! Whether one message of a gated connection may pass: by what is granted now, by whether input is stopped, and by who else
//! writes there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use approver::lease::Orders;
use policies::actions::{Action, Actions};
use tokio::sync::watch;

use super::Reach;
use super::slots::Pen;
use crate::gates::{Judge, Lack, Need};
use crate::session::texts::Place;

/// Judges the messages of one connection.
pub(crate) struct TcpJudge {
    orders: Orders,
    frozen: watch::Receiver<bool>,
    pen: Pen,
    place: Place,
    hold_max: Duration,
    frozen_since: Mutex<Option<Instant>>,
    /// Whether this connection transfers a program.
    pub(super) transferring: AtomicBool,
}

impl TcpJudge {
    /// For one connection.
    pub(crate) fn new(reach: &Reach, orders: Orders, frozen: watch::Receiver<bool>, place: Place) -> Self {
        let (pen, hold_max) = (reach.slots.pen(&reach.claim), reach.hold_max);
        let (frozen_since, transferring) = (Mutex::new(None), AtomicBool::new(false));
        Self { orders, frozen, pen, place, hold_max, frozen_since, transferring }
    }

    /// Completes when the session's time is over and only a transfer is let finish that is none of this connection's.
    pub(super) async fn is_left_behind(&self) {
        let mut orders = self.orders.clone();
        while orders.look(|order| order.finishing.is_none()) || self.transferring.load(Ordering::Relaxed) {
            orders.changed().await;
        }
    }

    /// What stops input, but no cut, waits for a program transfer that runs, for so long as the rule holds it.
    pub(super) fn transfer_is_let_finish(&self) -> bool {
        let is_frozen = *self.frozen.borrow();
        let mut since = self.frozen_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = is_frozen.then(|| since.unwrap_or_else(Instant::now));
        self.transferring.load(Ordering::Relaxed) && since.is_none_or(|since| since.elapsed() < self.hold_max)
    }

    fn is_granted(&self, need: Need) -> Result<(), String> {
        self.orders.look(|order| match need.lacks(&order.actions) {
            None => Ok(()),
            Some(Lack::Action(missing)) => Err(self.not_granted(missing, &order.actions)),
            Some(Lack::Known) => Err("the gate does not know this message, so it does not pass".to_owned()),
        })
    }

    fn not_granted(&self, missing: Action, granted: &Actions) -> String {
        let granted: Vec<_> = granted.iter().map(|action| action.as_str()).collect();
        format!("{missing} is not granted, only {}. {}", granted.join(", "), self.place.how_to_widen(missing))
    }
}

impl Judge for TcpJudge {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        let belongs = matches!(need, Need::All(needed) if needed.contains(&Action::Program));
        let finishes = belongs && self.transfer_is_let_finish();
        if !finishes && self.orders.look(|order| order.finishing.is_some()) {
            return Err("your time is up; only the program transfer that runs is let finish".to_owned());
        }
        if !finishes && need != Need::Sight && *self.frozen.borrow() {
            let why = self.orders.look(|order| order.frozen.map(|frozen| frozen.to_string()));
            return Err(why.unwrap_or_else(|| "input is stopped".to_owned()));
        }
        self.is_granted(need)?;
        let writes = need.class() > Some(Action::Observe);
        if writes && !self.pen.take() {
            let target = &self.place.target;
            return Err(format!("somebody else writes to {target} now. Wait until they are done; reading goes on"));
        }
        Ok(())
    }
}
