//! `holdpoint status`: how the gate is doing, as an operator wants to know it at the beginning of a shift.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use approver::api::types::{
    AlarmView, BucketView, Health, ReceiverView, RecipientView, SettingView, SettingsView, Status, TracesView,
    TrustView, WitnessView, WitnessedView,
};
use indicatif::HumanBytes;

use super::gate::{ProfileArg, at_gate};
use super::showing::{Clock, counted, labelled, plain, span, table};
use super::{Done, Failure, print_json};
use crate::config::{Config, Origin};
use crate::{browsers, client};

/// How the gate is doing: board, journal, recorder, what runs and what waits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Instead, what its configuration says: every setting that counts, and where it comes from.
    #[arg(long)]
    settings: bool,
    /// Whether it can let new sessions in, asked at the machine itself without signing in: for whatever looks after programs
    /// there. Exit code 1 if it cannot, 3 if it does not answer.
    #[arg(long, conflicts_with = "settings")]
    local: bool,
    /// The gate's configuration, for --local; ca.pem lies beside it.
    #[arg(long, value_name = "FILE", requires = "local", default_value = "holdpoint.toml")]
    config: PathBuf,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    if args.local {
        return health(args);
    }
    if args.settings {
        return settings(args, profile);
    }
    at_gate(profile, async |client| {
        let status: Status = client.get("/api/v1/status").await?;
        if args.json {
            return print_json(&status);
        }
        tell(&status, &Clock::of(client));
        // Who signed in by key alone is told the rest, and not this.
        if let Ok(trust) = client.get::<TrustView>("/api/v1/trust").await {
            // Whole, to be pasted.
            trust.ssh_ca.lines().for_each(|line| say!("ssh CA       {}", plain(line)));
        }
        Ok(())
    })
}

fn health(args: &Args) -> Done {
    let config = Config::load(&args.config).map_err(Failure::usage)?;
    let ca = args.config.with_file_name(browsers::CA);
    let ca_pem = fs::read_to_string(&ca).map_err(|cause| {
        Failure::usage(format_args!("{}: {cause}. The gate gives it at /api/v1/ca.pem", ca.display()))
    })?;
    let Some((origin, listens)) = pages(&config) else {
        return Err(Failure::usage(
            "no pages are shown at this node, which alone could tell: ask another one, or systemctl",
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let healthy = runtime.block_on(client::is_healthy(origin, reached(listens), &ca_pem))?;
    if args.json {
        print_json(&Health { healthy })?;
    }
    match healthy {
        true if args.json => Ok(()),
        true => {
            say!("The gate can let new sessions in.");
            Ok(())
        }
        false => Err(Failure::refused("the gate lets no new session in: `holdpoint status` says why")),
    }
}

/// A face of this node's that has pages, and where it listens.
fn pages(config: &Config) -> Option<(&Origin, SocketAddr)> {
    let plant = config.plant.listen.first().map(|listens| (&config.plant.origin, *listens));
    let vendor = &config.vendor;
    plant.or_else(|| vendor.pages.iter().chain(&vendor.listen).next().map(|listens| (&vendor.origin, *listens)))
}

/// What listens on every address is reached on this machine's own.
fn reached(listens: SocketAddr) -> SocketAddr {
    let loopback = match listens.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    if listens.ip().is_unspecified() { SocketAddr::new(loopback, listens.port()) } else { listens }
}

fn settings(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let settings: SettingsView = client.get("/api/v1/settings").await?;
        if args.json {
            return print_json(&settings);
        }
        let rows: Vec<_> = settings.settings.iter().map(row).collect();
        table(["SETTING", "COUNTS", "BECAUSE"], &rows);
        Ok(())
    })
}

fn row(SettingView { key, value, written, waits }: &SettingView) -> [String; 3] {
    let because = match (written, waits) {
        (_, true) => "of the start; the file says something else by now: RESTART",
        (true, false) => "the file says so",
        (false, false) => "the file says nothing",
    };
    let value = if value.is_empty() { "none".to_owned() } else { plain(value) };
    [plain(key), value, because.to_owned()]
}

fn tell(status: &Status, clock: &Clock) {
    labelled("board", if status.red { "RED" } else { "green" });
    for reason in &status.because {
        labelled("", &plain(reason));
    }
    labelled("live", &counted(status.live, "session"));
    labelled("waiting", &counted(status.pending, "request"));
    labelled("cuts", &format!("{} standing", counted(status.cuts, "cut")));
    let head = &status.journal;
    labelled("journal", &format!("{} entries, head {} ({})", head.size, head.root, certs::words::of(&head.root)));
    labelled(
        "",
        &match &status.witnessed {
            Some(WitnessedView { size, age_seconds, witness, .. }) => {
                let who = witness
                    .as_ref()
                    .map_or_else(|| "a signature".to_owned(), |name| format!("the witness {}", plain(name)));
                format!("{who} remembers the first {size} of them, since {}", span(*age_seconds))
            }
            None => "nobody else remembers any of it yet".to_owned(),
        },
    );
    for WitnessView { name, journal, records, at, trouble } in &status.witnesses {
        let held =
            format!("{} entries of the journal, {} of the recordings", journal.unwrap_or(0), records.unwrap_or(0));
        let since = at.map_or_else(
            || "never asked with success".to_owned(),
            |at| format!("cosigned {held}, {}", clock.moment(at)),
        );
        let trouble =
            trouble.as_deref().map(|why| format!("DOES NOT COSIGN: {}. Last: ", plain(why))).unwrap_or_default();
        labelled("witness", &format!("{}: {trouble}{since}", plain(name)));
    }
    if let Some(bucket) = &status.bucket {
        labelled("bucket", &in_the_bucket(bucket, clock));
        for why in &bucket.locked {
            labelled("", &format!("erased, and still there: {}", plain(why)));
        }
    }
    if let Some(down) = status.journal_down_seconds {
        labelled("", &format!("does not answer since {}", span(down)));
    }
    if status.late > 0 || status.lost > 0 {
        labelled("", &format!("{} facts wait to be journaled, {} were lost", status.late, status.lost));
    }
    match &status.recorder {
        None => labelled("recorder", "none on this node"),
        Some(recorder) => {
            let fault = recorder.fault.as_deref().map_or_else(|| "records".to_owned(), plain);
            labelled("recorder", &format!("{fault}, {} open", counted(recorder.open, "recording")));
            if let (Some(free), Some(reserve)) = (recorder.free_bytes, recorder.reserve_bytes) {
                labelled("", &format!("{} free, nobody new is let in below {}", HumanBytes(free), HumanBytes(reserve)));
            }
        }
    }
    for AlarmView { alarm, text, since, .. } in &status.alarms {
        labelled("alarm", &format!("{}: {}, since {}", plain(alarm), plain(text), clock.moment(*since)));
    }
    for ReceiverView { name, behind, missed, trouble } in &status.feed {
        let missed = if *missed > 0 { format!(", misses {missed} for good") } else { String::new() };
        let trouble = trouble.as_deref().map(|why| format!(". TAKES NOTHING: {}", plain(why))).unwrap_or_default();
        labelled("feed", &format!("{}: {} to come{missed}{trouble}", plain(name), counted(*behind as usize, "event")));
    }
    if let Some(traces) = &status.traces {
        labelled("traces", &at_the_collector(traces, clock));
    }
    for recipient in &status.recipients {
        labelled("opened by", &opened_by(recipient, clock));
    }
    for secret in &status.secrets {
        labelled("secret", &plain(&secret.text));
    }
    labelled(
        "plant file",
        &status.plant.map_or_else(|| "none in force".to_owned(), |digest| certs::words::of(&digest)),
    );
    labelled("keys", &plain(&status.seal));
    for key in &status.keys {
        labelled("", &plain(&key.text));
    }
    labelled("gate", &format!("{} of {}, version {}", status.node, status.deployment, plain(&status.version)));
    labelled("its clock", &clock.moment(status.now).to_string());
}

fn in_the_bucket(bucket: &BucketView, clock: &Clock) -> String {
    let brought = format!("{} brought there since the start", counted(bucket.deposited as usize, "recording"));
    let oldest = bucket.oldest.map(|at| format!(", the oldest of {}", clock.moment(at))).unwrap_or_default();
    let waiting = counted(bucket.waiting as usize, "recording");
    let waiting = format!("{waiting} with {} wait{oldest}", HumanBytes(bucket.waiting_bytes));
    match &bucket.trouble {
        Some(why) => format!("NOT ALL IS BROUGHT THERE: {}. {waiting}. {brought}", plain(why)),
        None if bucket.waiting > 0 => format!("{brought}. {waiting}"),
        None => brought,
    }
}

fn at_the_collector(TracesView { collector, taken, at, lost, trouble }: &TracesView, clock: &Clock) -> String {
    let last = at.map(|at| format!(", the last {}", clock.moment(at))).unwrap_or_default();
    let lost = if *lost > 0 { format!(", {lost} lost") } else { String::new() };
    let trouble = trouble.as_deref().map(|why| format!(". TAKES NOT ALL: {}", plain(why))).unwrap_or_default();
    format!("{} took {}{last}{lost}{trouble}", plain(collector), counted(*taken as usize, "span"))
}

/// A key to which recordings are encrypted, and whether anybody still has it.
fn opened_by(RecipientView { recipient, name, since, used, forgotten }: &RecipientView, clock: &Clock) -> String {
    let name = name.as_deref().map(|name| format!(" ({})", plain(name))).unwrap_or_default();
    let tried = match used {
        Some(used) => format!("tried last {}", clock.moment(*used)),
        None => format!("never tried since it was named, {}", clock.moment(*since)),
    };
    let remedy = ". NOT FOR A YEAR: whoever has it runs `holdpoint verify --rehearse --key FILE --tell`";
    format!("{recipient}{name}: {tried}{}", if *forgotten { remedy } else { "" })
}
