//! Each face's API against its own description: schemathesis, a stranger's program, asks all that the description allows and
//! much that it does not, in the name of whoever is signed in.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::process::start;
use tests::{Plant, log_in};

/// What never ends by itself, or is no HTTP.
const ENDLESS: &str = "(/watch|/capture|/feed|/tcp/)";
/// Answers that are right and that it cannot know: a body of the right shape about nobody, or against the rules, is refused.
const NOT_ASKED: &str = "positive_data_acceptance";

/// So long a token is good.
const LASTS_MAX: Duration = Duration::from_secs(600);

#[test]
fn both_faces_do_what_their_descriptions_say_whoever_asks_whatever() {
    let st = schemathesis();
    let mut plant = Plant::new();
    let asked = [("lee", "127.0.0.11"), ("ada", "127.0.0.12"), ("tess", "127.0.0.13")];
    asked.iter().for_each(|(name, _)| log_in(&plant, name));
    let asking = asked.map(|(name, source)| (name, start(&mut to_ask(&plant, &st, name, source))));
    for (name, asking) in asking {
        let ended = asking.ends_within(LASTS_MAX);
        assert!(ended.status.success(), "{name}: {}{}", ended.out(), ended.err());
        let answers: Value = serde_json::from_slice(&plant.person(name).read("answers.json")).expect("JSON");
        assert!(answers["/api/v1/me 200"].is_u64(), "{name} was let in nowhere: {answers}");
    }
    let said = plant.gate().said();
    assert!(!said.contains("panicked"), "{said}");
    plant.stop();
    let told = plant.evidence().both_say(0);
    assert!(told.contains("WHOLE"), "{told}");
}

fn schemathesis() -> std::path::PathBuf {
    let python = std::env::var_os("HOLDPOINT_PYTHON").expect("the Python with what requirements.txt names");
    let st = Path::new(&python).with_file_name("st");
    assert!(st.exists(), "{}: tests/requirements.txt names schemathesis", st.display());
    st
}

fn to_ask(plant: &Plant, st: &Path, name: &str, source: &str) -> Command {
    let (origin, face) = match name {
        "tess" => ("https://gate.mill3.example:8443", plant.faces.pages[0]),
        _ => ("https://holdpoint.mill3.example:9443", plant.faces.plant[0]),
    };
    let person = plant.person(name);
    let mut typed = person.tool(st);
    typed.args(["run", &format!("{origin}/api/v1/openapi.json")]);
    typed.args(["--phases", "coverage,fuzzing", "--max-examples", "5", "--continue-on-failure", "--no-color"]);
    typed.args(["--rate-limit", "19/s", "--warnings", "off", "--exclude-path-regex", ENDLESS]);
    typed.args(["--exclude-checks", NOT_ASKED, "--generation-database", "none", "--request-retries", "5"]);
    typed.arg("--tls-verify").arg(plant.installation().with_file_name("ca.pem"));
    typed.env("SCHEMATHESIS_HOOKS", Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/schema.py"));
    typed.env("PROFILE", person.path("")).env("KEY", "key");
    typed.env("ADDRESS", face.to_string()).env("SOURCE", source);
    typed
}
