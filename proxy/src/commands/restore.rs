//! `holdpoint restore`: a gate that was set back, or came out of a backup, goes on. On the gate's machine, with the gate
//! stopped, it says what stays and what is lost; an administrator and an operator sign that, each where their key is; then
//! it is carried out.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use approver::desk::restoring::{decide, state_of};
use approver::journal::{Entry, decode_all};
use approver::mint;
use certs::log_key::{LogKey, Verifier};
use certs::sshsig::Namespace;
use certs::totp::last_step_taken;
use certs::trust::{LogVerifier, Trust};
use certs::words;
use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::ids::{DeploymentId, NodeId, PersonId, RestoreId};
use policies::people::SshKey;
use policies::requests::{Lost, RestoreStatement, SeenHead, Signed};
use policies::state::State;
use policies::version::V1;
use recordings::paper;
use recordings::read::RESTORING;
use recordings::restoring::Resting;
use recordings::tlog::checkpoint::Checkpoint;
use recordings::verify::By;
use serde::{Deserialize, Serialize};

use super::gate::{ProfileArg, ask_passphrase, confirm, wait_for, wait_for_value};
use super::memory::Memory;
use super::showing::{labelled, labelled_lines, plain};
use super::{Done, Failure, rebuild};
use crate::app::asking;
use crate::app::looking_back::{contradicted, contradicted_by_records, remembered_by};
use crate::app::stores::{
    Identity, at_rest, check_only_files, directory_dir, draft_directory, finish_restore, keep_decided,
};
use crate::client::{Profile, Signer};
use crate::config::Config;
use crate::trusting;
use crate::vault;

/// Go on from a backup, or from a data folder that was set back: an administrator and an operator sign what stays and what
/// is lost, and the logs go on under new names. First, on the gate's machine and with the gate stopped, with -o: what would
/// be lost, and a file to sign. Then each of the two, where their key is, with --sign. Then, on the gate's machine, with
/// --with.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("step").required(true).args(["output", "sign", "with"]))]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "holdpoint.toml", conflicts_with = "sign")]
    config: PathBuf,
    /// Say what would be lost, and write here what is to be signed.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A sheet that `holdpoint checkpoint --print` printed, as it was typed: what it remembers counts as lost too.
    #[arg(long, value_name = "FILE", requires = "output")]
    paper: Option<PathBuf>,
    /// What an auditor's `verify` remembers (seen.toml): the same.
    #[arg(long, value_name = "FILE", requires = "output")]
    memory: Option<PathBuf>,
    /// Sign such a file, here or on another machine, with the key of your profile.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Sign with this key and not with that of a profile.
    #[arg(long, value_name = "FILE", requires = "sign")]
    key: Option<PathBuf>,
    /// Carry out what two people signed in such a file.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// `directory.jsonl` out of the backup, where the data folder has no `state`; else the one beside the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "sign")]
    directory: Option<PathBuf>,
    /// Do not ask.
    #[arg(long, conflicts_with = "output")]
    yes: bool,
}

/// So long the two may take.
const LASTS: SignedDuration = SignedDuration::from_hours(72);

/// What is to be signed, and by whom it was; a file that is carried between machines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paper {
    v: V1,
    what: What,
    /// What the gate's machine says beside that. Nobody signs it.
    told: Vec<String>,
    people: Vec<MaySign>,
    signatures: Vec<Signed<RestoreStatement>>,
}

/// What both sign: a statement but for who signs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    deployment: DeploymentId,
    restore: RestoreId,
    journal: SeenHead,
    journal_lost: Lost,
    node: NodeId,
    records: SeenHead,
    records_lost: Lost,
    expires: Timestamp,
}

/// Somebody whose signature may count.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaySign {
    person: PersonId,
    name: String,
    role: String,
    keys: Vec<SshKey>,
}

impl What {
    fn statement(&self, signer: PersonId) -> RestoreStatement {
        let Self { deployment, restore, journal, journal_lost, node, records, records_lost, expires } = self.clone();
        let nonce = mint::nonce();
        RestoreStatement {
            deployment,
            restore,
            journal,
            journal_lost,
            node,
            records,
            records_lost,
            signer,
            nonce,
            expires,
        }
    }

    fn shown(&self) -> Vec<String> {
        let Self { deployment, journal, journal_lost, node, records, records_lost, expires, .. } = self;
        let compare = format!("{}  (for both who sign)", words::of(&Digest::of("restore-paper", self)));
        let lines = [
            labelled_lines("journal", &stays(*journal, *journal_lost)),
            labelled_lines("recordings", &stays(*records, *records_lost)),
            labelled_lines("until", &format!("{expires:.0}, then what is signed is void")),
            labelled_lines("compare", &compare),
        ];
        std::iter::once(format!("{deployment}, node {node}: a restore")).chain(lines.into_iter().flatten()).collect()
    }
}

fn stays(kept: SeenHead, Lost { from, until }: Lost) -> String {
    let stay = if kept.size == 1 { "1 entry stays".to_owned() } else { format!("{} entries stay", kept.size) };
    let lost = match until.checked_sub(from.saturating_add(1)) {
        None => "nobody that was asked remembers more; whatever came after is lost".to_owned(),
        Some(0) => format!("entry {from} is lost"),
        Some(more) => format!("entries {from} to {} are lost, and whatever came after", from + more),
    };
    let parted =
        if from < kept.size { format!(", and others stand in their place from {from} on") } else { String::new() };
    format!("{stay}; {lost}{parted}")
}

impl Paper {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|cause| cause.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|cause| Failure::usage(format_args!("{}: {cause}", path.display())))
    }

    /// It came from another machine: why it is none is fit for a terminal.
    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|cause| plain(&cause.to_string()))
    }

    fn text(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whole under its name or not at all.
    fn write(&self, path: &Path) -> Done {
        let cannot = |cause: std::io::Error| Failure::failed(format_args!("{}: {cause}", path.display()));
        let text = self.text().map_err(Failure::failed)?;
        let draft = path.with_added_extension("part");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        write().map_err(cannot)
    }

    fn shown(&self) -> Vec<String> {
        let told = self.told.iter().flat_map(|line| labelled_lines("", &plain(line)));
        self.what.shown().into_iter().chain(told).collect()
    }

    fn show(&self) {
        self.shown().iter().for_each(|line| say!("{line}"));
    }

    fn who(&self, person: PersonId) -> String {
        let known = self.people.iter().find(|known| known.person == person);
        known.map_or_else(|| person.to_string(), |known| format!("{} ({})", plain(&known.name), plain(&known.role)))
    }
}

/// Such a file, as it would be written, and all that is shown of it before somebody signs.
pub(super) fn read_again(text: &str) -> Result<(String, Vec<String>), String> {
    let paper = Paper::parse(text)?;
    let people = paper.people.iter().map(|one| paper.who(one.person));
    let shown = paper.shown().into_iter().chain(people).collect();
    Ok((paper.text().map_err(|cause| cause.to_string())?, shown))
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    match (&args.output, &args.sign, &args.with) {
        (Some(output), ..) => plan(args, output),
        (_, Some(file), _) => sign(args, file, profile),
        (_, _, Some(file)) => carry_out(args, file),
        _ => Err(Failure::usage("say -o, --sign or --with")),
    }
}

/// The gate's own files.
struct Gate {
    config: Config,
    key: LogKey,
}

impl Gate {
    fn open(args: &Args) -> Result<Self, Failure> {
        let config = Config::load(&args.config).map_err(Failure::usage)?;
        check_only_files(&config.store).map_err(Failure::refused)?;
        let key = vault::at_rest(&config).map_err(Failure::usage)?.log_key();
        Ok(Self { config, key })
    }

    fn data(&self) -> &Path {
        &self.config.store.data
    }

    /// What was decided and not finished is finished first; whether there was something.
    fn finish(&self) -> Result<bool, Failure> {
        if !self.data().join(RESTORING).exists() {
            return Ok(false);
        }
        wait_for(async { finish_restore(self.data(), &self.key).await.map_err(Failure::failed) })?;
        Ok(true)
    }
}

/// Both logs at rest, and what stands by them.
struct AtRest {
    identity: Identity,
    journal: Resting,
    records: Resting,
    entries: Vec<Entry>,
    state: State,
}

impl AtRest {
    fn take(gate: &Gate) -> Result<Self, Failure> {
        let identity = Identity::read(gate.data()).map_err(Failure::failed)?;
        let [journal, records] = at_rest(gate.data(), &identity, &gate.key).map_err(Failure::refused)?;
        let entries = decode_all(&journal.entries().map_err(Failure::failed)?).map_err(Failure::failed)?;
        let state = state_of(&entries, journal.head()).map_err(Failure::failed)?;
        Ok(Self { identity, journal, records, entries, state })
    }

    fn verifiers(&self, key: &LogKey) -> Result<[Verifier; 2], Failure> {
        let both = trusting::verifiers(&self.identity, key).try_into();
        both.map_err(|_| Failure::failed("the logs' names are none that a key can have"))
    }
}

/// What somebody remembers of a log.
struct Known {
    size: u64,
    root: Option<[u8; 32]>,
    /// Whether it is another log than the one that is here, where only that is known.
    parted: bool,
    by: String,
}

impl Known {
    fn of(head: &Checkpoint, by: impl Into<String>) -> Self {
        Self { size: head.size, root: Some(head.root), parted: false, by: by.into() }
    }
}

fn plan(args: &Args, output: &Path) -> Done {
    if output.exists() {
        return Err(Failure::usage(format_args!("{} is there already: choose another file", output.display())));
    }
    let gate = Gate::open(args)?;
    if gate.finish()? {
        say!("A restore that had been decided here is finished now. Start the gate.");
        return Ok(());
    }
    let here = AtRest::take(&gate)?;
    let soundings = sound(&gate, &here)?;
    let verifiers = here.verifiers(&gate.key)?;
    let mut told = Vec::new();
    let mut losses = Vec::new();
    for (place, (log, verifier)) in [&here.journal, &here.records].into_iter().zip(&verifiers).enumerate() {
        let mut known: Vec<Known> =
            log.signed(verifier).iter().map(|head| Known::of(head, "what it published or had cosigned")).collect();
        let more = match place {
            0 => contradicted_by_records(log, &here.records),
            _ => contradicted(&here.journal, &here.identity.node, verifier, log),
        };
        if let Some(more) = more.map_err(Failure::failed)? {
            let size = more.remembered.unwrap_or(0);
            known.push(Known { size, root: None, parted: more.parted, by: more.by });
        }
        known.extend(
            soundings
                .iter()
                .filter(|known| known.0 == verifier.name())
                .map(|(_, known)| Known { by: known.by.clone(), ..*known }),
        );
        known.extend(kept_elsewhere(args, &gate.key, &here.identity, verifier)?);
        let (lost, because) = lost(log, &known)?;
        told.extend(because.map(|because| format!("{}: {because}", verifier.name())));
        losses.push(lost);
    }
    told.extend(consequences(&here.state));
    let now = Timestamp::now();
    let seen = |log: &Resting| SeenHead { size: log.head().size, root: Digest(log.head().root) };
    let what = What {
        deployment: here.identity.deployment.clone(),
        restore: mint::restore(now),
        journal: seen(&here.journal),
        journal_lost: losses[0],
        node: here.identity.node.clone(),
        records: seen(&here.records),
        records_lost: losses[1],
        expires: now + LASTS,
    };
    let paper = Paper { v: V1, what, told, people: who_may(&here.state, &names(args, &gate)), signatures: Vec::new() };
    paper.write(output)?;
    paper.show();
    say!();
    say!("An administrator and an operator each look at it and sign it, where their key is:");
    say!("    holdpoint restore --sign {}", output.display());
    let may: Vec<String> = paper.people.iter().map(|one| paper.who(one.person)).collect();
    labelled("may sign", &may.join(", "));
    say!("Then, here: holdpoint restore --config {} --with {}", args.config.display(), output.display());
    Ok(())
}

/// What witnesses say, by the logs' names.
fn sound(gate: &Gate, here: &AtRest) -> Result<Vec<(String, Known)>, Failure> {
    let ways = asking::ways(&gate.config.store.witnesses).map_err(Failure::usage)?;
    let witnesses = asking::witnesses(ways, &here.identity, gate.data(), &gate.key).map_err(Failure::failed)?;
    let heads =
        [&here.journal, &here.records].map(|log| log.sign(&gate.key)).into_iter().collect::<Result<Vec<_>, _>>();
    let heads = heads.map_err(Failure::failed)?;
    let more = wait_for_value(async { Ok(remembered_by(&witnesses, &heads).await) })?;
    let known = more.into_iter().map(|more| {
        let known = Known { size: more.remembered.unwrap_or(0), root: None, parted: more.parted, by: more.by };
        (more.log, known)
    });
    Ok(known.collect())
}

/// What the command line names: a sheet of paper, an auditor's memory.
fn kept_elsewhere(args: &Args, key: &LogKey, identity: &Identity, verifier: &Verifier) -> Result<Vec<Known>, Failure> {
    let first = trusting::verifiers(&identity.first(), key);
    let mut heads = Vec::new();
    if let Some(path) = &args.paper {
        let text =
            fs::read_to_string(path).map_err(|cause| Failure::usage(format_args!("{}: {cause}", path.display())))?;
        let typed = paper::parse(&text, &first);
        heads.extend(typed.map_err(|wrong| Failure::usage(format_args!("the sheet of paper: {wrong}")))?);
    }
    if let Some(path) = &args.memory {
        let trust = Trust {
            deployment: identity.deployment.clone(),
            logs: first.into_iter().map(LogVerifier).collect(),
            witnesses: Vec::new(),
            witnesses_needed: None,
            people: Vec::new(),
        };
        heads.extend(Memory::read(path.clone()).map_err(Failure::usage)?.of(&trust));
    }
    let ours = heads.into_iter().filter(|head| head.origin == verifier.name());
    let by = |by: &By| match by {
        By::Paper { .. } => "the sheet of paper",
        _ => "the auditor's last check",
    };
    Ok(ours
        .map(|head| Known { size: head.size, root: Some(head.root.0), parted: false, by: by(&head.by).to_owned() })
        .collect())
}

/// What of a log is lost, by what is known of it; and who remembers that.
fn lost(log: &Resting, known: &[Known]) -> Result<(Lost, Option<String>), Failure> {
    let here = log.head();
    let (mut agreed, mut parted, mut furthest) = (0, false, None::<&Known>);
    let mut known: Vec<&Known> = known.iter().collect();
    known.sort_by_key(|known| std::cmp::Reverse((known.root.is_none(), known.size)));
    for one in known {
        let had = match one.root {
            Some(root) => {
                let head = Checkpoint { origin: String::new(), size: one.size, root };
                log.had(&head).map_err(Failure::failed)?
            }
            None if one.parted => Some(false),
            None => None,
        };
        match had {
            // Whatever goes less far follows.
            Some(true) => {
                agreed = one.size;
                break;
            }
            Some(false) => parted = true,
            None => {}
        }
        if had != Some(true) && furthest.is_none_or(|known| known.size < one.size) {
            furthest = Some(one);
        }
    }
    let from = if parted { agreed } else { here.size };
    let until = furthest.map_or(from, |known| known.size.max(from));
    Ok((Lost { from, until }, furthest.map(|known| format!("{} entries, by {}", known.size, known.by))))
}

/// What else it means, for those who sign.
fn consequences(state: &State) -> Vec<String> {
    let open = state.cases.values().filter(|case| state.newest.is_none_or(|newest| case.is_current(newest)));
    let last = state.newest.map_or_else(|| "nothing".to_owned(), |newest| format!("{newest:.0}"));
    vec![
        format!("the last that is known here was decided at {last}"),
        format!("{} requests and grants that are open here end, whatever became of them since", open.count()),
        format!("{} sessions that were open here end; {} cuts stand", state.live.len(), state.cuts.len()),
        "people, keys, groups, cuts, holds and erasures are those of that moment: whoever was disabled or cut since must \
         be again"
            .to_owned(),
    ]
}

/// Administrators and operators who count here.
fn who_may(state: &State, names: &dyn Fn(PersonId) -> Option<String>) -> Vec<MaySign> {
    let may = state.people.keys().filter_map(|id| state.may_restore(*id).ok());
    let one = |person: &policies::people::Person| MaySign {
        person: person.id,
        name: names(person.id).unwrap_or_else(|| person.id.to_string()),
        role: if person.is_active_administrator() { "administrator" } else { "operator" }.to_owned(),
        keys: person.keys.clone(),
    };
    may.map(one).collect()
}

/// People's names, where the data folder or the backup has them.
fn names(args: &Args, gate: &Gate) -> impl Fn(PersonId) -> Option<String> + use<> {
    let dumped = wait_for_value(async {
        match crate::app::stores::directory_at_rest(gate.data()).map_err(Failure::failed)? {
            Some(at_rest) => at_rest.directory.dump().await.map_err(Failure::failed),
            None => rebuild::read(&directory_file(args)),
        }
    });
    let dumped = dumped.unwrap_or_default();
    move |person| {
        let key = format!("name-of/{person}");
        let found = dumped.iter().find(|(known, _)| *known == key.as_bytes())?;
        Some(String::from_utf8_lossy(&found.1).into_owned())
    }
}

fn directory_file(args: &Args) -> PathBuf {
    args.directory.clone().unwrap_or_else(|| args.config.with_file_name("directory.jsonl"))
}

fn sign(args: &Args, file: &Path, profile: &ProfileArg) -> Done {
    let mut paper = Paper::read(file)?;
    let key = match &args.key {
        Some(key) => key.clone(),
        None => Profile::load(&profile.path()?).map_err(crate::client::Fault::from)?.key,
    };
    let signer = Signer::open(&key, ask_passphrase)?;
    let is_theirs = |key: &SshKey| {
        let theirs = ssh_key::PublicKey::from_openssh(&key.0);
        theirs.is_ok_and(|theirs| theirs.key_data() == signer.public_key().key_data())
    };
    let theirs = paper.people.iter().find_map(|one| Some((one.person, one.keys.iter().find(|key| is_theirs(key))?)));
    let (person, key) = theirs.map(|(person, key)| (person, key.clone())).ok_or_else(|| {
        Failure::refused(format_args!(
            "{} is the key of none of those who may sign: {}",
            key.display(),
            paper.people.iter().map(|one| paper.who(one.person)).collect::<Vec<_>>().join(", ")
        ))
    })?;
    paper.show();
    confirm(
        &format!("Sign, as {}, that the gate goes on from there and the rest is lost, for ever?", paper.who(person)),
        args.yes,
    )?;
    let statement = paper.what.statement(person);
    let digest = statement.digest();
    let signature = wait_for_value(async { Ok(signer.sign(Namespace::Restore, &digest.0).await?) })?;
    paper.signatures.retain(|signed| signed.statement.signer != person);
    paper.signatures.push(Signed { statement, key, signature });
    paper.write(file)?;
    let signed: Vec<String> = paper.signatures.iter().map(|signed| paper.who(signed.statement.signer)).collect();
    say!("Signed by {}, in {}.", signed.join(" and "), file.display());
    say!(
        "It takes an administrator and an operator. With both, on the gate's machine: holdpoint restore --with {}",
        file.display()
    );
    Ok(())
}

fn carry_out(args: &Args, file: &Path) -> Done {
    let gate = Gate::open(args)?;
    if !gate.finish()? {
        let paper = Paper::read(file)?;
        decide_here(args, &gate, &paper)?;
        gate.finish()?;
    }
    let identity = Identity::read(gate.data()).map_err(Failure::failed)?;
    say!(
        "Restored. The logs go on under new names, whose keys witnesses are to know from now on, beside the old ones:"
    );
    trusting::verifiers(&identity, &gate.key).iter().for_each(|verifier| say!("    --log {verifier}"));
    say!("Start the gate. {}", rebuild::CODES);
    say!("Whoever was disabled, cut or erased since, or enrolled, must be again: compare with what you know.");
    Ok(())
}

/// Decides what both signed, on the logs as they lie here, makes the directory ready, and keeps the decision.
fn decide_here(args: &Args, gate: &Gate, paper: &Paper) -> Done {
    let here = AtRest::take(gate)?;
    let now = Timestamp::now();
    let by = |is: fn(&policies::people::Person) -> bool| {
        paper.signatures.iter().find(|signed| here.state.may_restore(signed.statement.signer).is_ok_and(is))
    };
    let both =
        by(policies::people::Person::is_active_administrator).zip(by(policies::people::Person::is_active_operator));
    let Some((administrator, operator)) = both else {
        let signed: Vec<String> = paper.signatures.iter().map(|signed| paper.who(signed.statement.signer)).collect();
        let signed = if signed.is_empty() { "nobody".to_owned() } else { signed.join(", ") };
        return Err(Failure::refused(format_args!(
            "it takes the signatures of an administrator and of an operator, and {signed} signed: `holdpoint restore --sign`"
        )));
    };
    let head = here.journal.head();
    let decided = decide((&here.entries, head), administrator, operator, now);
    let decided = decided.map_err(|no| Failure::refused(format_args!("what was signed does not count here: {no}")))?;
    let kept = decided.statement().records;
    let is_here = (kept.size, kept.root.0) == (here.records.head().size, here.records.head().root);
    if !is_here || decided.statement().node != here.identity.node {
        return Err(Failure::refused("the recordings here are not those that were signed: begin again, with -o"));
    }
    paper.show();
    confirm("Go on from there?", args.yes)?;
    wait_for(async {
        if !directory_dir(gate.data()).exists() {
            rebuild::make(gate.data(), &directory_file(args)).await?;
        }
        let directory = draft_directory(&directory_dir(gate.data())).map_err(Failure::failed)?;
        directory.go_on(last_step_taken(now), head.size).await.map_err(Failure::failed)
    })?;
    keep_decided(gate.data(), &decided).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use certs::keys::{KeyStore, Seal};
    use recordings::disk::{RealDisk, RealMachine};
    use recordings::log::{Log, LogOptions, Purpose};

    use super::*;

    /// A log of ten entries, and the heads that it had.
    fn ten_entries(folder: &Path) -> (Resting, Vec<Checkpoint>) {
        let key = KeyStore::create(&folder.join("keys"), &Seal::File).expect("keys").log_key();
        let (dir, name) = (folder.join("journal"), "mill-3/journal");
        let options = || LogOptions {
            segment_bytes: 1 << 16,
            spares: 0,
            ..LogOptions::new(Purpose::Journal, name, "gate-1".parse().expect("a name"))
        };
        let (disk, machine) = (Arc::new(RealDisk), Arc::new(RealMachine));
        let (log, _) = Log::open(disk.clone(), machine, &dir, options(), Arc::new(key.clone())).expect("a new log");
        let append = |entry: u8| {
            let appended = log.append(log.head(), vec![vec![entry; 10]], Timestamp::UNIX_EPOCH);
            let head = wait_for_value(async { appended.await.map_err(Failure::failed) }).expect("room");
            Checkpoint { origin: name.to_owned(), size: head.size, root: head.root }
        };
        let heads = (0..10).map(append).collect();
        drop(log);
        (Resting::take(disk, &dir, &options(), &key).expect("whole"), heads)
    }

    #[test]
    fn lost_is_from_where_all_agree_to_where_anybody_remembers() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, heads) = ten_entries(folder.path());
        let had = |size: usize| Known::of(&heads[size - 1], "them");
        let other = |size| Known { size, root: Some([1; 32]), parted: false, by: "the witness".to_owned() };
        let unknown = |size, parted| Known { size, root: None, parted, by: "the witness".to_owned() };
        let lost = |known: &[Known]| {
            let (Lost { from, until }, because) = lost(&log, known).expect("it can be read");
            assert!(because.is_none_or(|because| because.contains(" entries, by ")));
            (from, until)
        };
        assert_eq!(lost(&[]), (10, 10));
        assert_eq!(lost(&[had(10), had(4)]), (10, 10));
        assert_eq!(lost(&[had(10), unknown(14, false)]), (10, 14));
        assert_eq!(lost(&[had(10), other(14)]), (10, 14), "what is longer may go on from here");
        // Two logs grew out of one: what stays is another one from there on.
        assert_eq!(lost(&[had(4), other(7)]), (4, 7));
        assert_eq!(lost(&[had(4), had(6), other(10), other(12)]), (6, 12));
        assert_eq!(lost(&[had(4), unknown(7, true)]), (4, 7));
        assert_eq!(lost(&[other(7)]), (0, 7), "nobody says where they parted");
    }
}
