//! `init`: what an installation begins with, and that nothing in it is a password that somebody else knows.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use approver::directory::{Directory, Key};
use certs::enrolment::EnrolmentCode;
use proxy::config::Config;
use serde_json::Value;

use super::house::{HANG, House, Ran, Somebody};

async fn init(folder: &Path) -> Ran {
    let at = folder.display().to_string();
    Somebody::new(folder).run(&["init", "--dir", &at, "--name", "mill-3", "--administrator", "ada"]).await
}

/// The codes that were shown, by whose they are.
fn codes(shown: &str) -> Vec<(String, String)> {
    let lines = shown.lines().skip_while(|line| !line.starts_with("One-use codes")).skip(1);
    let codes = lines.take_while(|line| !line.is_empty()).map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    });
    codes.collect()
}

/// Every file below, with its mode.
fn files(folder: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.display().to_string(), fs::metadata(&path).unwrap().permissions().mode() & 0o777));
        if path.is_dir() {
            files(&path, found);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_begins_with_codes_and_keys_that_no_other_has() {
    let scratch = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| scratch.path().join(name));
    let [first, second] = [init(&one).await.done(), init(&other).await.done()];
    let shown = [codes(&first.out), codes(&second.out)];
    let names: Vec<_> = shown[0].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ada", "operator-1", "operator-2"]);
    assert!(first.out.contains("holdpoint enrol --gate https://holdpoint.plant.example:9443"), "{}", first.out);
    let apart: BTreeSet<_> = shown.iter().flatten().map(|(_, code)| code.clone()).collect();
    assert_eq!(apart.len(), 6, "no code is another's, here or elsewhere");

    // The keys are others, and for the owner alone; so is the data.
    let mut made = Vec::new();
    files(&one, &mut made);
    let secret = |path: &str| ["/keys", "/auditors", "/data"].iter().any(|part| path.contains(part));
    for (path, mode) in made.iter().filter(|(path, _)| secret(path)) {
        let parents_shut = !path.contains("/data/");
        assert!(!parents_shut || mode & 0o077 == 0, "{path} {mode:o}");
        let elsewhere = path.replacen("/one/", "/other/", 1);
        if path.contains("/keys/") || path.contains("/auditors/") {
            assert_ne!(fs::read(path).unwrap(), fs::read(elsewhere).unwrap(), "{path}");
        }
    }
    for file in ["holdpoint.toml", "plant.toml", "trust.toml"] {
        assert!(one.join(file).is_file(), "{file}");
    }
    // It is right as it stands, and the face takes no passwords until somebody says so.
    let (config, plant) = (one.join("holdpoint.toml"), one.join("plant.toml"));
    let check = ["check", "--config", &config.display().to_string(), "--plant", &plant.display().to_string()];
    Somebody::new(&one).run(&check).await.done();
    assert!(!Config::load(&config).unwrap().vendor.passwords);

    // A second time nothing is made, and what stands there stays.
    let before = fs::read(&config).unwrap();
    init(&one).await.failed(2, "is not empty");
    assert_eq!(fs::read(&config).unwrap(), before);
    // Nor is anything left of one that could not be finished.
    let third = scratch.path().join("third").display().to_string();
    Somebody::new(&one).run(&["init", "--dir", &third, "--recipient", "nobody"]).await.failed(2, "recipients");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2, "nothing is left beside them");
}

#[test]
fn keys_may_be_opened_from_the_first_day_by_what_is_not_on_the_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let (gate, given) = (scratch.path().join("gate"), scratch.path().join("given"));
    fs::create_dir(&given).unwrap();
    fs::write(given.join("holdpoint-seal"), "7".repeat(44)).unwrap();
    let holdpoint = |arguments: &[&str], credentials: Option<&Path>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        command.args(arguments).env_remove("CREDENTIALS_DIRECTORY");
        credentials.map(|folder| command.env("CREDENTIALS_DIRECTORY", folder));
        let ended = command.output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let init = ["init", "--dir", gate.to_str().unwrap(), "--seal", "systemd-credential"];
    let (code, said) = holdpoint(&init, None);
    assert!(code == Some(2) && said.contains("hands over no credential") && !gate.exists(), "{said}");
    assert_eq!(holdpoint(&init, Some(&given)), (Some(0), String::new()));
    assert!(!gate.join("keys/sealing.key").exists());
    assert!(fs::read_to_string(gate.join("holdpoint.toml")).unwrap().contains("seal = \"systemd-credential\""));
    // What reads the keys, with the credential and without it.
    let data = gate.join("data");
    let cut = ["cut", "--local", "--plant", "--data", data.to_str().unwrap()];
    assert_eq!(holdpoint(&cut, Some(&given)).0, Some(0));
    let (code, said) = holdpoint(&cut, None);
    assert!(code == Some(2) && said.contains("hands over no credential"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_is_told_to_machines_too() {
    let scratch = tempfile::tempdir().unwrap();
    let at = scratch.path().join("gate").display().to_string();
    let told = Somebody::new(scratch.path()).run(&["init", "--dir", &at, "--administrator", "ada", "--json"]).await;
    let told: Value = told.done().json();
    let codes = told["codes"].as_array().unwrap();
    assert_eq!((codes.len(), codes[0]["name"].as_str()), (3, Some("ada")));
    assert!(EnrolmentCode::parse(codes[0]["code"].as_str().unwrap()).is_ok(), "{told}");
    assert!(told["auditor_keys"].as_array().unwrap().iter().all(|key| Path::new(key.as_str().unwrap()).is_file()));
    assert!(told["ssh_fingerprint"].as_str().unwrap().starts_with("SHA256:"), "{told}");
    assert!(told["known_hosts"].as_str().unwrap().starts_with("@cert-authority "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_not_enrolled_has_nothing_that_opens() {
    let house = House::new().await;
    let directory: &dyn Directory = house.app.desk().directory();
    for invitation in &house.founded.invitations {
        for key in [Key::Totp, Key::Recovery, Key::Password].map(|key| key(invitation.person)) {
            assert_eq!(directory.get(&key).await.unwrap(), None, "{key:?}");
        }
        let keys = house.app.desk().with_state(|state| state.people[&invitation.person].keys.clone());
        assert!(keys.is_empty());
    }
    // What they enrolled with is what the auditor is to keep.
    let path = house.folder.path().join("gate/trust.toml");
    let fingerprints = || fs::read_to_string(&path).unwrap().matches("SHA256:").count();
    assert_eq!(fingerprints(), 0);
    for (enrolled, name) in [(1, "ada"), (2, "lee"), (3, "noor")] {
        house.founder(name).await;
        let written = async {
            while fingerprints() < enrolled {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, written).await.expect("trust.toml follows");
    }
}
