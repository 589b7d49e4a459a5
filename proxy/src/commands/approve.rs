//! `holdpoint approve` and `deny`: a verdict, signed by the operator's own key, or given by codes where the rule allows. The card is shown first, and what is
//! signed is worked out here from what the card says is covered: shorter, fewer, later, never more.

use std::str::FromStr;

use approver::api::types::{
    AskCovered, AskView, AsksView, Card, Done as Happened, GuestView, KeptText, SessionView, VerdictGiven,
    VerdictTemplate, WeakerVerdictGiven,
};
use certs::sshsig::Namespace;
use policies::actions::Action;
use policies::digest::{Digest, Salted};
use policies::ids::{AskId, DeploymentId, GuestId, PersonId, RequestId, SessionId};
use policies::plant::Weaker;
use policies::refusals::Refusal;
use policies::requests::{Answer, Matter, Narrowing, VerdictStatement};
use policies::time::Seconds;
use zeroize::Zeroizing;

use super::card::{show, show_ask};
use super::gate::{ProfileArg, at_gate, confirm};
use super::showing::{Clock, Written, labelled, plain};
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault};
use crate::secret::ask_hidden;

/// Say yes: shows the card, asks, and signs. Also for more time or actions, and to look back at an emergency.
#[derive(Debug, clap::Args)]
pub(super) struct ApproveArgs {
    /// A request (r_…), something asked of a grant (a_…), or a guest's visit (g_…) or a drawn session (s_…) to look back at.
    #[arg(value_name = "ID")]
    matter: Wanted,
    /// For so long only.
    #[arg(long = "for", value_name = "SPAN")]
    duration: Option<Seconds>,
    /// These actions only.
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',')]
    actions: Vec<Action>,
    /// Not before: 14:00, "2026-11-23 14:00", or with a zone.
    #[arg(long, value_name = "TIME")]
    from: Option<Written>,
    #[command(flatten)]
    how: How,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines, which read no card: with --yes alone.
    #[arg(long, requires = "yes")]
    json: bool,
}

/// Say no: one no ends it. Of what you look back at, that it should not have been.
#[derive(Debug, clap::Args)]
pub(super) struct DenyArgs {
    /// A request (r_…), something asked of a grant (a_…), a guest's visit that should not have been (g_…), or a drawn session
    /// in which you found something (s_…).
    #[arg(value_name = "ID")]
    matter: Wanted,
    /// Why: for the technician, or for whoever reads of it later.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    how: How,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines, which read no card: with --yes alone.
    #[arg(long, requires = "yes")]
    json: bool,
}

/// How the answer is given, where not by a signature.
#[derive(Debug, Clone, Copy, clap::Args)]
struct How {
    /// By a code of your authenticator app instead of your key, where the rule allows that: it is marked as weaker.
    #[arg(long, conflicts_with = "telephone")]
    totp: bool,
    /// By telephone: asks for what the technician reads out, and for a code of your own. Marked as weaker, too.
    #[arg(long)]
    telephone: bool,
}

impl How {
    const fn weaker(self) -> Option<Weaker> {
        match self {
            Self { totp: true, .. } => Some(Weaker::Totp),
            Self { telephone: true, .. } => Some(Weaker::Telephone),
            Self { .. } => None,
        }
    }

    /// What somebody is asked who answers so.
    const fn question(self, yes: bool) -> &'static str {
        match (self.weaker(), yes) {
            (None, true) => "Sign a yes to this?",
            (None, false) => "Sign a no to this?",
            (Some(_), true) => "Say yes to this, without a signature?",
            (Some(_), false) => "Say no to this, without a signature?",
        }
    }
}

/// What somebody answers, or looks back at.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Of(Subject),
    Guest(GuestId),
    Session(SessionId),
}

/// What has a card.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Request(RequestId),
    Ask(AskId),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let request = text.parse().map(|id| Self::Of(Subject::Request(id)));
        let ask = || text.parse().map(|id| Self::Of(Subject::Ask(id)));
        let guest = || text.parse().map(Self::Guest);
        let session = || text.parse().map(Self::Session);
        request.or_else(|_| ask()).or_else(|_| guest()).or_else(|_| session()).map_err(|_: policies::ids::BadName| {
            "not a request, an ask, a guest or a session: one looks like r_01jd0c4…, a_01jd0c4…, g_01jd0c4… or s_01jd0c4…, as \
             `holdpoint requests`, `reviews` and `guests` list them"
                .into()
        })
    }
}

/// What is voted on: the gate's statement, checked against what it shows, and what to show.
struct Ballot {
    statement: VerdictStatement,
    card: Card,
    ask: Option<AskView>,
}

pub(super) fn approve(args: &ApproveArgs, profile: &ProfileArg) -> Done {
    let subject = match args.matter {
        Wanted::Of(subject) => subject,
        Wanted::Guest(_) | Wanted::Session(_)
            if args.duration.is_some() || !args.actions.is_empty() || args.from.is_some() =>
        {
            return Err(Failure::usage("what is over is looked back at as it was"));
        }
        Wanted::Guest(guest) => return look_back(guest, None, (args.how, args.yes, args.json), profile),
        Wanted::Session(session) => return review(session, None, (args.how, args.yes, args.json), profile),
    };
    let actions = (!args.actions.is_empty()).then(|| args.actions.iter().copied().collect());
    at_gate(profile, async |client| {
        let clock = Clock::of(client);
        let from = args.from.map(|from| from.on(&clock)).transpose()?;
        let narrowing = Narrowing { duration: args.duration, actions, from };
        let mut ballot = ballot(client, subject).await?;
        ballot.statement.digest = ballot.narrowed(&narrowing, &clock)?;
        ballot.statement.answer = Answer::Yes { narrowing: narrowing.clone() };
        if !args.json {
            ballot.show(&narrowing, &clock);
        }
        ballot.check_way(args.how)?;
        confirm(ballot.question(args.how, true), args.yes)?;
        vote(client, ballot, args.how, args.json).await
    })
}

pub(super) fn deny(args: &DenyArgs, profile: &ProfileArg) -> Done {
    let subject = match args.matter {
        Wanted::Of(subject) => subject,
        Wanted::Guest(guest) => {
            return look_back(guest, Some(&args.reason), (args.how, args.yes, args.json), profile);
        }
        Wanted::Session(session) => {
            return review(session, Some(&args.reason), (args.how, args.yes, args.json), profile);
        }
    };
    at_gate(profile, async |client| {
        let mut ballot = ballot(client, subject).await?;
        if !args.json {
            ballot.show(&Narrowing::default(), &Clock::of(client));
        }
        ballot.check_way(args.how)?;
        confirm(ballot.question(args.how, false), args.yes)?;
        let reason = client.keep_text(&args.reason).await?;
        ballot.statement.answer = Answer::No { reason };
        vote(client, ballot, args.how, args.json).await
    })
}

/// Signs that a guest's visit was looked back at, or why it should not have been.
fn look_back(id: GuestId, objection: Option<&str>, asked: (How, bool, bool), profile: &ProfileArg) -> Done {
    let (how, yes, json) = asked;
    if how.weaker().is_some() {
        return Err(Failure::usage("looking back at a visit takes a signature"));
    }
    at_gate(profile, async |client| {
        let guest: GuestView = client.get(&format!("/api/v1/guests/{id}")).await?;
        let template: VerdictTemplate = client.get(&format!("/api/v1/guests/{id}/review")).await?;
        let statement = template.statement;
        if let Some(wrong) = mistake_of_visit(&guest, id, &statement, client.person()?) {
            return Err(Fault::Odd(format!("what it wants signed is not what it shows: {wrong}")).into());
        }
        for (text, digest) in [(&guest.reason, guest.covered.reason), (&guest.telephone, guest.covered.telephone)] {
            if let Some(text) = text {
                check_text(client, text, digest).await?;
            }
        }
        if !json {
            super::guests::show(&guest, &Clock::of(client));
        }
        confirm(look_back_question(objection.is_none()), yes)?;
        let done = sign_look_back(client, statement, objection).await?;
        if json {
            return print_json(&done);
        }
        say_looked_back(objection.is_none(), &done);
        Ok(())
    })
}

async fn sign_look_back(
    client: &mut Client,
    mut statement: VerdictStatement,
    objection: Option<&str>,
) -> Result<Happened, Failure> {
    if let Some(why) = objection {
        statement.answer = Answer::No { reason: client.keep_text(why).await? };
    }
    let digest = statement.digest();
    let signed = client.sign(Namespace::Approval, statement, digest).await?;
    Ok(client.post("/api/v1/verdicts", &VerdictGiven(signed)).await?)
}

/// Signs that a session was reviewed that was drawn, or what was found in it.
fn review(id: SessionId, findings: Option<&str>, asked: (How, bool, bool), profile: &ProfileArg) -> Done {
    let (how, yes, json) = asked;
    if how.weaker().is_some() {
        return Err(Failure::usage("the review of a session takes a signature"));
    }
    at_gate(profile, async |client| {
        let session: SessionView = client.get(&format!("/api/v1/sessions/{id}")).await?;
        let template: VerdictTemplate = client.get(&format!("/api/v1/sessions/{id}/review")).await?;
        let statement = template.statement;
        let ours = Digest::of("session", &(&statement.deployment, id, session.seal));
        if statement.operator != client.person()? || statement.matter != Matter::Session(id) || statement.digest != ours
        {
            return Err(Fault::Odd("what it wants signed is not what it shows".into()).into());
        }
        if !json {
            super::sessions::show(&session, &Clock::of(client));
        }
        let question = match findings {
            None => "Sign that you reviewed this session, and found nothing?",
            Some(_) => "Sign that you reviewed this session, and what you found?",
        };
        confirm(question, yes)?;
        let done = sign_look_back(client, statement, findings).await?;
        if json {
            return print_json(&done);
        }
        say!("The review is in the journal ({}).", plain(&done.events.join(", ")));
        Ok(())
    })
}

const fn look_back_question(yes: bool) -> &'static str {
    if yes { "Sign that you looked back at this?" } else { "Sign that you looked back at this, and object?" }
}

fn say_looked_back(yes: bool, done: &Happened) {
    let objection = if yes { "" } else { ", with your objection," };
    say!("That you looked back at it{objection} is in the journal ({}).", plain(&done.events.join(", ")));
    if !yes {
        say!("It ends nothing: `holdpoint revoke` takes a grant back, `holdpoint cut` ends what runs.");
    }
}

/// What the gate wants signed of a visit otherwise than it shows it, if anything.
fn mistake_of_visit(guest: &GuestView, id: GuestId, signed: &VerdictStatement, me: PersonId) -> Option<&'static str> {
    let covered = &guest.covered;
    let shown = (guest.person.person, &guest.vendor, &guest.target, guest.until, guest.by.person);
    let wrong = [
        (signed.operator != me, "another operator"),
        (signed.matter != Matter::Guest(id) || covered.guest != id, "another visit"),
        (signed.digest != covered.digest(), "another digest"),
        (
            shown != (covered.person, &covered.vendor, &covered.target, covered.until, covered.operator),
            "another guest, target, time or operator",
        ),
    ];
    wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what)
}

/// Fetches what is voted on, and checks that statement, digest and card tell the same.
async fn ballot(client: &mut Client, wanted: Subject) -> Result<Ballot, Failure> {
    let (request, ask) = match wanted {
        Subject::Request(request) => (request, None),
        Subject::Ask(id) => {
            let asks: AsksView = client.list("/api/v1/asks?all=true").await?;
            let ask = asks.asks.into_iter().find(|ask| ask.ask == id);
            let ask = ask.ok_or_else(|| Failure::refused(format_args!("there is nothing asked called {id}")))?;
            (ask.request, Some(ask))
        }
    };
    let card: Card = client.get(&format!("/api/v1/requests/{request}")).await?;
    let path = match &ask {
        Some(ask) => format!("/api/v1/asks/{}/statement", ask.ask),
        None if card.review_wanted => format!("/api/v1/requests/{request}/review"),
        None => format!("/api/v1/requests/{request}/statement"),
    };
    let template: VerdictTemplate = client.get(&path).await?;
    let ballot = Ballot { statement: template.statement, card, ask };
    if let Some(wrong) = ballot.mistake(request, client.person()?) {
        return Err(Fault::Odd(format!("what it wants signed is not what it shows: {wrong}")).into());
    }
    check_texts(client, &ballot).await?;
    Ok(ballot)
}

/// Texts are covered as salted digests: those shown must be the ones covered.
async fn check_texts(client: &mut Client, ballot: &Ballot) -> Done {
    let covered = &ballot.card.covered;
    let of_ask = ballot.ask.as_ref().map(|ask| match &ask.covered {
        AskCovered::Extension(extension) => (&ask.reason, extension.reason),
        AskCovered::Widening(widening) => (&ask.reason, widening.reason),
    });
    let order = covered.work_order.map(|digest| (&ballot.card.work_order, digest));
    for (text, digest) in [Some((&ballot.card.reason, covered.reason)), order, of_ask].into_iter().flatten() {
        if let Some(text) = text {
            check_text(client, text, digest).await?;
        }
    }
    Ok(())
}

async fn check_text(client: &mut Client, text: &str, digest: Salted) -> Done {
    let kept: KeptText = client.get(&format!("/api/v1/texts/{}", digest.0)).await?;
    if kept.is_right() && kept.digest == digest && kept.text == text {
        return Ok(());
    }
    Err(Fault::Odd("a text on the card is not the one that is signed".into()).into())
}

impl Ballot {
    const fn deployment(&self) -> &DeploymentId {
        &self.statement.deployment
    }

    /// What the gate wants signed otherwise than it shows it, if anything.
    fn mistake(&self, request: RequestId, me: PersonId) -> Option<&'static str> {
        let covered = &self.card.covered;
        let shown = self.card.services.iter().map(|view| &view.service);
        let of_ask = self.ask.as_ref().map(|ask| match &ask.covered {
            AskCovered::Extension(extension) => (extension.id, extension.request),
            AskCovered::Widening(widening) => (widening.id, widening.request),
        });
        let wrong = [
            (self.statement.operator != me, "another operator"),
            (self.statement.matter != self.matter(), "another matter"),
            (self.statement.digest != self.digest(), "another digest"),
            (self.card.request != request || covered.id != request, "another request"),
            (of_ask.is_some_and(|of| Some(of) != self.ask.as_ref().map(|ask| (ask.ask, request))), "another ask"),
            (self.card.technician.person != covered.technician, "another technician"),
            (!shown.eq(covered.services.iter()), "another service"),
        ];
        wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, what)| what)
    }

    fn matter(&self) -> Matter {
        match &self.ask {
            Some(AskView { ask, covered: AskCovered::Extension(_), .. }) => Matter::Extension(*ask),
            Some(AskView { ask, covered: AskCovered::Widening(_), .. }) => Matter::Widening(*ask),
            None if self.card.review_wanted => Matter::Review(self.card.request),
            None => Matter::Request(self.card.request),
        }
    }

    /// The digest of all of it, worked out from what is shown.
    fn digest(&self) -> Digest {
        match &self.ask {
            Some(ask) => ask.covered.digest(self.deployment()),
            None => self.card.covered.digest(self.deployment()),
        }
    }

    /// The digest of what is left of it.
    fn narrowed(&self, narrowing: &Narrowing, clock: &Clock) -> Result<Digest, Failure> {
        if narrowing.is_empty() {
            return Ok(self.digest());
        }
        if self.ask.is_some() || self.card.review_wanted {
            return Err(Failure::usage("only a request can be narrowed: say yes or no to this as it is"));
        }
        let covered = &self.card.covered;
        if !narrowing.narrows(covered) {
            return Err(Failure::refused(format_args!(
                "an approval can only take away. Asked are {} for {}, from {} until {}",
                super::card::list(&covered.actions),
                covered.duration,
                clock.moment(covered.window.from),
                clock.moment(covered.window.until),
            )));
        }
        Ok(covered.narrowed(narrowing).digest(self.deployment()))
    }

    const fn question(&self, how: How, yes: bool) -> &'static str {
        if self.card.review_wanted { look_back_question(yes) } else { how.question(yes) }
    }

    /// Whether the rule allows this way, before anybody is asked for a code.
    fn check_way(&self, how: How) -> Done {
        let Some(way) = how.weaker() else { return Ok(()) };
        let allowed = match &self.ask {
            Some(ask) => &ask.weaker,
            None => &self.card.weaker,
        };
        if allowed.contains(&way) && !self.card.review_wanted {
            return Ok(());
        }
        if self.card.emergency {
            return Err(Failure::refused(Refusal::SignatureWanted("an emergency")));
        }
        Err(Failure::refused(Refusal::WeakerNotAllowed { way, rule: self.card.rule.clone() }))
    }

    fn show(&self, narrowing: &Narrowing, clock: &Clock) {
        match &self.ask {
            Some(ask) => show_ask(ask, &self.card, clock),
            None => show(&self.card, narrowing, clock),
        }
        let (shown, signed) = (self.digest(), self.statement.digest);
        if shown == signed {
            labelled("compare", &format!("{}  (what you sign)", certs::words::of(&signed)));
        } else {
            labelled(
                "compare",
                &format!("{}  (before you take away: what the technician sees)", certs::words::of(&shown)),
            );
            labelled("", &format!("{}  (what you sign, and what they see then)", certs::words::of(&signed)));
        }
    }
}

/// What the gate takes instead of a signature. No code is ever on a command line, where others see it.
fn by_code(client: &Client, statement: VerdictStatement, way: Weaker) -> Result<WeakerVerdictGiven, Failure> {
    let read_back = match way {
        Weaker::Totp => None,
        Weaker::Telephone => Some(ask("What the technician reads out: ")?.to_string()),
    };
    let name = plain(&client.profile().name);
    let code = ask(&format!("Code of {name}, a new one: "))?.to_string();
    Ok(WeakerVerdictGiven { statement, way, code, read_back })
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    ask_hidden(prompt).map_err(|cause| Failure::usage(format_args!("no code was given: {cause}")))
}

async fn vote(client: &mut Client, ballot: Ballot, how: How, json: bool) -> Done {
    let (request, is_ask, review) = (ballot.card.request, ballot.ask.is_some(), ballot.card.review_wanted);
    let yes = matches!(ballot.statement.answer, Answer::Yes { .. });
    let done: Happened = match how.weaker() {
        Some(way) => {
            let given = by_code(client, ballot.statement, way)?;
            client.post("/api/v1/verdicts/weaker", &given).await?
        }
        None => {
            let digest = ballot.statement.digest();
            let signed = client.sign(Namespace::Approval, ballot.statement, digest).await?;
            client.post("/api/v1/verdicts", &VerdictGiven(signed)).await?
        }
    };
    if json {
        let card: Card = client.get(&format!("/api/v1/requests/{request}")).await?;
        return print_json(&serde_json::json!({ "events": done.events, "request": card }));
    }
    if review {
        say_looked_back(yes, &done);
        return Ok(());
    }
    let word = if yes { "yes" } else { "no" };
    let mark = how.weaker().map(|way| format!(", {}", way.mark())).unwrap_or_default();
    say!("Your {word} is in the journal ({}{mark}).", plain(&done.events.join(", ")));
    let card: Card = client.get(&format!("/api/v1/requests/{request}")).await?;
    match card.standing.as_str() {
        "pending" => say!("It still waits for {}.", plain(&card.needs)),
        "granted" if is_ask => say!("The grant ends {}.", Clock::of(client).moment(card.deadline)),
        standing => say!("{request} is {}.", plain(standing)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const REQUEST: &str = "r_01jd0c4000000000000000000z";
    const ME: &str = "p_01jd0c4000000000000000000y";

    fn card() -> Value {
        let (zero, at) = ("00".repeat(32), "2026-11-23T13:00:00Z");
        let window = json!({ "from": at, "until": "2026-11-23T21:00:00Z" });
        let tess = "p_01jd0c4000000000000000000x";
        json!({
            "request": REQUEST, "technician": { "person": tess, "name": "tess" }, "vendor": "acme",
            "role": "maintenance", "target": "hmi-2", "zone": "packaging",
            "services": [{ "service": "ssh", "protocol": "ssh" }],
            "actions": [{ "action": "shell", "in_words": "" }], "cautions": [], "reason": "valve", "work_order": null,
            "window": window, "duration_seconds": 3600, "taken_away": [], "rule": "acme", "needs": "1 of shift-lead",
            "votes": [], "emergency": false, "review_wanted": false, "standing": "pending", "submitted": at,
            "granted": null, "first_use": null, "deadline": at, "sessions": [], "asks": [], "digest": zero, "words": "",
            "covered": {
                "id": REQUEST, "technician": tess, "target": "hmi-2", "services": ["ssh"], "actions": ["shell", "file-get"],
                "window": window, "duration": 3600, "reason": zero, "work_order": null, "rule": zero, "emergency": false,
            },
        })
    }

    /// A ballot as an honest gate gives it, but that the card was changed afterwards.
    fn ballot(change: impl FnOnce(&mut Value)) -> Ballot {
        let honest: Card = serde_json::from_value(card()).unwrap();
        let deployment: DeploymentId = "mill-3".parse().unwrap();
        let statement = json!({
            "deployment": deployment, "matter": { "about": "request", "id": REQUEST }, "operator": ME, "nonce": "00",
            "digest": honest.covered.digest(&deployment), "answer": "yes", "expires": "2026-11-23T13:00:00Z",
            "journal": { "size": 1, "root": "00".repeat(32) },
        });
        let mut shown = card();
        change(&mut shown);
        Ballot {
            statement: serde_json::from_value(statement).unwrap(),
            card: serde_json::from_value(shown).unwrap(),
            ask: None,
        }
    }

    fn mistake(change: impl FnOnce(&mut Value)) -> Option<&'static str> {
        ballot(change).mistake(REQUEST.parse().unwrap(), ME.parse().unwrap())
    }

    #[test]
    fn a_gate_that_shows_one_thing_and_wants_another_signed_is_found_out() {
        assert_eq!(mistake(|_| {}), None);
        assert_eq!(mistake(|card| card["covered"]["duration"] = 60.into()), Some("another digest"));
        assert_eq!(mistake(|card| card["covered"]["target"] = "hmi-3".into()), Some("another digest"));
        assert_eq!(mistake(|card| card["covered"]["actions"] = json!(["shell"])), Some("another digest"));
        assert_eq!(mistake(|card| card["services"] = json!([])), Some("another service"));
        assert_eq!(mistake(|card| card["technician"]["person"] = ME.into()), Some("another technician"));
        assert_eq!(mistake(|card| card["review_wanted"] = true.into()), Some("another matter"));
        let other = "r_01jd0c4000000000000000000a";
        assert_eq!(mistake(|card| card["request"] = other.into()), Some("another matter"));
        let not_me = ballot(|_| {}).mistake(REQUEST.parse().unwrap(), "p_01jd0c4000000000000000000a".parse().unwrap());
        assert_eq!(not_me, Some("another operator"));
    }

    #[test]
    fn a_narrowing_has_a_digest_of_its_own_and_cannot_widen() {
        let ballot = ballot(|_| {});
        let narrowing = |duration| Narrowing { duration: Some(Seconds(duration)), ..Narrowing::default() };
        let narrowed = ballot.narrowed(&narrowing(60), &Clock::in_zone(jiff::tz::TimeZone::UTC)).unwrap();
        assert_ne!(narrowed, ballot.digest());
        assert_eq!(
            ballot.narrowed(&Narrowing::default(), &Clock::in_zone(jiff::tz::TimeZone::UTC)).unwrap(),
            ballot.digest()
        );
        assert_eq!(ballot.narrowed(&narrowing(3_601), &Clock::in_zone(jiff::tz::TimeZone::UTC)).unwrap_err().code, 1);
        let tunnel = Narrowing { actions: Some([Action::Tunnel].into()), ..Narrowing::default() };
        assert_eq!(ballot.narrowed(&tunnel, &Clock::in_zone(jiff::tz::TimeZone::UTC)).unwrap_err().code, 1);
    }
}
