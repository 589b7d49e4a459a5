//! The program around an [`App`](crate::app::App): hardened, logging through one redactor, running until it is told to
//! stop. What it serves is put together in `app`.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use certs::keys::KeyFault;
use certs::ring::RingName;
use certs::vault::{Line, VaultFault};
use futures::future::{BoxFuture, Fuse, FusedFuture as _, FutureExt as _};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::App;
use crate::app::reloading::Reloaded;
use crate::config::Config;
use crate::service_manager::ServiceManager;

/// Keeps secrets out of core dumps and out of other processes' reach, and lets the program open as many sockets as the
/// system allows it. To be called first, before any secret is read. What the kernel refuses is logged, not fatal.
pub fn harden() {
    let refused = |what: &'static str| move |error| tracing::warn!(%error, what, "the kernel allows no such hardening");
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).unwrap_or_else(refused("no core dumps"));
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .unwrap_or_else(refused("no reading of our memory"));
    let files = rustix::process::getrlimit(Resource::Nofile);
    let all = Rlimit { current: files.maximum, maximum: files.maximum };
    rustix::process::setrlimit(Resource::Nofile, all).unwrap_or_else(refused("more open files"));
}

/// How the log is written, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object in a line.
    Json,
}

/// Begins logging. `filter` is as `tracing` understands it, such as `debug` or `proxy=debug`; libraries that see typed
/// bytes never say more than warnings, whatever it says.
pub fn log(form: LogForm, filter: Option<&str>) {
    let mut wanted =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(filter.unwrap_or(""));
    for quiet in ["russh=warn", "russh_sftp=warn", "sled=warn", "hyper=warn", "rustls=warn"] {
        wanted = wanted.add_directive(quiet.parse().expect("a directive"));
    }
    let begun = tracing_subscriber::registry().with(Redactor { form }.with_filter(wanted)).try_init();
    if begun.is_err() {
        tracing::debug!("logging had begun before");
    }
}

/// The one thing between an event and the log. Fields that could hold what people typed, named or proved themselves with
/// are left out by their names; all others are cut short, and stripped of whatever could act on a terminal.
struct Redactor {
    form: LogForm,
}

/// Whatever is in a field of such a name is told as `[redacted]`.
const REDACTED: [&str; 17] = [
    "bytes",
    "code",
    "codes",
    "command",
    "exec",
    "file",
    "file_name",
    "input",
    "key",
    "line",
    "passphrase",
    "password",
    "path",
    "secret",
    "text",
    "token",
    "typed",
];
/// Longer values are no help to anybody.
const VALUE_CHARS_MAX: usize = 500;

impl<S: Subscriber> Layer<S> for Redactor {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target, at) = (event.metadata().level(), event.metadata().target(), jiff::Timestamp::now());
        let line = match self.form {
            LogForm::Text => fields.in_text(*level, target, at),
            LogForm::Json => fields.in_json(*level, target, at),
        };
        // Nobody is left to be told that the log cannot be written.
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: &dyn fmt::Display) {
        match field.name() {
            "message" => self.message = harmless(&value.to_string()),
            name if REDACTED.contains(&name) => self.others.push((name, "[redacted]".to_owned())),
            name => self.others.push((name, harmless(&value.to_string()))),
        }
    }

    fn in_text(&self, level: Level, target: &str, at: jiff::Timestamp) -> String {
        let fields = fmt::from_fn(|f| self.others.iter().try_for_each(|(name, value)| write!(f, " {name}={value:?}")));
        format!("{at:.3} {level:5} {target}: {}{fields}\n", self.message)
    }

    fn in_json(&self, level: Level, target: &str, at: jiff::Timestamp) -> String {
        let mut object = serde_json::Map::new();
        let others = self.others.iter().map(|(name, value)| (*name, value.clone()));
        let own = [
            ("timestamp", format!("{at:.3}")),
            ("level", level.to_string()),
            ("target", target.to_owned()),
            ("message", self.message.clone()),
        ];
        // Ours last: no field of an event passes for one of them.
        object.extend(others.chain(own).map(|(name, value)| (name.to_owned(), value.into())));
        if let Some(trace) = approver::spans::trace_id() {
            object.insert("trace_id".to_owned(), trace.into());
        }
        format!("{}\n", serde_json::Value::Object(object))
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format_args!("{value:?}"));
    }
}

/// One line that does nothing to a terminal.
fn harmless(value: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    value.chars().take(VALUE_CHARS_MAX).map(shown).collect()
}

/// How long a stop takes at most once nobody is waited for any more: every session ends in order and is sealed. What service
/// managers wait for by default is half as long again.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);
/// What is closed after all sessions ended takes a moment, too.
const LAST_MOMENT: Duration = Duration::from_secs(15);

/// Runs an app until the system asks it to stop (SIGTERM or SIGINT). Then it waits for those who are at work, as long as the
/// configuration says, or until it is asked again; every session that is left ends in order and is sealed. Asked to (SIGHUP), it
/// reads the file at `config` again. Whoever manages the service is told.
///
/// # Errors
/// Signals cannot be received; or whoever holds the keys is gone, with which the gate stopped as with any fault.
pub async fn until_told(mut app: App, config: &Path, vault: &Line) -> std::io::Result<()> {
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut told = Box::pin(told_to_stop()?);
    let manager = ServiceManager::from_environment();
    let serving = async {
        manager.serves();
        // Beside everything else: a vault that hangs keeps no signal from being heard.
        let mut reading: Fuse<BoxFuture<'static, ReadAgain>> = Fuse::terminated();
        loop {
            tokio::select! {
                () = &mut told => break,
                () = app.keys_lost() => {
                    manager.stops(SHUTDOWN_MAX + LAST_MOMENT);
                    Box::pin(app.shutdown(SHUTDOWN_MAX)).await;
                    return Err(std::io::Error::other("the process that holds the gate's keys is gone"));
                }
                Some(()) = hung_up.recv(), if reading.is_terminated() => {
                    manager.reloads();
                    reading = read_again(app.reload_keys(), vault.clone()).boxed().fuse();
                }
                ReadAgain { keys, configuration } = &mut reading => {
                    // The keys and the configuration are two things, and what is wrong with one keeps the other from nothing.
                    match keys.and(Box::pin(reload(&mut app, config, configuration)).await) {
                        Ok(()) => manager.serves(),
                        Err(refused) => manager.serves_as_before(&refused),
                    }
                }
            }
        }
        let drain = app.config().drain;
        manager.stops(drain + SHUTDOWN_MAX + LAST_MOMENT);
        let again = told_to_stop()?;
        tokio::select! {
            () = app.drain(drain) => {}
            () = again => tracing::info!("told again: nobody is waited for any more"),
        }
        Box::pin(app.shutdown(SHUTDOWN_MAX)).await;
        Ok(())
    };
    manager.alive_during(serving).await
}

/// What was read again, or why not.
struct ReadAgain {
    /// They count from now on.
    keys: Result<(), String>,
    /// The text of the file.
    configuration: Result<String, String>,
}

async fn read_again(keys: impl Future<Output = Result<Vec<RingName>, KeyFault>>, vault: Line) -> ReadAgain {
    let keys = match keys.await {
        Ok(changed) => {
            let changed: Vec<_> = changed.iter().map(|name| name.as_str()).collect();
            tracing::info!(?changed, "the keys were read again");
            Ok(())
        }
        Err(fault) => {
            let no_answer = matches!(fault, KeyFault::Vault(VaultFault::Gone(_)));
            let but = if no_answer { "; the vault may have turned to others: reload again after a minute" } else { "" };
            tracing::error!(%fault, "the gate's keys stay as they were{but}");
            Err(fault.to_string())
        }
    };
    // A file that was put in place of another can be read by the vault alone, because the keys lie beside it.
    let read = tokio::task::spawn_blocking(move || vault.configuration()).await;
    let configuration = read.map_err(|died| died.to_string()).and_then(|text| text.map_err(|fault| fault.to_string()));
    ReadAgain { keys, configuration }
}

/// What is wrong with the file is logged, a line for each mistake, and given; then everything stays as it was.
async fn reload(app: &mut App, config: &Path, text: Result<String, String>) -> Result<(), String> {
    let refused = |why: String| {
        why.lines().for_each(|mistake| tracing::error!(mistake, "the configuration stays as it was"));
        why
    };
    let new = Config::of_file(config, &text.map_err(refused)?).map_err(|fault| refused(fault.to_string()))?;
    let Reloaded { taken, waiting } = app.reload(new).await.map_err(|fault| refused(fault.to_string()))?;
    tracing::info!(?taken, "the configuration was read again");
    if !waiting.is_empty() {
        tracing::warn!(?waiting, "these keys count once the gate was restarted; until then as before");
    }
    Ok(())
}

/// Ends when the system asks this program to stop (SIGTERM or SIGINT); it listens from the call on.
///
/// # Errors
/// Signals cannot be received.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop (SIGTERM)"),
            _ = interrupt.recv() => tracing::info!("told to stop (SIGINT)"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Collects what the redactor would write.
    struct Collector(Arc<Mutex<Vec<String>>>, LogForm);

    impl<S: Subscriber> Layer<S> for Collector {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let at = jiff::Timestamp::UNIX_EPOCH;
            let line = match self.1 {
                LogForm::Text => fields.in_text(*event.metadata().level(), "here", at),
                LogForm::Json => fields.in_json(*event.metadata().level(), "here", at),
            };
            self.0.lock().expect("not poisoned").push(line);
        }
    }

    fn logged(form: LogForm, log: impl FnOnce()) -> String {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Collector(lines.clone(), form)), log);
        lines.lock().expect("not poisoned").concat()
    }

    #[test]
    fn what_people_typed_or_proved_themselves_with_is_in_no_log() {
        for form in [LogForm::Text, LogForm::Json] {
            let line = logged(form, || {
                tracing::info!(command = "rm -rf /", code = 123_456, token = ?"eyJ", path = "/home/x", session = "s_1", "ran");
            });
            for secret in ["rm -rf", "123456", "eyJ", "/home"] {
                assert!(!line.contains(secret), "{line}");
            }
            assert!(line.contains("s_1") && line.contains("[redacted]"), "{line}");
        }
    }

    #[test]
    fn a_stranger_cannot_write_lines_or_fields_of_the_log() {
        let name = "x\u{1b}]0;owned\u{7}\n1970-01-01T00:00:00.000Z INFO here: fine";
        let line = logged(LogForm::Text, || tracing::warn!(name, "unknown"));
        assert!(!line.contains('\u{1b}') && line.lines().count() == 1, "{line:?}");
        let line = logged(LogForm::Json, || tracing::warn!(level = "INFO", name, "unknown"));
        let object: serde_json::Value = serde_json::from_str(&line).expect("one object");
        assert_eq!((&object["level"], &object["message"]), (&"WARN".into(), &"unknown".into()));
    }

    #[test]
    fn a_line_for_people_is_short() {
        let line = logged(LogForm::Text, || tracing::info!(session = "s_1", ending = "left", "session ended"));
        assert_eq!(line, "1970-01-01T00:00:00.000Z INFO  here: session ended session=\"s_1\" ending=\"left\"\n");
        assert!(logged(LogForm::Text, || tracing::info!("{}", "x".repeat(9_999))).len() < 600);
    }
}
