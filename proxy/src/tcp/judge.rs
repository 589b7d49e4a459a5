//! Whether one message of a gated connection may pass: by what is granted now, by whether input is stopped, and by who else
//! writes there.

use approver::lease::Orders;
use policies::actions::{Action, Actions};
use tokio::sync::watch;

use super::Reach;
use super::slots::Pen;
use crate::gates::{Judge, Need};
use crate::session::texts::Place;

/// Judges the messages of one connection.
pub(crate) struct TcpJudge {
    orders: Orders,
    frozen: watch::Receiver<bool>,
    pen: Pen,
    place: Place,
}

impl TcpJudge {
    /// For one connection.
    pub(crate) fn new(reach: &Reach, orders: Orders, frozen: watch::Receiver<bool>, place: Place) -> Self {
        Self { orders, frozen, pen: reach.slots.pen(&reach.claim), place }
    }

    fn is_granted(&self, need: Need) -> Result<(), String> {
        self.orders.look(|order| match need {
            _ if order.actions.contains(&Action::Tunnel) => Ok(()),
            Need::All(wanted) => match wanted.iter().find(|action| !order.actions.contains(action)) {
                None => Ok(()),
                Some(missing) => Err(self.not_granted(*missing, &order.actions)),
            },
            Need::MoreThanObserve if order.actions.iter().any(|action| *action != Action::Observe) => Ok(()),
            Need::MoreThanObserve => Err(self.not_granted(Action::Operate, &order.actions)),
            Need::Unknown => Err("the gate does not know this message, so it does not pass".to_owned()),
        })
    }

    fn not_granted(&self, missing: Action, granted: &Actions) -> String {
        let granted: Vec<_> = granted.iter().map(|action| action.as_str()).collect();
        format!("{missing} is not granted, only {}. {}", granted.join(", "), self.place.how_to_widen(missing))
    }
}

impl Judge for TcpJudge {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        if *self.frozen.borrow() {
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
