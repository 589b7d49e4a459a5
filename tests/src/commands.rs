//! Commands of `holdpoint` as people of the plant type them on their own machines.

use std::fs;

use serde_json::Value;

use crate::person::GATE;
use crate::{Ended, Plant, eventually, run};

/// A command as somebody types it.
pub fn holdpoint(plant: &Plant, who: &str, arguments: &[&str]) -> Ended {
    run(&mut plant.as_person(who, arguments), b"")
}

/// The same, done, as JSON.
#[track_caller]
pub fn json(plant: &Plant, who: &str, arguments: &[&str]) -> Value {
    let told = holdpoint(plant, who, &[arguments, &["--json"]].concat()).ok().out();
    serde_json::from_str(told.trim()).unwrap_or_else(|_| panic!("no JSON: {told}"))
}

/// A text in what was answered.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Signs in with the code that is shown now.
#[track_caller]
pub fn log_in(plant: &Plant, who: &str) {
    let person = plant.person(who);
    run(&mut plant.as_person(who, &["login"]), format!("{}\n", person.code()).as_bytes()).ok();
    person.find_gate(plant.ssh_port());
}

/// `tess` does something, and it is over: the session.
#[track_caller]
pub fn worked(plant: &Plant, what: &str) -> String {
    run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), what]), b"").ok();
    let mut session = String::new();
    eventually("the session has ended", || {
        let newest = json(plant, "lee", &["sessions", "--all"])["sessions"][0].clone();
        session = text(&newest["session"]);
        !newest["ended"].is_null()
    });
    session
}

/// The public line of a key that `init` made.
pub fn recipient(plant: &Plant) -> String {
    let key = fs::read_to_string(plant.installation().join("auditors/auditor-1.key")).expect("a file");
    let line = key.lines().find_map(|line| line.strip_prefix("# public key: "));
    line.expect("it says its public half").to_owned()
}

/// The first value under this name, wherever it is.
pub fn find(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields
            .get(name)
            .and_then(|found| found.as_str().map(str::to_owned))
            .or_else(|| fields.values().find_map(|inner| find(inner, name))),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// The code for a passkey beside the key of a technician: what the lobby answers to `passkey`, with the key itself and a code of their
/// app. It is the line that stands apart.
#[track_caller]
pub fn passkey_code(plant: &Plant, who: &str) -> String {
    let person = plant.person(who);
    // Under a name beside which no certificate lies.
    let key = person.path("bare-key");
    fs::copy(person.path("key"), &key).expect("a file");
    let known = format!("UserKnownHostsFile={}", person.path("known_hosts").display());
    let mut ssh = person.tool("ssh");
    ssh.args(["-F", "none", "-o", &known, "-o", &format!("HostKeyAlias={GATE}"), "-o", "IdentitiesOnly=yes", "-i"]);
    ssh.arg(&key).args(["-p", &plant.ssh_port().to_string(), &format!("{who}@127.0.0.1"), "passkey"]);
    let out = run(&mut ssh, b"").ok().out();
    let code = out.lines().map(str::trim).find(|line| line.len() > 20 && !line.contains(' '));
    code.unwrap_or_else(|| panic!("no code: {out}")).to_owned()
}
