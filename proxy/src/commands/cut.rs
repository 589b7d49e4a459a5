//! `holdpoint cut`, `cuts` and `reopen`. A cut asks nothing and acts at once; with the gate's API gone it is made at the
//! machine itself, by `--local`.

use std::path::{Path, PathBuf};

use approver::api::types::{
    CutMade, CutView, CutsView, Done as Happened, PeopleView, Reopen, VerdictTemplate, reopening_digest,
};
use approver::cuts::{CutsFile, KeptCut};
use certs::sshsig::Namespace;
use jiff::Timestamp;
use policies::events::{CutBy, Scope};
use policies::ids::{CutId, PersonId, SessionId, VendorId, ZoneName};
use policies::requests::{Answer, Matter, Narrowing, Reopening};

use super::gate::{ProfileArg, at_gate, person};
use super::showing::{Clock, counted, plain, table};
use super::{Done, Failure, print_json};
use crate::app::stores::{self, Identity};
use crate::client::{Client, Fault};
use crate::config::{Config, JournalAt};
use crate::vault;

/// End at once, and keep out until reopened: a session, or everything of a technician, a vendor, a zone, or the plant.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub(super) struct CutArgs {
    /// One session; its grant stays shut.
    #[arg(value_name = "SESSION", group = "scope")]
    session: Option<SessionId>,
    /// Everything of a technician, by name or identifier.
    #[arg(long, value_name = "NAME", group = "scope")]
    technician: Option<String>,
    /// Everything of a vendor.
    #[arg(long, value_name = "VENDOR", group = "scope")]
    vendor: Option<VendorId>,
    /// Everything in a zone.
    #[arg(long, value_name = "ZONE", group = "scope")]
    zone: Option<ZoneName>,
    /// Everything.
    #[arg(long, group = "scope")]
    plant: bool,
    /// At the machine itself, without the gate's API: needs its data folder and its keys. Works whether the gate runs or
    /// not.
    #[arg(long)]
    local: bool,
    /// The data folder, for --local; holdpoint.toml lies beside it.
    #[arg(long, value_name = "DIR", requires = "local", default_value = "data")]
    data: PathBuf,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// List the cuts that stand.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Let back in whom a cut keeps out: signed by you.
#[derive(Debug, clap::Args)]
pub(super) struct ReopenArgs {
    /// Which cut.
    #[arg(value_name = "CUT")]
    cut: CutId,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn cut(args: &CutArgs, profile: &ProfileArg) -> Done {
    if args.local {
        return cut_here(args);
    }
    at_gate(profile, async |client| {
        let technician = match &args.technician {
            Some(wanted) => Some(technician(client, wanted).await?),
            None => None,
        };
        let scope = args.scope(technician);
        let made: CutMade = client.post("/api/v1/cuts", &approver::api::types::Cut { scope }).await?;
        if args.json {
            return print_json(&made);
        }
        tell(&made);
        Ok(())
    })
}

/// An identifier needs no list of people, which is not to be had while the directory is gone.
async fn technician(client: &mut Client, wanted: &str) -> Result<PersonId, Failure> {
    match wanted.parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(person(client, wanted).await?.person),
    }
}

impl CutArgs {
    fn scope(&self, technician: Option<PersonId>) -> Scope {
        match (self.session, technician, &self.vendor, &self.zone) {
            (Some(session), ..) => Scope::Session(session),
            (_, Some(technician), ..) => Scope::Technician(technician),
            (_, _, Some(vendor), _) => Scope::Vendor(vendor.clone()),
            (_, _, _, Some(zone)) => Scope::Zone(zone.clone()),
            _ => Scope::Plant,
        }
    }
}

/// Of a cut that is not in the journal.
const AT_ONE_NODE: &str = "Until then it acts at this node alone: where there are several, cut at every node.";

fn tell(made: &CutMade) {
    say!("{}: {} ended.", made.cut, counted(made.sessions.len(), "session"));
    match made.kept.as_str() {
        "journal" => {}
        "disk" => say!("The journal does not answer: the cut lies on the gate's disk until it does. {AT_ONE_NODE}"),
        _ => say!(
            "NEITHER JOURNAL NOR DISK took it: it acts until the gate is restarted. Cut again when they answer. {AT_ONE_NODE}"
        ),
    }
    say!("It keeps out until: holdpoint reopen {} --reason TEXT", made.cut);
}

/// Adds the cut to `data/cuts`, signed by the gate's own key. A gate that runs takes it up from there; one that does not
/// reads it before it listens.
fn cut_here(args: &CutArgs) -> Done {
    let technician = args.technician.as_deref().map(str::parse).transpose();
    let technician = technician.map_err(|_| {
        Failure::usage("with --local a technician is named by the identifier (p_…), as `people` lists it")
    })?;
    let data = std::path::absolute(&args.data).map_err(Failure::usage)?;
    let config = data.parent().unwrap_or(Path::new("/")).join(crate::founding::CONFIG);
    let config = Config::load(&config).map_err(Failure::usage)?;
    let identity = Identity::read(&data).map_err(Failure::usage)?;
    let keys = vault::at_rest(&config).map_err(Failure::usage)?;
    let at = Timestamp::now();
    let kept = KeptCut { cut: approver::mint::cut(at), scope: args.scope(technician), by: CutBy::Local, at };
    let file = CutsFile::new(stores::cuts_path(&data), identity.deployment, keys.log_key());
    file.add(&kept).map_err(|cause| Failure::failed(format_args!("the cut could not be written: {cause}")))?;
    // The cut is made, whether or not this can be seen.
    let gate_runs = stores::is_in_use(&data).unwrap_or(true);
    if args.json {
        return print_json(&serde_json::json!({ "cut": kept.cut, "gate_runs": gate_runs }));
    }
    say!("{}: written, signed and synced.", kept.cut);
    if gate_runs {
        say!("A gate runs on this folder: it ends what is cut within a second.");
    } else {
        say!("No gate runs on this folder: nothing is open, and the cut stands when one starts.");
    }
    if matches!(config.store.journal, JournalAt::Postgres { .. }) {
        say!("While the database does not answer it acts at this node alone: cut at every node.");
    }
    say!("It keeps out until: holdpoint reopen {} --reason TEXT", kept.cut);
    Ok(())
}

pub(super) fn list(args: &ListArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let cuts: CutsView = client.get("/api/v1/cuts").await?;
        if args.json {
            return print_json(&cuts);
        }
        if cuts.cuts.is_empty() {
            say!("No cut stands.");
            return Ok(());
        }
        // Names help, and a directory that does not answer shall not hide a cut.
        let people = client.list::<PeopleView>("/api/v1/people").await.unwrap_or_default();
        let clock = Clock::of(client);
        let rows: Vec<_> = cuts.cuts.iter().map(|cut| row(cut, &people, &clock)).collect();
        table(["CUT", "KEEPS OUT", "BY", "SINCE"], &rows);
        Ok(())
    })
}

fn row(cut: &CutView, people: &PeopleView, clock: &Clock) -> [String; 4] {
    let scope = match &cut.scope {
        Scope::Session(session) => format!("session {session}"),
        Scope::Technician(id) => {
            let known = people.people.iter().find(|person| person.person == *id);
            format!("technician {}", known.map_or_else(|| id.to_string(), |person| plain(&person.name)))
        }
        Scope::Vendor(vendor) => format!("vendor {vendor}"),
        Scope::Zone(zone) => format!("zone {zone}"),
        Scope::Plant => "everybody, from the whole plant".to_owned(),
    };
    let by = cut.by.as_deref().map(plain).unwrap_or_default();
    let since = cut.at.map_or_else(|| "not in the journal yet".to_owned(), |at| clock.moment(at).to_string());
    [cut.cut.to_string(), scope, by, since]
}

pub(super) fn reopen(args: &ReopenArgs, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let reopening = Reopening { cut: args.cut, reason: client.keep_text(&args.reason).await? };
        let path = format!("/api/v1/cuts/{}", args.cut);
        let template: VerdictTemplate = client.get(&format!("{path}/statement?reason={}", reopening.reason.0)).await?;
        let mut statement = template.statement;
        let ours = reopening_digest(&statement.deployment, &reopening);
        if statement.matter != Matter::Reopening(args.cut) || statement.digest != ours {
            return Err(Fault::Odd("its statement is about something else".into()).into());
        }
        statement.answer = Answer::Yes { narrowing: Narrowing::default() };
        let digest = statement.digest();
        let verdict = client.sign(Namespace::Approval, statement, digest).await?;
        let done: Happened = client.post(&format!("{path}/reopen"), &Reopen { reopening, verdict }).await?;
        if args.json {
            return print_json(&done);
        }
        say!("{} is reopened.", args.cut);
        Ok(())
    })
}
