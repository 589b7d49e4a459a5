//! `holdpoint evidence`: one file with all that a stranger needs to see and to check what happened in a session, or in all
//! of a vendor's in a span of time. From a running gate, which journals it first, or from a copied data folder.

use std::path::{Path, PathBuf};

use approver::api::types::{Done as Happened, KeptText, Pack, PeopleView};
use jiff::Timestamp;
use jiff::civil::Date;
use policies::events::PackOf;
use policies::ids::{SessionId, VendorId};
use recordings::pack::{self, DATA, Making, PackFault, Source, Texts, Wanted};
use recordings::read::AuditorKeys;
use recordings::verify::{Report, Verdict};
use tempfile::TempDir;

use super::fetch::{unpack, until_whole};
use super::gate::{ProfileArg, at_gate, wait_for};
use super::showing::{Clock, Written, parse_end};
use super::verify::{read_trust, with_progress};
use super::{Done, Failure, print_json};
use crate::app::stores::directory_at_rest;
use crate::client::{Client, Fault};

/// Make an evidence pack: a zip file with a page to read, and all that it takes to check it without this gate.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["session", "vendor"])))]
pub(super) struct Args {
    /// Of this session, and of the request behind it.
    #[arg(value_name = "SESSION")]
    session: Option<SessionId>,
    /// Of all sessions of this vendor, and of its requests, denied and lapsed ones too; with --from and --until.
    #[arg(long, value_name = "VENDOR", requires_all = ["from", "until"])]
    vendor: Option<VendorId>,
    /// The first day or moment, by the plant's clock: 2026-11-01, or "2026-11-01 06:00".
    #[arg(long, value_name = "TIME", requires = "vendor", value_parser = parse_begin)]
    from: Option<Written>,
    /// The last day, which is in it, or the moment it ends.
    #[arg(long, value_name = "TIME", requires = "vendor", value_parser = parse_until)]
    until: Option<Written>,
    /// The zip file; or with a / at its end a folder, for what is too large for one. It must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// From a data folder or a copy of one, with no gate; else the gate is asked, and journals it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What the auditor trusts: it is checked by this, and a copy goes in.
    #[arg(long, value_name = "FILE", default_value = "trust.toml")]
    trust: PathBuf,
    /// An auditor's key: commands and files that it opens stand in the page then, for whoever has the file. Recordings stay
    /// closed without it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// A time of day alone could be any day's.
fn parse_begin(text: &str) -> Result<Written, String> {
    let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    match date.map_or_else(|| text.parse(), |date| Ok(Written::Local(date.into())))? {
        Written::Daily(_) => {
            Err(format!("{text:?} names no day: write for example 2026-11-01 or \"2026-11-01 06:00\""))
        }
        written => Ok(written),
    }
}

fn parse_until(text: &str) -> Result<Written, String> {
    match parse_end(text)? {
        Written::Daily(_) => parse_begin(text),
        written => Ok(written),
    }
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    if args.output.exists() {
        return Err(Failure::usage(format_args!("{} is there already", args.output.display())));
    }
    let trust = read_trust(&args.trust)?;
    let keys = args.key.as_deref().map(AuditorKeys::read).transpose().map_err(Failure::usage)?;
    // Beside the file, where it must have room anyway.
    let beside = args.output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder =
        tempfile::tempdir_in(beside).map_err(|cause| Failure::failed(format_args!("{}: {cause}", beside.display())))?;
    let gathered = match &args.data {
        Some(data) => gather_at_rest(args, data, &folder)?,
        None => gather_at_gate(args, profile, &folder)?,
    };
    let at = Timestamp::now();
    let making = Making {
        of: &gathered.of,
        trust: &trust,
        keys: keys.as_ref(),
        texts: &gathered.texts,
        at,
        from: if args.data.is_some() { Source::Folder } else { Source::Gate },
        program: env!("CARGO_PKG_VERSION"),
    };
    let report = with_progress(|progress| pack::make(folder.path(), &making, progress))?;
    if args.is_folder() {
        std::fs::rename(folder.path(), &args.output).map_err(Failure::failed)?;
        return tell(args, &gathered, &report);
    }
    let sealed = pack::seal(folder.path(), at, &args.output);
    if sealed.is_err() && args.output.exists() {
        // Half a pack would be taken for a whole one.
        std::fs::remove_file(&args.output).map_err(Failure::failed)?;
    }
    sealed?;
    tell(args, &gathered, &report)
}

/// What a pack is made of, beside the data folder.
struct Gathered {
    of: PackOf,
    wanted: Wanted,
    texts: Texts,
}

impl Args {
    fn is_folder(&self) -> bool {
        self.output.as_os_str().as_encoded_bytes().ends_with(b"/")
    }

    fn of(&self, clock: &Clock) -> Result<PackOf, Failure> {
        match (self.session, &self.vendor, self.from, self.until) {
            (Some(session), ..) => Ok(PackOf::Session { session }),
            (None, Some(vendor), Some(from), Some(until)) => {
                let (from, until) = (from.on(clock)?, until.on(clock)?);
                if until <= from {
                    return Err(Failure::usage("that span of time is empty: it ends before it begins"));
                }
                Ok(PackOf::Vendor { vendor: vendor.clone(), from, until })
            }
            _ => Err(Failure::usage("say a session, or --vendor with --from and --until")),
        }
    }
}

fn gather_at_rest(args: &Args, data: &Path, folder: &TempDir) -> Result<Gathered, Failure> {
    let clock = Clock::in_zone(pack::timezone(data)?);
    let of = args.of(&clock)?;
    let wanted = pack::wanted(data, &of)?;
    pack::stage(data, &wanted.sessions, &folder.path().join(DATA))?;
    let mut texts = Texts::default();
    if let Some(at_rest) = directory_at_rest(data).map_err(Failure::failed)? {
        wait_for(async {
            for person in &wanted.people {
                let name = at_rest.directory.name_of(*person).await.map_err(Failure::failed)?;
                texts.names.extend(name.map(|name| (*person, name)));
            }
            for digest in &wanted.texts {
                if let Some((salt, text)) = at_rest.directory.salt_and_text(*digest).await.map_err(Failure::failed)? {
                    texts.put(*digest, &salt, text);
                }
            }
            Ok(())
        })?;
    }
    Ok(Gathered { of, wanted, texts })
}

fn gather_at_gate(args: &Args, profile: &ProfileArg, folder: &TempDir) -> Result<Gathered, Failure> {
    let data = folder.path().join(DATA);
    std::fs::create_dir_all(&data).map_err(Failure::failed)?;
    let mut gathered = None;
    at_gate(profile, async |client| {
        let of = args.of(&Clock::of(client))?;
        let _: Happened = client.post("/api/v1/packs", &Pack { of: of.clone() }).await?;
        let (wanted, texts) = until_whole(async || pass(client, &of, &data).await).await?;
        gathered = Some(Gathered { of, wanted, texts });
        Ok(())
    })?;
    Ok(gathered.expect("a pass gathered it"))
}

/// With the event that this pack is made. The logs first: of what happens meanwhile they then know nothing, and what they tell
/// is there. None where a recording that goes in was erased meanwhile.
async fn pass(client: &mut Client, of: &PackOf, data: &Path) -> Result<Option<(Wanted, Texts)>, Failure> {
    unpack(client.stream("/api/v1/journal/files").await?, data).await?;
    let wanted = pack::wanted(data, of)?;
    if recordings_at_gate(client, &wanted, data).await? {
        let texts = texts_at_gate(client, &wanted).await?;
        return Ok(Some((wanted, texts)));
    }
    std::fs::remove_dir_all(data).and_then(|()| std::fs::create_dir(data)).map_err(Failure::failed)?;
    Ok(None)
}

/// Whether none was erased meanwhile.
async fn recordings_at_gate(client: &mut Client, wanted: &Wanted, data: &Path) -> Result<bool, Failure> {
    for session in &wanted.sessions {
        match client.stream(&format!("/api/v1/recordings/{session}/files")).await {
            Ok(pieces) => drop(unpack(pieces, data).await?),
            // Of a session that ended before its recording began there is none.
            Err(Fault::Problem(problem)) if problem.refusal == "not-found" => {}
            Err(Fault::Problem(problem)) if problem.refusal == "erased" => return Ok(false),
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(true)
}

async fn texts_at_gate(client: &mut Client, wanted: &Wanted) -> Result<Texts, Failure> {
    let mut texts = Texts::default();
    let people: PeopleView = client.list("/api/v1/people").await?;
    let named = people.people.into_iter().filter(|person| wanted.people.contains(&person.person));
    // Somebody whose name is not known is shown by their identifier.
    let known = named.filter(|person| person.name != person.person.to_string());
    texts.names.extend(known.map(|person| (person.person, person.name)));
    for digest in &wanted.texts {
        match client.get::<KeptText>(&format!("/api/v1/texts/{}", digest.0)).await {
            Ok(kept) => {
                let salt =
                    data_encoding::HEXLOWER.decode(kept.salt.as_bytes()).ok().and_then(|salt| salt.try_into().ok());
                let right = salt.filter(|_| kept.is_right() && kept.digest == *digest);
                let salt = right.ok_or_else(|| Fault::Odd("it gave a text of another digest".to_owned()))?;
                texts.put(*digest, &salt, kept.text);
            }
            Err(Fault::Problem(problem)) if problem.refusal == "not-found" => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(texts)
}

fn tell(args: &Args, gathered: &Gathered, report: &Report) -> Done {
    let file = args.output.display();
    let bytes = pack::bytes(&args.output)?;
    let sessions = gathered.wanted.sessions.len();
    let missing = gathered.wanted.texts.len() - gathered.texts.texts.len();
    if args.json {
        let verdict = report.verdict();
        print_json(
            &serde_json::json!({ "sessions": sessions, "bytes": bytes, "texts_missing": missing, "verdict": verdict }),
        )?;
    } else {
        let plural = if sessions == 1 { "" } else { "s" };
        say!("{file}: {sessions} session{plural}, {}", indicatif::HumanBytes(bytes));
        if missing > 0 {
            say!(
                "{missing} texts (reasons, work orders) are not in it: they were erased, or do not lie in this folder."
            );
        }
        if args.key.is_some() {
            say!(
                "Its page tells commands, files and operations that your key opened: whoever has the file can read them."
            );
        }
        let unpack = if args.is_folder() { "" } else { "unpack it and " };
        say!("Read it: {unpack}open index.html in a browser. Check it: holdpoint verify {file} --trust trust.toml");
        if args.data.is_some() {
            say!("It was made from a folder, so no journal knows of it.");
        }
    }
    match report.failures().next() {
        _ if report.verdict() != Verdict::NotWhole => Ok(()),
        Some(first) => {
            Err(Failure::refused(format_args!("what it is made of is NOT WHOLE, and its page says so. First: {first}")))
        }
        None => Err(Failure::refused("what it is made of is NOT WHOLE, and its page says so")),
    }
}

impl From<PackFault> for Failure {
    fn from(fault: PackFault) -> Self {
        match fault {
            PackFault::NoSuchSession(_) => Self::refused(fault),
            fault => Self::failed(fault),
        }
    }
}
