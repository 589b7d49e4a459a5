//! `holdpoint keys`: the gate's own keys, and how they are renewed while sessions go on. It works on the folder of keys itself,
//! on the gate's machine; a gate that runs reads it anew when it is told to reload.

use std::path::{Path, PathBuf};

use certs::keys::folder::{KeyFolder, NotRenewed, put, remove};
use certs::keys::{KeyFault, KeyStore, Seal};
use certs::ring::{Member, Ring, RingName};
use certs::tls::{CaFingerprint, authorities};
use jiff::{SignedDuration, Timestamp};
use policies::state::Link;
use recordings::pack::state_of;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::showing::table;
use super::{Done, Failure, print_json};
use crate::browsers;
use crate::config::{Config, SealWord};
use crate::secret::{ask_hidden, open_seal};
use crate::vault::unguarded;

/// The gate's own keys, on its machine: what signs, what will, and what did and is believed still. Without a command it lists
/// them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The gate's configuration.
    #[arg(long, value_name = "FILE", global = true, default_value = "holdpoint.toml")]
    config: PathBuf,
    /// For machines.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make the next key of ssh-ca, tls-ca, ssh-host or token: it is announced and believed, and signs nothing yet.
    Renew {
        /// Which.
        #[arg(value_name = "KEY")]
        key: RingName,
    },
    /// Have the next key sign; the one that did is believed still.
    Switch {
        /// Which.
        #[arg(value_name = "KEY")]
        key: RingName,
        /// Even if the next key is less than an hour old, so that hardly anybody can have it: for a key that was stolen.
        #[arg(long)]
        now: bool,
    },
    /// Forget the last key: nothing that it signed counts any more.
    Forget {
        /// Which.
        #[arg(value_name = "KEY")]
        key: RingName,
        /// Instead, forget the next key, which never signed anything.
        #[arg(long)]
        next: bool,
    },
    /// Seal the same keys otherwise, under a new sealing key.
    Seal {
        /// What is to open them: a passphrase is asked for.
        #[arg(long, value_name = "SEAL", value_enum)]
        to: SealWord,
        /// The credential in the clear, as it was given to systemd-creds.
        #[arg(long, value_name = "FILE", required_if_eq("to", "systemd-credential"))]
        credential: Option<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> Done {
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    if args.what.is_some() {
        guarded(&config)?;
    }
    let seal = open_seal(config.seal).map_err(Failure::failed)?;
    let folder = KeyFolder::open(&config.keys, &seal).map_err(Failure::failed)?;
    let opened = || KeyStore::open(&config.keys, &seal).map_err(Failure::failed);
    let (deed, key) = match &args.what {
        None => return list(&opened()?, args.json),
        Some(What::Seal { to, credential }) => return reseal(&folder, *to, credential.as_deref(), args),
        Some(What::Renew { key }) => (folder.renew(*key).map(|()| Deed::Renewed), *key),
        Some(What::Switch { key, now }) => {
            may_switch(*key, *now, &opened()?, &config)?;
            (folder.switch(*key).map(|()| Deed::Switched), *key)
        }
        Some(What::Forget { key, next: false }) => (folder.forget(*key).map(|()| Deed::Forgotten), *key),
        Some(What::Forget { key, next: true }) => (folder.forget_next(*key).map(|()| Deed::NextForgotten), *key),
    };
    let (deed, keys) = (deed.map_err(not_renewed)?, opened()?);
    if key == RingName::TlsCa {
        put_beside(&config, &keys)?;
    }
    let ring = &ring_of(&keys, key);
    if args.json {
        return print_json(&told(key, ring, &keys));
    }
    tell(&deed, key, ring, &keys, &config);
    Ok(())
}

/// Whoever could put a link in the way of root would have root write where it leads.
fn guarded(config: &Config) -> Done {
    let around = config.keys.parent().unwrap_or(Path::new(".")).canonicalize();
    let of_others = around.and_then(|around| unguarded::on_the_way_to(&around, [0, 0])).map_err(Failure::failed)?;
    match of_others.filter(|_| geteuid().is_root()) {
        None => Ok(()),
        Some(path) => Err(Failure::refused(format_args!(
            "{} can be changed by another account, and root does not write there: type it as the account that owns the keys, with \
             `runuser -u ACCOUNT -- holdpoint keys`",
            path.display()
        ))),
    }
}

fn ring_of(keys: &KeyStore, key: RingName) -> Ring<String> {
    keys.rings().into_iter().find_map(|(name, ring)| (name == key).then_some(ring)).expect("each key has a ring")
}

/// A key that hardly anybody can have yet is not switched to by mistake.
const ANNOUNCED_MIN: SignedDuration = SignedDuration::from_hours(1);

fn may_switch(key: RingName, now: bool, keys: &KeyStore, config: &Config) -> Done {
    if key == RingName::TlsCa && !now && !keys.tls_ca().has_signed_next(Timestamp::now()) {
        return Err(Failure::refused(
            "the next key of tls-ca is not signed by the one of now, as if an earlier version of the program had made it: Holdpoint's \
             commands would not take it over, and be kept out. Make another: `holdpoint keys forget tls-ca --next`, then `holdpoint \
             keys renew tls-ca`. If the one of now was stolen: `holdpoint keys switch tls-ca --now`",
        ));
    }
    let ring = ring_of(keys, key);
    let is_young = |next: &Member<String>| Timestamp::now().duration_since(next.since) < ANNOUNCED_MIN;
    if key != RingName::Token && !now && ring.next.as_ref().is_some_and(is_young) {
        return Err(Failure::refused(format_args!(
            "the next key of {key} was made less than an hour ago: {}. Whoever does not know it by then is kept out. If the one of \
             now was stolen: `holdpoint keys switch {key} --now`",
            believed_by(key)
        )));
    }
    if key == RingName::TlsCa && codes(config)?.iter().any(|link| link.by.is_none()) {
        return Err(Failure::refused(
            "somebody of the first people has not enrolled, and the code that `init` printed for them names the authority of now: \
             have them enrol first, or `holdpoint disable` them",
        ));
    }
    Ok(())
}

/// What was done.
enum Deed {
    Renewed,
    Switched,
    Forgotten,
    NextForgotten,
}

fn not_renewed(not: NotRenewed) -> Failure {
    match not {
        NotRenewed::Keys(fault) => Failure::failed(fault),
        refused => Failure::refused(refused),
    }
}

#[derive(serde::Serialize)]
struct Told {
    key: RingName,
    now: One,
    next: Option<One>,
    last: Option<One>,
    /// What people and machines are given, where there is something.
    announced: Option<String>,
}

#[derive(serde::Serialize)]
struct One {
    fingerprint: String,
    since: Timestamp,
}

fn told(key: RingName, ring: &Ring<String>, keys: &KeyStore) -> Told {
    let one = |member: &Member<String>| One { fingerprint: member.key.clone(), since: member.since };
    let announced = match key {
        RingName::SshCa => Some(keys.ssh_ca().known_hosts_lines()),
        RingName::TlsCa => Some(keys.tls_ca().authorities_pem()),
        RingName::SshHost | RingName::Token => None,
    };
    Told { key, now: one(&ring.now), next: ring.next.as_ref().map(one), last: ring.last.as_ref().map(one), announced }
}

fn list(keys: &KeyStore, json: bool) -> Done {
    let rings = keys.rings();
    if json {
        let all: Vec<_> = rings.iter().map(|(name, ring)| told(*name, ring, keys)).collect();
        return print_json(&serde_json::json!({ "keys": all }));
    }
    let row = |name: RingName, place: &str, member: &Member<String>| {
        [name.to_string(), place.to_owned(), member.key.clone(), format!("{:.0}", member.since)]
    };
    let rows: Vec<_> = rings
        .iter()
        .flat_map(|(name, ring)| {
            let beside = [("next", &ring.next), ("last", &ring.last)];
            let beside = beside.into_iter().filter_map(|(place, member)| Some(row(*name, place, member.as_ref()?)));
            [row(*name, "signs", &ring.now)].into_iter().chain(beside).collect::<Vec<_>>()
        })
        .collect();
    table(["KEY", "IS", "FINGERPRINT", "SINCE"], &rows);
    say!();
    for (name, ring) in &rings {
        say!("{name:9} {}.\n          {}.", believed_by(*name), next_step(*name, ring));
    }
    say!(
        "\nThe logs' key and the one that seals secrets are not renewed: the first is the logs' identity, the second opens what the \
         directory keeps. docs/administrator.md, \"New keys\", says what to do if they were stolen."
    );
    Ok(())
}

/// Who has to know of it.
const fn believed_by(name: RingName) -> &'static str {
    match name {
        RingName::SshCa => "technicians have it in known_hosts, machines in the file that TrustedUserCAKeys names",
        RingName::TlsCa => "browsers and programs that reach the gate by TLS trust it",
        RingName::SshHost => "whoever compares fingerprints (PuTTY, WinSCP) or pins host keys knows it",
        RingName::Token => "nobody outside the gate knows it",
    }
}

/// Where the last key is still believed after the gate forgot it.
const fn elsewhere(name: RingName) -> &'static str {
    match name {
        RingName::SshCa => {
            "Machines that have it in the file of TrustedUserCAKeys go on letting in whoever has it, past the gate, until its line is \
             taken out there; technicians take its line out of known_hosts."
        }
        RingName::TlsCa => {
            "Browsers and programs believe it until it is taken out there: programs that were given ca.pem are given it again."
        }
        RingName::SshHost => "Whoever pinned it takes it out.",
        RingName::Token => "Nobody else has it.",
    }
}

/// How long what it signed lasts.
const fn needed_for(name: RingName) -> &'static str {
    match name {
        RingName::SshCa => "an hour",
        RingName::TlsCa => "a quarter of an hour",
        RingName::SshHost => "no time",
        RingName::Token => "ten minutes",
    }
}

fn next_step(name: RingName, ring: &Ring<String>) -> String {
    match (&ring.next, &ring.last) {
        (_, Some(_)) => format!(
            "What the last key signed is needed for {} after the switch, on every node: then `holdpoint keys forget {name}`",
            needed_for(name)
        ),
        (Some(_), None) => format!("Once all have the next key: `holdpoint keys switch {name}`"),
        (None, None) => format!("`holdpoint keys renew {name}` makes the next one"),
    }
}

fn tell(deed: &Deed, key: RingName, ring: &Ring<String>, keys: &KeyStore, config: &Config) {
    let fingerprint =
        |member: &Option<Member<String>>| member.as_ref().map_or("", |member| member.key.as_str()).to_owned();
    match deed {
        Deed::Renewed => {
            say!("The next key of {key} is {}.\n", fingerprint(&ring.next));
            hand_out(key, keys);
        }
        Deed::Switched => {
            say!("{key} signs with {} from the next reload on.", ring.now.key);
            say!("{} signed before, and is believed still.", fingerprint(&ring.last));
            if key == RingName::TlsCa {
                let open = codes(config).map_or_else(|_| "unknown".to_owned(), |codes| codes.len().to_string());
                say!("After the reload `holdpoint enrol` takes no code that was made before. Not used yet: {open}.");
                say!("`holdpoint people` says who has not enrolled, and `holdpoint reinvite` makes another.");
            }
        }
        Deed::Forgotten => {
            say!("Nothing that the last key of {key} signed counts here from the next reload on.");
            say!("{}", elsewhere(key));
        }
        Deed::NextForgotten => say!("The next key of {key} is gone. Whoever was told of it takes it away again."),
    }
    say!("\nIt counts once the gate has read its keys anew, and nobody's session ends:\n");
    say!("  systemctl reload holdpoint        (SIGHUP)\n");
    say!("{}.", next_step(key, ring));
}

/// Enrolment codes that nobody has used yet, by the journal in the data folder.
fn codes(config: &Config) -> Result<Vec<Link>, Failure> {
    let now = Timestamp::now();
    let state = state_of(&config.store.data).map_err(Failure::failed)?;
    Ok(state.links.into_values().filter(|link| now < link.expires).collect())
}

/// What is given to whom, now that there is a next one.
fn hand_out(key: RingName, keys: &KeyStore) {
    let listed = |lines: String| lines.lines().for_each(|line| say!("  {line}"));
    match key {
        RingName::SshCa => {
            say!("Technicians have both lines in known_hosts (`holdpoint login` and the lobby show them, too):\n");
            listed(keys.ssh_ca().known_hosts_lines());
            say!("\nMachines have both in the file that TrustedUserCAKeys names:\n");
            listed(keys.ssh_ca().trusted_user_ca_keys());
        }
        RingName::TlsCa => {
            say!(
                "Beside the configuration are {}, with all that is believed, and {}.",
                browsers::CA,
                browsers::CA_NEXT
            );
            say!(
                "Browsers that go by the gate's own authority are given the second, beside what they have ({}).",
                browsers::STEPS
            );
            say!(
                "Programs that were given {} are given it again. Holdpoint's own take it over when somebody signs",
                browsers::CA
            );
            say!("in, and `connect` every minute: wait until all have done so.");
        }
        RingName::SshHost => {
            say!(
                "Whoever compares fingerprints is told it beside the one of now. Who goes by the @cert-authority line"
            );
            say!("notices nothing.");
        }
        RingName::Token => say!("Nobody has to be told; with several nodes, all of them have it before one switches."),
    }
}

/// What was given to browsers and programs lies beside the configuration, as it is now.
fn put_beside(config: &Config, keys: &KeyStore) -> Done {
    let ca = keys.tls_ca();
    let mut steps = browsers::steps(&config.plant, &ca.fingerprint().to_string());
    let next = ca.next_pem();
    if let Some(next) = next.as_deref().and_then(|pem| authorities(pem).ok()).and_then(|all| all.into_iter().next()) {
        steps.push_str(&browsers::steps_to_the_next(&CaFingerprint::of(&next).to_string()));
    }
    let path = |name| config.keys.with_file_name(name);
    let readable = |name, text: &str| put(&path(name), text.as_bytes(), 0o644);
    let all =
        readable(browsers::CA, &ca.authorities_pem()).and_then(|()| readable(browsers::STEPS, &steps)).and_then(|()| {
            match &next {
                Some(pem) => readable(browsers::CA_NEXT, pem),
                None => remove(&path(browsers::CA_NEXT)),
            }
        });
    all.map_err(|cause: KeyFault| {
        Failure::failed(format_args!(
            "the key is changed, but {} could not be written: {cause}. After the reload the gate gives it at /api/v1/ca.pem",
            path(browsers::CA).display()
        ))
    })
}

fn reseal(folder: &KeyFolder, to: SealWord, credential: Option<&Path>, args: &Args) -> Done {
    let seal = match (to, credential) {
        (SealWord::SystemdCredential, Some(path)) => Seal::SystemdCredential(path.to_owned()),
        (SealWord::Passphrase, _) => Seal::Passphrase(new_passphrase()?),
        (other, _) => open_seal(other).map_err(Failure::usage)?,
    };
    let left = folder.seal(&seal).map_err(Failure::failed)?;
    if args.json {
        print_json(&serde_json::json!({ "seal": to.as_str() }))?;
    } else {
        say_sealed(to, &seal, args);
    }
    left.map_or(Ok(()), |fault| {
        Err(Failure::failed(format_args!(
            "the keys are sealed anew, and the end of it failed: {fault}. As they were sealed before, they may lie there still, and count \
             again after a loss of power: keep what opened them then, too, and type this once more"
        )))
    })
}

fn say_sealed(to: SealWord, seal: &Seal, args: &Args) {
    say!("The same keys are sealed anew. Now write into {}, under [keys]:\n", args.config.display());
    say!("  seal = {:?}\n", to.as_str());
    say!(
        "and restart the gate when it suits, with its vault: until then it goes on with what it opened, and reads no keys anew."
    );
    say!("A thief of the disk: {}.", seal.word());
    say!("Keep what opens it now apart from the backups: from the next one on, what opened them before does not.");
    say!(
        "What was on the disk before may be found there still, as in older backups: whoever had it and what opened it has these keys."
    );
}

fn new_passphrase() -> Result<Zeroizing<String>, Failure> {
    let passphrase = ask_hidden("New passphrase of the gate's keys: ").map_err(Failure::usage)?;
    let again = ask_hidden("The same again: ").map_err(Failure::usage)?;
    if again.is_empty() || again != passphrase {
        return Err(Failure::usage("the two are not the same, or empty: nothing was changed"));
    }
    Ok(passphrase)
}
