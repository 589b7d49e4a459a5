//! What a technician may type in the lobby, or as a command: `ssh TECH@gate list`. Each order is read strictly and
//! answered in words, or with `--json` in JSON, with an exit status.

use std::fmt::Write as _;

use approver::desk::Rejected;
use approver::mint;
use approver::people::NotDone;
use jiff::Timestamp;
use policies::actions::Actions;
use policies::decide::{Command, waits_for};
use policies::ids::{AskId, RequestId, ServiceName, TargetName};
use policies::offers::Offer;
use policies::refusals::Refusal;
use policies::requests::Widening;
use policies::state::{Case, RequestStanding, State};
use policies::time::Seconds;
use serde::Serialize;

use super::asking::{Applicant, Wish, read_out};
use super::form::{listed, parse_actions};
use super::names::Place;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// What may be reached.
    List,
    /// What was asked for and what runs.
    Status,
    /// Ask for access.
    Request(Asked),
    /// Ask for more time.
    Extend { more: Seconds, at: Option<Which>, reason: String },
    /// Ask for more actions, for some minutes.
    Widen(Wider),
    /// Take a request back.
    Withdraw(Option<Which>),
    /// Wait for a yes.
    Wait(Option<Which>),
    /// Connect: by the number in the list, or by name.
    Connect(Door),
    /// Ask, question by question.
    Ask(Door),
    /// Set a password.
    Password,
    /// Get a code for a passkey, to sign in on pages with.
    Passkey,
    /// What there is to type.
    Help,
    /// Leave.
    Quit,
}

/// Access as it is asked for in one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    target: Option<TargetName>,
    service: Option<ServiceName>,
    actions: Option<Actions>,
    duration: Option<Seconds>,
    from: Option<Timestamp>,
    work_order: Option<String>,
    emergency: bool,
    reason: String,
}

/// More actions as they are asked for in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wider {
    actions: Actions,
    lasts: Seconds,
    at: Option<Which>,
    reason: String,
}

impl Wider {
    /// How long, where nothing else is said: enough for a change and a look at what came of it.
    const USUAL: Seconds = Seconds(15 * 60);
}

/// A request, by its identifier or by its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Id(RequestId),
    Target(TargetName),
}

/// A target, by its number in the list or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Door {
    Number(usize),
    Place(Place),
}

/// What is said to an order, and the status it ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) status: u32,
}

/// Done.
pub(super) const DONE: u32 = 0;
/// Refused; the reason was said.
pub(super) const REFUSED: u32 = 1;
/// Not understood.
pub(super) const WRONG_USE: u32 = 2;
/// Not possible now.
pub(super) const FAILED: u32 = 3;

/// What there is to type.
pub(super) const HELP: &str = "\
list                             what you may reach, and until when
status                           what you asked for, and what runs
ask N|TARGET                     ask for access, question by question
request TARGET [--service S] [--actions A,B] [--for 2h] [--from TIME]
        [--work-order W] [--emergency] REASON
                                 ask for access in one line
wait [ID|TARGET]                 wait for the yes; Ctrl-C stops waiting
connect N|TARGET                 connect, once there is a grant
extend 30m [--at ID|TARGET] REASON
                                 ask for more time
widen A,B [--for 15m] [--at ID|TARGET] REASON
                                 ask for more actions, for some minutes; what runs goes on
withdraw [ID|TARGET]             take a request back
passkey                          get a code for the gate's pages: with it your browser makes a
                                 passkey, beside the key that you have
password                         set a password, where the plant takes them
help, quit
";

impl Order {
    /// Reads one line, with `--json` taken out of it.
    ///
    /// # Errors
    /// What was wrong, in words.
    pub(super) fn parse(line: &str) -> Result<(Self, bool), String> {
        let mut words = split(line);
        let count = words.len();
        words.retain(|word| word != "--json");
        let json = words.len() < count;
        let mut words = words.into_iter();
        let Some(verb) = words.next() else { return Ok((Self::Help, json)) };
        let rest: Vec<String> = words.collect();
        let order = match verb.as_str() {
            "list" => alone(Self::List, &rest),
            "status" => alone(Self::Status, &rest),
            "password" => alone(Self::Password, &rest),
            "passkey" => alone(Self::Passkey, &rest),
            "help" | "?" => alone(Self::Help, &rest),
            "quit" | "exit" => alone(Self::Quit, &rest),
            "request" => parse_request(rest).map(Self::Request),
            "extend" => parse_extend(rest),
            "widen" => parse_widen(rest).map(Self::Widen),
            "withdraw" => which(&rest).map(Self::Withdraw),
            "wait" => which(&rest).map(Self::Wait),
            "connect" => door(&rest).map(Self::Connect),
            "ask" => door(&rest).map(Self::Ask),
            _ => Err("There is no such order. `help` lists them.".to_owned()),
        };
        Ok((order?, json))
    }
}

/// Words with blanks between. A quote counts only where it begins a word and is closed, so that an apostrophe in a
/// reason is one.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'').then(|| rest[1..].find(first)).flatten();
        let (word, after) = match quoted {
            Some(end) => (&rest[1..=end], &rest[end + 2..]),
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

fn alone(order: Order, rest: &[String]) -> Result<Order, String> {
    if rest.is_empty() { Ok(order) } else { Err("That is too much: this order takes nothing.".to_owned()) }
}

fn which(rest: &[String]) -> Result<Option<Which>, String> {
    match rest {
        [] => Ok(None),
        [word] => match word.parse().map(Which::Id).or_else(|_| word.parse().map(Which::Target)) {
            Ok(which) => Ok(Some(which)),
            Err(bad) => Err(format!("{bad}.")),
        },
        _ => Err("Name one request, by its identifier or its target.".to_owned()),
    }
}

fn door(rest: &[String]) -> Result<Door, String> {
    let [word] = rest else { return Err("Name one target, or its number in the list.".to_owned()) };
    if let Ok(number) = word.parse() {
        return Ok(Door::Number(number));
    }
    let (target, service) = word.split_once('+').map_or((word.as_str(), None), |(at, by)| (at, Some(by)));
    let place = || {
        let service = service.map(str::parse).transpose()?;
        Ok::<_, policies::ids::BadName>(Place { target: target.parse()?, service })
    };
    place().map(Door::Place).map_err(|bad| format!("{bad}."))
}

fn parse_request(rest: Vec<String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut reason = Vec::new();
    let mut words = rest.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{} wants a value.", shown(&word)));
        match word.as_str() {
            "--service" => asked.service = Some(read(&value()?)?),
            "--actions" => asked.actions = Some(parse_actions(&value()?).map_err(|bad| format!("{bad}."))?),
            "--for" => asked.duration = Some(read(&value()?)?),
            "--from" => asked.from = Some(read(&value()?)?),
            "--work-order" => asked.work_order = Some(value()?),
            "--emergency" => asked.emergency = true,
            option if option.starts_with("--") => return Err(format!("There is no option {}.", shown(option))),
            target if asked.target.is_none() => asked.target = Some(read(target)?),
            _ => reason.push(word),
        }
    }
    if asked.target.is_none() {
        return Err("Name the target: request TARGET REASON.".to_owned());
    }
    asked.reason = reason.join(" ");
    Ok(asked)
}

fn parse_extend(rest: Vec<String>) -> Result<Order, String> {
    let usage = || "Say how much more, and why: extend 30m REASON.".to_owned();
    let mut words = rest.into_iter();
    let more = read(&words.next().ok_or_else(usage)?)?;
    let (mut at, mut reason) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--at" => at = which(&[words.next().ok_or("--at wants a target, or a request's identifier.")?])?,
            _ => reason.push(word),
        }
    }
    if reason.is_empty() {
        return Err(usage());
    }
    Ok(Order::Extend { more, at, reason: reason.join(" ") })
}

fn parse_widen(rest: Vec<String>) -> Result<Wider, String> {
    let usage = || "Say for what, and why: widen operate REASON.".to_owned();
    let mut words = rest.into_iter();
    let actions = parse_actions(&words.next().ok_or_else(usage)?).map_err(|bad| format!("{bad}."))?;
    let mut wider = Wider { actions, lasts: Wider::USUAL, at: None, reason: String::new() };
    let mut reason = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--at" => wider.at = which(&[words.next().ok_or("--at wants a target, or a request's identifier.")?])?,
            "--for" => wider.lasts = read(&words.next().ok_or("--for wants a value.")?)?,
            _ => reason.push(word),
        }
    }
    if reason.is_empty() {
        return Err(usage());
    }
    Ok(Wider { reason: reason.join(" "), ..wider })
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|bad| format!("{bad}."))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

impl Said {
    pub(super) const fn done(text: String) -> Self {
        Self { text, status: DONE }
    }

    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        Self { text: format!("{why}."), status: REFUSED }
    }

    fn of(not_done: &NotDone) -> Self {
        let status = if matches!(not_done, NotDone::Rejected(Rejected::Fault(_))) { FAILED } else { REFUSED };
        Self { text: format!("{not_done}."), status }
    }
}

/// One line of the list.
#[derive(Serialize)]
struct Line {
    target: TargetName,
    service: ServiceName,
    protocol: policies::plant::Protocol,
    may_ask_for: Actions,
    cut_off: bool,
    granted: Option<Granted>,
    pending: Option<RequestId>,
}

#[derive(Serialize)]
struct Granted {
    request: RequestId,
    actions: Actions,
    until: Timestamp,
}

/// What may be reached, and what is granted of it.
pub(super) fn list(applicant: &Applicant, json: bool) -> Said {
    let (person, now) = (applicant.person(), applicant.now());
    let (offers, later) = applicant.reach();
    applicant.desk().with_state(|state| {
        let open = state.open_cases().map(|(_, case)| case);
        let mine: Vec<&Case> = open.filter(|case| case.asked.technician == person).collect();
        let lines: Vec<Line> = offers.iter().map(|offer| line(offer, &mine, now)).collect();
        if json {
            return Said::done(in_json(&lines));
        }
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            let standing = match (&line.granted, line.pending) {
                (Some(granted), _) => {
                    format!("{} until {}", listed(&granted.actions), state.clock(granted.until))
                }
                (None, Some(_)) => "asked for, no answer yet".to_owned(),
                (None, None) if line.cut_off => "cut off, until an operator lets you back in".to_owned(),
                (None, None) => format!("you may ask for {}", listed(&line.may_ask_for)),
            };
            writeln!(text, "{:>3}  {} ({}): {standing}", number + 1, line.target, line.service)
                .expect("text takes text");
        }
        if text.is_empty() {
            text = "No rule lets you ask for anything now. Ask your sponsor at the plant.\n".to_owned();
        }
        for line in &later {
            writeln!(text, "     {line}").expect("text takes text");
        }
        if !later.is_empty() {
            text += "     For another hour you may ask now: request TARGET --from TIME REASON\n";
        }
        Said::done(text)
    })
}

fn line(offer: &Offer, mine: &[&Case], now: Timestamp) -> Line {
    let here = || {
        let leads_here =
            |case: &&&Case| case.request.target == offer.target && case.request.services.contains(&offer.service);
        mine.iter().filter(leads_here)
    };
    let granted = here().filter(|case| case.is_open(now)).max_by_key(|case| case.deadline);
    let pending = here().find(|case| is_pending(case, now));
    Line {
        target: offer.target.clone(),
        service: offer.service.clone(),
        protocol: offer.protocol,
        may_ask_for: offer.actions.clone(),
        cut_off: offer.is_cut,
        granted: granted.map(|case| Granted {
            request: case.request.id,
            actions: case.actions(now),
            until: case.deadline,
        }),
        pending: pending.map(|case| case.request.id),
    }
}

#[derive(Serialize)]
struct Status {
    requests: Vec<RequestLine>,
    sessions: Vec<SessionLine>,
}

#[derive(Serialize)]
struct RequestLine {
    id: RequestId,
    target: TargetName,
    standing: &'static str,
    submitted: Timestamp,
    until: Timestamp,
    waits_for: Option<String>,
    /// To compare with the operator.
    words: String,
    /// To read out to an operator on the telephone.
    read_back: Option<String>,
    /// The same of what was asked of it and waits.
    read_back_of_asks: Vec<(String, String)>,
    /// What approvals took away.
    taken_away: Vec<String>,
    /// Who said no, and why.
    no: Option<String>,
    /// More time or more actions that were refused, by whom, and why.
    refused: Vec<String>,
}

#[derive(Serialize)]
struct SessionLine {
    id: policies::ids::SessionId,
    target: TargetName,
    started: Timestamp,
    until: Option<Timestamp>,
    frozen: bool,
}

/// What was asked for within a day, and what runs.
pub(super) async fn status(applicant: &Applicant, json: bool) -> Said {
    let mut status = standing(applicant);
    for line in &mut status.requests {
        if line.standing == RequestStanding::Denied.as_str() {
            line.no = Some(applicant.denial(line.id).await);
        }
        line.refused = applicant.refused_asks(line.id).await;
    }
    Said::done(if json {
        in_json(&status)
    } else {
        applicant.desk().with_state(|state| status_in_words(state, &status))
    })
}

fn standing(applicant: &Applicant) -> Status {
    let (person, now) = (applicant.person(), applicant.now());
    applicant.desk().with_state(|state| {
        let yesterday = now - jiff::SignedDuration::from_hours(24);
        let earlier = state
            .open_cases()
            .map(|(_, case)| case)
            .filter(|case| case.submitted <= yesterday && (is_pending(case, now) || case.is_open(now)));
        // In the order of their ids, which is that of their times.
        let mut of_late: Vec<_> = state.cases.values().rev().take_while(|case| case.submitted > yesterday).collect();
        of_late.reverse();
        let mine = earlier.chain(of_late).filter(|case| case.asked.technician == person);
        let requests = mine.map(|case| request_line(applicant, state, case, now)).collect();
        let live = state.live_sessions().filter(|(_, facts)| facts.technician == person);
        let sessions = live.map(|(id, facts)| SessionLine {
            id,
            target: facts.target.clone(),
            started: facts.started,
            until: state.cases.get(&facts.request).map(|case| case.deadline),
            frozen: facts.frozen,
        });
        Status { requests, sessions: sessions.collect() }
    })
}

fn request_line(applicant: &Applicant, state: &State, case: &Case, now: Timestamp) -> RequestLine {
    RequestLine {
        id: case.request.id,
        target: case.request.target.clone(),
        standing: case.standing_in_words(),
        submitted: case.submitted,
        until: case.deadline,
        waits_for: is_pending(case, now).then(|| waits_for(case)),
        words: applicant.words(case),
        read_back: applicant.read_back(case),
        read_back_of_asks: read_back_of_asks(applicant, state, case.request.id),
        taken_away: state.taken_away(case),
        no: None,
        refused: Vec::new(),
    }
}

fn status_in_words(state: &State, status: &Status) -> String {
    let mut text = String::new();
    for line in &status.requests {
        let (since, until) = (state.clock(line.submitted), state.clock(line.until));
        let (id, target, standing) = (line.id, &line.target, line.standing);
        let waits = line.waits_for.as_ref().map(|who| format!("waits for {who}; to compare: {}", line.words));
        let told = line.read_back.iter().map(|code| read_out(code));
        let asked = line.read_back_of_asks.iter().map(|(asked, code)| format!("asked: {asked}. {}", read_out(code)));
        let told: Vec<String> = told.chain(asked).collect();
        let taken = (!line.taken_away.is_empty()).then(|| line.taken_away.join(", "));
        let more = [waits, taken, line.no.clone()].into_iter().flatten().chain(line.refused.iter().cloned());
        let more: String = more.chain(told).map(|more| format!("; {more}")).collect();
        writeln!(text, "{id}  {target}: {standing}, asked {since}, until {until}{more}").expect("text takes text");
    }
    for line in &status.sessions {
        let since = state.clock(line.started);
        let frozen = if line.frozen { ", input stopped" } else { "" };
        writeln!(text, "{}  {}: live since {since}{frozen}", line.id, line.target).expect("text takes text");
    }
    if text.is_empty() { "Nothing was asked for, and nothing runs.\n".to_owned() } else { text }
}

fn in_json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("plain data becomes JSON");
    text.push('\n');
    text
}

/// Asks for access.
pub(super) async fn request(applicant: &Applicant, asked: Asked, json: bool) -> Said {
    let target = asked.target.expect("a request is read with its target");
    let place = applicant.resolved(Place { target, service: asked.service });
    let offer = match applicant.offer(&place) {
        Ok(offer) => offer,
        Err(refusal) => {
            applicant.refused(&place, asked.actions.unwrap_or_default(), asked.emergency, &refusal);
            return Said::refused(refusal);
        }
    };
    let actions = asked.actions.unwrap_or_else(|| offer.usual_actions());
    // With actions that no rule allows together, asking says why.
    let offer = applicant.terms(&offer, &actions).unwrap_or(offer);
    let wish = Wish {
        place,
        actions,
        duration: asked.duration.unwrap_or_else(|| offer.usual_duration()),
        from: asked.from,
        reason: asked.reason,
        work_order: asked.work_order,
        emergency: asked.emergency,
    };
    if wish.reason.trim().is_empty() {
        return Said::refused(Refusal::ReasonWanted);
    }
    match applicant.submit(&wish).await {
        Err(not_done) => Said::of(&not_done),
        Ok(id) if json => {
            let told = applicant.desk().with_state(|state| {
                state.cases.get(&id).map(|case| (applicant.words(case), applicant.read_back(case)))
            });
            let (words, read_back) = told.unzip();
            Said::done(in_json(&serde_json::json!({ "request": id, "words": words, "read_back": read_back.flatten() })))
        }
        Ok(id) => Said::done(format!("{}\n", applicant.waiting(id))),
    }
}

/// Asks for more time on the grant that is meant.
pub(super) async fn extend(applicant: &Applicant, more: Seconds, at: Option<Which>, reason: &str, json: bool) -> Said {
    let (grant, target) = match open_grant(applicant, at.as_ref()) {
        Ok(open) => open,
        Err(said) => return said,
    };
    let reason = match applicant.people().put_text(reason).await {
        Ok(reason) => reason,
        Err(not_done) => return Said::of(&not_done),
    };
    let ask = mint::ask(applicant.now());
    let command = Command::AskExtension { ask, request: grant, more, reason, by: applicant.person() };
    match applicant.desk().act(command).await {
        Err(rejected) => Said::of(&rejected.into()),
        Ok(_) if json => {
            let read_back = read_back_of(applicant, ask);
            Said::done(in_json(&serde_json::json!({ "extension": ask, "request": grant, "read_back": read_back })))
        }
        Ok(_) => Said::done(format!(
            "Asked for {more} more at {target}. It lasts longer as soon as the yes comes.\n{}",
            to_read_out(applicant, ask)
        )),
    }
}

/// Asks for more actions on the grant that is meant.
pub(super) async fn widen(applicant: &Applicant, wider: Wider, json: bool) -> Said {
    let (grant, target) = match open_grant(applicant, wider.at.as_ref()) {
        Ok(open) => open,
        Err(said) => return said,
    };
    let reason = match applicant.people().put_text(&wider.reason).await {
        Ok(reason) => reason,
        Err(not_done) => return Said::of(&not_done),
    };
    let (ask, Wider { actions, lasts, .. }) = (mint::ask(applicant.now()), wider);
    let words = listed(&actions);
    let widening = Widening { id: ask, request: grant, actions, lasts, reason };
    match applicant.desk().act(Command::AskWidening { widening, by: applicant.person() }).await {
        Err(rejected) => Said::of(&rejected.into()),
        Ok(_) if json => {
            let read_back = read_back_of(applicant, ask);
            Said::done(in_json(&serde_json::json!({ "widening": ask, "request": grant, "read_back": read_back })))
        }
        Ok(_) => Said::done(format!(
            "Asked for {words} at {target} for {lasts}. It holds as soon as the yes comes, and nothing has to be opened again.\n{}",
            to_read_out(applicant, ask)
        )),
    }
}

/// What to read out to an operator who answers this by telephone, where the rule lets them.
fn read_back_of(applicant: &Applicant, ask: AskId) -> Option<String> {
    applicant.desk().with_state(|state| applicant.read_back_of_ask(state, state.asks.get(&ask)?))
}

fn to_read_out(applicant: &Applicant, ask: AskId) -> String {
    read_back_of(applicant, ask).map(|code| format!("{}\n", read_out(&code))).unwrap_or_default()
}

/// Of each thing that was asked of a grant and waits: what it is, and what to read out.
fn read_back_of_asks(applicant: &Applicant, state: &State, request: RequestId) -> Vec<(String, String)> {
    let asked = state.cases.get(&request).into_iter().flat_map(|case| &case.asks);
    let asks = asked.filter_map(|ask| state.asks.get(ask));
    asks.filter_map(|ask| Some((state.asked_in_words(&ask.asked), applicant.read_back_of_ask(state, ask)?))).collect()
}

/// The open grant that is meant: the one that is named, else the only one in use, else the only one. A grant stays open
/// when its session ends, so that where none or several are in use nobody can know.
fn open_grant(applicant: &Applicant, at: Option<&Which>) -> Result<(RequestId, TargetName), Said> {
    let (person, now) = (applicant.person(), applicant.now());
    applicant.desk().with_state(|state| {
        let is_meant = |case: &&Case| {
            let is_named = match at {
                Some(Which::Id(id)) => case.request.id == *id,
                Some(Which::Target(target)) => case.request.target == *target,
                None => true,
            };
            case.asked.technician == person && case.is_open(now) && is_named
        };
        let open: Vec<&Case> = state.open_cases().map(|(_, case)| case).filter(is_meant).collect();
        let in_use: Vec<&Case> = open.iter().copied().filter(|case| state.live_under(case.request.id) > 0).collect();
        match (open.as_slice(), in_use.as_slice()) {
            ([only], _) | (_, [only]) => Ok((only.request.id, only.request.target.clone())),
            ([], _) => Err(Said::refused("No grant of yours is open there: `request` asks for one")),
            (several, _) => Err(Said::refused(which_of(several))),
        }
    })
}

fn which_of(several: &[&Case]) -> String {
    let named: Vec<String> =
        several.iter().map(|case| format!("{} ({})", case.request.id, case.request.target)).collect();
    format!("Several grants of yours are open: name one with --at, as in --at {}", named.join(", or "))
}

/// Takes a request back.
pub(super) async fn withdraw(applicant: &Applicant, which: Option<Which>, json: bool) -> Said {
    let request = match pending_request(applicant, which) {
        Ok(request) => request,
        Err(said) => return said,
    };
    match applicant.desk().act(Command::Withdraw { request, by: applicant.person() }).await {
        Err(rejected) => Said::of(&rejected.into()),
        Ok(_) if json => Said::done(in_json(&serde_json::json!({ "withdrawn": request }))),
        Ok(_) => Said::done(format!("Request {request} is withdrawn.\n")),
    }
}

/// The pending request that is meant: the one that is named, else the only one.
pub(super) fn pending_request(applicant: &Applicant, which: Option<Which>) -> Result<RequestId, Said> {
    let target = match which {
        Some(Which::Id(id)) => return Ok(id),
        Some(Which::Target(target)) => Some(target),
        None => None,
    };
    let (person, now) = (applicant.person(), applicant.now());
    applicant.desk().with_state(|state| {
        let is_meant = |case: &&Case| {
            case.asked.technician == person
                && is_pending(case, now)
                && target.as_ref().is_none_or(|target| case.request.target == *target)
        };
        let pending: Vec<&Case> = state.open_cases().map(|(_, case)| case).filter(is_meant).collect();
        match pending.as_slice() {
            [only] => Ok(only.request.id),
            [] => Err(Said::refused("No request of yours waits there")),
            _ => Err(Said::refused("Several requests of yours wait: name one; `status` lists them")),
        }
    })
}

fn is_pending(case: &Case, now: Timestamp) -> bool {
    case.standing == RequestStanding::Pending && now < case.request.window.until
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use approver::testing::Stage;
    use policies::actions::Action;

    use super::*;
    use crate::session::Who;

    async fn applicant() -> (Stage, Applicant) {
        let stage = Stage::new().await;
        let proof = Arc::new(stage.login(&stage.technician).await);
        let who = Who { login: "tara".into(), proof };
        let applicant = Applicant::new(stage.desk.clone(), stage.people.clone(), who);
        (stage, applicant)
    }

    async fn ask(applicant: &Applicant, line: &str) -> Said {
        match Order::parse(line).unwrap() {
            (Order::Request(asked), json) => request(applicant, asked, json).await,
            (Order::Extend { more, at, reason }, json) => extend(applicant, more, at, &reason, json).await,
            (Order::Withdraw(which), json) => withdraw(applicant, which, json).await,
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_read_as_it_is_typed_or_as_a_shell_leaves_it() {
        let whole = "request hmi-2 --for 2h --actions shell,file-get --work-order WO-17 it's the pump";
        let (Order::Request(asked), json) = Order::parse(whole).unwrap() else { panic!("a request") };
        assert_eq!((asked.duration, asked.work_order.as_deref()), (Some(Seconds(7200)), Some("WO-17")));
        assert_eq!((asked.reason.as_str(), json), ("it's the pump", false));
        assert_eq!(split(r#"a "b c" 'd e'f "g"#), ["a", "b c", "d e", "f", "\"g"]);
        assert_eq!(Order::parse("  list --json "), Ok((Order::List, true)));
        assert_eq!(Order::parse("connect 2"), Ok((Order::Connect(Door::Number(2)), false)));
    }

    #[test]
    fn what_is_not_understood_says_so_and_what_would_be_right() {
        for (line, complaint) in [
            ("dance", "There is no such order. `help` lists them."),
            ("list all", "That is too much: this order takes nothing."),
            ("request", "Name the target: request TARGET REASON."),
            ("request hmi-2 --for", "--for wants a value."),
            ("request hmi-2 --forever x", "There is no option --forever."),
            ("extend 30m", "Say how much more, and why: extend 30m REASON."),
            ("connect", "Name one target, or its number in the list."),
        ] {
            assert_eq!(Order::parse(line), Err(complaint.to_owned()), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line: String, words in "(request|extend|ask)( [-\"' a-z0-9+]{0,9}){0,6}") {
            let _ = Order::parse(&line);
            let _ = Order::parse(&words);
        }
    }

    #[tokio::test]
    async fn the_list_says_what_may_be_asked_for_and_what_is_granted() {
        let (stage, applicant) = applicant().await;
        assert!(list(&applicant, false).text.contains("  1  hmi-2 (ssh): you may ask for shell, file-get, file-put\n"));
        stage.grant("hmi-2", &[Action::Shell]).await;
        assert!(list(&applicant, false).text.contains("  1  hmi-2 (ssh): shell until 20"));
        let json: serde_json::Value = serde_json::from_str(&list(&applicant, true).text).unwrap();
        assert_eq!(json[0]["granted"]["actions"][0], "shell");
        assert!(!list(&applicant, false).text.contains("safety-plc"));
    }

    #[tokio::test]
    async fn access_is_asked_for_extended_and_withdrawn_in_one_line_each() {
        let (stage, applicant) = applicant().await;
        let said = ask(&applicant, "request hmi-2 the pump trips").await;
        assert!(said.status == DONE && said.text.contains("waits for 1 of shift-lead"), "{said:?}");
        assert!(status(&applicant, false).await.text.contains("hmi-2: pending"));
        assert_eq!(ask(&applicant, "withdraw").await.status, DONE);
        assert_eq!(ask(&applicant, "withdraw").await.text, "No request of yours waits there.");
        assert_eq!(ask(&applicant, "extend 30m more").await.status, REFUSED);
        stage.grant("hmi-2", &[Action::Shell]).await;
        let _lease = stage.admit("hmi-2").await.unwrap();
        let said = ask(&applicant, "extend 30m --json the pump still trips").await;
        assert!(said.status == DONE && said.text.contains("\"extension\":"), "{said:?}");
    }

    #[tokio::test]
    async fn where_several_grants_lead_to_one_target_the_words_to_tell_them_apart_are_said_and_work() {
        let (stage, applicant) = applicant().await;
        let first = stage.grant("hmi-2", &[Action::Shell]).await;
        stage.pass(std::time::Duration::from_secs(1));
        let second = stage.grant("hmi-2", &[Action::FileGet]).await;
        for line in ["extend 30m more", "extend 30m --at hmi-2 more"] {
            let said = ask(&applicant, line).await;
            let choice = format!("--at {first} (hmi-2), or {second} (hmi-2).");
            assert!(said.status == REFUSED && said.text.ends_with(&choice), "{said:?}");
        }
        let said = ask(&applicant, &format!("extend 30m --at {second} more")).await;
        assert!(said.text.contains("it would run past"), "one is meant, and not in use yet: {said:?}");
    }

    #[tokio::test]
    async fn a_request_that_no_rule_allows_says_why() {
        let (_stage, applicant) = applicant().await;
        for (line, why) in [
            ("request safety-plc x", "nobody reaches from outside"),
            ("request hmi-2 --for 9h x", "longer than rule acme-packaging gives"),
            ("request hmi-2", "say why"),
        ] {
            let said = ask(&applicant, line).await;
            assert!(said.status == REFUSED && said.text.contains(why), "{said:?}");
        }
    }
}
