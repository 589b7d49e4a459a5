//! The lobby: `ssh TECH@gate`. A program of a few orders, typed on a terminal or given as a command. What each order
//! does is in `orders`; here is the conversation, and the way from it into a session.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use policies::ids::RequestId;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};

use super::asking::{Applicant, Outcome, Standing};
use super::console::{Break, Console, Start};
use super::names::Place;
use super::orders::{self, Door, Order, Said};
use super::questions::{Interview, Next, Round};
use super::room::Room;
use super::second::{Second, WRONG};
use super::{Connection, Face};
use crate::files::judge::{Asked, wants};
use crate::flow::Queue;
use crate::session::{Hold, Session, VendorChannel, VendorLine};

/// Nobody leaves a signed-in terminal alone for longer; it holds a place that others may need.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// How often somebody who waits sees that it goes on.
const STILL_WAITING: Duration = Duration::from_secs(60);

/// To whoever wants what takes a complete login.
const WITHOUT_A_CODE: &str = "You came without a code just now: wait a while, sign in with one, and do it then";

/// To whoever wants a passkey.
const KEY_AND_CODE: &str =
    "That takes your key and a code, both just given: connect anew with your key, and do it at once";
/// So long a login was just given.
const JUST_NOW: SignedDuration = SignedDuration::from_mins(1);

/// What one channel into the lobby needs.
pub(super) struct Lobby {
    pub(super) face: Arc<Face>,
    pub(super) connection: Arc<Connection>,
    pub(super) applicant: Applicant,
    /// What their code is checked with, where it is asked for in here.
    pub(super) second: Option<Second>,
    pub(super) channel: ChannelWriteHalf<Msg>,
    pub(super) session: Handle,
    pub(super) upload: Arc<Queue>,
}

/// The conversation on one channel.
struct Visit {
    face: Arc<Face>,
    connection: Arc<Connection>,
    session: Handle,
    applicant: Applicant,
    second: Option<Second>,
    line: VendorLine,
}

/// Serves one channel, to its end or into a session.
pub(super) async fn serve(lobby: Lobby) {
    let Lobby { face, connection, applicant, second, channel, session, upload } = lobby;
    let _tenant = connection.move_in();
    let hold = Hold::Connection { session: session.clone(), socket: Arc::clone(&connection.valve) };
    let line = VendorLine { gate: face.gate.clone(), hold, is_page: false, place: connection.place() };
    let (id, clock) = (channel.id(), applicant.desk().clock().clone());
    let begun = tokio::select! {
        begun = Console::begin(channel, session.clone(), upload) => begun,
        () = clock.sleep(IDLE_MAX) => {
            if session.close(id).await.is_err() {
                tracing::debug!("a technician left before their unused channel was closed");
            }
            return;
        }
    };
    let Some((console, start)) = begun else { return };
    let visit = Visit { face, connection, applicant, second, session, line };
    match start {
        Start::Shell => visit.converse(console).await,
        Start::Exec(line) => visit.command(console, &String::from_utf8_lossy(&line)).await,
        Start::Subsystem => {
            let user = format!("{}+TARGET", visit.login());
            console.complain(&format!("No files here: name the target, as in {}.", visit.face.gate.ssh(&user))).await;
            console.end(orders::REFUSED).await;
        }
    }
}

impl Visit {
    fn login(&self) -> &str {
        &self.applicant.who().login
    }

    async fn converse(&self, mut console: Console) {
        let list = orders::list(&self.applicant, false).text;
        if let Some(added) = self.applicant.key_news() {
            let words = "If it was not you, call the plant now: somebody can sign in as you.";
            console.say(&format!("A key was added to yours at {added}. {words}\n\n")).await;
        }
        if let Some(known_hosts) = self.face.ca.renewed_known_hosts() {
            let words = "The gate's SSH authority is being renewed. If it is in your known_hosts, it is there as this from now on";
            console.say(&format!("{words}:\n{known_hosts}\n\n")).await;
        }
        console
            .say(&format!("Signed in as {}. What you may reach:\n{list}`help` says what to type.\n", self.login()))
            .await;
        let mut told = self.connection.told();
        loop {
            let prompt = if console.has_terminal() { "holdpoint> " } else { "" };
            let asked = tokio::select! {
                asked = console.ask(prompt) => asked,
                Ok(line) = told.recv() => {
                    console.say(&format!("\n{line}\n")).await;
                    continue;
                }
                () = self.unused() => {
                    console.say("\nNobody typed anything for 15 minutes.\n").await;
                    return console.end(orders::FAILED).await;
                }
            };
            let line = match asked {
                Ok(line) => line,
                Err(Break::Interrupted) => continue,
                Err(Break::Left) => return console.end(orders::DONE).await,
            };
            if line.trim().is_empty() {
                continue;
            }
            let (order, json) = match Order::parse(&line) {
                Ok(read) => read,
                Err(complaint) => {
                    console.say(&format!("{complaint}\n")).await;
                    continue;
                }
            };
            let Some(here) = self.obey(console, order, json).await else { return };
            console = here;
        }
    }

    /// Completes when nobody typed anything for long, and nothing else is open on the connection that would end with it.
    async fn unused(&self) {
        loop {
            self.applicant.desk().clock().sleep(IDLE_MAX).await;
            if self.connection.has_one_tenant() {
                return;
            }
        }
    }

    /// Does what is wanted. `None` where the channel is no longer the lobby's.
    async fn obey(&self, mut console: Console, order: Order, json: bool) -> Option<Console> {
        let said = match order {
            Order::Quit => {
                console.end(orders::DONE).await;
                return None;
            }
            Order::Connect(door) => return self.connect(console, door).await,
            Order::Ask(door) => match self.place(door) {
                Ok(place) => return self.ask(console, place).await,
                Err(said) => said,
            },
            Order::Wait(which) => match orders::pending_request(&self.applicant, which) {
                Ok(request) => self.wait(&mut console, request).await,
                Err(said) => said,
            },
            Order::Password => self.set_password(&mut console).await,
            Order::Passkey => self.offer_passkey(&mut console).await,
            simple => self.answer(simple, json).await,
        };
        console.say(&ended(&said.text)).await;
        Some(console)
    }

    /// The orders that need nothing but an answer.
    async fn answer(&self, order: Order, json: bool) -> Said {
        match order {
            Order::List => orders::list(&self.applicant, json),
            Order::Status => orders::status(&self.applicant, json).await,
            Order::Request(asked) => orders::request(&self.applicant, asked, json).await,
            Order::Widen(wider) => orders::widen(&self.applicant, wider, json).await,
            Order::Extend { more, at, reason } => orders::extend(&self.applicant, more, at, &reason, json).await,
            Order::Withdraw(which) => orders::withdraw(&self.applicant, which, json).await,
            Order::Help => Said::done(orders::HELP.to_owned()),
            Order::Wait(_) | Order::Connect(_) | Order::Ask(_) | Order::Password | Order::Passkey | Order::Quit => {
                Said::refused("This order needs a terminal: connect without a command and type it there")
            }
        }
    }

    /// `ssh TECH@gate ORDER`.
    async fn command(&self, mut console: Console, line: &str) {
        let said = match Order::parse(line) {
            Err(text) => Said { text, status: orders::WRONG_USE },
            Ok((Order::Wait(which), _)) => match orders::pending_request(&self.applicant, which) {
                Ok(request) => self.wait(&mut console, request).await,
                Err(said) => said,
            },
            Ok((Order::Passkey, _)) => self.offer_passkey(&mut console).await,
            Ok((order, json)) => self.answer(order, json).await,
        };
        if said.status == orders::DONE {
            console.say(&ended(&said.text)).await;
        } else {
            console.complain(said.text.trim_end()).await;
        }
        console.end(said.status).await;
    }

    /// As whom they go on to a target; asks for the code where no recent login serves.
    async fn proved(&self, console: &mut Console, place: &Place) -> Result<Applicant, String> {
        let Some(second) = &self.second else { return Ok(self.applicant.clone()) };
        match second.serves(&self.applicant, place) {
            Some(applicant) => Ok(applicant),
            None => self.by_code(console, second).await,
        }
    }

    async fn by_code(&self, console: &mut Console, second: &Second) -> Result<Applicant, String> {
        let code = console.ask_hidden(&self.face.code_question()).await.map_err(|_| "You gave no code.".to_owned())?;
        second.check(self.applicant.clone(), &code).await.map_err(|why| why.unwrap_or_else(|| WRONG.to_owned()))
    }

    /// By key and code, a minute ago at most. Who came by a password has nothing that a key should be made of.
    fn came_just_now(&self) -> bool {
        let proof = &self.applicant.who().proof;
        let age = self.applicant.now().duration_since(proof.at());
        proof.is_complete_login() && proof.key().is_some() && age <= JUST_NOW
    }

    /// A code for a passkey: for whoever gives key and code now.
    async fn offer_passkey(&self, console: &mut Console) -> Said {
        let Some(pages) = &self.face.pages else { return Said::refused("This gate has no pages for technicians") };
        match &self.second {
            _ if self.came_just_now() => {}
            Some(second) => {
                if let Err(why) = self.by_code(console, second).await {
                    return Said { text: why, status: orders::REFUSED };
                }
            }
            None => return Said::refused(KEY_AND_CODE),
        }
        match self.applicant.people().offer_passkey(self.applicant.person()).await {
            Err(not_done) => Said::refused(not_done),
            Ok(offered) => Said::done(format!(
                "Open {pages}/enrol in your browser, and type this code there until {}. It works once:\n\n  {}\n\n\
                 Your SSH key stays as it is.",
                self.applicant.shown(offered.expires),
                offered.code.reveal().as_str()
            )),
        }
    }

    async fn connect(&self, mut console: Console, door: Door) -> Option<Console> {
        let place = match self.place(door) {
            Ok(place) => place,
            Err(said) => {
                console.say(&ended(&said.text)).await;
                return Some(console);
            }
        };
        let refusal = match self.applicant.standing(&place) {
            Standing::Open(_) if let Some(port) = self.applicant.forwarded_port(&place) => format!(
                "A program of your own speaks there: leave this open and run {}",
                self.face.gate.forward(self.login(), &place.forwarded(), port),
            ),
            Standing::Open(_) => match self.proved(&mut console, &place).await {
                Err(words) => words,
                Ok(applicant) => {
                    let room = Room::new(&self.face, applicant, place, self.line.clone());
                    match room.session(wants(Asked::Shell)).await {
                        Err(words) => words,
                        Ok(session) => {
                            self.hand_over(console, session, room).await;
                            return None;
                        }
                    }
                }
            },
            Standing::Pending(request) => {
                format!("{} `wait` waits for it.", self.applicant.waiting(request))
            }
            Standing::Later(from) => format!("Your grant begins {}.", self.applicant.shown(from)),
            Standing::Nothing => format!("No grant for {} yet: `ask {}` asks for one.", place.target, place.typed()),
        };
        console.say(&ended(&refusal)).await;
        Some(console)
    }

    /// Sets a password: by whoever gave both factors just now, and on a face that takes passwords.
    async fn set_password(&self, console: &mut Console) -> Said {
        if !self.face.passwords {
            return Said::refused("This plant takes no passwords: a key and a code let you in");
        }
        if !self.applicant.who().proof.is_complete_login() {
            return Said::refused(WITHOUT_A_CODE);
        }
        let Ok(password) = console.ask_hidden("New password: ").await else { return Said::refused("Nothing changed") };
        let Ok(again) = console.ask_hidden("The same again: ").await else { return Said::refused("Nothing changed") };
        if password != again {
            return Said::refused("The two differ, so nothing changed");
        }
        match self.applicant.people().set_password(self.applicant.person(), password).await {
            Ok(()) => Said::done("Set. It counts together with a code.".to_owned()),
            Err(not_done) => Said::refused(not_done.to_string()),
        }
    }

    /// The channel becomes the session's, and is all that keeps it open. Returns when it has ended.
    async fn hand_over(&self, console: Console, session: Session, room: Room) {
        let ended = session.ended();
        match session.channel(VendorChannel::Typed(console.into_channel())).await {
            Ok(()) => {
                drop((session, room));
                ended.await;
            }
            Err(not_carried) => self.part(&not_carried.to_string()).await,
        }
    }

    /// The channel was handed over and not taken: nothing is left that could speak on it.
    async fn part(&self, words: &str) {
        super::say_goodbye(&self.session, words).await;
    }

    fn place(&self, door: Door) -> Result<Place, Said> {
        match door {
            Door::Place(place) => Ok(self.applicant.resolved(place)),
            Door::Number(number) => {
                let (offers, _) = self.applicant.reach();
                let offer = number.checked_sub(1).and_then(|index| offers.get(index));
                offer.map(Place::of).ok_or_else(|| Said::refused(format!("The list has no number {number}")))
            }
        }
    }

    /// The questions of a login without a grant, one by one.
    async fn ask(&self, mut console: Console, place: Place) -> Option<Console> {
        let (interview, mut next) = Interview::begin(self.applicant.clone(), place.clone());
        let Some(mut interview) = interview else {
            let words = match next {
                Next::Refuse(words) => words,
                _ => format!("You have a grant for {} already: `connect {}`.", place.target, place.typed()),
            };
            console.say(&ended(&words)).await;
            return Some(console);
        };
        while let Next::Ask(round) = &next
            && interview.is_asking()
        {
            match put(&mut console, round).await {
                Ok(answers) => next = interview.answer(&answers).await,
                Err(Break::Interrupted) => return Some(console),
                Err(Break::Left) => {
                    console.end(orders::DONE).await;
                    return None;
                }
            }
        }
        if let Standing::Pending(request) = self.applicant.standing(&place) {
            let said = self.wait(&mut console, request).await;
            console.say(&ended(&said.text)).await;
        }
        Some(console)
    }

    /// Waits for the yes, unless the technician stops waiting.
    async fn wait(&self, console: &mut Console, request: RequestId) -> Said {
        loop {
            console.say(&ended(&self.applicant.waiting(request))).await;
            let outcome = tokio::select! {
                outcome = self.applicant.outcome(request, STILL_WAITING) => outcome,
                _ = console.interrupted() => {
                    return Said { text: "You stopped waiting. The request stands.".to_owned(), status: orders::FAILED };
                }
            };
            match outcome {
                None => {}
                Some(Outcome::Granted) => {
                    let but = self.applicant.taken_away(request).map(|taken| format!(", but {taken}"));
                    return Said::done(format!("Yes{}. You may connect now.", but.unwrap_or_default()));
                }
                Some(Outcome::Refused(text)) => return Said { text, status: orders::REFUSED },
            }
        }
    }
}

async fn put(console: &mut Console, round: &Round) -> Result<Vec<String>, Break> {
    if !round.instructions.is_empty() {
        console.say(&ended(&round.instructions)).await;
    }
    let mut answers = Vec::new();
    for (prompt, _) in &round.prompts {
        answers.push(console.ask(prompt).await?.to_string());
    }
    Ok(answers)
}

/// With a line's end.
fn ended(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}
