//! Every setting of `holdpoint.toml` that counts, under the name of its key: as the file writes it, or as it is where the file
//! says nothing. Here they are told and compared; what one means is `config`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use approver::api::types::SettingView;
use toml::{Table, Value};

/// What counts where the file does not have the key.
const DEFAULTS: [(&str, &str); 14] = [
    ("faces.plant.elsewhere", "false"),
    ("faces.vendor.elsewhere", "false"),
    ("faces.vendor.listen", ""),
    ("faces.vendor.pages", ""),
    ("faces.vendor.passwords", "false"),
    ("faces.vendor.tls", ""),
    ("feed.spool", "64 MiB"),
    ("keys.vault", "child"),
    ("serve.drain", "0s"),
    ("store.data", "data"),
    ("store.journal", "files"),
    ("store.recordings", "local"),
    ("store.reserve", "10 GiB"),
    ("store.witnesses", ""),
];

/// What counts in a table that the file has, in each of a list of them, where that does not have the key.
const DEFAULTS_WITHIN: [(&str, &str, &str); 6] = [
    ("notify.mail", "tls", "starttls"),
    ("oidc[]", "scopes", "profile, email"),
    ("oidc[].groups", "claim", "groups"),
    ("store.s3", "region", "us-east-1"),
    ("store.s3", "keep_local", "30d"),
    ("traces", "percent", "100"),
];

/// A program's arguments may hold a secret, so that only its name is told.
const PROGRAM: &str = "notify.command.run";

/// The settings of one file.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    written: BTreeMap<String, String>,
}

impl Settings {
    /// Of a file that was read without a mistake.
    pub(crate) fn of(text: &str) -> Self {
        let mut written = BTreeMap::new();
        gather("", &Value::Table(text.parse::<Table>().unwrap_or_default()), &mut written);
        Self { written }
    }

    /// The keys of which something else counts in the other file.
    pub(crate) fn changed_in<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let keys = self.written.keys().chain(other.written.keys()).map(String::as_str);
        keys.filter(|key| self.get(key) != other.get(key)).collect()
    }

    /// All of them, by key, without what could be a secret. Those among `waiting` count as they are told here only until the
    /// program starts anew.
    pub(crate) fn shown(&self, waiting: &BTreeSet<String>) -> Vec<SettingView> {
        let defaults = self.defaults();
        let keys = self.written.keys().chain(defaults.keys()).map(String::as_str);
        let keys: BTreeSet<&str> = keys.chain(waiting.iter().map(String::as_str)).collect();
        let view = |key: &str| SettingView {
            key: key.to_owned(),
            value: self.get(key).map_or_else(String::new, |value| without_secrets(key, value)),
            written: self.written.contains_key(key),
            waits: waiting.contains(key),
        };
        keys.into_iter().map(view).collect()
    }

    /// These, but with what the other file has of the keys under one of `taken`.
    pub(crate) fn with(&self, other: &Self, taken: &[&str]) -> Self {
        let is_taken = |key: &str| is_under(key, taken);
        let kept = self.written.iter().filter(|(key, _)| !is_taken(key));
        let new = other.written.iter().filter(|(key, _)| is_taken(key));
        Self { written: kept.chain(new).map(|(key, value)| (key.clone(), value.clone())).collect() }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.written.get(key).map(String::as_str).or_else(|| self.defaults().get(key).copied())
    }

    fn defaults(&self) -> BTreeMap<String, &'static str> {
        let mut all: BTreeMap<_, _> = DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        for key in self.written.keys() {
            for (kind, name, value) in DEFAULTS_WITHIN {
                if let Some(table) = table_of(key, kind) {
                    all.insert(format!("{table}.{name}"), value);
                }
            }
        }
        all
    }
}

/// There may be secrets among the values.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({} written)", self.written.len())
    }
}

/// Whether a key is one of these, or lies in one of them: `feed.file[1].path` under `feed.file`.
pub(crate) fn is_under(key: &str, these: &[&str]) -> bool {
    let lies_in = |of: &&str| key.strip_prefix(*of).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    these.iter().any(lies_in)
}

/// The table of this kind that a key lies in: `oidc[2].groups.wanted.fitters` in `oidc[2].groups`, of the kind `oidc[].groups`.
fn table_of<'a>(key: &'a str, kind: &str) -> Option<&'a str> {
    let plain = |text: &'a str| text.chars().filter(|c| !c.is_ascii_digit());
    let is_of_kind = |table: &&'a str| plain(table).eq(kind.chars().filter(|c| !c.is_ascii_digit()));
    key.match_indices('.').map(|(end, _)| &key[..end]).find(is_of_kind)
}

fn gather(key: &str, value: &Value, written: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                gather(&inner, value, written);
            }
        }
        Value::Array(entries) if entries.iter().any(Value::is_table) => {
            for (place, entry) in entries.iter().enumerate() {
                gather(&format!("{key}[{}]", place + 1), entry, written);
            }
        }
        plain => drop(written.insert(key.to_owned(), in_words(plain))),
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(entries) => entries.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Table(_) | Value::Datetime(_) => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
    }
}

/// An address is told as far as it says where: what stands before its host or behind it may be a secret.
fn without_secrets(key: &str, value: &str) -> String {
    if key == PROGRAM {
        return value.split_once(", ").map_or_else(|| value.to_owned(), |(program, _)| format!("{program} …"));
    }
    match value.split_once("://") {
        Some((scheme, rest)) => {
            let (place, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
            let behind = if behind.is_empty() || behind == "/" { "" } else { "/…" };
            format!("{scheme}://{host}{behind}")
        }
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const SHORT: &str = "[faces.vendor]\norigin = \"https://gate.mill3.example\"\nssh = [\"0.0.0.0:2222\"]\n\
        [faces.plant]\norigin = \"https://holdpoint.mill3.local\"\nlisten = [\"127.0.0.1:9443\"]\n\
        [store]\nrecipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\", \
        \"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg\"]\n[keys]\nseal = \"file\"\n";

    fn parsed(text: &str) -> Config {
        let wrong = |mistakes: policies::plant::Mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
        Config::parse(text, Path::new("/etc/holdpoint")).map_err(wrong).expect("right")
    }

    #[test]
    fn what_counts_by_default_is_what_the_program_does_then() {
        let told = |config: &Config| format!("{:?}", Config { settings: Settings::default(), ..config.clone() });
        let without = told(&parsed(SHORT));
        for (key, value) in DEFAULTS {
            let (table, name) = key.rsplit_once('.').expect("in a table");
            let value = match value {
                "" => "[]".to_owned(),
                "false" => value.to_owned(),
                text => format!("{text:?}"),
            };
            let line = format!("{name} = {value}\n");
            // No list of listeners may be empty that is written.
            if value == "[]" && table == "faces.vendor" {
                continue;
            }
            let header = format!("[{table}]\n");
            let text = match SHORT.contains(&header) {
                true => SHORT.replace(&header, &format!("{header}{line}")),
                false => format!("{SHORT}{header}{line}"),
            };
            assert_eq!(told(&parsed(&text)), without, "{line}");
        }
    }

    #[test]
    fn what_counts_by_default_within_a_table_is_told_where_there_is_one() {
        let text = format!(
            "{SHORT}[notify.mail]\nserver = \"mail.mill3.example:587\"\nfrom = \"gate@mill3.example\"\n\
             to = [\"all@mill3.example\"]\n[[oidc]]\nname = \"mill\"\ntitle = \"Mill 3\"\n\
             issuer = \"https://login.mill3.example\"\nclient = \"gate\"\nvendor = \"acme\"\n\
             groups = {{ wanted = {{ maintenance = [\"Field service\"] }} }}\n\
             [store.s3]\ncredentials = \"s3.credentials\"\n\
             [traces]\nendpoint = \"https://collector.mill3.example:4318\"\n"
        )
        .replace("[store]\n", "[store]\nrecordings = \"s3://mill3/holdpoint\"\n");
        let told = |config: &Config| format!("{:?}", Config { settings: Settings::default(), ..config.clone() });
        let without = told(&parsed(&text));
        let all = Settings::of(&text).shown(&BTreeSet::new());
        for (key, value, before, written) in [
            ("notify.mail.tls", "starttls", "[notify.mail]\n", "tls = \"starttls\"\n"),
            ("oidc[1].scopes", "profile, email", "[[oidc]]\n", "scopes = [\"profile\", \"email\"]\n"),
            ("oidc[1].groups.claim", "groups", "groups = { ", "claim = \"groups\", "),
            ("store.s3.region", "us-east-1", "[store.s3]\n", "region = \"us-east-1\"\n"),
            ("store.s3.keep_local", "30d", "[store.s3]\n", "keep_local = \"30d\"\n"),
            ("traces.percent", "100", "[traces]\n", "percent = 100\n"),
        ] {
            let one = all.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no {key}"));
            assert_eq!((one.value.as_str(), one.written), (value, false), "{key}");
            let whole = text.replace(before, &format!("{before}{written}"));
            assert_eq!(told(&parsed(&whole)), without, "{key}");
            assert!(Settings::of(&text).changed_in(&Settings::of(&whole)).is_empty(), "{key}");
        }
        let none = Settings::of(SHORT).shown(&BTreeSet::new());
        assert!(none.iter().all(|one| !one.key.starts_with("oidc") && !one.key.starts_with("notify")));
    }

    #[test]
    fn settings_are_told_with_where_they_come_from_and_without_secrets() {
        let text = format!(
            "{SHORT}[notify.webhook]\nurl = \"https://bot:pass@chat.example:8443/hooks/T0K3N?key=1\"\n\
             [notify.command]\nrun = [\"/usr/local/bin/page\", \"--token\", \"T0K3N\"]\n\
             [[feed.file]]\nname = \"here\"\npath = \"feed.jsonl\"\n"
        );
        let all = Settings::of(&text).shown(&["store.reserve".to_owned()].into());
        let one = |key: &str| all.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(one("notify.webhook.url").value, "https://chat.example:8443/…");
        assert_eq!(one("notify.command.run").value, "/usr/local/bin/page …");
        assert_eq!((one("feed.file[1].path").value.as_str(), one("feed.file[1].path").written), ("feed.jsonl", true));
        assert_eq!(
            (one("store.reserve").value.as_str(), one("store.reserve").written, one("store.reserve").waits),
            ("10 GiB", false, true)
        );
        let said = format!("{all:?}");
        assert!(!said.contains("T0K3N") && !said.contains("pass@"), "{said}");
    }

    #[test]
    fn a_default_that_is_written_down_is_no_change() {
        let before = Settings::of(SHORT);
        let same = Settings::of(&format!("{SHORT}[serve]\ndrain = \"0s\"\n"));
        let other = Settings::of(&format!("{SHORT}[serve]\ndrain = \"5m\"\n[feed]\nspool = \"2 MiB\"\n"));
        assert!(before.changed_in(&same).is_empty());
        assert_eq!(before.changed_in(&other), ["feed.spool", "serve.drain"].into());
        assert_eq!(before.with(&other, &["serve"]).changed_in(&other), ["feed.spool"].into());
        assert!(is_under("feed.file[1].path", &["feed.file"]) && !is_under("feed.files", &["feed.file"]));
    }
}
