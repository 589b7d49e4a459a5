//! What plants report about a span of time: each report is a table made of what stands, and of nothing else. People and texts are
//! named by identifier and digest; whoever shows a table says who and what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use jiff::Timestamp;

use crate::actions::Actions;
use crate::digest::Salted;
use crate::events::{CutBy, Ending, ErasedOn, Scope as Cut};
use crate::guests::Guest;
use crate::history::{Item, What};
use crate::ids::{AskId, CredentialName, CutId, PersonId, RequestId, RoleName, SessionId, TargetName, VendorId};
use crate::ledger::{Adoption, CutMade};
use crate::people::{Contract, Kind, Person, Standing};
use crate::plant::{Credential, Plant, Quorum, Rule};
use crate::refusals::{self, Refusal};
use crate::rotation::{Need, Rotation, SecretFacts};
use crate::rules::listed;
use crate::state::{Ask, Asked, Case, Injected, LookBack, RequestStanding, SessionFacts, State};

/// Of what time, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The first moment inside.
    pub from: Timestamp,
    /// The first moment after.
    pub until: Timestamp,
    /// Of this vendor alone.
    pub vendor: Option<VendorId>,
}

impl Scope {
    /// So many days a report is about at most: a year, and the month in which somebody asks for it.
    pub const DAYS_MAX: i64 = 400;

    /// Whether a report may be about it.
    ///
    /// # Errors
    /// It is empty, or too long.
    pub fn check(&self) -> Result<(), Refusal> {
        let lasts = self.until.duration_since(self.from);
        if !lasts.is_positive() {
            return Err(Refusal::EmptySpan);
        }
        if lasts.as_hours() > Self::DAYS_MAX * 24 { Err(Refusal::LongSpan(Self::DAYS_MAX)) } else { Ok(()) }
    }

    fn has(&self, at: Timestamp) -> bool {
        (self.from..self.until).contains(&at)
    }

    fn is_of(&self, vendor: Option<&VendorId>) -> bool {
        self.vendor.is_none() || self.vendor.as_ref() == vendor
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What stands in each column.
    pub columns: &'static [&'static str],
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// So many rows a table has at most: whoever reads more by eye has chosen too long a span.
pub const ROWS_MAX: usize = 10_000;

impl Table {
    fn of(columns: &'static [&'static str], rows: impl Iterator<Item = Vec<Cell>>) -> Result<Self, Refusal> {
        let rows: Vec<_> = rows.take(ROWS_MAX + 1).collect();
        if rows.len() > ROWS_MAX { Err(Refusal::ManyRows(ROWS_MAX)) } else { Ok(Self { columns, rows }) }
    }
}

/// What stands in one place of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing.
    None,
    /// Words, identifiers and names of the plant file.
    Words(String),
    /// These people.
    People(Vec<PersonId>),
    /// A moment.
    At(Timestamp),
    /// What somebody wrote.
    Text(Salted),
}

impl Cell {
    fn words(words: impl fmt::Display) -> Self {
        Self::Words(words.to_string())
    }

    fn person(person: PersonId) -> Self {
        Self::People(vec![person])
    }

    fn people(people: impl IntoIterator<Item = PersonId>) -> Self {
        let once: BTreeSet<_> = people.into_iter().collect();
        if once.is_empty() { Self::None } else { Self::People(once.into_iter().collect()) }
    }

    fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::None, cell)
    }

    fn yes(is: bool) -> Self {
        if is { Self::words("yes") } else { Self::None }
    }
}

macro_rules! reports {
    ($($(#[$doc:meta])* $name:ident $word:literal $title:literal,)*) => {
        /// Which report.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Report {
            $($(#[$doc])* $name,)*
        }

        impl Report {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, in addresses and commands.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it tells, in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

reports! {
    /// Sessions of which a moment lies inside.
    Sessions "sessions" "All sessions",
    /// Requests that were made inside.
    Requests "requests" "All requests, denied ones too; what the gate refused as it was asked is among the refusals",
    /// What people who had proved who they are asked for or connected to, and the gate refused inside.
    Refusals "refusals" "What the gate refused: requests that no rule allowed, and connections",
    /// Sessions by the account on the target that the gate opened for them.
    SharedAccounts "shared-accounts" "Who used which account of a target, and when",
    /// Secrets, as they stand.
    Secrets "secrets" "Secrets that open accounts of targets: when each was set, by whom, how old it may get, and who used it since",
    /// Sessions under grants without a work order.
    NoWorkOrder "no-work-order" "Sessions without a work order",
    /// Emergency grants and guests, with who looked back.
    Emergencies "emergencies" "Emergencies and guests, and who looked back at them",
    /// Grants that were given more time inside.
    Overruns "overruns" "Grants that were given more time",
    /// Grants under which somebody was at work inside.
    CloseOuts "close-outs" "Grants that somebody worked under, what was done, and who signed it off",
    /// Drawn sessions of which a moment lies inside.
    Reviews "reviews" "Sessions drawn for review, and who reviewed them",
    /// Cuts that were made inside.
    Cuts "cuts" "Cuts and drills of it, and who let back in",
    /// Recorders that failed inside, and sessions that ended by it.
    RecorderFailures "recorder-failures" "Failures of recorders, and the sessions they ended",
    /// How long recordings of sessions inside are kept, and who erased which.
    Retention "retention" "Recordings: how long they are kept, who holds them, and who erased which",
    /// Everybody, as they stand.
    People "people" "People, when they were last seen, and who is dormant",
    /// Vendors, as they stand.
    Vendors "vendors" "Vendors, their contracts, and when they were last here",
    /// What rules let vendors reach that have a contract, and who they are.
    WhoCan "who-can" "Who may ask to reach what, and who they are",
    /// Plant files that were in force inside.
    PlantFiles "plant-files" "Plant files that were in force, and who signed them",
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Report {
    type Err = NoSuchReport;
    fn from_str(text: &str) -> Result<Self, NoSuchReport> {
        Self::ALL.iter().copied().find(|report| report.as_str() == text).ok_or(NoSuchReport)
    }
}

/// No report is called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no report is called so; there are {}", listed(Report::ALL))]
pub struct NoSuchReport;

/// What a report is about, taken out of what stands a piece at a time, so that nobody who decides waits for a long one. What comes
/// into the journal meanwhile may be in it or not.
#[derive(Debug)]
pub struct Gathering {
    report: Report,
    scope: Scope,
    now: Timestamp,
    taken: State,
    /// When everybody who ever connected began to, the last time.
    last: BTreeMap<PersonId, Timestamp>,
    /// Who of those asked about used each secret since it was set, and when somebody began to, the last time.
    used: BTreeMap<CredentialName, (BTreeSet<PersonId>, Timestamp)>,
    refusals: Vec<Item>,
    next: Next,
}

/// What is taken next: behind that one.
#[derive(Debug, Clone, Copy)]
enum Next {
    Beginning,
    Sessions(Option<SessionId>),
    Requests(Option<RequestId>),
    Asks(Option<AskId>),
    Refusals(Option<u64>),
    Nothing,
}

impl Gathering {
    /// Nothing of it yet.
    ///
    /// # Errors
    /// The span is empty or too long.
    pub fn new(report: Report, scope: Scope, now: Timestamp) -> Result<Self, Refusal> {
        scope.check()?;
        let (taken, last, used, refusals) = (State::default(), BTreeMap::new(), BTreeMap::new(), Vec::new());
        Ok(Self { report, scope, now, taken, last, used, refusals, next: Next::Beginning })
    }

    /// Looks at so many things more; whether there may be any behind them.
    pub fn take(&mut self, state: &State, at_most: usize) -> bool {
        self.next = match self.next {
            Next::Beginning => self.begin(state),
            Next::Sessions(behind) => self.sessions(state, behind, at_most),
            Next::Requests(behind) => self.requests(state, behind, at_most),
            Next::Asks(behind) => self.asks(state, behind, at_most),
            Next::Refusals(behind) => self.refusals(state, behind, at_most),
            Next::Nothing => Next::Nothing,
        };
        !matches!(self.next, Next::Nothing)
    }

    /// What there is little of.
    fn begin(&mut self, state: &State) -> Next {
        self.taken.people = state.people.clone();
        self.taken.contracts = state.contracts.clone();
        self.taken.guests = state.guests.clone();
        self.taken.plant = state.plant.clone();
        self.taken.ledger = state.ledger.clone();
        self.taken.secrets = state.secrets.clone();
        self.taken.secrets_told_since = state.secrets_told_since;
        Next::Sessions(None)
    }

    fn sessions(&mut self, state: &State, behind: Option<SessionId>, at_most: usize) -> Next {
        let mut looked_at = None;
        for (id, facts) in state.sessions.range(after(behind)).take(at_most) {
            looked_at = Some(*id);
            let last = self.last.entry(facts.technician).or_insert(facts.started);
            *last = facts.started.max(*last);
            self.uses(state, facts);
            if facts.is_within(self.scope.from, self.scope.until) && state.is_of(&self.scope, facts.technician) {
                self.taken.sessions.insert(*id, facts.clone());
                self.case(state, facts.request);
            }
        }
        looked_at.map_or(Next::Requests(None), |id| Next::Sessions(Some(id)))
    }

    /// A session opened by a secret that was not set anew since.
    fn uses(&mut self, state: &State, facts: &SessionFacts) {
        let Some(Injected { by: Credential::Sealed(secret), .. }) = &facts.account else { return };
        let is_before = state.secrets.get(secret).is_some_and(|last| facts.started < last.at);
        if is_before || !state.is_of(&self.scope, facts.technician) {
            return;
        }
        let (who, last) = self.used.entry(secret.clone()).or_insert_with(|| (BTreeSet::new(), facts.started));
        who.insert(facts.technician);
        *last = facts.started.max(*last);
    }

    fn requests(&mut self, state: &State, behind: Option<RequestId>, at_most: usize) -> Next {
        let mut looked_at = None;
        for (id, case) in state.cases.range(after(behind)).take(at_most) {
            looked_at = Some(*id);
            let is_within = self.scope.has(case.submitted) || case.granted.is_some_and(|at| self.scope.has(at));
            if is_within && state.is_of(&self.scope, case.asked.technician) {
                self.case(state, *id);
            }
        }
        looked_at.map_or(Next::Asks(None), |id| Next::Requests(Some(id)))
    }

    fn asks(&mut self, state: &State, behind: Option<AskId>, at_most: usize) -> Next {
        let mut looked_at = None;
        for (id, ask) in state.asks.range(after(behind)).take(at_most) {
            looked_at = Some(*id);
            if ask.given().is_some_and(|at| self.scope.has(at)) {
                self.case(state, ask.asked.request());
            }
        }
        looked_at.map_or(Next::Refusals(None), |id| Next::Asks(Some(id)))
    }

    fn refusals(&mut self, state: &State, behind: Option<u64>, at_most: usize) -> Next {
        let mut looked_at = None;
        for (entry, item) in state.history.items().range(after(behind)).take(at_most) {
            looked_at = Some(*entry);
            let is_refusal = matches!(item.what, What::Refusal { .. });
            if is_refusal && self.scope.has(item.at) && self.scope.is_of(item.vendor.as_ref()) {
                self.refusals.push(item.clone());
            }
        }
        looked_at.map_or(Next::Nothing, |entry| Next::Refusals(Some(entry)))
    }

    /// A request with what more was asked of its grant, and who is at work under it.
    fn case(&mut self, state: &State, id: RequestId) {
        let Some(case) = state.cases.get(&id).filter(|_| !self.taken.cases.contains_key(&id)) else { return };
        self.taken.asks.extend(state.asks_of(id).map(|(id, ask)| (id, ask.clone())));
        for session in case.sessions.iter().filter(|session| state.live.contains(session)) {
            self.taken.live.insert(*session);
            self.taken.sessions.extend(state.sessions.get(session).map(|facts| (*session, facts.clone())));
        }
        self.taken.cases.insert(id, case.clone());
    }

    /// The table, of what was taken.
    ///
    /// # Errors
    /// It is too long.
    pub fn table(&self) -> Result<Table, Refusal> {
        let (state, scope, now) = (&self.taken, &self.scope, self.now);
        match self.report {
            Report::Sessions => state.sessions_reported(scope, |_| true),
            Report::NoWorkOrder => state.sessions_reported(scope, |case| case.asked.work_order.is_none()),
            Report::SharedAccounts => state.accounts_reported(scope),
            Report::Secrets => self.secrets_reported(),
            Report::Requests => state.requests_reported(scope, now),
            Report::Refusals => self.refusals_reported(),
            Report::Emergencies => state.emergencies_reported(scope),
            Report::Overruns => state.overruns_reported(scope),
            Report::CloseOuts => state.close_outs_reported(scope, now),
            Report::Reviews => state.reviews_reported(scope, now),
            Report::Cuts => state.cuts_reported(scope),
            Report::RecorderFailures => state.failures_reported(scope),
            Report::Retention => state.retention_reported(scope),
            Report::People => self.people_reported(),
            Report::Vendors => self.vendors_reported(),
            Report::WhoCan => state.who_can_reported(scope, now),
            Report::PlantFiles => state.plant_files_reported(scope),
        }
    }

    /// Those that services of the plant file in force name, and then those that the journal knows and none names: what opens nothing
    /// there opens ways to tell people. Of a vendor, those that its technicians used.
    fn secrets_reported(&self) -> Result<Table, Refusal> {
        let (state, now) = (&self.taken, self.now);
        let named = state.plant.as_deref().map(|plant| state.rotations(plant)).unwrap_or_default();
        let others = state.secrets.iter().filter(|(secret, _)| named.iter().all(|one| one.credential != *secret));
        let rows = named
            .iter()
            .map(|one| (one.credential, one.last, Some(one)))
            .chain(others.map(|(secret, last)| (secret, Some(*last), None)))
            .filter(|(secret, ..)| self.scope.vendor.is_none() || self.used.contains_key(secret));
        let row = |(secret, last, rotation): (&CredentialName, Option<SecretFacts>, Option<&Rotation<'_>>)| {
            let used = self.used.get(secret);
            vec![
                Cell::words(secret),
                Cell::maybe(rotation, |rotation| Cell::words(rotation.places())),
                last.map_or_else(|| Cell::words("not known"), |last| Cell::At(last.at)),
                Cell::maybe(last, |last| Cell::person(last.by)),
                Cell::maybe(last.filter(|last| last.is_kept), |last| Cell::words(days(last.at, now))),
                Cell::maybe(rotation.and_then(|rotation| rotation.age_max), Cell::words),
                Cell::maybe(rotation.and_then(Rotation::due), Cell::At),
                Cell::words(secret_stands(last, rotation, now)),
                Cell::maybe(used, |(who, _)| Cell::people(who.iter().copied())),
                Cell::maybe(used, |(_, last)| Cell::At(*last)),
            ]
        };
        let columns =
            &["secret", "opens", "last set", "by", "age", "may get", "due", "standing", "used since by", "last used"];
        Table::of(columns, rows.map(row))
    }

    fn refusals_reported(&self) -> Result<Table, Refusal> {
        let row = |item: &Item| {
            let What::Refusal { reason, rule, asked } = &item.what else { return None };
            let lacks = asked.iter().flat_map(|asked| &asked.lacks).map(|lack| lack.in_words());
            Some(vec![
                Cell::At(item.at),
                Cell::person(item.person),
                Cell::maybe(item.vendor.as_ref(), Cell::words),
                Cell::maybe(item.target.as_ref(), Cell::words),
                Cell::words(match (asked, &item.target) {
                    (Some(_), _) => "request",
                    (None, Some(_)) => "connection",
                    (None, None) => "sign-in",
                }),
                Cell::maybe(asked.as_ref(), |asked| Cell::words(actions(&asked.actions))),
                Cell::yes(asked.as_ref().is_some_and(|asked| asked.emergency)),
                Cell::words(refusals::in_words(reason)),
                Cell::maybe(rule.as_ref(), Cell::words),
                Cell::words(listed(lacks)),
            ])
        };
        let columns =
            &["at", "person", "vendor", "target", "what", "to do", "emergency", "refused because", "rule", "rules are"];
        Table::of(columns, self.refusals.iter().filter_map(row))
    }

    fn people_reported(&self) -> Result<Table, Refusal> {
        let (state, scope, now, last) = (&self.taken, &self.scope, self.now, &self.last);
        let row = |person: &Person| {
            vec![
                Cell::person(person.id),
                Cell::words(person.kind.as_str()),
                Cell::maybe(person.kind.vendor(), Cell::words),
                Cell::maybe(role(person), Cell::words),
                Cell::words(listed(&person.groups)),
                Cell::words(match person.standing {
                    Standing::Invited => "invited",
                    Standing::Enrolled => "enrolled",
                    Standing::Active => "active",
                    Standing::Disabled => "disabled",
                    Standing::Over => "over",
                }),
                Cell::At(person.last_seen),
                Cell::yes(state.is_dormant(person, now)),
                Cell::maybe(last.get(&person.id).copied(), Cell::At),
            ]
        };
        let columns =
            &["person", "kind", "vendor", "role", "groups", "standing", "last seen", "dormant", "last session"];
        let of_it = state.people.values().filter(|person| state.is_of(scope, person.id));
        Table::of(columns, of_it.map(row))
    }

    fn vendors_reported(&self) -> Result<Table, Refusal> {
        let (state, scope, last) = (&self.taken, &self.scope, &self.last);
        let mut within = BTreeMap::<&VendorId, usize>::new();
        for vendor in state.sessions_within(scope).filter_map(|(_, facts)| state.vendor_of(facts.technician)) {
            *within.entry(vendor).or_default() += 1;
        }
        let mut people = BTreeMap::<&VendorId, Vec<&Person>>::new();
        for person in state.people.values() {
            person.kind.vendor().into_iter().for_each(|vendor| people.entry(vendor).or_default().push(person));
        }
        let row = |(id, contract): (&VendorId, &Contract)| {
            let theirs = || people.get(id).into_iter().flatten();
            vec![
                Cell::words(id),
                Cell::At(contract.end),
                Cell::yes(contract.disabled),
                Cell::person(contract.sponsor),
                Cell::people(theirs().filter(|person| person.standing == Standing::Active).map(|person| person.id)),
                Cell::words(within.get(id).copied().unwrap_or_default()),
                Cell::maybe(theirs().filter_map(|person| last.get(&person.id).copied()).max(), Cell::At),
            ]
        };
        let columns = &["vendor", "contract ends", "disabled", "sponsor", "active", "sessions", "last session"];
        Table::of(columns, state.contracts.iter().filter(|(id, _)| scope.is_of(Some(*id))).map(row))
    }
}

impl State {
    fn is_of(&self, scope: &Scope, person: PersonId) -> bool {
        scope.is_of(self.vendor_of(person))
    }

    fn vendor_cell(&self, person: PersonId) -> Cell {
        Cell::maybe(self.vendor_of(person), Cell::words)
    }

    fn sessions_within<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (SessionId, &'a SessionFacts)> {
        let within = |facts: &SessionFacts| facts.is_within(scope.from, scope.until);
        let chosen =
            self.sessions.iter().filter(move |(_, facts)| within(facts) && self.is_of(scope, facts.technician));
        chosen.map(|(id, facts)| (*id, facts))
    }

    fn cases_within<'a>(
        &'a self,
        scope: &'a Scope,
        when: impl Fn(&Case) -> Option<Timestamp> + 'a,
    ) -> impl Iterator<Item = (RequestId, &'a Case)> {
        let within = move |case: &Case| when(case).is_some_and(|at| scope.has(at));
        let chosen =
            self.cases.iter().filter(move |(_, case)| within(case) && self.is_of(scope, case.asked.technician));
        chosen.map(|(id, case)| (*id, case))
    }

    fn sessions_reported(&self, scope: &Scope, wanted: impl Fn(&Case) -> bool) -> Result<Table, Refusal> {
        let row = |(id, facts): (SessionId, &SessionFacts)| {
            let case = self.cases.get(&facts.request).filter(|case| wanted(case))?;
            let (ended, ending) = facts.ended.as_ref().map(|(at, ending)| (*at, ending.in_words())).unzip();
            Some(vec![
                Cell::words(id),
                Cell::At(facts.started),
                Cell::maybe(ended, Cell::At),
                Cell::maybe(ending, Cell::words),
                Cell::person(facts.technician),
                self.vendor_cell(facts.technician),
                Cell::words(&facts.target),
                Cell::words(&facts.service),
                Cell::words(actions(&facts.actions)),
                Cell::words(facts.source),
                Cell::people(self.approvers_of(facts.request)),
                Cell::maybe(case.asked.work_order, Cell::Text),
                Cell::Text(case.asked.reason),
                Cell::yes(case.asked.emergency),
            ])
        };
        let columns = &[
            "session",
            "began",
            "ended",
            "how",
            "technician",
            "vendor",
            "target",
            "service",
            "may do",
            "from",
            "approved by",
            "work order",
            "why",
            "emergency",
        ];
        Table::of(columns, self.sessions_within(scope).filter_map(row))
    }

    /// By account, so that it can be seen who shared one.
    fn accounts_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let used = self.sessions_within(scope).filter_map(|(id, facts)| Some((facts.account.as_ref()?, id, facts)));
        let mut used: Vec<_> = used.collect();
        used.sort_by_key(|(account, _, facts)| (&facts.target, &facts.service, &account.user, facts.started));
        let row = |(account, id, facts): (&Injected, SessionId, &SessionFacts)| {
            vec![
                Cell::words(&facts.target),
                Cell::words(&facts.service),
                Cell::maybe(account.user.as_ref(), Cell::words),
                Cell::words(match &account.by {
                    Credential::Certificate => "a certificate of the gate's".to_owned(),
                    Credential::Sealed(name) => format!("secret {name}"),
                }),
                Cell::At(facts.started),
                Cell::maybe(facts.ended.as_ref(), |(at, _)| Cell::At(*at)),
                Cell::person(facts.technician),
                self.vendor_cell(facts.technician),
                Cell::words(facts.source),
                Cell::words(id),
            ]
        };
        let columns = &[
            "target",
            "service",
            "account",
            "opened by",
            "from",
            "until",
            "technician",
            "vendor",
            "came from",
            "session",
        ];
        Table::of(columns, used.into_iter().map(row))
    }

    fn cuts_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let mut ended = BTreeMap::<CutId, usize>::new();
        for (_, facts) in self.sessions_within(scope) {
            if let Some((_, Ending::Cut { cut })) = &facts.ended {
                *ended.entry(*cut).or_default() += 1;
            }
        }
        let is_of = |cut: &Cut| match cut {
            Cut::Plant | Cut::Zone(_) => true,
            Cut::Vendor(vendor) => scope.is_of(Some(vendor)),
            Cut::Technician(person) => self.is_of(scope, *person),
            Cut::Session(session) => {
                self.sessions.get(session).map_or(scope.vendor.is_none(), |of| self.is_of(scope, of.technician))
            }
        };
        let row = |(id, made): (CutId, &CutMade)| {
            (scope.has(made.at) && is_of(&made.scope)).then(|| {
                let (what, of) = match &made.scope {
                    Cut::Session(session) => ("session", Cell::words(session)),
                    Cut::Technician(person) => ("technician", Cell::person(*person)),
                    Cut::Vendor(vendor) => ("vendor", Cell::words(vendor)),
                    Cut::Zone(zone) => ("zone", Cell::words(zone)),
                    Cut::Plant => ("the whole plant", Cell::None),
                };
                let (by, at) = match &made.by {
                    CutBy::Operator(person) => (Cell::person(*person), "a page or a command"),
                    CutBy::Display(person) => (Cell::person(*person), "a display"),
                    CutBy::Local => (Cell::None, "the machine itself"),
                };
                vec![
                    Cell::At(made.at),
                    Cell::words(what),
                    of,
                    by,
                    Cell::words(at),
                    Cell::words(ended.get(&id).copied().unwrap_or_default()),
                    Cell::maybe(made.reopened, |let_in| Cell::At(let_in.at)),
                    Cell::maybe(made.reopened, |let_in| Cell::person(let_in.by)),
                    Cell::maybe(made.reopened, |let_in| Cell::Text(let_in.reason)),
                    Cell::words(id),
                ]
            })
        };
        let columns =
            &["cut at", "what", "which", "by", "from", "sessions ended", "let back in", "let in by", "because", "cut"];
        Table::of(columns, self.ledger.cuts().filter_map(row))
    }

    fn failures_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let failed = self.ledger.failures().iter().filter(|failure| scope.has(failure.at));
        let nodes = failed.map(|failure| {
            let first = [Cell::At(failure.at), Cell::words(&failure.node), Cell::words("the recorder failed")];
            first.into_iter().chain([Cell::None, Cell::None, Cell::None]).collect()
        });
        let sessions = self.sessions_within(scope).filter_map(|(id, facts)| {
            let (at, what) = match facts.ended.as_ref()? {
                (at, Ending::RecorderFailed) => (at, "its recording stopped, so the session did"),
                (at, Ending::Crashed) => (at, "the gate stopped without order: recorded as far as it came"),
                (at, Ending::Presumed) => {
                    (at, "nothing was heard of its gate: what it did last is in that gate's recording")
                }
                _ => return None,
            };
            let first = [Cell::At(*at), Cell::words(&facts.node), Cell::words(what)];
            let whose = [Cell::words(id), Cell::person(facts.technician), Cell::words(&facts.target)];
            Some(first.into_iter().chain(whose).collect())
        });
        Table::of(&["at", "node", "what", "session", "technician", "target"], nodes.chain(sessions))
    }

    fn retention_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let row = |(id, facts): (SessionId, &SessionFacts)| {
            let (at, on) = facts.erased().cloned().unzip();
            vec![
                Cell::words(id),
                Cell::At(facts.started),
                Cell::maybe(facts.ended.as_ref(), |(at, _)| Cell::At(*at)),
                Cell::person(facts.technician),
                self.vendor_cell(facts.technician),
                Cell::words(&facts.target),
                Cell::words(if facts.ended.is_some() && facts.seal.is_none() { "NOT SEALED" } else { "" }),
                Cell::maybe(self.kept_until(id), Cell::At),
                Cell::maybe(self.removed_by_itself(id), Cell::At),
                Cell::people(facts.holds.keys().copied()),
                Cell::maybe(at, Cell::At),
                Cell::maybe(on, |on| match on {
                    ErasedOn::People { administrator, operator } => Cell::people([administrator, operator]),
                    ErasedOn::Rule { rule } => Cell::words(format_args!("rule {rule}")),
                }),
            ]
        };
        let columns = &[
            "session",
            "began",
            "ended",
            "technician",
            "vendor",
            "target",
            "recording",
            "kept until",
            "goes by itself",
            "held by",
            "erased",
            "erased by",
        ];
        Table::of(columns, self.sessions_within(scope).map(row))
    }

    /// Those in force at any moment inside: the last one before it is, too.
    fn plant_files_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let all = self.ledger.adoptions();
        let ends = all.iter().skip(1).map(|next| Some(next.at)).chain([None]);
        let inside =
            all.iter().zip(ends).filter(|(file, end)| file.at < scope.until && end.is_none_or(|end| scope.from < end));
        let row = |(file, end): (&Adoption, Option<Timestamp>)| {
            vec![
                Cell::At(file.at),
                Cell::maybe(end, Cell::At),
                Cell::words(file.plant),
                Cell::maybe(file.proposed, |(by, _)| Cell::person(by)),
                Cell::maybe(file.proposed, |(_, at)| Cell::At(at)),
                Cell::people(file.signers.iter().copied()),
            ]
        };
        Table::of(&["in force from", "until", "file", "proposed by", "proposed", "signed by"], inside.map(row))
    }

    fn requests_reported(&self, scope: &Scope, now: Timestamp) -> Result<Table, Refusal> {
        let row = |(id, case): (RequestId, &Case)| {
            vec![
                Cell::words(id),
                Cell::At(case.submitted),
                Cell::person(case.asked.technician),
                self.vendor_cell(case.asked.technician),
                Cell::words(&case.asked.target),
                Cell::words(actions(&case.asked.actions)),
                Cell::words(case.asked.duration),
                Cell::words(&case.rule.id),
                Cell::words(standing(case, now)),
                Cell::people(case.approvers()),
                Cell::maybe(case.no(), |no| Cell::person(no.by)),
                Cell::maybe(case.no(), |no| Cell::Text(no.reason)),
                Cell::maybe(case.first_use, Cell::At),
                Cell::maybe(case.asked.work_order, Cell::Text),
                Cell::Text(case.asked.reason),
            ]
        };
        let columns = &[
            "request",
            "asked",
            "technician",
            "vendor",
            "target",
            "to do",
            "for",
            "rule",
            "standing",
            "yes of",
            "no of",
            "because",
            "first used",
            "work order",
            "why",
        ];
        Table::of(columns, self.cases_within(scope, |case| Some(case.submitted)).map(row))
    }

    fn emergencies_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let given = |case: &Case| case.granted.filter(|_| case.asked.emergency);
        let grants = self.cases_within(scope, given).map(|(id, case)| {
            let who = case.asked.technician;
            let first = vec![Cell::words("emergency"), Cell::words(id), Cell::maybe(case.granted, Cell::At)];
            let about = [Cell::person(who), self.vendor_cell(who), Cell::words(&case.request.target)];
            let by = [Cell::people(case.approvers()), Cell::Text(case.asked.reason)];
            first.into_iter().chain(about).chain(by).chain(looked_back(case.reviewed())).collect()
        });
        let is_within = |guest: &Guest| scope.has(guest.at) && scope.is_of(Some(&guest.statement.vendor));
        let guests = self.guests.iter().filter(|(_, guest)| is_within(guest));
        let visits = guests.map(|(id, guest)| {
            let of = &guest.statement;
            let first = vec![Cell::words("guest"), Cell::words(id), Cell::At(guest.at)];
            let about = [Cell::person(of.person), Cell::words(&of.vendor), Cell::words(&of.target)];
            let by = [Cell::person(of.operator), Cell::Text(of.reason)];
            first.into_iter().chain(about).chain(by).chain(looked_back(guest.reviewed)).collect()
        });
        let columns = &[
            "what",
            "which",
            "given",
            "technician",
            "vendor",
            "target",
            "given by",
            "why",
            "looked back",
            "by",
            "objection",
        ];
        Table::of(columns, grants.chain(visits))
    }

    fn overruns_reported(&self, scope: &Scope) -> Result<Table, Refusal> {
        let row = |ask: &Ask| {
            let Asked::Extension(more) = &ask.asked else { return None };
            let given = ask.given()?;
            let case = self.cases.get(&more.request).filter(|case| self.is_of(scope, case.asked.technician))?;
            scope.has(given).then(|| {
                vec![
                    Cell::words(more.request),
                    Cell::At(ask.at),
                    Cell::At(given),
                    Cell::person(case.asked.technician),
                    self.vendor_cell(case.asked.technician),
                    Cell::words(&case.request.target),
                    Cell::words(more.by),
                    Cell::At(more.deadline),
                    Cell::people(ask.votes.iter().filter(|vote| vote.yes).map(|vote| vote.operator)),
                    Cell::Text(more.reason),
                ]
            })
        };
        let columns =
            &["request", "asked", "given", "technician", "vendor", "target", "more", "until", "given by", "why"];
        Table::of(columns, self.asks.values().filter_map(row))
    }

    fn close_outs_reported(&self, scope: &Scope, now: Timestamp) -> Result<Table, Refusal> {
        let row = |id: RequestId| {
            let case = self.cases.get(&id)?;
            let said = case.closed_out().or(case.account());
            let [done, changed, left] =
                said.map_or([Cell::None, Cell::None, Cell::None], |said| said.account.texts().map(Cell::Text));
            Some(vec![
                Cell::words(id),
                Cell::words(case.sessions.len()),
                Cell::maybe(case.last_end.filter(|_| self.live_under(id) == 0), Cell::At),
                Cell::person(case.asked.technician),
                self.vendor_cell(case.asked.technician),
                Cell::words(&case.request.target),
                Cell::words(self.how_far(case, now)),
                Cell::maybe(case.closed_out(), |signed| Cell::person(signed.by)),
                Cell::maybe(case.closed_out(), |signed| Cell::At(signed.at)),
                done,
                changed,
                left,
            ])
        };
        let columns = &[
            "request",
            "sessions",
            "last ended",
            "technician",
            "vendor",
            "target",
            "close-out",
            "signed by",
            "at",
            "done",
            "changed",
            "left",
        ];
        let worked: BTreeSet<_> = self.sessions_within(scope).map(|(_, facts)| facts.request).collect();
        Table::of(columns, worked.into_iter().filter_map(row))
    }

    /// How far the close-out of a grant is, in words.
    fn how_far(&self, case: &Case, now: Timestamp) -> &'static str {
        let due = self.to_close_out(case, now).and_then(|one| one.due);
        match (case.closed_out(), due, case.rule.close_out) {
            (Some(_), ..) => "signed off",
            (None, Some(due), _) if due <= now => "OVERDUE",
            (None, Some(_), _) => "waits",
            (None, None, Some(_)) => "work is not over",
            (None, None, None) => "not demanded",
        }
    }

    fn reviews_reported(&self, scope: &Scope, now: Timestamp) -> Result<Table, Refusal> {
        let row = |(id, facts): (SessionId, &SessionFacts)| {
            let (due, (ended, _)) = (facts.review_due?, facts.ended.as_ref()?);
            let first = vec![
                Cell::words(id),
                Cell::At(*ended),
                Cell::person(facts.technician),
                self.vendor_cell(facts.technician),
                Cell::words(&facts.target),
                Cell::At(due),
                Cell::words(match (facts.reviewed(), facts.is_review_overdue(now)) {
                    (Some(LookBack { objection: Some(_), .. }), _) => "reviewed, with findings",
                    (Some(_), _) => "reviewed",
                    (None, true) => "OVERDUE",
                    (None, false) => "waits",
                }),
            ];
            Some(first.into_iter().chain(looked_back(facts.reviewed())).collect())
        };
        let columns =
            &["session", "ended", "technician", "vendor", "target", "due", "review", "reviewed", "by", "findings"];
        Table::of(columns, self.sessions_within(scope).filter_map(row))
    }

    /// By the plant file in force: each vendor's roles at each target, under each rule. Who has no contract reaches nothing.
    fn who_can_reported(&self, scope: &Scope, now: Timestamp) -> Result<Table, Refusal> {
        let columns = &["vendor", "role", "target", "may ask to do", "rule", "when", "approved by", "who they are"];
        let Some(plant) = &self.plant else { return Table::of(columns, std::iter::empty()) };
        let mut people = BTreeMap::<(&VendorId, &RoleName), Vec<PersonId>>::new();
        for person in self.people.values().filter(|person| person.standing == Standing::Active) {
            if let Kind::Technician { vendor, role } = &person.kind {
                people.entry((vendor, role)).or_default().push(person.id);
            }
        }
        let is_here = |vendor: &VendorId| scope.is_of(Some(vendor)) && self.running_contract(vendor, now).is_ok();
        let rows = plant.rules.iter().flat_map(|rule| under_rule(plant, rule, &is_here, &people));
        Table::of(columns, rows)
    }
}

/// What a rule lets vendors reach that are `is_here`.
fn under_rule<'p>(
    plant: &'p Plant,
    rule: &'p Rule,
    is_here: &dyn Fn(&VendorId) -> bool,
    people: &'p BTreeMap<(&'p VendorId, &'p RoleName), Vec<PersonId>>,
) -> impl Iterator<Item = Vec<Cell>> + use<'p> {
    let vendors: Vec<_> = rule.vendors.iter().filter(|vendor| is_here(vendor)).collect();
    let reached = if vendors.is_empty() { BTreeMap::new() } else { reached(plant, rule) };
    let hours = rule.hours.as_ref().map_or_else(|| "always".to_owned(), ToString::to_string);
    let approvals = rule.approvals.iter().map(Quorum::to_string).collect::<Vec<_>>().join(" and ");
    let who = vendors.into_iter().flat_map(move |vendor| rule.roles.iter().map(move |role| (vendor, role)));
    who.flat_map(move |(vendor, role)| {
        let who = people.get(&(vendor, role)).cloned().unwrap_or_default();
        let row = |(target, actions): (&&TargetName, &Actions)| {
            vec![
                Cell::words(vendor),
                Cell::words(role),
                Cell::words(target),
                Cell::words(self::actions(actions)),
                Cell::words(&rule.id),
                Cell::words(&hours),
                Cell::words(&approvals),
                Cell::people(who.iter().copied()),
            ]
        };
        reached.iter().map(row).collect::<Vec<_>>()
    })
}

/// How a secret stands, in words.
fn secret_stands(last: Option<SecretFacts>, rotation: Option<&Rotation<'_>>, now: Timestamp) -> &'static str {
    let is_kept = last.is_none_or(|last| last.is_kept);
    match rotation.map(|rotation| (rotation.need(now), rotation.age_max)) {
        None if is_kept => "no target is opened by it",
        None | Some((Need::Forgotten, _)) => "forgotten",
        Some((Need::Nothing, None)) => "no age is demanded",
        Some((Need::Nothing, Some(_))) => "right",
        Some((Need::Soon(_), _)) => "due soon",
        Some((Need::Overdue(_), _)) if is_kept => "OVERDUE",
        Some((Need::Overdue(_), _)) => "OVERDUE: forgotten",
        Some((Need::Unknown, _)) => "NOT KNOWN: set it anew",
    }
}

fn days(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_hours() / 24 {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// What comes behind that one, or all.
const fn after<T: Copy>(one: Option<T>) -> (Bound<T>, Bound<T>) {
    match one {
        Some(one) => (Bound::Excluded(one), Bound::Unbounded),
        None => (Bound::Unbounded, Bound::Unbounded),
    }
}

/// How a request stands, where its time may be over.
fn standing(case: &Case, now: Timestamp) -> &'static str {
    match (case.standing, case.has_lapsed(now), case.deadline <= now) {
        (RequestStanding::Pending | RequestStanding::Granted, true, _) => RequestStanding::Lapsed.as_str(),
        (RequestStanding::Granted, false, true) => "granted, used and over",
        _ => case.standing_in_words(),
    }
}

/// Where a rule lets anything be asked for, and what: what no service there knows nobody gets.
fn reached<'p>(plant: &'p Plant, rule: &Rule) -> BTreeMap<&'p TargetName, Actions> {
    let is_open = |zone| plant.zones.get(zone).is_some_and(|zone| !zone.never);
    let there = plant.targets.iter().filter(|(name, of)| is_open(&of.zone) && rule.reach.contains(name, &of.zone));
    let known = there.map(|(name, target)| {
        let offered: BTreeSet<_> = target.services.values().flat_map(|service| service.actions()).copied().collect();
        (name, rule.actions.intersection(&offered).copied().collect::<Actions>())
    });
    known.filter(|(_, actions)| !actions.is_empty()).collect()
}

fn looked_back(seen: Option<LookBack>) -> [Cell; 3] {
    [
        Cell::maybe(seen, |seen| Cell::At(seen.at)),
        Cell::maybe(seen, |seen| Cell::person(seen.by)),
        Cell::maybe(seen.and_then(|seen| seen.objection), Cell::Text),
    ]
}

const fn role(person: &Person) -> Option<&RoleName> {
    match &person.kind {
        Kind::Technician { role, .. } => Some(role),
        _ => None,
    }
}

fn actions(actions: &Actions) -> String {
    listed(actions)
}
