//! Who is told when nobody answers, by each way: a command and a webhook; and that nobody who was to be told is forgotten by a gate
//! that is killed in between. E-mail has tests of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use serde_json::Value;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, start, text};

fn told(file: &Path) -> Vec<Value> {
    let said = fs::read_to_string(file).unwrap_or_default();
    let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Group and red of each notice with this link, in order.
fn steps(notices: &[Value], page: &str) -> Vec<(String, bool)> {
    let of_it = notices.iter().filter(|notice| text(&notice["link"]).ends_with(page));
    of_it.map(|notice| (text(&notice["group"]), notice["red"] == true)).collect()
}

const TELL: &str = "idle = \"4h\"\ntell = [{ after = \"0m\", group = \"shift-lead\" }, \
                    { after = \"2s\", group = \"ot-security\" }]";

fn in_two_steps() -> [(String, bool); 2] {
    [("shift-lead".to_owned(), false), ("ot-security".to_owned(), true)]
}

#[test]
fn who_is_named_is_told_by_every_way_of_a_request_and_of_more_time_that_nobody_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let posted = folder.path().join("posted");
    let python = std::env::var_os("HOLDPOINT_PYTHON").expect("a Python");
    let mut hook = start(Command::new(python).args(["-u", "-c", HOOK]).arg(&posted));
    let port = hook.until("\n").trim().to_owned();
    let mut plant = Plant::enrolled(Options { rule: TELL.into(), ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.log_in("tess");
    let by_command = plant.notices();
    plant.edit_config(|config| format!("{config}\n[notify.webhook]\nurl = \"http://127.0.0.1:{port}/hook\"\n"));
    plant.serve();
    for who in ["lee", "tess"] {
        log_in(&plant, who);
    }
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "a reason that stays"];
    let request = text(&json(&plant, "tess", &ask)["request"]);
    let mut shell = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    let grant = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["request"]);
    holdpoint(&plant, "tess", &["extend", &grant, "--by", "10m", "--reason", "a valve sticks"]).ok();
    let cards = json(&plant, "lee", &["requests", "--all"]);
    let asks: Vec<String> = cards["requests"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|card| card["asks"].as_array().cloned().unwrap_or_default())
        .map(|ask| text(&ask["ask"]))
        .collect();
    let [extension] = &asks[..] else { panic!("{cards}") };
    for way in [&by_command, &posted] {
        for page in [format!("/requests/{request}"), format!("/asks/{extension}")] {
            eventually("the first are told, and then the next", || steps(&told(way), &page).len() >= 2);
            assert_eq!(steps(&told(way), &page), in_two_steps(), "{page} by {}", way.display());
        }
        let all = format!("{:?}", told(way));
        assert!(!all.contains("a reason that stays") && !all.contains("a valve sticks"), "{all}");
        assert!(all.contains("tess asks at hmi-2 10m more, until "), "{all}");
    }
    eventually("the board is red with both", || {
        let alarms = json(&plant, "lee", &["status"])["alarms"].to_string();
        alarms.contains(&request) && alarms.contains(extension)
    });
    shell.type_in("exit\r");
    shell.ends();
    drop(hook);
}

/// Answers each POST with 204, and writes its body down.
const HOOK: &str = "
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        open(sys.argv[1], 'ab').write(body.strip() + b'\\n')
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(('127.0.0.1', 0), Hook)
print(server.server_port, flush=True)
server.serve_forever()
";

/// What is to be kept before a notice is forgotten: that it was carried, and how far the journal was told.
#[test]
fn who_was_told_when_the_gate_was_killed_is_told_again_and_not_forgotten() {
    for kept in ["command-everybody.draft", "told.draft"] {
        let mut plant = Plant::enrolled(Options::default());
        let notices = plant.notices();
        plant.serve();
        log_in(&plant, "lee");
        let folder = plant.data().join("state/notices");
        eventually("how far was told is known", || folder.join("told").exists());
        let draft = folder.join(kept);
        // A pipe that nobody reads: whoever writes it down stands still there. Some may be writing just now.
        eventually("nobody is writing", || run(Command::new("mkfifo").arg(&draft), b"").code() == 0);
        let cut = text(&json(&plant, "lee", &["cut", "--technician", "tess"])["cut"]);
        let of_it =
            || told(&notices).into_iter().filter(|notice| text(&notice["text"]).contains(&cut)).collect::<Vec<_>>();
        eventually("it is told, though the disk hangs", || !of_it().is_empty());
        let later = text(&json(&plant, "lee", &["cut", "--vendor", "acme"])["cut"]);
        let of_later = || told(&notices).iter().any(|notice| text(&notice["text"]).contains(&later));
        eventually("and so is the next", of_later);
        plant.kill();
        fs::remove_file(&draft).expect("the pipe");
        plant.serve();
        eventually("it is told again", || of_it().len() >= 2);
    }
}

#[test]
fn how_far_was_told_is_not_believed_where_a_disk_has_changed_it() {
    let mut plant = Plant::enrolled(Options::default());
    let notices = plant.notices();
    plant.serve();
    log_in(&plant, "lee");
    let cut = text(&json(&plant, "lee", &["cut", "--technician", "tess"])["cut"]);
    eventually("it is told", || told(&notices).iter().any(|notice| text(&notice["text"]).contains(&cut)));
    plant.stop();
    let file = plant.data().join("state/notices/told");
    let mut bytes = fs::read(&file).expect("a file");
    bytes[0] ^= 1;
    fs::write(&file, bytes).expect("a file");
    plant.serve();
    eventually("people are asked to look", || {
        told(&notices).iter().any(|notice| text(&notice["text"]).contains("may not have been told"))
    });
}
