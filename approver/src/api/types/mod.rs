//! What goes over the wire, in both directions: the commands of the client are written against these types too, and the
//! OpenAPI file is made from them. Times are RFC 3339 in UTC, spans whole seconds, bytes base64, digests hexadecimal.
//! What is signed is in `policies`, and goes as it is.

mod answers;
mod closing;
mod companies;
mod connecting;
mod cuts;
mod evidence;
mod feed;
mod guests;
mod history;
mod keeping;
mod lists;
mod nodes;
mod people;
mod plant;
mod reports;
mod requests;
mod reviews;
mod sessions;
mod shift;
mod sign_in;
mod status;
mod watching;

pub use answers::{Because, Done, KeepText, KeptText, ProblemBody};
pub use closing::{AccountGiven, AccountView, CloseOutFor, CloseOutGiven, CloseOutView, DrawnView};
pub use companies::{
    Attest, AttestationView, AttestedView, CompanyView, ConcernView, InvitationsAllowed, InvitationsView,
};
pub use connecting::{CertificateAnswer, ClientCertificate, ClientCertificateWanted, TcpFaceView, TcpServiceView};
pub use cuts::{Cut, CutMade, CutView, CutsView, Reopen, ReopenFor, reopening_digest};
pub use evidence::{
    EntryLine, FilesWanted, FilesWith, FounderView, Pack, PackFile, RecipientView, Rehearsed, TrustView,
};
pub use feed::{FeedLine, FeedWanted};
pub use guests::{
    GuestGiven, GuestTemplate, GuestView, GuestWanted, GuestsView, HostView, InvitableRules, InvitableView,
};
pub use history::{
    Behind, EntriesView, EntryText, EntryView, HistoryItem, HistoryView, HistoryWanted, PresenceView, PresenceWanted,
    PresentSession, RequestEntries,
};
pub use keeping::{BackupHeads, BackupTo, EraseSignature, EraseTemplate, ErasedView, HoldView, KeptView, Release};
pub use lists::{After, LISTED_MAX, Page, Wanted};
pub use nodes::{NodeView, NodesGone, NodesView};
pub use people::{
    CertificateGiven, CertifyTemplate, Contract, Invite, Invited, Named, PeopleView, PersonView, Reinvite, Rename,
    SubjectView, VendorView, VendorsView,
};
pub use plant::{
    PlantFile, PlantFiles, PlantProposed, PlantSignature, PlantTemplate, ProposePlant, SecretNames, SecretSet,
};
pub use reports::{ReportName, ReportView, ReportWanted, ReportsView};
pub use requests::{
    ActionView, AskAccess, AskCovered, AskMade, AskMoreActions, AskMoreTime, AskView, AsksView, Card, CardsView,
    NoView, OfferView, OwnAsk, OwnRequest, OwnRequestsView, ReachView, ReachWanted, ReachesView, RequestMade,
    ServiceView, TermsView, VerdictGiven, VerdictTemplate, VoteView, WeakerVerdictGiven, WindowView,
};
pub use reviews::{LookBackView, ReviewId, ReviewView, ReviewsView};
pub use sessions::{
    Acted, CaptureWanted, Disconnected, EndingView, EscortView, Escorting, LiveView, SessionView, SessionsView, Tell,
    ToldAnswer, ToldView,
};
pub use shift::{HandoverView, OnDutyView, ShiftView};
pub use sign_in::{Challenge, ChallengeWanted, Enrol, EnrolledAnswer, SecondFactor, SignIn, SignedIn};
pub use status::{
    AlarmSeen, AlarmView, AlarmsQuiet, AlarmsSeen, AnswerTimes, BucketView, HeadView, Health, KeyView, ReceiverView,
    RecorderView, SecretView, SettingView, SettingsView, Status, TracesView, WitnessView, WitnessedView,
};
pub use watching::{EscortLine, HappenedLine, VncOpen, VncScreen, WatchLine, WatchWanted};
