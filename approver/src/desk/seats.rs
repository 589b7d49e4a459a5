//! Who holds a lease on this node, and what is said to each: orders follow from what stands, from cuts that act before
//! they are journaled, from who watches here, and from the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use policies::actions::Actions;
use policies::events::{Ending, EscortEnd, Scope};
use policies::ids::{CutId, PersonId, RequestId, SessionId, TargetName};
use policies::people::{Person, Standing};
use policies::plant::{DeadlineEnding, Escort, StalenessEnding};
use policies::state::{Case, RequestStanding, State};
use tokio::sync::watch;

use super::Inner;
use super::fold::{Fold, GrantClock};
use super::late::Late;
use crate::attendance::Attendance;
use crate::clock::Boot;
use crate::lease::{Deadline, Frozen, Order, Orders};

/// Everything this node itself knows about its live sessions.
#[derive(Default)]
pub(super) struct Seats {
    pub(super) places: BTreeMap<SessionId, Place>,
    /// Cuts that act and are not in the journal yet.
    pub(super) blocks: BTreeMap<CutId, Scope>,
    /// Who watches each session here, and who of them is there.
    pub(super) attendance: BTreeMap<SessionId, Attendance>,
}

/// One lease, from before it is admitted until it is given back.
pub(super) struct Place {
    pub(super) technician: PersonId,
    pub(super) target: TargetName,
    /// Once admitted.
    pub(super) grant: Option<RequestId>,
    /// Stopped by an operator, before the journal says so.
    pub(super) held: bool,
    /// How often an operator closed its connections here, and the journal has not said so yet.
    pub(super) closing: usize,
    /// A program is being transferred to the target.
    pub(super) transferring: bool,
    pub(super) orders: watch::Sender<Order>,
}

/// The holder's end of a place. Dropped without being given back, the session is journaled as crashed.
pub(crate) struct Seat {
    desk: Arc<Inner>,
    session: SessionId,
    given_back: bool,
    orders: watch::Receiver<Order>,
}

impl Seat {
    pub(super) fn take(
        desk: &Arc<Inner>,
        session: SessionId,
        technician: PersonId,
        target: TargetName,
    ) -> Option<Self> {
        let never = Deadline { boot: Boot(std::time::Duration::MAX), wall: Timestamp::MAX };
        let nothing = Order {
            deadline: never,
            frozen: None,
            actions: Actions::new(),
            finishing: None,
            watchers: BTreeSet::new(),
            escorts: BTreeMap::new(),
            over: None,
        };
        let (orders, receiver) = watch::channel(nothing);
        let mut seats = desk.seats();
        if seats.places.contains_key(&session) {
            return None;
        }
        seats.places.insert(
            session,
            Place { technician, target, grant: None, held: false, closing: 0, transferring: false, orders },
        );
        Some(Self { desk: desk.clone(), session, given_back: false, orders: receiver })
    }

    pub(crate) fn orders(&self) -> Orders {
        let mut from_here_on = self.orders.clone();
        from_here_on.mark_unchanged();
        Orders::new(from_here_on)
    }

    /// See [`Lease::transferring`](crate::lease::Lease::transferring).
    pub(crate) fn transferring(&self, transferring: bool) {
        if let Some(place) = self.desk.seats().places.get_mut(&self.session) {
            place.transferring = transferring;
        }
        self.desk.settle();
        self.desk.time_moved.notify_one();
    }

    pub(super) fn give_back(mut self) {
        self.given_back = true;
        self.desk.seats().places.remove(&self.session);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        let left = self.desk.seats().places.remove(&self.session);
        if left.is_some_and(|place| place.grant.is_some()) {
            tracing::error!(session = %self.session, "a session was let go of without an ending");
            self.desk.end_later(self.session, Ending::Crashed, None);
        }
    }
}

/// What has to reach the floor beside the orders.
#[derive(Default)]
struct Effects {
    cut: Vec<(SessionId, Ending)>,
    frozen: Vec<(SessionId, bool)>,
    /// Who escorts no longer, because they did not say so again.
    lapsed: Vec<(SessionId, PersonId)>,
}

impl Inner {
    /// Brings every order up to date, and says when the next one changes by itself.
    pub(super) fn settle(&self) -> Option<Boot> {
        let (effects, next) = {
            let fold = self.fold();
            let down_since = super::lock(&self.health).down_since;
            let mut seats = self.seats();
            seats.blocks.retain(|cut, _| !fold.cuts.contains(cut));
            let boot = self.clock.boot();
            let lapsed = seats.lapse(boot);
            let view = View { fold: &fold, seats: &seats, boot, down_since };
            let (effects, next) = view.settle();
            // Before anybody else settles, or an older word would undo a newer one.
            for (session, frozen) in &effects.frozen {
                self.floor.freeze(*session, *frozen);
            }
            (Effects { lapsed, ..effects }, next)
        };
        for (session, ending) in &effects.cut {
            self.floor.cut(&[*session], ending);
        }
        for (session, by) in effects.lapsed {
            self.later(Late::EndEscort { session, by, why: EscortEnd::Lapsed });
        }
        next
    }
}

impl Seats {
    /// Whose word that they are there counts no longer by now.
    fn lapse(&mut self, now: Boot) -> Vec<(SessionId, PersonId)> {
        let all = self.attendance.iter_mut();
        all.flat_map(|(session, there)| there.lapse(now).into_iter().map(|who| (*session, who))).collect()
    }
}

/// All that an order follows from.
struct View<'a> {
    fold: &'a Fold,
    seats: &'a Seats,
    boot: Boot,
    down_since: Option<Boot>,
}

impl View<'_> {
    fn settle(&self) -> (Effects, Option<Boot>) {
        let mut effects = Effects::default();
        let mut next: Option<Boot> = None;
        for (session, place) in &self.seats.places {
            let (order, due) = self.order(*session, place);
            next = next.into_iter().chain(due).min();
            place.orders.send_if_modified(|old| {
                if old.over.is_some() || *old == order {
                    return false;
                }
                if let Some(ending @ Ending::Cut { .. }) = &order.over {
                    effects.cut.push((*session, ending.clone()));
                }
                if old.frozen.is_some() != order.frozen.is_some() {
                    effects.frozen.push((*session, order.frozen.is_some()));
                }
                *old = order;
                true
            });
        }
        (effects, next)
    }

    /// What holds for a place, and when that changes by the clock alone.
    fn order(&self, session: SessionId, place: &Place) -> (Order, Option<Boot>) {
        let before = place.orders.borrow().clone();
        let cut = self.cut_over(session, place);
        let running = place.grant.and_then(|grant| {
            let clock = self.fold.grants.get(&grant)?;
            Some((self.fold.state.cases.get(&grant)?, clock, clock.deadline?))
        });
        let Some((case, clock, deadline)) = running else {
            return (Order { over: cut, ..before }, None);
        };
        let deadline = self.not_beyond_contract(case, deadline);
        let (ends, freezes) = match case.rule.ending {
            DeadlineEnding::Cut => (deadline.boot, None),
            DeadlineEnding::Freeze { max } => {
                let ends = deadline.boot.after(max.duration());
                (self.visit_ends(case, deadline).map_or(ends, |visit| visit.min(ends)), Some(deadline.boot))
            }
        };
        let due_at = [Some(ends), self.stale_at(case), clock.not_accepted].into_iter().flatten().min().unwrap_or(ends);
        let finished = if place.transferring { due_at.after(case.rule.hold_max.duration()) } else { due_at };
        let over = cut.or_else(|| self.over(session, place, case, clock, (ends, finished)));
        let is_finishing = over.is_none() && due_at <= self.boot;
        let escorts = self.escorts(session);
        let order = Order {
            deadline,
            frozen: self.frozen(session, place, case, freezes, !escorts.is_empty()),
            actions: actions_at(case, clock, self.boot),
            finishing: is_finishing.then(|| self.shown(deadline, finished)),
            watchers: self.watchers(session),
            escorts,
            over,
        };
        let widened = clock.widened.iter().map(|until| until.boot);
        let ending = [ends, due_at, finished];
        let lapses = order.escorts.values().copied();
        let due = widened.chain(freezes).chain(ending).chain(lapses).filter(|at| *at > self.boot).min();
        (order, due)
    }

    fn watchers(&self, session: SessionId) -> BTreeSet<PersonId> {
        self.seats.attendance.get(&session).into_iter().flat_map(Attendance::watchers).collect()
    }

    /// Who is there, watches here, and was journaled as an escort. An operator who is out by now is none.
    fn escorts(&self, session: SessionId) -> BTreeMap<PersonId, Boot> {
        let state = &self.fold.state;
        let (Some(facts), Some(here)) = (state.sessions.get(&session), self.seats.attendance.get(&session)) else {
            return BTreeMap::new();
        };
        let counts = |who: &PersonId| {
            facts.escorts.contains(who) && state.people.get(who).is_some_and(Person::is_active_operator)
        };
        here.there(self.boot).filter(|(who, _)| counts(who)).collect()
    }

    /// Cuts that were journaled, and those that act before they are.
    fn cut_over(&self, session: SessionId, place: &Place) -> Option<Ending> {
        let state = &self.fold.state;
        let mut standing = state.standing_cuts().chain(self.seats.blocks.iter().map(|(cut, scope)| (*cut, scope)));
        let ends = |scope: &Scope| match scope {
            Scope::Session(other) => *other == session,
            wider => is_within(state, wider, place.technician, &place.target),
        };
        standing.find(|(_, scope)| ends(scope)).map(|(cut, _)| Ending::Cut { cut })
    }

    /// A contract that was shortened meanwhile ends a session at its end.
    fn not_beyond_contract(&self, case: &Case, deadline: Deadline) -> Deadline {
        let state = &self.fold.state;
        let contract = state.vendor_of(case.asked.technician).and_then(|vendor| state.contracts.get(vendor));
        match contract.filter(|contract| contract.end < deadline.wall) {
            Some(contract) => {
                let earlier = contract.end.duration_since(deadline.wall);
                Deadline { boot: deadline.boot.moved(earlier), wall: contract.end }
            }
            None => deadline,
        }
    }

    /// When a guest's visit ends: nothing of theirs stays frozen for longer.
    fn visit_ends(&self, case: &Case, deadline: Deadline) -> Option<Boot> {
        let (_, guest) = self.fold.state.visit_of(case)?;
        Some(deadline.boot.moved(guest.statement.until.duration_since(deadline.wall)))
    }

    fn frozen(
        &self,
        session: SessionId,
        place: &Place,
        case: &Case,
        freezes: Option<Boot>,
        is_escorted: bool,
    ) -> Option<Frozen> {
        let facts = self.fold.state.sessions.get(&session);
        if place.held || facts.is_some_and(|facts| facts.frozen) {
            Some(Frozen::ByOperator)
        } else if case.unaccepted {
            Some(Frozen::NotAccepted)
        } else if freezes.is_some_and(|at| at <= self.boot) {
            Some(Frozen::TimeIsUp)
        } else if case.rule.escort == Escort::Required && !is_escorted {
            Some(Frozen::NobodyWatches)
        } else {
            None
        }
    }

    /// A moment on the clock that counts, with its time on the wall.
    fn shown(&self, deadline: Deadline, at: Boot) -> Deadline {
        let later = SignedDuration::try_from(at.since(deadline.boot)).unwrap_or(SignedDuration::MAX);
        Deadline { boot: at, wall: deadline.wall.checked_add(later).unwrap_or(Timestamp::MAX) }
    }

    /// `ends` is when its time is over, and `finished` when it ends by the clock: later, where a transfer is let finish.
    fn over(
        &self,
        session: SessionId,
        place: &Place,
        case: &Case,
        clock: &GrantClock,
        (ends, finished): (Boot, Boot),
    ) -> Option<Ending> {
        let state = &self.fold.state;
        let journaled = state.sessions.get(&session).and_then(|facts| facts.ended.as_ref());
        if let Some((_, ending)) = journaled {
            return Some(ending.clone());
        }
        let stands = matches!(case.standing, RequestStanding::Granted | RequestStanding::NotAccepted);
        if !stands || !may_stay(state, place) || is_of_an_earlier_key(state, session) {
            return Some(Ending::Revoked);
        }
        let has_come = |at: Option<Boot>| at.is_some_and(|at| at <= self.boot);
        let why = match ends > self.boot {
            true if has_come(clock.not_accepted) => Ending::NotAccepted,
            true if has_come(self.stale_at(case)) => Ending::Stale,
            _ => Ending::Expired,
        };
        (finished <= self.boot).then_some(why)
    }

    /// When a journal that does not answer ends this session.
    fn stale_at(&self, case: &Case) -> Option<Boot> {
        let since = self.down_since.filter(|_| case.rule.staleness_ending == StalenessEnding::End)?;
        Some(since.after(case.rule.staleness.duration()))
    }
}

/// Whether the technician is still somebody who may be there, and the target still something one may reach.
fn may_stay(state: &State, place: &Place) -> bool {
    let is_active = state.people.get(&place.technician).is_some_and(|person| person.standing == Standing::Active);
    let vendor = state.vendor_of(place.technician).and_then(|vendor| state.contracts.get(vendor));
    let zone = state.zone_of(&place.target);
    let is_open = state.plant.as_ref().zip(zone).and_then(|(plant, zone)| plant.zones.get(zone));
    is_active && vendor.is_some_and(|contract| !contract.disabled) && is_open.is_some_and(|zone| !zone.never)
}

/// Whether the technician enrolled again after this session began: who proved the key before may be somebody else.
fn is_of_an_earlier_key(state: &State, session: SessionId) -> bool {
    state.sessions.get(&session).is_some_and(|facts| {
        let enrolled_at = state.people.get(&facts.technician).and_then(|person| person.enrolled_at);
        enrolled_at.is_some_and(|at| facts.started < at)
    })
}

/// What a grant allows at a moment on the clock that is never set.
fn actions_at(case: &Case, clock: &GrantClock, boot: Boot) -> Actions {
    let lasts = |until: &Timestamp| clock.widened.iter().any(|end| end.wall == *until && boot < end.boot);
    let widened = case.widened.iter().filter(|(_, until)| lasts(until)).flat_map(|(actions, _)| actions);
    case.request.actions.iter().chain(widened).copied().collect()
}

/// Whether a cut wider than one session is about this technician at this target.
pub(crate) fn is_within(state: &State, scope: &Scope, technician: PersonId, target: &TargetName) -> bool {
    match scope {
        Scope::Session(_) => false,
        Scope::Technician(person) => *person == technician,
        Scope::Vendor(vendor) => state.vendor_of(technician) == Some(vendor),
        Scope::Zone(zone) => state.zone_of(target) == Some(zone),
        Scope::Plant => true,
    }
}
