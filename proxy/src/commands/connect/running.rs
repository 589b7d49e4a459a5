//! `connect` while it runs: certificates renewed, grants watched, and told what happens. It ends when the last of its grants
//! is over, or with Ctrl-C.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use approver::api::types::{ClientCertificate, SessionView, TcpServiceView, ToldView};
use certs::tls::CaFingerprint;
use certs::tls_client::ClientKey;
use jiff::Timestamp;
use policies::ids::{RequestId, SessionId, TargetName};
use policies::time::Seconds;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carrying::{Counters, DIALLED_AT_ONCE, Happened, Port, listen};
use super::grants;
use super::places::{Listen, Place};
use super::telling::{Told, Voice};
use super::{Args, Failure};
use crate::client::{Client, Fault, NotCarried, TcpLine};
use crate::commands::Done;
use crate::commands::gate::{of_stranger, sign_in_here};
use crate::commands::showing::plain;

/// How often a certificate is renewed, and with it the grant looked at: often enough that a line that is down for most of a
/// certificate's quarter of an hour costs no code.
const RENEWED_EVERY: Duration = Duration::from_secs(60);
/// After a gate out of reach.
const AGAIN: Duration = Duration::from_secs(5);
/// For what was just decided at the gate, such as an ending, to stand in its journal.
const SOON: Duration = Duration::from_millis(500);
/// Minutes before the end at which the end is told, as the gate itself does.
const WARNINGS: [i64; 3] = [15, 5, 1];
const HAPPENINGS_MAX: usize = 64;
const TIME_IS_OVER: &str = "the grant's time is over. Connect again to ask for another.";

/// One grant, and the certificate under it.
struct Held {
    key: Arc<ClientKey>,
    made: ClientCertificate,
    over: bool,
    warned: BTreeSet<i64>,
    told_sessions: BTreeSet<SessionId>,
    /// What operators wrote and was shown, or was older than this.
    told_lines: BTreeSet<(SessionId, Timestamp)>,
}

impl Held {
    /// Whether the certificate's end is the grant's.
    fn ends_with_grant(&self) -> bool {
        self.made.expires >= self.made.grant.deadline
    }
}

/// One service that is open.
struct Open {
    grant: usize,
    target: TargetName,
    service: TcpServiceView,
    line: watch::Sender<TcpLine>,
    counters: Arc<Counters>,
}

struct Running<'a> {
    client: &'a mut Client,
    voice: Voice,
    certificate: Option<&'a Path>,
    grants: Vec<Held>,
    open: Vec<Open>,
    /// Sessions that carried something of ours.
    ours: BTreeSet<SessionId>,
    dialling: Arc<Semaphore>,
    in_reach: bool,
    /// As was told.
    restarts: Option<Timestamp>,
    /// The last that was told of.
    stranger: Option<CaFingerprint>,
}

pub(super) async fn run(client: &mut Client, args: &Args, places: Vec<Place>) -> Done {
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let (happened, mut happenings) = mpsc::channel(HAPPENINGS_MAX);
    let voice = Voice::new(client, args.json);
    let certificate = args.certificate.as_deref();
    let (grants, open, ours) = (Vec::new(), Vec::new(), BTreeSet::new());
    let dialling = Arc::new(Semaphore::new(DIALLED_AT_ONCE));
    let (restarts, stranger) = (None, None);
    let mut running =
        Running { client, voice, certificate, grants, open, ours, dialling, in_reach: true, restarts, stranger };
    running.tell_of_stranger();
    for place in places {
        let port = running.open(place, args, &happened).await?;
        if let Some(port) = port {
            tracker.spawn(port.serve(tracker.clone(), stop.clone()));
        }
    }
    let done = running.attend(&mut happenings).await;
    running.voice.finish();
    done
}

impl Running<'_> {
    async fn open(
        &mut self,
        place: Place,
        args: &Args,
        happened: &mpsc::Sender<Happened>,
    ) -> Result<Option<Port>, Failure> {
        // Before anybody is asked for a yes.
        let at = place.listen.or_else(|| self.certificate.is_none().then_some(Listen::ANY));
        let listening = match at {
            Some(Listen(at)) => Some(
                listen(at).await.map_err(|cause| Failure::failed(format_args!("cannot listen at {at}: {cause}")))?,
            ),
            None => None,
        };
        let own = grants::find(self.client, &place, args, &self.voice).await?;
        self.voice.look_at_the_clock(self.client);
        let grant = self.certified(own.request).await?;
        let made = &self.grants[grant].made;
        let service = service_of(made, &place)?;
        let line = self.client.tcp_line(&place.target, made, &service, &self.grants[grant].key)?;
        let (line, current) = watch::channel(line);
        let counters = Arc::<Counters>::default();
        self.voice.tell(&Told::Open {
            target: &place.target,
            service: &service.service,
            listen: listening.as_ref().map(|(_, address)| *address),
            server_name: &service.server_name,
            request: made.grant.request,
            lasts_seconds: made.sessions.is_empty().then_some(made.grant.duration_seconds),
            until: made.grant.deadline,
        });
        self.keep_certificate(grant)?;
        if let Some(file) = self.certificate {
            let (connect, ca) = (format!("{}:{}", made.face.host, made.face.port), &self.client.profile().ca);
            self.voice.tell(&Told::Certificate { file, connect, server_name: &service.server_name, ca });
        }
        let number = self.open.len();
        self.open.push(Open { grant, target: place.target, service, line, counters: Arc::clone(&counters) });
        let happened = happened.clone();
        let dialling = Arc::clone(&self.dialling);
        Ok(listening.map(|(listener, _)| Port { number, listener, line: current, counters, dialling, happened }))
    }

    /// The place of a grant among ours, certified if it is new.
    async fn certified(&mut self, request: RequestId) -> Result<usize, Failure> {
        if let Some(held) = self.grants.iter().position(|held| held.made.grant.request == request) {
            return Ok(held);
        }
        if self.certificate.is_some() && !self.grants.is_empty() {
            return Err(Failure::usage("a certificate is for one grant: run `holdpoint connect` once for each"));
        }
        let key = Arc::new(ClientKey::generate());
        let made = self.client.client_certificate(request, &key).await?;
        let told_sessions = made.sessions.iter().map(|session| session.session).collect();
        let told_lines = lines(&made).map(|(session, line)| (session.session, line.at)).collect();
        self.grants.push(Held { key, made, over: false, warned: BTreeSet::new(), told_sessions, told_lines });
        Ok(self.grants.len() - 1)
    }

    /// Until the last grant is over, or whoever runs it says so.
    async fn attend(&mut self, happenings: &mut mpsc::Receiver<Happened>) -> Done {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut renew_at = Instant::now() + RENEWED_EVERY;
        let interrupted = tokio::signal::ctrl_c();
        let mut interrupted = std::pin::pin!(interrupted);
        loop {
            tokio::select! {
                _ = &mut interrupted => return Ok(()),
                Some(happened) = happenings.recv() => {
                    if self.hear(happened) {
                        renew_at = renew_at.min(Instant::now() + SOON);
                    }
                }
                _ = tick.tick() => {
                    self.show();
                    if self.is_due() {
                        renew_at = Instant::now();
                    }
                }
                () = sleep_until(renew_at) => {
                    let renewed = tokio::select! {
                        renewed = self.renew_all() => renewed,
                        _ = &mut interrupted => return Ok(()),
                    };
                    if let Some(done) = renewed? {
                        return done;
                    }
                    renew_at = Instant::now() + if self.in_reach { RENEWED_EVERY } else { AGAIN };
                }
            }
        }
    }

    /// Whether it may have changed how things stand.
    fn hear(&mut self, happened: Happened) -> bool {
        let place = |port: usize| (&self.open[port].target, &self.open[port].service.service);
        match happened {
            Happened::Opened { port, session } => {
                let (target, service) = place(port);
                self.voice.tell(&Told::Connected { target, service, session });
                // With the first connection the grant's clock starts.
                self.ours.insert(session)
            }
            Happened::Finished => true,
            Happened::Closed { port, session, up, down, why } => {
                let (target, service) = place(port);
                let words = why.as_deref();
                self.voice.tell(&Told::Closed { target, service, session, bytes_up: up, bytes_down: down, words });
                true
            }
            Happened::NotCarried { port, why } => {
                let (target, service) = place(port);
                self.voice.tell(&Told::NotCarried { target, service, words: &why.to_string() });
                matches!(why, NotCarried::Refused(_))
            }
        }
    }

    /// It says that somebody may have broken into the gate, which is no news for the end.
    fn tell_of_stranger(&mut self) {
        let named = self.client.stranger().copied();
        if let Some(authority) = named.filter(|_| named != self.stranger) {
            self.stranger = named;
            self.voice.tell(&Told::Stranger { words: &of_stranger(&authority) });
        }
    }

    fn show(&mut self) {
        self.tell_of_stranger();
        self.voice.look_at_the_clock(self.client);
        let now = Timestamp::now();
        for held in self.grants.iter_mut().filter(|held| !held.over) {
            warn(held, now, &self.voice);
        }
        let connections = self.open.iter().map(|open| open.counters.open.load(Ordering::Relaxed)).sum();
        let up = self.open.iter().map(|open| open.counters.up.load(Ordering::Relaxed)).sum();
        let down = self.open.iter().map(|open| open.counters.down.load(Ordering::Relaxed)).sum();
        let standing = self.grants.iter().filter(|held| !held.over).map(|held| held.made.grant.deadline);
        if let Some(until) = standing.min() {
            self.voice.show(connections, (up, down), until);
        }
    }

    /// Whether a grant ought to be over by its clock.
    fn is_due(&self) -> bool {
        let now = Timestamp::now();
        self.in_reach && self.grants.iter().any(|held| !held.over && Seconds(1).after(held.made.grant.deadline) <= now)
    }

    /// Renews each certificate. Gives how it ended, where nothing is left to renew.
    async fn renew_all(&mut self) -> Result<Option<Done>, Failure> {
        let mut last_words = None;
        for number in 0..self.grants.len() {
            if self.grants[number].over {
                continue;
            }
            match self.renewed(number).await {
                Ok(made) => self.take(number, made)?,
                Err(Fault::Problem(problem)) if problem.status < 500 && problem.status != 429 => {
                    let held = &mut self.grants[number];
                    held.over = true;
                    let grant = &held.made.grant;
                    // An end that was known is no refusal.
                    let in_time = held.ends_with_grant() && problem.refusal == "not-signed-in";
                    let words = if in_time { TIME_IS_OVER.to_owned() } else { problem.detail.clone() };
                    self.voice.tell(&Told::Over { target: &grant.target, request: grant.request, words: &words });
                    last_words = Some((words, in_time || problem.refusal == "grant-over"));
                }
                Err(fault) => {
                    if std::mem::take(&mut self.in_reach) {
                        self.voice.tell(&Told::OutOfReach { words: &format!("{fault}.") });
                    }
                    return Ok(None);
                }
            }
        }
        if !std::mem::replace(&mut self.in_reach, true) {
            self.voice.tell(&Told::BackInReach);
        }
        Ok(match last_words {
            Some((words, in_time)) if self.grants.iter().all(|held| held.over) => {
                Some(if in_time { Ok(()) } else { Err(Failure::refused(plain(&words))) })
            }
            _ => None,
        })
    }

    /// By the certificate that lasts; where none does, by signing in again, if there is somebody to ask.
    async fn renewed(&mut self, number: usize) -> Result<ClientCertificate, Fault> {
        let held = &self.grants[number];
        let refused = match self.client.renewed(&held.made.certificate, &held.key).await {
            Err(Fault::Problem(problem)) if problem.refusal == "not-signed-in" => problem,
            answered => return answered,
        };
        if !std::io::stdin().is_terminal() || held.ends_with_grant() {
            return Err(Fault::Problem(refused));
        }
        self.voice.tell(&Told::OutOfReach { words: &format!("{}.", refused.detail) });
        self.voice.finish();
        if sign_in_here(self.client).await.is_err() {
            return Err(Fault::Problem(refused));
        }
        self.client.client_certificate(held.made.grant.request, &held.key).await
    }

    fn take(&mut self, number: usize, made: ClientCertificate) -> Done {
        let held = &mut self.grants[number];
        let before = held.made.grant.deadline;
        held.made = made;
        if let Some(at) = held.made.restarts.filter(|at| self.restarts != Some(*at)) {
            self.restarts = Some(at);
            self.voice.tell(&Told::Restarts { at });
        }
        let grant = &held.made.grant;
        if grant.deadline != before {
            held.warned.clear();
            self.voice.tell(&Told::Until { target: &grant.target, until: grant.deadline, soon: false });
        }
        for (session, line) in lines(&held.made) {
            if held.told_lines.insert((session.session, line.at)) {
                let (target, service) = (&session.target, &session.service);
                let words = line.text.as_deref().unwrap_or("(the text is not there)");
                self.voice.tell(&Told::Written { target, service, session: session.session, words });
            }
        }
        for session in &held.made.sessions {
            let Some(ended) = &session.ended else { continue };
            let is_news = self.ours.contains(&session.session) && held.told_sessions.insert(session.session);
            if is_news && ended.ending != "left" {
                let (target, service) = (&session.target, &session.service);
                let words = &ended.in_words;
                self.voice.tell(&Told::Ended { target, service, session: session.session, words });
            }
        }
        for open in self.open.iter().filter(|open| open.grant == number) {
            let line = self.client.tcp_line(&open.target, &held.made, &open.service, &held.key)?;
            open.line.send_replace(line);
        }
        self.keep_certificate(number)
    }

    /// Certificate and key in one file, new in one step: a client that reads it meanwhile reads one or the other.
    fn keep_certificate(&self, number: usize) -> Done {
        let Some(file) = self.certificate else { return Ok(()) };
        let held = &self.grants[number];
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut new| {
            new.write_all(held.made.certificate.as_bytes())?;
            new.write_all(held.key.private_pem().as_bytes())?;
            new.persist(file).map_err(|not| not.error).map(drop)
        });
        written.map_err(|cause| Failure::failed(format_args!("{}: {cause}", file.display())))
    }
}

/// What operators wrote to the technician in the sessions under a grant.
fn lines(made: &ClientCertificate) -> impl Iterator<Item = (&SessionView, &ToldView)> {
    made.sessions.iter().flat_map(|session| session.told.iter().map(move |line| (session, line)))
}

/// The service that was named, or the only one.
fn service_of(made: &ClientCertificate, place: &Place) -> Result<TcpServiceView, Failure> {
    let all = &made.face.services;
    let listed = || all.iter().map(|one| format!("{}/{}", place.target, one.service)).collect::<Vec<_>>().join(", ");
    match (&place.service, all.as_slice()) {
        (Some(named), _) => all.iter().find(|one| one.service == *named).cloned().ok_or_else(|| {
            Failure::refused(format_args!("{}/{named} is not carried here, but {}", place.target, listed()))
        }),
        (None, [one]) => Ok(one.clone()),
        (None, _) => Err(Failure::usage(format_args!("say which: {}", listed()))),
    }
}

/// Tells the end once at each of its marks, none of which is further away than half the grant.
fn warn(held: &mut Held, now: Timestamp, voice: &Voice) {
    let grant = &held.made.grant;
    let left = grant.deadline.as_second() - now.as_second();
    let fits = |minutes: &i64| minutes * 60 * 2 <= i64::from(grant.duration_seconds);
    let passed = WARNINGS.into_iter().filter(fits).filter(|minutes| left <= minutes * 60);
    let mut is_news = false;
    for minutes in passed {
        is_news |= held.warned.insert(minutes);
    }
    if is_news && left > 0 {
        voice.tell(&Told::Until { target: &grant.target, until: grant.deadline, soon: true });
    }
}
