//! The list of all doors: each route with its face, who may pass, and what goes in and comes out. The router and the
//! OpenAPI file are made from this list and from nothing else, so there is no door beside it.

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};
use certs::proof::Face;
use policies::people::{Kind, Person};
use utoipa::ToSchema;

use super::openapi::Shape;
use super::problem::Problem;
use super::{
    Api, access, backup, capture, carrying, closing, companies, connecting, cuts, evidence, feed, guard, guests,
    history, keeping, nodes, openapi, packing, people, plant, reports, requests, reviews, secrets, sessions, shift,
    sign_in, status, timing, types,
};

/// What a person is, as far as doors are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Connects.
    Technician,
    /// Approves, watches, cuts.
    Operator,
    /// Replays and verifies.
    Auditor,
    /// Manages people and keys.
    Administrator,
    /// A program that reads what passes.
    Sensor,
    /// A screen that shows the board, and can cut.
    Display,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Technician, Self::Operator, Self::Auditor, Self::Administrator, Self::Sensor, Self::Display];

    /// A person's.
    pub const fn of(person: &Person) -> Self {
        match person.kind {
            Kind::Technician { .. } => Self::Technician,
            Kind::Operator { .. } => Self::Operator,
            Kind::Auditor => Self::Auditor,
            Kind::Administrator => Self::Administrator,
            Kind::Sensor => Self::Sensor,
            Kind::Display => Self::Display,
        }
    }

    /// The roles of a row, in words for a refusal.
    pub(super) fn plural(roles: &[Self]) -> &'static str {
        match roles {
            TECHNICIAN => "technicians",
            OPERATOR => "operators",
            AUDITOR => "auditors",
            ADMINISTRATOR => "administrators",
            SIGNERS => "operators and administrators",
            READERS => "operators and auditors",
            EYES => "operators, auditors and sensors",
            CUTTERS => "operators and displays",
            SCREENS => "people of the plant and displays",
            _ => "people of the plant",
        }
    }
}

/// Who may pass a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever reaches the face.
    Anyone,
    /// Active people with one of these roles, with token and proof.
    SignedIn(&'static [Role]),
}

const TECHNICIAN: &[Role] = &[Role::Technician];
const OPERATOR: &[Role] = &[Role::Operator];
const AUDITOR: &[Role] = &[Role::Auditor];
const ADMINISTRATOR: &[Role] = &[Role::Administrator];
/// Who signs plant files, and for people.
const SIGNERS: &[Role] = &[Role::Operator, Role::Administrator];
/// Who reads what was recorded.
const READERS: &[Role] = &[Role::Operator, Role::Auditor];
/// Who reads what passes.
const EYES: &[Role] = &[Role::Operator, Role::Auditor, Role::Sensor];
/// Who cuts.
const CUTTERS: &[Role] = &[Role::Operator, Role::Display];
/// Who sees the board.
const SCREENS: &[Role] = &[Role::Operator, Role::Auditor, Role::Administrator, Role::Display];
/// People on the plant face.
const PLANT: &[Role] = &[Role::Operator, Role::Auditor, Role::Administrator];

/// What stands before one door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) who: Who,
    pub(super) key_alone: bool,
    pub(super) by_certificate: bool,
    pub(super) own_factors: bool,
}

/// One door.
pub struct Route {
    /// On which face.
    pub face: Face,
    /// In capitals.
    pub method: &'static str,
    /// With its variables in braces.
    pub path: &'static str,
    /// Who may pass.
    pub who: Who,
    /// Also with a pass of someone who signed in by key alone.
    pub key_alone: bool,
    /// By a client certificate as the token, and by no other.
    pub by_certificate: bool,
    /// Not by whoever an identity provider's word alone signed in: it gives ways in, or trust, or lets evidence go.
    pub own_factors: bool,
    /// What it does.
    pub summary: &'static str,
    pub(super) takes: Option<Shape>,
    pub(super) gives: Shape,
    pub(super) query: Vec<(&'static str, &'static str)>,
    handler: MethodRouter<Api>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {} {:?}", self.face, self.method, self.path, self.who)
    }
}

impl Route {
    fn new(method: &'static str, path: &'static str, handler: MethodRouter<Api>) -> Self {
        Self {
            face: Face::Plant,
            method,
            path,
            who: Who::SignedIn(&[]),
            key_alone: false,
            by_certificate: false,
            own_factors: false,
            summary: "",
            takes: None,
            gives: Shape::Empty,
            query: Vec::new(),
            handler,
        }
    }

    /// Who may pass, and what it does. Without this nobody may.
    const fn for_(mut self, roles: &'static [Role], summary: &'static str) -> Self {
        (self.who, self.summary) = (Who::SignedIn(roles), summary);
        self
    }

    const fn for_anyone(mut self, summary: &'static str) -> Self {
        (self.who, self.summary) = (Who::Anyone, summary);
        self
    }

    const fn with_key_alone(mut self) -> Self {
        self.key_alone = true;
        self
    }

    const fn by_certificate(mut self) -> Self {
        self.by_certificate = true;
        self
    }

    const fn with_own_factors(mut self) -> Self {
        self.own_factors = true;
        self
    }

    fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(Shape::json::<T>());
        self
    }

    fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Shape::json::<T>();
        self
    }

    fn gives_lines<T: ToSchema>(mut self) -> Self {
        self.gives = Shape::lines::<T>();
        self
    }

    fn gives_a_websocket(mut self) -> Self {
        self.gives = Shape::WebSocket;
        self
    }

    fn gives_bytes(mut self, media: &'static str) -> Self {
        self.gives = Shape::Bytes(media);
        self
    }

    /// Of a list that grows.
    fn in_pages(self) -> Self {
        self.query("limit", "So many at most, newest first; 1000 where nothing is said, and never more.")
            .query("before", "Those older than this one: `next` of the page before.")
    }

    fn query(mut self, name: &'static str, about: &'static str) -> Self {
        self.query.push((name, about));
        self
    }
}

fn read<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route::new("GET", path, get(handler))
}

fn act<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route::new("POST", path, post(handler))
}

fn set<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route::new("PUT", path, put(handler))
}

fn forget<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route::new("DELETE", path, delete(handler))
}

/// Every door of both faces.
pub fn table() -> Vec<Route> {
    let on = |face: Face, routes: Vec<Route>| routes.into_iter().map(move |route| Route { face, ..route });
    on(Face::Plant, common())
        .chain(on(Face::Plant, of_the_plant()))
        .chain(on(Face::Vendor, common()))
        .chain(on(Face::Vendor, of_vendors()))
        .collect()
}

/// What both faces have.
fn common() -> Vec<Route> {
    vec![
        read("/healthz", status::healthz).for_anyone("Whether new sessions can be let in.").gives::<types::Health>(),
        read("/api/v1/openapi.json", openapi::serve).for_anyone("This description.").gives_bytes("application/json"),
        read("/api/v1/ca.pem", evidence::ca)
            .for_anyone(
                "The gate's TLS CA, or several while one is renewed; an enrolment code tells the fingerprint of one.",
            )
            .gives_bytes("application/x-pem-file"),
        act("/api/v1/sign-in/challenge", sign_in::challenge)
            .for_anyone("A nonce to sign in with; the same for names that nobody has.")
            .takes::<types::ChallengeWanted>()
            .gives::<types::Challenge>(),
        act("/api/v1/sign-in", sign_in::sign_in)
            .for_anyone("Sign in with a signature and a code; an operator on the plant face is on duty then.")
            .takes::<types::SignIn>()
            .gives::<types::SignedIn>(),
        act("/api/v1/enrol", sign_in::enrol)
            .for_anyone("Use a one-use code: gives second factors, once.")
            .takes::<types::Enrol>()
            .gives::<types::EnrolledAnswer>(),
    ]
}

fn of_the_plant() -> Vec<Route> {
    [
        about_the_gate(),
        about_requests(),
        about_sessions(),
        about_people(),
        about_guests(),
        about_the_past(),
        about_the_plant(),
        about_evidence(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn about_the_gate() -> Vec<Route> {
    vec![
        read("/metrics", status::metrics)
            .for_anyone("Figures for Prometheus.")
            .gives_bytes("text/plain; version=0.0.4"),
        read("/api/v1/backup", backup::backup)
            .for_(ADMINISTRATOR, "A backup as `age -d | tar --zstd -x` opens it; that it was made is journaled first.")
            .with_own_factors()
            .query("to", "Whom it is encrypted to: `age1…`, several with commas between.")
            .gives_bytes("application/octet-stream"),
        read("/api/v1/status", status::status)
            .for_(SCREENS, "How the gate is doing.")
            .with_key_alone()
            .gives::<types::Status>(),
        read("/api/v1/settings", status::settings)
            .for_(
                PLANT,
                "What the gate's configuration says, and what counts where it says nothing; no secret is among it.",
            )
            .gives::<types::SettingsView>(),
        read("/api/v1/nodes", nodes::list)
            .for_(PLANT, "The nodes of the installation: which are up, what each runs and carries.")
            .gives::<types::NodesView>(),
        act("/api/v1/nodes/forget", nodes::forget)
            .for_(
                ADMINISTRATOR,
                "Nodes are gone for good: what they carried is over, and nothing waits for them. Of none may anything have been heard of late.",
            )
            .takes::<types::NodesGone>()
            .gives::<types::Done>(),
        act("/api/v1/alarms/acknowledge", status::acknowledge)
            .for_(CUTTERS, "You saw these alarms: their sound stops, and they stand until their cause is gone.")
            .with_key_alone()
            .takes::<types::AlarmsSeen>()
            .gives::<types::AlarmsQuiet>(),
        read("/api/v1/feed", feed::feed)
            .for_(READERS, "What the plant's own systems are told: lines of JSON, from a cursor on.")
            .with_key_alone()
            .query("from", "The `cursor` of the last line you have; from the oldest there is, if left out.")
            .query("follow", "`true`: goes on with what comes; an empty line says that the connection stands.")
            .gives_lines::<types::FeedLine>(),
        read("/api/v1/me", people::me).for_(SCREENS, "Who you are.").with_key_alone().gives::<types::PersonView>(),
        forget("/api/v1/me/subjects/{provider}", people::unlink_own)
            .for_(PLANT, "Sign in by an identity provider no longer.")
            .gives::<types::Done>(),
    ]
}

fn about_requests() -> Vec<Route> {
    vec![
        read("/api/v1/requests", requests::list)
            .for_(SCREENS, "Requests that wait and grants that stand.")
            .query("all", "`true`: also those that are over.")
            .in_pages()
            .gives::<types::CardsView>(),
        read("/api/v1/requests/{request}", requests::one)
            .for_(SCREENS, "One request, with all that its card shows.")
            .gives::<types::Card>(),
        read("/api/v1/requests/{request}/statement", requests::statement)
            .for_(OPERATOR, "A yes to it, to be signed.")
            .gives::<types::VerdictTemplate>(),
        read("/api/v1/requests/{request}/review", requests::review)
            .for_(OPERATOR, "The look back at an emergency grant, to be signed.")
            .gives::<types::VerdictTemplate>(),
        read("/api/v1/requests/{request}/close-out", closing::statement)
            .for_(OPERATOR, "What was done under a grant, to be signed off.")
            .query("done", "Digest of a kept text: what was done.")
            .query("changed", "Digest of a kept text: what is otherwise than before.")
            .query("left", "Digest of a kept text: how it was left.")
            .gives::<types::VerdictTemplate>(),
        act("/api/v1/requests/{request}/close-out", closing::close_out)
            .for_(OPERATOR, "Sign off what was done under a grant, which ends it.")
            .takes::<types::CloseOutGiven>()
            .gives::<types::Done>(),
        act("/api/v1/requests/{request}/revoke", requests::revoke)
            .for_(OPERATOR, "Take a grant back.")
            .takes::<types::Because>()
            .gives::<types::Done>(),
        read("/api/v1/shift", shift::shift)
            .for_(PLANT, "Who is on duty, and what waits to be accepted since the shift changed.")
            .gives::<types::ShiftView>(),
        act("/api/v1/requests/{request}/accept", shift::accept)
            .for_(OPERATOR, "Accept what the shift before left, and stand for it until one's own ends.")
            .gives::<types::Done>(),
        read("/api/v1/asks", requests::asks)
            .for_(SCREENS, "Extensions and widenings that wait.")
            .query("all", "`true`: also those that are answered.")
            .in_pages()
            .gives::<types::AsksView>(),
        read("/api/v1/asks/{ask}/statement", requests::ask_statement)
            .for_(OPERATOR, "A yes to an extension or widening, to be signed.")
            .gives::<types::VerdictTemplate>(),
        act("/api/v1/verdicts", requests::vote)
            .for_(OPERATOR, "Give a signed verdict.")
            .takes::<types::VerdictGiven>()
            .gives::<types::Done>(),
        act("/api/v1/verdicts/weaker", requests::vote_weaker)
            .for_(
                OPERATOR,
                "Give a verdict without a signature, where the rule allows that; it is marked as weaker everywhere.",
            )
            .takes::<types::WeakerVerdictGiven>()
            .gives::<types::Done>(),
        act("/api/v1/texts", requests::keep_text)
            .for_(OPERATOR, "Keep a text, so that its digest can be signed.")
            .takes::<types::KeepText>()
            .gives::<types::KeptText>(),
        read("/api/v1/texts/{digest}", requests::text)
            .for_(READERS, "The text and salt behind a digest.")
            .gives::<types::KeptText>(),
    ]
}

fn about_sessions() -> Vec<Route> {
    vec![
        read("/api/v1/sessions", sessions::list)
            .for_(SCREENS, "Live sessions.")
            .with_key_alone()
            .query("all", "`true`: also past ones.")
            .in_pages()
            .gives::<types::SessionsView>(),
        read("/api/v1/sessions/{session}", sessions::one)
            .for_(SCREENS, "One session.")
            .with_key_alone()
            .gives::<types::SessionView>(),
        read("/api/v1/sessions/{session}/review", closing::review)
            .for_(OPERATOR, "The review of a session that was drawn, to be signed.")
            .gives::<types::VerdictTemplate>(),
        read("/api/v1/sessions/{session}/watch", sessions::watch)
            .for_(OPERATOR, "Watch a session live, from the screen as it stands; that you watch is journaled.")
            .with_key_alone()
            .query("pictures", "`true`: also the picture of a screen over VNC, as it changes.")
            .query("screen", "Of several screens over VNC that of this connection, as `vnc` lines list them; the newest, if left out.")
            .gives_lines::<types::WatchLine>(),
        read("/api/v1/capture", capture::capture)
            .for_(
                EYES,
                "What passes to targets over TCP and back, live, in the clear: for the plant's intrusion detection.",
            )
            .with_key_alone()
            .query("target", "Of this target alone.")
            .query("zone", "Of targets in this zone alone.")
            .gives_bytes("application/x-pcapng"),
        act("/api/v1/sessions/{session}/freeze", sessions::freeze)
            .for_(OPERATOR, "Stop a session's input, at once.")
            .with_key_alone()
            .gives::<types::Acted>(),
        act("/api/v1/sessions/{session}/disconnect", sessions::disconnect)
            .for_(
                OPERATOR,
                "Close a session's connections to its target, so that others may have them; the session goes on.",
            )
            .with_key_alone()
            .gives::<types::Disconnected>(),
        act("/api/v1/sessions/{session}/thaw", sessions::thaw)
            .for_(OPERATOR, "Let a session's input go on.")
            .gives::<types::Acted>(),
        act("/api/v1/sessions/{session}/escort", sessions::escort)
            .for_(
                OPERATOR,
                "Say that you are there, where you watch a session whose rule demands an escort. It counts for the rule's \
                 `escort_tap`, and no longer than you watch.",
            )
            .gives::<types::Escorting>(),
        act("/api/v1/sessions/{session}/tell", sessions::tell)
            .for_(OPERATOR, "Write a line to a session's technician; whether it could be shown is in the answer.")
            .takes::<types::Tell>()
            .gives::<types::ToldAnswer>(),
        read("/api/v1/cuts", cuts::list).for_(SCREENS, "Cuts that stand.").with_key_alone().gives::<types::CutsView>(),
        act("/api/v1/cuts", cuts::cut)
            .for_(CUTTERS, "End at once, and keep out until reopened.")
            .with_key_alone()
            .takes::<types::Cut>()
            .gives::<types::CutMade>(),
        read("/api/v1/cuts/{cut}/statement", cuts::statement)
            .for_(OPERATOR, "A reopening, to be signed.")
            .query("reason", "Digest of a kept text.")
            .gives::<types::VerdictTemplate>(),
        act("/api/v1/cuts/{cut}/reopen", cuts::reopen)
            .for_(OPERATOR, "Let back in, with a signed yes.")
            .takes::<types::Reopen>()
            .gives::<types::Done>(),
    ]
}

fn about_people() -> Vec<Route> {
    vec![
        read("/api/v1/people", people::list).for_(PLANT, "Everybody.").in_pages().gives::<types::PeopleView>(),
        act("/api/v1/people", people::invite)
            .for_(ADMINISTRATOR, "Invite somebody; the code is shown once.")
            .with_own_factors()
            .takes::<types::Invite>()
            .gives::<types::Invited>(),
        read("/api/v1/people/{person}", people::one).for_(PLANT, "One person.").gives::<types::PersonView>(),
        read("/api/v1/people/{person}/statement", people::statement)
            .for_(SIGNERS, "A vouching for somebody's keys and groups, to be signed.")
            .gives::<types::CertifyTemplate>(),
        act("/api/v1/people/{person}/certificates", people::certify)
            .for_(SIGNERS, "Vouch for somebody's keys and groups, signed.")
            .takes::<types::CertificateGiven>()
            .gives::<types::Done>(),
        act("/api/v1/people/{person}/name", people::rename)
            .for_(ADMINISTRATOR, "Give a person another name.")
            .takes::<types::Rename>(),
        act("/api/v1/people/{person}/reinvite", people::reinvite)
            .for_(ADMINISTRATOR, "Another code for somebody who lost phone or key; it is shown once.")
            .with_own_factors()
            .takes::<types::Reinvite>()
            .gives::<types::Invited>(),
        forget("/api/v1/people/{person}/subjects/{provider}", people::unlink)
            .for_(ADMINISTRATOR, "Somebody signs in by an identity provider no longer; of whoever is out, too.")
            .with_own_factors()
            .gives::<types::Done>(),
        act("/api/v1/people/{person}/disable", people::disable).for_(ADMINISTRATOR, "Put a person out, in one act."),
        set("/api/v1/people/{person}/manager", companies::name_manager)
            .for_(ADMINISTRATOR, "A technician manages their company's people here.")
            .with_own_factors()
            .gives::<types::Done>(),
        forget("/api/v1/people/{person}/manager", companies::dismiss_manager)
            .for_(ADMINISTRATOR, "They do so no longer; codes that they gave out and nobody used are void.")
            .gives::<types::Done>(),
        read("/api/v1/vendors", people::vendors).for_(PLANT, "Vendors' contracts.").gives::<types::VendorsView>(),
        set("/api/v1/vendors/{vendor}", people::contract)
            .for_(ADMINISTRATOR, "Begin or change a vendor's contract, and whom its managers may invite.")
            .with_own_factors()
            .takes::<types::Contract>()
            .gives::<types::Done>(),
        act("/api/v1/vendors/{vendor}/disable", people::disable_vendor)
            .for_(ADMINISTRATOR, "Put a whole vendor out, in one act."),
    ]
}

fn about_guests() -> Vec<Route> {
    vec![
        read("/api/v1/guests", guests::list)
            .for_(PLANT, "Guests who may come now, and those whose visit nobody looked back at.")
            .query("all", "`true`: also those that are over.")
            .in_pages()
            .gives::<types::GuestsView>(),
        act("/api/v1/guests", guests::invite)
            .for_(
                OPERATOR,
                "Invite a guest, signed by an operator on duty who called the vendor back; the code is shown once.",
            )
            .with_own_factors()
            .takes::<types::GuestGiven>()
            .gives::<types::Invited>(),
        read("/api/v1/guests/rules", guests::rules)
            .for_(PLANT, "Under which rules guests may be invited, of which vendors, and where.")
            .gives::<types::InvitableRules>(),
        act("/api/v1/guests/statement", guests::statement)
            .for_(OPERATOR, "A guest's invitation to be signed, and the number to call back first.")
            .with_own_factors()
            .takes::<types::GuestWanted>()
            .gives::<types::GuestTemplate>(),
        read("/api/v1/guests/{guest}", guests::one).for_(PLANT, "One visit of a guest.").gives::<types::GuestView>(),
        act("/api/v1/guests/{guest}/end", guests::end)
            .for_(SIGNERS, "Send a guest away: nothing of theirs counts any longer, live sessions end.")
            .gives::<types::Done>(),
        read("/api/v1/guests/{guest}/review", guests::review)
            .for_(OPERATOR, "The look back at a visit that is over, to be signed.")
            .gives::<types::VerdictTemplate>(),
        read("/api/v1/reviews", reviews::list)
            .for_(PLANT, "Emergency grants, guests and drawn sessions that somebody must look back at.")
            .query("all", "`true`: also those that somebody looked back at.")
            .in_pages()
            .gives::<types::ReviewsView>(),
    ]
}

fn about_the_past() -> Vec<Route> {
    vec![
        read("/api/v1/history", history::list)
            .for_(READERS, "All that was asked, done and refused, as far as all that is named here applies.")
            .query(
                "kind",
                "`session`, `request`, `more` (extensions and widenings), `refusal` (by the gate), or \
                 `nothing-given`: what was denied, withdrawn or lapsed, and refusals.",
            )
            .query(
                "outcome",
                "`pending`, `granted`, `denied`, `withdrawn`, `lapsed`, `revoked`, `closed-out`, `not-accepted`, `restored`; of \
                 sessions `live` or `ended`; of refusals `refused`.",
            )
            .query("ending", "Sessions that ended so: the journal's word, such as `cut`.")
            .query("vendor", "Of this vendor.")
            .query("person", "This person's.")
            .query("target", "At this target.")
            .query("zone", "In this zone.")
            .query("operator", "In which this person of the plant had a hand.")
            .query("from", "From this moment on (RFC 3339); of sessions also those that still ran then.")
            .query("until", "Before this moment.")
            .in_pages()
            .gives::<types::HistoryView>(),
        read("/api/v1/requests/{request}/entries", history::of_request)
            .for_(READERS, "What the journal knows of a request, in order, for people.")
            .query("after", "Entries behind this one: `next` of the page before.")
            .gives::<types::RequestEntries>(),
        read("/api/v1/sessions/{session}/entries", history::of_session)
            .for_(READERS, "What the journal knows of a session and of its recording, in order, for people.")
            .query("after", "Entries behind this one: `next` of the page before.")
            .gives::<types::EntriesView>(),
        read("/api/v1/presence", history::presence)
            .for_(READERS, "Who was there at a moment: sessions with their approvers, and operators on duty.")
            .query("at", "When (RFC 3339); now, if left out.")
            .gives::<types::PresenceView>(),
    ]
}

fn about_the_plant() -> Vec<Route> {
    vec![
        read("/api/v1/reports", reports::list).for_(PLANT, "Which reports there are.").gives::<types::ReportsView>(),
        read("/api/v1/reports/{report}", reports::one)
            .for_(PLANT, "A report: a table of what was in a span of time, as things stand now.")
            .query("from", "The first moment inside (RFC 3339); 31 days before `until`, if left out.")
            .query("until", "The first moment after; now, if left out.")
            .query("vendor", "Of this vendor alone.")
            .gives::<types::ReportView>(),
        read("/api/v1/plant", plant::in_force).for_(PLANT, "The plant file in force.").gives::<types::PlantFile>(),
        read("/api/v1/plant/files", plant::list)
            .for_(PLANT, "Plant files that were proposed.")
            .gives::<types::PlantFiles>(),
        act("/api/v1/plant/files", plant::propose)
            .for_(ADMINISTRATOR, "Put a plant file up for signing.")
            .takes::<types::ProposePlant>()
            .gives::<types::PlantProposed>(),
        read("/api/v1/plant/files/{digest}", plant::one).for_(PLANT, "A plant file.").gives::<types::PlantFile>(),
        read("/api/v1/plant/files/{digest}/statement", plant::statement)
            .for_(SIGNERS, "The adoption of a plant file, to be signed.")
            .gives::<types::PlantTemplate>(),
        act("/api/v1/plant/files/{digest}/signatures", plant::sign)
            .for_(SIGNERS, "Sign a plant file; with the last signature it is in force.")
            .takes::<types::PlantSignature>()
            .gives::<types::Done>(),
        read("/api/v1/secrets", secrets::list)
            .for_(ADMINISTRATOR, "Names of the credentials that were set; no value is ever shown.")
            .gives::<types::SecretNames>(),
        set("/api/v1/secrets/{name}", secrets::set)
            .for_(ADMINISTRATOR, "Set a target's credential.")
            .with_own_factors()
            .takes::<types::SecretSet>(),
        forget("/api/v1/secrets/{name}", secrets::forget).for_(ADMINISTRATOR, "Forget a target's credential."),
    ]
}

fn about_evidence() -> Vec<Route> {
    vec![
        read("/api/v1/trust", evidence::trust)
            .for_(PLANT, "Keys that evidence is checked by, to compare with what an auditor keeps.")
            .gives::<types::TrustView>(),
        read("/api/v1/recordings", sessions::recordings)
            .for_(READERS, "Sessions that were recorded.")
            .in_pages()
            .gives::<types::SessionsView>(),
        read("/api/v1/recordings/{session}/files", evidence::recording)
            .for_(READERS, "A recording as ciphertext, to play and verify elsewhere; the fetch is journaled first.")
            .query("with", "`logs`: with the journal and what else it takes to verify it, as one folder.")
            .gives_bytes("application/x-tar"),
        act("/api/v1/recordings/{session}/hold", keeping::hold)
            .for_(AUDITOR, "Hold a recording: nothing erases it until it is released.")
            .takes::<types::Because>()
            .gives::<types::Done>(),
        act("/api/v1/recordings/{session}/release", keeping::release)
            .for_(AUDITOR, "Release a recording from a hold.")
            .with_own_factors()
            .takes::<types::Release>()
            .gives::<types::Done>(),
        read("/api/v1/recordings/{session}/erasure", keeping::statement)
            .for_(SIGNERS, "The erasure of a recording, to be signed.")
            .gives::<types::EraseTemplate>(),
        act("/api/v1/recordings/{session}/erasure", keeping::sign)
            .for_(
                SIGNERS,
                "Sign the erasure of a recording; with an administrator's and an operator's signature it is erased.",
            )
            .takes::<types::EraseSignature>()
            .gives::<types::Done>(),
        act("/api/v1/packs", evidence::pack)
            .for_(
                READERS,
                "Say that an evidence pack is being made, so that it is journaled; what goes in is fetched after.",
            )
            .takes::<types::Pack>()
            .gives::<types::Done>(),
        act("/api/v1/packs/file", packing::file)
            .for_(
                READERS,
                "An evidence pack, made by the gate without anybody's key; that it is made is journaled first.",
            )
            .takes::<types::PackFile>()
            .gives_bytes("application/zip"),
        act("/api/v1/rehearsals", evidence::rehearse)
            .for_(READERS, "Say that a key opens a recording, as it was tried where the key is.")
            .takes::<types::Rehearsed>()
            .gives::<types::Done>(),
        read("/api/v1/journal", evidence::entries)
            .for_(READERS, "Entries of the journal, in order.")
            .query("after", "Entries that are known already.")
            .gives_lines::<types::EntryLine>(),
        read("/api/v1/journal/files", evidence::journal)
            .for_(READERS, "The journal's files, to verify elsewhere.")
            .gives_bytes("application/x-tar"),
    ]
}

fn of_vendors() -> Vec<Route> {
    vec![
        read("/api/v1/me", people::me).for_(TECHNICIAN, "Who you are.").gives::<types::PersonView>(),
        forget("/api/v1/me/subjects/{provider}", people::unlink_own)
            .for_(TECHNICIAN, "Sign in by an identity provider no longer.")
            .gives::<types::Done>(),
        act("/api/v1/certificate", sign_in::certificate)
            .for_anyone("A complete login that gives a token and an SSH certificate for at most an hour, bound to your address.")
            .takes::<types::SignIn>()
            .gives::<types::CertificateAnswer>(),
        read("/api/v1/company", companies::company)
            .for_(TECHNICIAN, "Of a manager: your company here, and whom you may invite.")
            .with_own_factors()
            .gives::<types::CompanyView>(),
        read("/api/v1/people", companies::colleagues)
            .for_(TECHNICIAN, "Of a manager: the technicians of your company.")
            .with_own_factors()
            .in_pages()
            .gives::<types::PeopleView>(),
        act("/api/v1/people", people::invite)
            .for_(TECHNICIAN, "Of a manager: invite a technician of your company; the code is shown once.")
            .with_own_factors()
            .takes::<types::Invite>()
            .gives::<types::Invited>(),
        act("/api/v1/people/{person}/reinvite", people::reinvite)
            .for_(TECHNICIAN, "Of a manager: another code for somebody whom you invited and who has not enrolled.")
            .with_own_factors()
            .takes::<types::Reinvite>()
            .gives::<types::Invited>(),
        act("/api/v1/people/{person}/disable", people::disable)
            .for_(TECHNICIAN, "Of a manager: put a technician of your company out, in one act.")
            .with_own_factors(),
        act("/api/v1/people/{person}/attestation", companies::attest)
            .for_(
                TECHNICIAN,
                "Of a manager: a technician of your company, who may be yourself, still works for it, is trained, and is sent.",
            )
            .with_own_factors()
            .takes::<types::Attest>()
            .gives::<types::Done>(),
        forget("/api/v1/people/{person}/attestation", companies::take_back)
            .for_(TECHNICIAN, "Of a manager: that is so no longer; nothing begins any more under a rule that demands it.")
            .with_own_factors()
            .gives::<types::Done>(),
        read("/api/v1/reach", access::reach)
            .for_(TECHNICIAN, "What you may ask for, now or as soon as hours open, and who approves it.")
            .query("at", "For this moment instead of now (RFC 3339).")
            .gives::<types::ReachesView>(),
        read("/api/v1/requests", access::list)
            .for_(TECHNICIAN, "Your requests and grants.")
            .query("all", "`true`: also those that are over.")
            .in_pages()
            .gives::<types::OwnRequestsView>(),
        act("/api/v1/requests", access::ask)
            .for_(TECHNICIAN, "Ask for access.")
            .takes::<types::AskAccess>()
            .gives::<types::RequestMade>(),
        read("/api/v1/requests/{request}", access::one)
            .for_(TECHNICIAN, "One of your requests.")
            .gives::<types::OwnRequest>(),
        act("/api/v1/requests/{request}/withdraw", access::withdraw)
            .for_(TECHNICIAN, "Take a request back.")
            .gives::<types::Done>(),
        act("/api/v1/requests/{request}/account", closing::account)
            .for_(TECHNICIAN, "Say what you did under a grant, what you changed, and how you left it; the last one counts.")
            .takes::<types::AccountGiven>()
            .gives::<types::Done>(),
        act("/api/v1/requests/{request}/extensions", access::more_time)
            .for_(TECHNICIAN, "Ask for more time.")
            .takes::<types::AskMoreTime>()
            .gives::<types::AskMade>(),
        act("/api/v1/requests/{request}/widenings", access::more_actions)
            .for_(TECHNICIAN, "Ask for more actions.")
            .takes::<types::AskMoreActions>()
            .gives::<types::AskMade>(),
        act("/api/v1/requests/{request}/client-certificate", connecting::first)
            .for_(TECHNICIAN, "A client certificate for the services of a grant, for a quarter of an hour at most, bound to your address.")
            .with_own_factors()
            .takes::<types::ClientCertificateWanted>()
            .gives::<types::ClientCertificate>(),
        act("/api/v1/client-certificate", connecting::renew)
            .for_(
                TECHNICIAN,
                "The next client certificate by the one that still lasts, from the same address, while its grant does.",
            )
            .by_certificate()
            .takes::<types::ClientCertificateWanted>()
            .gives::<types::ClientCertificate>(),
        read("/api/v1/tcp/{target}/{service}", carrying::carry)
            .for_(
                TECHNICIAN,
                "A connection to a service, where something in between ends TLS: binary messages are its bytes, text \
                 messages are JSON, first {\"carried\":{\"session\":…}}, and \"finished\" from either side that has no \
                 more to send. A close says why in its reason.",
            )
            .by_certificate()
            .gives_a_websocket(),
        read("/api/v1/sessions", access::sessions)
            .for_(TECHNICIAN, "Your live sessions.")
            .query("all", "`true`: also past ones.")
            .in_pages()
            .gives::<types::SessionsView>(),
    ]
}

/// The router of a face: each door of the table behind its guard, and nothing else.
pub(super) fn router(api: Api) -> Router {
    let doors = table().into_iter().filter(|route| route.face == api.face());
    let router = doors.fold(Router::new(), |router, route| {
        let Route { who, key_alone, by_certificate, own_factors, .. } = route;
        let pass = Pass { who, key_alone, by_certificate, own_factors };
        router.route(route.path, route.handler.layer(from_fn_with_state((api.clone(), pass), guard::guard)))
    });
    let nothing = match api.face() {
        Face::Vendor => "the vendor face has no such thing: it is for people of the plant, at the plant face",
        Face::Plant => "the plant face has no such thing: it is for technicians, at the vendor face",
    };
    router
        .route_layer(from_fn(timing::timed))
        .fallback(
            move || async move { Problem::not_found(format!("{nothing}. /api/v1/openapi.json lists what there is")) },
        )
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this is not done here. See /api/v1/openapi.json")
        })
        .with_state(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_names_nobody_lets_nobody_pass() {
        for route in table() {
            assert_ne!(route.who, Who::SignedIn(&[]), "{route:?}");
            assert!(!route.summary.is_empty(), "{route:?}");
        }
    }

    #[test]
    fn whoever_is_not_signed_in_finds_only_what_signing_in_needs() {
        let table = table();
        let open = table.iter().filter(|route| route.who == Who::Anyone && route.face == Face::Vendor);
        let paths: Vec<_> = open.map(|route| route.path).collect();
        assert_eq!(
            paths,
            [
                "/healthz",
                "/api/v1/openapi.json",
                "/api/v1/ca.pem",
                "/api/v1/sign-in/challenge",
                "/api/v1/sign-in",
                "/api/v1/enrol",
                "/api/v1/certificate"
            ]
        );
    }
}
