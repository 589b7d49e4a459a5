//! E-mail as a mail server gets it: who is told what, under TLS and with a password that lies sealed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tests::certificate::self_signed;
use tests::peers::{machine, peer};
use tests::{Options, Plant, Running, eventually, holdpoint, json, log_in, run, text};

/// A line that is half written yet is none.
fn mails(server: &Running) -> Vec<Value> {
    server.said().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object).collect()
}

fn to<'a>(mails: &'a [Value], who: &str) -> Vec<&'a str> {
    let mine = mails.iter().filter(|mail| mail["to"][0] == format!("{who}@mill3.example").as_str());
    mine.map(|mail| mail["mail"].as_str().expect("a mail")).collect()
}

#[test]
fn who_is_named_gets_mail_under_tls_and_the_next_ones_when_nobody_answers() {
    for how in ["starttls", "implicit"] {
        let folder = tempfile::tempdir().expect("a folder");
        self_signed(folder.path(), "localhost");
        let Some(mut sink) = peer("mail_sink.py") else { return };
        let at = |name: &str| folder.path().join(name);
        let (server, port) = machine({
            sink.arg(how).arg(at("cert.pem")).arg(at("key.pem")).args(["gate", "open sesame"]);
            sink
        });
        let rule = "idle = \"4h\"\ntell = [{ after = \"0m\", group = \"shift-lead\" }, \
                    { after = \"2s\", group = \"ot-security\" }]";
        let mut plant = Plant::ready(Options { rule: rule.into(), ..Options::default() });
        plant.edit_config(|text| {
            format!(
                "{text}\n[notify.mail]\nserver = \"localhost:{port}\"\ntls = \"{how}\"\nfrom = \"gate@mill3.example\"\n\
                 to = [\"room@mill3.example\", \"nobody@mill3.example\", \"later@mill3.example\"]\n\
                 groups = {{ shift-lead = [\"shift@mill3.example\"], ot-security = [\"ot@mill3.example\"] }}\n\
                 user = \"gate\"\ncredential = \"smtp\"\nca = \"{}\"\n",
                at("cert.pem").display()
            )
        });
        plant.serve();
        for who in ["ada", "lee", "tess"] {
            log_in(&plant, who);
        }
        run(&mut plant.as_person("ada", &["secret", "set", "smtp"]), b"open sesame").ok();
        let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "a reason that stays"];
        let request = text(&json(&plant, "tess", &ask)["request"]);
        eventually("the first are told, and then the next", || {
            let mails = mails(&server);
            !to(&mails, "shift").is_empty() && !to(&mails, "ot").is_empty()
        });
        let so_far = mails(&server);
        assert!(so_far.iter().all(|mail| mail["tls"] == true && mail["authenticated"] == true), "{so_far:?}");
        assert!(to(&so_far, "room").is_empty(), "a group with addresses of its own: {so_far:?}");
        let first = to(&so_far, "shift")[0];
        assert!(first.contains("Subject: tess asks for shell at hmi-2 for 1h\r\n"), "{first}");
        assert!(first.contains(&format!("/requests/{request}\r\n")) && first.contains("\r\nSince "), "{first}");
        assert!(to(&so_far, "ot")[0].contains("Subject: RED: tess asks"), "{so_far:?}");
        let told: Vec<Value> = {
            let said = holdpoint(&plant, "lee", &["feed"]).ok().out();
            let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            lines.filter(|line| line["id"] == "HP1907").map(|line| line["about"]["group"].clone()).collect()
        };
        assert_eq!(told, ["shift-lead", "ot-security"], "it is recorded");
        holdpoint(&plant, "lee", &["cut", "--technician", "tess"]).ok();
        eventually("everybody hears of a cut, whoever is refused and whoever is to come again", || {
            let mails = mails(&server);
            let hears = |who| to(&mails, who).iter().any(|mail| mail.contains("Subject: cut c_"));
            ["room", "later", "shift", "ot"].into_iter().all(hears)
        });
        let all = mails(&server);
        assert_eq!(to(&all, "room").len(), 1, "once, although another address had to be tried again: {all:?}");
        let whole = format!("{all:?}");
        assert!(!whole.contains("a reason that stays") && !whole.contains("open sesame"), "{whole}");
    }
}

#[test]
fn a_server_without_tls_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    self_signed(folder.path(), "localhost");
    let Some(mut sink) = peer("mail_sink.py") else { return };
    let (server, port) = machine({
        sink.args(["none", "-", "-", "gate", "open sesame"]);
        sink
    });
    let mut plant = Plant::ready(Options::default());
    plant.edit_config(|text| {
        format!(
            "{text}\n[notify.mail]\nserver = \"localhost:{port}\"\nfrom = \"gate@mill3.example\"\n\
             to = [\"room@mill3.example\"]\nca = \"{}/cert.pem\"\n",
            folder.path().display()
        )
    });
    plant.serve();
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["cut", "--technician", "tess"]).ok();
    eventually("it says so", || plant.gate().said().contains("a notice is tried again way=\"mail\""));
    assert_eq!(mails(&server), [] as [Value; 0]);
    plant.stop();
    plant.edit_config(|text| text.replace("from = \"gate", "tls = \"none\"\nfrom = \"gate"));
    plant.serve();
    let cut = text(&json(&plant, "lee", &["cuts"])["cuts"][0]["cut"]);
    holdpoint(&plant, "lee", &["reopen", &cut, "--reason", "it was somebody else"]).ok();
    eventually("to this machine itself it goes in the clear where that is said", || {
        to(&mails(&server), "room").iter().any(|mail| mail.contains("was reopened"))
    });
    drop(fs::remove_dir_all(folder.path()));
}

/// One request of a webhook, answered with 204: its head in small letters, and its body.
fn hook(listener: &TcpListener) -> (String, String) {
    let (mut socket, _) = listener.accept().expect("the gate tells");
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        let whole = text.split_once("\r\n\r\n").filter(|(_, body)| body.ends_with('}'));
        if let Some((head, body)) = whole {
            socket.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").expect("the gate reads");
            return (head.to_lowercase(), body.to_owned());
        }
        let length = socket.read(&mut piece).expect("the gate writes");
        read.extend(&piece[..length]);
    }
}

const SIGNED: &str = "import base64, hashlib, hmac, sys\n\
    print(base64.b64encode(hmac.new(b'sesame', sys.stdin.buffer.read(), hashlib.sha256).digest()).decode())";

#[test]
fn what_waited_to_be_told_when_the_gate_was_killed_is_told_afterwards_and_signed() {
    let python = std::env::var_os("HOLDPOINT_PYTHON").expect("a Python");
    let mut plant = Plant::enrolled(Options::default());
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("a socket");
    drop(nobody);
    plant.edit_config(|text| {
        format!("{text}\n[notify.webhook]\nurl = \"http://{address}/hook\"\ncredential = \"alarms\"\n")
    });
    plant.serve();
    log_in(&plant, "ada");
    log_in(&plant, "lee");
    run(&mut plant.as_person("ada", &["secret", "set", "alarms"]), b"sesame\n").ok();
    let cut = text(&json(&plant, "lee", &["cut", "--plant"])["cut"]);
    let waits = plant.installation().join("data/state/notices/webhook-everybody.json");
    eventually("it waits", || fs::read_to_string(&waits).unwrap_or_default().contains(&cut));
    plant.gate().signal(Signal::KILL);
    let listener = TcpListener::bind(address).expect("the same port");
    plant.serve();
    let (head, body) = hook(&listener);
    let notice: Value = serde_json::from_str(&body).expect("JSON");
    assert!(notice["kind"] == "cut" && text(&notice["text"]).contains(&cut), "{body}");
    let of = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name}: {head}")).to_owned()
    };
    assert_eq!(of("webhook-id"), text(&notice["id"]));
    let signed = format!("{}.{}.{body}", of("webhook-id"), of("webhook-timestamp"));
    let tag = run(Command::new(python).args(["-c", SIGNED]), signed.as_bytes()).ok().out();
    assert_eq!(of("webhook-signature"), format!("v1,{}", tag.trim()).to_lowercase());
    eventually("nothing waits", || fs::read_to_string(&waits).is_ok_and(|text| text == "[]"));
}
