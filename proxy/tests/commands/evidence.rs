//! What an auditor types, on a folder that was fetched from a gate, with no server.

use serde_json::Value;
use tokio::process::Command;

use crate::house::{HANG, House, Side, Somebody};
use crate::work::{Ssh, first_session, vendor};

/// An auditor with a fetched folder in which there is one session, which an operator cut.
struct Evidence {
    audrey: Somebody,
    ada: Somebody,
    house: House,
    session: String,
    data: String,
    trust: String,
    key: String,
}

impl Evidence {
    async fn new() -> Self {
        Box::pin(Self::beside(0)).await
    }

    /// With this many other sessions of the same technician.
    async fn beside(others: usize) -> Self {
        let house = House::new().await;
        let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
        house.founder("noor").await;
        let tess = vendor(&house, &ada).await;
        let mut ssh = begin(&house, &lee, &tess).await;
        ssh.ready().await;
        let session = first_session(&lee).await;
        let mut beside = Vec::new();
        for _ in 0..others {
            let mut other = Ssh::begin(&house, &tess);
            other.ready().await;
            beside.push(other);
        }
        lee.run(&["cut", "--technician", "tess"]).await.done();
        ssh.end().await;
        for other in beside {
            other.end().await;
        }
        let invited: Value = ada.run(&["invite", "audrey", "--auditor", "--json"]).await.done().json();
        let mut audrey = house.enrolled("audrey", Side::Plant, invited["code"].as_str().unwrap()).await;
        audrey.login().await;
        let gate = house.folder.path().join("gate");
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let (trust, key) = (text(gate.join("trust.toml")), text(gate.join("auditors/auditor-1.key")));
        let data = text(audrey.folder.join("data"));
        Self { audrey, ada, house, session, data, trust, key }
    }

    async fn fetched() -> Self {
        let new = Box::pin(Self::new()).await;
        new.audrey.run(&["fetch", "-o", &new.data]).await.done();
        new
    }

    fn play<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["play", &self.session, "--data", &self.data, "--key", &self.key, "--speed", "1000"], more].concat()
    }
}

/// A technician at work, once asked and approved.
async fn begin(house: &House, lee: &Somebody, tess: &Somebody) -> Ssh {
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--json"];
    let asked: Value = tess.run(&ask).await.done().json();
    lee.run(&["approve", asked["request"].as_str().unwrap(), "--yes"]).await.done();
    Ssh::begin(house, tess)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_fetches_what_verifies_with_no_server() {
    let Evidence { audrey, ada, house, session, data, trust, key } = Box::pin(Evidence::new()).await;
    ada.run(&["fetch", "-o", &data]).await.failed(1, "only operators and auditors may do this");
    let unknown = "s_01jd0c4000000000000000000z";
    audrey.run(&["fetch", "-o", &data, "--session", unknown]).await.failed(1, "there is no session");
    audrey.run(&["fetch", "-o", &data]).await.done();
    let _folder = house.stop().await;
    let listed = audrey.run(&["recordings", "--data", &data]).await.done().out;
    assert!(listed.contains(&session), "{listed}");
    let played = audrey.run(&["play", &session, "--data", &data, "--key", &key, "--speed", "1000"]).await.done().out;
    assert!(played.contains("PANEL"), "{played}");
    let gate: Vec<&str> = played.lines().filter(|line| line.starts_with("[gate] ")).collect();
    assert!(gate.iter().any(|line| line.contains("told the technician: Access was cut by an operator")), "{played}");
    assert!(played.trim_end().lines().last().unwrap().ends_with(" the session ended: cut"), "{played}");
    let cast = audrey.folder.join("session.cast").to_str().unwrap().to_owned();
    audrey.run(&["export", &session, "--data", &data, "--key", &key, "-o", &cast]).await.done();
    let cast = std::fs::read_to_string(cast).unwrap();
    assert!(cast.lines().next().unwrap().contains(&format!("\"title\":\"{session}: cut\"")), "{cast}");
    assert!(cast.contains("\"m\", \"gate: the session ended: cut\""), "{cast}");
    let verified = audrey.run(&["verify", &data, "--trust", &trust, "--key", &key]).await;
    assert!(verified.code == 4 && verified.out.contains("OPEN: nothing was altered"), "{}", verified.out);
    assert!(verified.out.contains("cut: ok") && verified.out.contains("1 sessions"), "{}", verified.out);
    let json: Value = audrey.run(&["verify", &data, "--trust", &trust, "--json"]).await.json();
    assert_eq!(json["verdict"], "open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_fetched_alone_is_checked_as_far_as_it_goes_until_the_others_are_fetched_too() {
    let Evidence { audrey, house: _house, session, data, trust, key, .. } = Box::pin(Evidence::beside(2)).await;
    let told = audrey.run(&["fetch", "-o", &data, "--session", &session]).await.done().out;
    assert!(told.contains("the journal and 1 recording.") && told.contains("WHOLE AS FAR AS IT GOES"), "{told}");
    for with in [&["--key", &key][..], &[]] {
        let verified = audrey.run(&[&["verify", &data, "--trust", &trust], with].concat()).await;
        let last = verified.out.trim_end().lines().last().unwrap();
        assert!(last.starts_with("WHOLE AS FAR AS IT GOES: 1 session of 3 and the journal"), "{}", verified.out);
        assert!(last.contains("recordings that it does not name were not checked"), "{last}");
        assert!(verified.code == 4 && !verified.out.contains("MISSING"), "{}", verified.out);
        assert_eq!(verified.out.lines().filter(|line| line.starts_with("s_")).count(), 1, "{}", verified.out);
    }
    let json: Value = audrey.run(&["verify", &data, "--trust", &trust, "--json"]).await.json();
    assert_eq!((&json["verdict"], &json["part"]), (&"part".into(), &1.into()));
    audrey.run(&["play", &session, "--data", &data, "--key", &key, "--speed", "1000"]).await.done();
    audrey.run(&["fetch", "-o", &data]).await.done();
    let json: Value = audrey.run(&["verify", &data, "--trust", &trust, "--json"]).await.json();
    assert_eq!((&json["verdict"], json["sessions"].as_array().unwrap().len()), (&"open".into(), 3), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_ends_quietly_when_nobody_reads_on() {
    let evidence = Box::pin(Evidence::fetched()).await;
    let plant = evidence.house.folder.path().join("gate/plant.toml");
    let data = evidence.data.as_str();
    for args in [
        evidence.play(&[]),
        vec!["recordings", "--data", data],
        vec!["recordings", "--data", data, "--json"],
        vec!["verify", data, "--trust", &evidence.trust],
        vec!["people"],
        vec!["people", "--json"],
        vec!["explain", "acme/maintenance", "hmi-2", "shell", "--plant", plant.to_str().unwrap()],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = ended(evidence.audrey.command(&args).stdout(writer)).await;
        assert_eq!(unread, (Some(141), String::new()), "{args:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = ended(evidence.audrey.command(&args).stdout(full)).await;
        assert!(code == Some(3) && said.starts_with("holdpoint: standard output: "), "{args:?}: {said}");
    }
}

/// The exit code, and what stood on standard error.
async fn ended(command: &mut Command) -> (Option<i32>, String) {
    let child = command.spawn().unwrap();
    let output = tokio::time::timeout(HANG, child.wait_with_output()).await.expect("it hangs").unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
