//! The whole way of a piece of work, typed: asked, approved in part, done over `ssh`, watched, extended, cut,
//! reopened.

use std::process::Stdio;
use std::sync::Arc;

use approver::api::types::{ClientCertificate, TcpFaceView, TcpServiceView};
use certs::tls_client::ClientKey;
use jiff::Timestamp;
use policies::plant::Protocol;
use proxy::client::{Client, Fault, Profile};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::house::{HANG, House, Side, Somebody};
use crate::machine::PASSWORD;

/// A vendor with a contract, a target with a credential, and a technician who signed in.
pub(crate) async fn vendor(house: &House, ada: &Somebody) -> Somebody {
    ada.run(&["contract", "acme", "--until", "2099-12-31", "--sponsor", "lee"]).await.done();
    ada.run_with(&["secret", "set", "hmi-maint"], PASSWORD).await.done();
    let invited: Value = ada.run(&["invite", "tess", "--technician", "acme/maintenance", "--json"]).await.done().json();
    let mut tess = house.enrolled("tess", Side::Vendor, invited["code"].as_str().unwrap()).await;
    tess.login().await;
    tess
}

/// A stock client with the certificate that `login` wrote.
pub(crate) struct Ssh {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Where the gate's own words arrive.
    err: BufReader<ChildStderr>,
}

impl Ssh {
    pub(crate) fn begin(house: &House, tess: &Somebody) -> Self {
        let (port, key) = (house.app.addresses().ssh[0].port().to_string(), tess.folder.join("id_ed25519"));
        let certificate = format!("CertificateFile={}-cert.pub", key.display());
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-tt", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", &port, "-i"]).arg(key);
        command
            .args(["-o", &certificate, "tess+hmi-2@127.0.0.1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    pub(crate) async fn ready(&mut self) {
        let come = until(&mut self.out, "ready").await;
        if let Err(said) = come {
            let mut errors = String::new();
            self.err.read_to_string(&mut errors).await.unwrap();
            panic!("not let in: {said}{errors}");
        }
    }

    /// Waits until the gate says this in its terminal.
    async fn reads(&mut self, text: &str) -> String {
        until(&mut self.err, text).await.unwrap()
    }

    /// Everything it said until it ended, in the terminal and about the connection.
    pub(crate) async fn end(mut self) -> String {
        let mut said = String::new();
        tokio::time::timeout(HANG, self.out.read_to_string(&mut said)).await.expect("it hangs").unwrap();
        tokio::time::timeout(HANG, self.err.read_to_string(&mut said)).await.expect("it hangs").unwrap();
        tokio::time::timeout(HANG, self.child.wait()).await.expect("it hangs").unwrap();
        said
    }
}

/// Whatever a gate made out, no connection to another target is begun with it.
async fn a_certificate_is_of_one_target(tess: &Somebody, request: &str) {
    let profile = Profile::load(&tess.profile()).unwrap();
    let mut client = Client::open(profile, |_| unreachable!("the key is not locked")).unwrap();
    let made = ClientCertificate {
        certificate: String::new(),
        ca_pem: String::new(),
        ca_succession_pem: String::new(),
        expires: Timestamp::MAX,
        source: [127, 0, 0, 1].into(),
        face: TcpFaceView { host: "gate.mill3.example".into(), port: 8443, services: Vec::new() },
        grant: client.get(&format!("/api/v1/requests/{request}")).await.unwrap(),
        sessions: Vec::new(),
        restarts: None,
    };
    let server_name = "modbus.plc-7.gate.mill3.example".into();
    let service = TcpServiceView { service: "modbus".parse().unwrap(), protocol: Protocol::Modbus, server_name };
    let key = Arc::new(ClientKey::generate());
    let to = |target: &str| client.tcp_line(&target.parse().unwrap(), &made, &service, &key).err().unwrap();
    assert!(matches!(to("plc-7"), Fault::Odd(why) if why == "it certifies hmi-2, not plc-7"));
    assert!(matches!(to("hmi-2"), Fault::Tls(_)), "to its own it is looked at, and is none here");
}

/// What came up to and with this text, or without it if it never comes.
async fn until(out: &mut (impl AsyncBufRead + Unpin), text: &str) -> Result<String, String> {
    let mut said = String::new();
    let reading = async {
        while !said.contains(text) {
            let bytes = out.fill_buf().await.unwrap();
            if bytes.is_empty() {
                return false;
            }
            said.push_str(&String::from_utf8_lossy(bytes));
            let length = bytes.len();
            out.consume(length);
        }
        true
    };
    let came = tokio::time::timeout(HANG, reading).await.unwrap_or(false);
    if came { Ok(said) } else { Err(said) }
}

pub(crate) async fn first_session(lee: &Somebody) -> String {
    let sessions: Value = lee.run(&["sessions", "--json"]).await.done().json();
    sessions["sessions"][0]["session"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_asked_approved_in_part_watched_extended_cut_and_reopened() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell,file-get", "--for", "2h", "--reason", "replace the valve"];
    let asked: Value = tess.run(&[&ask[..], &["--work-order", "WO-17", "--json"]].concat()).await.done().json();
    let request = asked["request"].as_str().unwrap();
    tess.run(&["request", "hmi-2", "--actions", "tunnel", "--for", "1h", "--reason", "x"]).await.failed(1, "tunnel");

    a_certificate_is_of_one_target(&tess, request).await;

    let words =
        |text: &str| text.lines().find_map(|line| line.trim().strip_prefix("compare").map(|w| w.trim().to_owned()));
    let asked_words = words(&tess.run(&["requests"]).await.done().out).unwrap();
    let waiting = lee.run(&["requests"]).await.done().out;
    assert!(waiting.contains("tess of acme") && waiting.contains("replace the valve"), "{waiting}");
    assert!(waiting.lines().all(|line| line.chars().count() <= 80), "{waiting}");
    lee.run(&["approve", request]).await.failed(2, "--yes");
    lee.run(&["approve", request, "--for", "3h", "--yes"]).await.failed(1, "can only take away");
    lee.run(&["approve", request, "--actions", "shell,tunnel", "--yes"]).await.failed(1, "can only take away");
    lee.run(&["approve", "x_1"]).await.failed(2, "not a request, an ask, a guest or a session");
    ada.run(&["approve", request, "--yes"]).await.failed(1, "only operators may do this");
    let card = lee.run(&["approve", request, "--for", "1h", "--actions", "shell", "--yes"]).await.done().out;
    for words in ["WO-17", "by you: 1 hour instead of 2 hours", "by you: no file-get", "is granted", "caution"] {
        assert!(card.contains(words), "{words}: {card}");
    }
    assert!(card.lines().all(|line| line.chars().count() <= 80), "{card}");
    let own = tess.run(&["requests"]).await.done().out;
    assert!(own.contains("granted") && own.contains("without file-get"), "{own}");
    // Wherever they are, everybody reads the clock on the plant's wall.
    let plant = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
    let today = jiff::Timestamp::now().to_zoned(plant).strftime("%Z").to_string();
    let status = lee.run(&["status"]).await.done().out;
    for shown in [&card, &own, &status] {
        assert!(shown.contains(&format!(" {today}")) && !shown.contains(" NZ"), "{shown}");
    }
    let at_night =
        ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "x", "--from", "2099-06-01 14:00"];
    let far = tess.run(&at_night).await;
    assert!(far.err.contains("may look ahead"), "{}", far.err);
    let in_one_line = card.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, signed) =
        (format!("compare {asked_words} (before"), format!("{} (what you sign", words(&own).unwrap()));
    assert!(in_one_line.contains(&before) && in_one_line.contains(&signed), "both sides read the same: {card}{own}");

    assert!(lee.run(&["requests"]).await.done().out.contains("1 hour from the first connection, until "));
    assert!(own.contains("1 hour, from "), "her clock has not started: {own}");
    let mut ssh = Ssh::begin(&house, &tess);
    ssh.ready().await;
    let running = tess.run(&["requests"]).await.done().out;
    assert!(running.contains(" ends ") && !running.contains("1 hour, from "), "her clock runs: {running}");
    let session = first_session(&lee).await;
    let listed = lee.run(&["sessions"]).await.done().out;
    assert!(listed.contains("tess of acme  hmi-2/ssh"), "{listed}");
    assert!(listed.contains("in 59 minutes") || listed.contains("in 1 hour)"), "{listed}");
    assert!(tess.run(&["sessions"]).await.done().out.contains(&session));

    let mut watching = lee.command(&["watch", &session]).spawn().unwrap();
    let mut screen = BufReader::new(watching.stdout.take().unwrap());
    let drawn = until(&mut screen, "ready").await.unwrap();
    assert!(drawn.contains("PANEL") && !drawn.contains("title") && !drawn.contains('\u{7}'), "{drawn:?}");
    assert!(lee.run(&["sessions"]).await.done().out.contains("lee watches"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(watching.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let left = until(&mut screen, "you watch no longer").await.unwrap();
    assert!(left.contains("\u{1b}[0m\u{1b}[?25h"), "the terminal is as it was: {left:?}");
    assert!(watching.wait().await.unwrap().success());

    lee.run(&["freeze", &session]).await.done();
    assert!(lee.run(&["sessions"]).await.done().out.contains("FROZEN"));
    lee.run(&["thaw", &session]).await.done();
    assert!(!lee.run(&["sessions"]).await.done().out.contains("FROZEN"));

    let extend = ["extend", &session, "--by", "30m", "--reason", "it sticks", "--json"];
    let extension: Value = tess.run(&extend).await.done().json();
    let extension = extension["ask"].as_str().unwrap();
    assert!(lee.run(&["requests"]).await.done().out.contains(extension));
    lee.run(&["approve", extension, "--for", "10m", "--yes"]).await.failed(2, "only a request can be narrowed");
    let given = lee.run(&["approve", extension, "--yes"]).await.done().out;
    assert!(given.contains("30 minutes more time") && given.contains("The grant ends"), "{given}");
    let longer = lee.run(&["sessions"]).await.done().out;
    assert!(longer.contains("in 1 hour 29 minutes") || longer.contains("in 1 hour 30 minutes"), "{longer}");

    let widen = ["widen", &session, "--actions", "file-put", "--for", "20m", "--reason", "a new recipe"];
    tess.run(&[&widen[..], &["--json"]].concat()[..]).await.done().json::<Value>()["ask"].as_str().unwrap();
    let waiting = lee.run(&["requests"]).await.done().out;
    assert!(waiting.contains("for 20m also:"), "{waiting}");
    let widening = waiting.split_whitespace().find_map(|word| word.strip_suffix(':').filter(|w| w.starts_with("a_")));
    let given = lee.run(&["approve", widening.unwrap(), "--yes"]).await.done().out;
    assert!(given.contains("also file-put, for 20 minutes"), "{given}");
    let own = tess.run(&["requests"]).await.done().out;
    assert!(own.contains("shell, file-put") || own.contains("file-put, shell"), "{own}");
    ssh.reads("Granted: for 20m also file-put.").await;
    let asked = ["extend", &session, "--by", "10m", "--reason", "tea", "--wait"];
    let (waited, ()) = tokio::join!(tess.run(&asked), answer(&lee, "deny", &["--reason", "no \u{1b}[2Jtea"]));
    let waited = waited.failed(1, "lee said no: no [2Jtea");
    assert!(waited.out.starts_with("10m more, until ") && waited.out.ends_with(": denied\n"), "{}", waited.out);
    let told = ssh.reads("Why: no [2Jtea").await;
    assert!(told.contains("lee said no to this: 10m more, until "), "{told}");
    let own = tess.run(&["requests"]).await.done().out;
    let in_one_line = own.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(in_one_line.contains("refused 10m more, until ") && in_one_line.contains("lee said no: no"), "{own}");
    let asked = ["widen", &session, "--actions", "file-get", "--for", "5m", "--reason", "logs", "--wait", "--json"];
    let (waited, ()) = tokio::join!(tess.run(&asked), answer(&lee, "approve", &[]));
    let waited: Value = waited.done().json();
    assert_eq!((waited["standing"].as_str(), &waited["no"]), (Some("granted"), &Value::Null));
    let tunnel = ["widen", &session, "--actions", "tunnel", "--for", "20m", "--reason", "x"];
    tess.run(&tunnel).await.failed(1, "tunnel");

    let cut: Value = lee.run(&["cut", &session, "--json"]).await.done().json();
    assert_eq!((cut["sessions"][0].as_str().unwrap(), cut["kept"].as_str().unwrap()), (session.as_str(), "journal"));
    let said = ssh.end().await;
    assert!(said.contains("cut"), "{said}");
    let cut = cut["cut"].as_str().unwrap();
    let own = tess.run(&["requests"]).await.done().out;
    assert!(own.contains("  now        ends "), "the clock of a grant goes on when nobody is connected: {own}");
    assert!(lee.run(&["cuts"]).await.done().out.contains(&format!("session {session}")));
    // The technician is told first; the end is journaled once the recording is sealed.
    let journaled = async { while !lee.run(&["sessions", "--all"]).await.done().out.contains("an operator cut it") {} };
    tokio::time::timeout(HANG, journaled).await.expect("the end is journaled");
    lee.run(&["reopen", cut]).await.failed(2, "--reason");
    lee.run(&["reopen", cut, "--reason", "it was a mistake"]).await.done();
    lee.run(&["reopen", cut, "--reason", "again"]).await.failed(1, "reopened already");
    assert!(lee.run(&["cuts"]).await.done().out.contains("No cut stands"));
    lee.run(&["revoke", request, "--reason", "done"]).await.done();
    let all = tess.run(&["requests", "--all"]).await.done().out;
    assert!(all.contains("revoked") && all.contains("lee took it back: done"), "{all}");
}

/// Answers what is asked of a grant, once it is.
async fn answer(lee: &Somebody, verdict: &str, more: &[&str]) {
    let asked = async {
        loop {
            let waiting: Value = lee.run(&["requests", "--json"]).await.done().json();
            if let Some(ask) = waiting["requests"][0]["asks"][0]["ask"].as_str() {
                return ask.to_owned();
            }
        }
    };
    let ask = tokio::time::timeout(HANG, asked).await.expect("nothing is asked");
    lee.run(&[&[verdict, &ask, "--yes"], more].concat()).await.done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_operator_does_is_told_to_machines_too() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let told =
        async |who: &Somebody, words: &[&str]| -> Value { who.run(&[words, &["--json"]].concat()).await.done().json() };
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve"];
    let request = told(&tess, &ask).await["request"].as_str().unwrap().to_owned();
    lee.run(&["approve", &request, "--json"]).await.failed(2, "--yes");
    assert_eq!(told(&lee, &["requests"]).await["requests"][0]["standing"], "pending");
    let approved = told(&lee, &["approve", &request, "--for", "30m", "--yes"]).await;
    assert_eq!(
        (&approved["events"], &approved["request"]["standing"]),
        (&json!(["HP1302", "HP1303"]), &json!("granted"))
    );
    let other = told(&tess, &ask).await["request"].as_str().unwrap().to_owned();
    let denied = told(&lee, &["deny", &other, "--reason", "one is enough", "--yes"]).await;
    assert_eq!(denied["request"]["standing"], "denied");
    let mut ssh = Ssh::begin(&house, &tess);
    ssh.ready().await;
    let session = first_session(&lee).await;
    assert_eq!(told(&lee, &["freeze", &session]).await, json!({ "journaled": true }));
    assert_eq!(told(&lee, &["sessions"]).await["sessions"][0]["frozen"], true);
    assert_eq!(told(&lee, &["thaw", &session]).await, json!({ "journaled": true }));
    let cut = told(&lee, &["cut", &session]).await["cut"].as_str().unwrap().to_owned();
    ssh.end().await;
    assert_eq!(told(&lee, &["cuts"]).await["cuts"][0]["cut"].as_str(), Some(cut.as_str()));
    assert_eq!(told(&lee, &["reopen", &cut, "--reason", "looked at"]).await["events"], json!(["HP1502"]));
    assert_eq!(told(&lee, &["revoke", &request, "--reason", "done"]).await["events"].as_array().unwrap().len(), 1);
    for list in [&["people"][..], &["status"]] {
        assert!(told(&lee, list).await.is_object(), "{list:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_administrator_does_is_told_to_machines_too() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    drop(vendor(&house, &ada).await);
    let told = async |words: &[&str]| -> Value { ada.run(&[words, &["--json"]].concat()).await.done().json() };
    let people = told(&["people"]).await;
    let tess =
        people["people"].as_array().unwrap().iter().find(|person| person["name"] == "tess").unwrap()["person"].clone();
    assert_eq!(told(&["rename", "tess", "tess-hall"]).await, json!({ "person": tess, "name": "tess-hall" }));
    let contract = ["contract", "acme", "--until", "2098-12-31", "--sponsor", "lee"];
    assert_eq!(told(&contract).await, json!({ "events": ["HP1101"] }));
    let set = ada.run_with(&["secret", "set", "plc", "--json"], "sesame").await.done();
    assert_eq!(set.json::<Value>(), json!({ "set": "plc" }));
    assert_eq!(told(&["secret", "forget", "plc"]).await, json!({ "forgotten": "plc" }));
    assert_eq!(told(&["disable", "tess-hall"]).await, json!({ "person": tess, "name": "tess-hall" }));
    assert_eq!(told(&["disable", "--vendor", "acme"]).await, json!({ "vendor": "acme" }));
    for words in [&["rename", "noor", "nora"][..], &["disable", "noor"], &contract, &["secret", "forget", "plc"]] {
        let ran = lee.run(&[words, &["--json"]].concat()).await.failed(1, "only administrators may do this");
        assert_eq!(ran.out, "", "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_is_told_to_machines_line_by_line() {
    let AtWork { lee, ssh, house: _house, .. } = Box::pin(AtWork::begin()).await;
    let session = first_session(&lee).await;
    let mut watching = lee.command(&["watch", &session, "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut seen: Vec<Value> = Vec::new();
    let mut cut = false;
    let all = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            seen.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")));
            if !cut {
                lee.run(&["cut", &session]).await.done();
                cut = true;
            }
        }
    };
    tokio::time::timeout(HANG, all).await.expect("it hangs");
    let (first, last) = (&seen[0], seen.last().unwrap());
    let screen = data_encoding::BASE64.decode(first["data"].as_str().unwrap().as_bytes()).unwrap();
    assert!(first["what"] == "screen" && String::from_utf8_lossy(&screen).contains("ready"), "{first}");
    assert!(last["what"] == "over" && last["in_words"].as_str().unwrap().contains("cut"), "{last}");
    assert_eq!(tokio::time::timeout(HANG, watching.wait()).await.expect("it hangs").unwrap().code(), Some(0));
    lee.run(&["watch", &session, "--json"]).await.failed(1, "");
    ssh.end().await;
}

/// Somebody at work at the panel, and those who may do something about it.
struct AtWork {
    house: House,
    ada: Somebody,
    lee: Somebody,
    tess: Somebody,
    ssh: Ssh,
}

impl AtWork {
    async fn begin() -> Self {
        let house = House::new().await;
        let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
        let tess = vendor(&house, &ada).await;
        granted(&tess, &lee).await;
        let mut ssh = Ssh::begin(&house, &tess);
        ssh.ready().await;
        Self { house, ada, lee, tess, ssh }
    }
}

/// A grant of shell at the panel for an hour.
async fn granted(tess: &Somebody, lee: &Somebody) -> String {
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--json"];
    let request = tess.run(&ask).await.done().json::<Value>()["request"].as_str().unwrap().to_owned();
    lee.run(&["approve", &request, "--yes"]).await.done();
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_a_vendor_a_zone_or_the_plant_ends_what_is_within_and_keeps_it_out_until_reopened() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    granted(&tess, &lee).await;
    for (scope, keeps_out) in [
        (&["--vendor", "acme"][..], "vendor acme"),
        (&["--zone", "packaging"], "zone packaging"),
        (&["--plant"], "everybody, from the whole plant"),
    ] {
        let mut ssh = Ssh::begin(&house, &tess);
        ssh.ready().await;
        let said = lee.run(&[&["cut"], scope].concat()).await.done().out;
        assert!(said.contains(": 1 session ended.") && said.contains("It keeps out until: "), "{said}");
        let told = ssh.end().await;
        assert!(told.contains("cut"), "{told}");
        let told = Ssh::begin(&house, &tess).end().await;
        assert!(told.contains("cut") && !told.contains("PANEL"), "{scope:?}: {told}");
        let cuts = lee.run(&["cuts"]).await.done().out;
        let cut = cuts.lines().find(|line| line.contains(keeps_out)).unwrap_or_else(|| panic!("{cuts}"));
        lee.run(&["reopen", cut.split_whitespace().next().unwrap(), "--reason", "it is safe"]).await.done();
    }
    let mut ssh = Ssh::begin(&house, &tess);
    ssh.ready().await;
    let two = ["cut", "--zone", "packaging", "--plant"];
    lee.run(&two).await.failed(2, "cannot be used with");
    lee.run(&["cut"]).await.failed(2, "required");
    tess.run(&["cut", "--plant"]).await.failed(1, "the vendor face has no such thing");
    assert!(lee.run(&["cuts"]).await.done().out.contains("No cut stands"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_is_disabled_is_out_in_one_act() {
    let AtWork { house, ada, lee, tess, ssh } = Box::pin(AtWork::begin()).await;
    lee.run(&["disable", "--vendor", "acme"]).await.failed(1, "only administrators may do this");
    ada.run(&["disable", "tess", "--vendor", "acme"]).await.failed(2, "cannot be used with");
    let said = ada.run(&["disable", "--vendor", "acme"]).await.done().out;
    assert_eq!(said, "everybody of acme: disabled. Sessions end, nothing of theirs is let in.\n");
    let told = ssh.end().await;
    assert!(told.contains("taken back"), "{told}");
    tess.run(&["requests"]).await.failed(1, "vendor acme is disabled");
    let told = Ssh::begin(&house, &tess).end().await;
    assert!(!told.contains("PANEL"), "{told}");
    let people = ada.run(&["people"]).await.done().out;
    let line = people.lines().find(|line| line.starts_with("acme")).unwrap();
    assert!(line.contains("disabled"), "{people}");
}

/// The program in a terminal of its own (util-linux `script`), where somebody types.
fn at_a_terminal(somebody: &Somebody, words: &str) -> Child {
    let command = words.replace("holdpoint", env!("CARGO_BIN_EXE_holdpoint"));
    let mut script = Command::new("script");
    script.args(["-qefc", &command, "/dev/null"]).env("HOLDPOINT_PROFILE", somebody.profile()).env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_terminal_one_is_asked_and_watching_leaves_it_as_it_was() {
    let house = House::new().await;
    let (ada, mut lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--json"];
    let asked: Value = tess.run(&ask).await.done().json();
    let approve = format!("holdpoint approve {}", asked["request"].as_str().unwrap());
    for (typed, code, words) in [("n\n", 1, "nothing was done"), ("y\n", 0, "is granted")] {
        let mut terminal = at_a_terminal(&lee, &approve);
        let mut out = BufReader::new(terminal.stdout.take().unwrap());
        until(&mut out, "[y/N]").await.unwrap();
        terminal.stdin.as_mut().unwrap().write_all(typed.as_bytes()).await.unwrap();
        until(&mut out, words).await.unwrap();
        assert_eq!(terminal.wait().await.unwrap().code(), Some(code));
    }

    std::fs::remove_file(lee.folder.join("token.json")).unwrap();
    let (mut terminal, code) = (at_a_terminal(&lee, "holdpoint status"), lee.codes.pop_front().unwrap());
    let mut out = BufReader::new(terminal.stdout.take().unwrap());
    until(&mut out, "Code for lee").await.unwrap();
    terminal.stdin.as_mut().unwrap().write_all(format!("{code}\n").as_bytes()).await.unwrap();
    let shown = until(&mut out, "its clock").await.unwrap();
    assert!(!shown.contains(&code), "a code does not show: {shown}");

    let mut ssh = Ssh::begin(&house, &tess);
    ssh.ready().await;
    let watch = format!("trap : INT; holdpoint watch {}; stty -a", first_session(&lee).await);
    let mut terminal = at_a_terminal(&lee, &watch);
    let mut out = BufReader::new(terminal.stdout.take().unwrap());
    until(&mut out, "ready").await.unwrap();
    terminal.stdin.as_mut().unwrap().write_all(b"typed\x03").await.unwrap();
    let left = until(&mut out, "echoke").await.unwrap();
    assert!(left.contains("you watch no longer") && !left.contains("typed"), "{left:?}");
    assert!(left.contains(" echo ") && !left.contains("-echo "), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_ends_it_and_whoever_waits_is_told() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--wait"];
    let mut waiting = tess.command(&ask).spawn().unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(HANG, told.read_line(&mut line)).await.expect("it hangs").unwrap();
    let request = line.split_whitespace().next().unwrap();
    assert!(line.contains("waits for"), "{line}");
    lee.run(&["deny", request, "--reason", " ", "--yes"]).await.failed(1, "text");
    let denied = lee.run(&["deny", request, "--reason", "not today", "--yes"]).await.done().out;
    assert!(denied.contains("Your no is in the journal") && denied.contains("denied"), "{denied}");
    let status = tokio::time::timeout(HANG, waiting.wait()).await.expect("it hangs").unwrap();
    assert_eq!(status.code(), Some(1));
    let mut rest = String::new();
    told.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("the request is denied: lee said no: not today"), "{rest}");
    for somebody in [&tess, &lee] {
        let listed = somebody.run(&["requests", "--all"]).await.done().out;
        assert!(listed.contains("ended      lee said no: not today"), "{listed}");
    }
    lee.run(&["approve", request, "--yes"]).await.failed(1, "nothing is left to answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_longer_than_they_are_signed_in_is_told_that_the_request_stands() {
    let house = House::new().await;
    let ada = house.founder("ada").await;
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--wait"];
    let mut waiting = tess.command(&ask).spawn().unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(HANG, told.read_line(&mut line)).await.expect("it hangs").unwrap();
    // Enrolled anew, so that the token counts no longer.
    let invited: Value = ada.run(&["reinvite", "tess", "--json"]).await.done().json();
    house.enrolled("tess-again", Side::Vendor, invited["code"].as_str().unwrap()).await;
    let status = tokio::time::timeout(HANG, waiting.wait()).await.expect("it hangs").unwrap();
    let mut rest = String::new();
    told.read_to_string(&mut rest).await.unwrap();
    assert!(status.code() == Some(1) && rest.contains(" stands: `holdpoint login`"), "{rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_back_is_answered_by_nobody() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--json"];
    let asked: Value = tess.run(&ask).await.done().json();
    let request = asked["request"].as_str().unwrap();
    lee.run(&["withdraw", request]).await.failed(1, "the plant face has no such thing");
    assert!(tess.run(&["withdraw", request]).await.done().out.contains("is withdrawn"));
    lee.run(&["approve", request, "--yes"]).await.failed(1, "nothing is left to answer");
    tess.run(&["withdraw", request, "--json"]).await.failed(1, "withdrawn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_text_does_nothing_to_an_operators_terminal() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let nasty = "valve \u{202e}evlav";
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--json", "--reason", nasty];
    let asked = tess.run(&ask).await;
    let everything = [
        asked.out.clone() + &asked.err,
        lee.run(&["requests"]).await.done().out,
        lee.run(&["requests", "--json"]).await.done().out,
    ];
    for text in &everything {
        let harmless = text.chars().all(|c| c == '\n' || recordings::words::is_plain(c));
        assert!(harmless, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_is_given_and_looked_back_at_by_somebody_else() {
    let house = House::with("emergency = true").await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let noor = house.founder("noor").await;
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "30m", "--reason", "fire", "--emergency", "--json"];
    let asked: Value = tess.run(&ask).await.done().json();
    let request = asked["request"].as_str().unwrap();
    let card = lee.run(&["approve", request, "--yes"]).await.done().out;
    assert!(card.contains("EMERGENCY") && card.contains("is granted"), "{card}");
    assert!(noor.run(&["requests"]).await.done().out.contains("somebody else must look back"));
    assert!(noor.run(&["status"]).await.done().out.contains("RED"));
    lee.run(&["approve", request, "--yes"]).await.failed(1, "nobody looks back at what they gave");
    noor.run(&["approve", request, "--for", "10m", "--yes"]).await.failed(2, "only a request can be narrowed");
    let seen = noor.run(&["approve", request, "--yes"]).await.done().out;
    assert!(seen.contains("That you looked back at it is in the journal"), "{seen}");
    assert!(noor.run(&["status"]).await.done().out.contains("green"));
}
