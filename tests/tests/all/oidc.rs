//! Signing in by an identity provider in a real browser: the provider is oidc-provider of the npm registry, with its own login
//! pages. An operator links an account and comes back by it; a technician comes by their company's; then the provider is
//! killed, and what people enrolled with works on.

use std::fs;
use std::path::Path;
use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use tests::browser::Browser;
use tests::peers::{free_port, machine};
use tests::person::{GATE, PLANT_FACE};
use tests::{Options, Plant, Running, json, log_in, passkey_code, run};

const ACCOUNTS: &str = r#"{
  "kim-at-mill": { "preferred_username": "kim@mill3.example", "groups": ["Shift leads"] },
  "tess-at-acme": { "preferred_username": "tess@acme.example", "groups": ["Field service"] }
}"#;

fn configured(port: u16) -> String {
    let issuer =
        format!("issuer = \"http://127.0.0.1:{port}\"\ncredential = \"login\"\nscopes = [\"profile\", \"groups\"]\n");
    format!(
        "\n[[oidc]]\nname = \"mill\"\ntitle = \"Mill 3 Login\"\nclient = \"of-the-plant\"\n{issuer}\
         groups = {{ wanted = {{ shift-lead = [\"Shift leads\"] }} }}\n\
         [[oidc]]\nname = \"acme\"\ntitle = \"Acme\"\nclient = \"of-acme\"\nvendor = \"acme\"\n{issuer}\
         groups = {{ claim = \"groups\", wanted = {{ maintenance = [\"Field service\"] }} }}\n"
    )
}

fn provider(port: u16, accounts: &Path) -> Running {
    let modules = std::env::var_os("HOLDPOINT_NODE").expect("the folder with the packages of tests/player");
    let mut node = Command::new("node");
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc_provider.mjs")).current_dir(modules);
    node.arg(port.to_string()).arg(accounts).arg("s3cret & more");
    node.arg(format!("of-the-plant=https://{PLANT_FACE}:9443/oidc/mill"));
    node.arg(format!("of-acme=https://{GATE}:8443/oidc/acme"));
    machine(node).0
}

/// At the provider's own pages.
fn proves_it_there(browser: &mut Browser, account: &str) {
    browser.until("location.port !== '9443' && location.port !== '8443' && document.querySelector('[name=login]')");
    browser.fill("[name=login]", account);
    browser.fill("[name=password]", "any");
    browser.click("Sign-in");
}

fn signs_out(browser: &mut Browser) {
    browser.click("Sign out");
    browser.says("Sign in with your passkey");
}

#[test]
fn an_operator_and_a_technician_come_by_their_own_providers_and_without_them_when_those_are_gone() {
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], ..Options::default() });
    let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
    let accounts = folder.path().join("accounts.json");
    fs::write(&accounts, ACCOUNTS).expect("a file");
    let grant = plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.edit_config(|text| text + &configured(port));
    plant.serve();
    log_in(&plant, "ada");
    run(&mut plant.as_person("ada", &["secret", "set", "login"]), b"s3cret & more").ok();
    let Some(mut browser) = Browser::new(&plant) else { return };
    let running = provider(port, &accounts);

    // The operator's key first; nobody comes by an account that is linked to nobody.
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    let secret = browser.evaluate("[...document.querySelectorAll('dd code')].at(-1).textContent");
    let mut kim = plant.newcomer("kim");
    kim.has_app(secret.as_str().expect("a secret"), &[]);
    browser.open("/sign-in");
    browser.says("Sign in with Mill 3 Login");
    browser.look("sign-in-providers");
    browser.click("Sign in with Mill 3 Login");
    proves_it_there(&mut browser, "kim-at-mill");
    browser.click("Continue");
    browser.says("nobody here is linked to that account");
    browser.says("kim@mill3.example");
    browser.signs_in();
    browser.click("My sign-in");
    browser.says("Not linked");
    browser.look("own-account");
    browser.click("Link my account of Mill 3 Login");
    // Whoever links proves it there anew.
    proves_it_there(&mut browser, "kim-at-mill");
    browser.says("Linked since");
    browser.says("kim@mill3.example");
    browser.look("own-account-linked");
    let cookie = browser.cookie();
    signs_out(&mut browser);

    // By the provider, which knows the browser, and the app's code.
    browser.click("Sign in with Mill 3 Login");
    browser.says("One more factor, kim");
    browser.look("one-more-factor");
    browser.fill("#totp", &kim.app_code());
    browser.click("Sign in");
    browser.says("Nobody waits");
    assert_ne!(browser.cookie(), cookie, "each sign-in has a cookie of its own");
    let people = json(&plant, "ada", &["people"]);
    assert!(people.to_string().contains("kim@mill3.example"), "{people}");

    // The technician, with a code of the lobby in place of a passkey.
    let Some(mut theirs) = Browser::of_a_technician(&plant) else { return };
    theirs.open("/");
    theirs.click("Sign in with Acme");
    proves_it_there(&mut theirs, "tess-at-acme");
    theirs.click("Continue");
    theirs.says("This account is nobody's here yet");
    theirs.look("not-linked");
    theirs.fill("#lobby-code", &passkey_code(&plant, "tess"));
    theirs.click("Link the account");
    theirs.says("One more factor, tess");
    theirs.fill("#totp", &plant.tess().code());
    theirs.click("Sign in");
    theirs.says("What you may ask for now");
    theirs.look("technician-by-provider");
    // A provider's word opens no terminal, whatever was beside it.
    theirs.open(&format!("/requests/{grant}"));
    theirs.click("Open a terminal here");
    theirs.says("which opens no machine");
    theirs.look("no-terminal-by-provider");

    // Gone: who is in stays in, and the key that people have works without it.
    drop(running);
    theirs.open("/me");
    theirs.says("Linked since");
    signs_out(&mut browser);
    browser.open("/sign-in");
    browser.click("Sign in with Mill 3 Login");
    browser.says("it does not answer");
    browser.says("Your passkey signs you in here without it");
    browser.open("/sign-in");
    browser.says("Mill 3 Login has not answered since");
    browser.look("sign-in-provider-gone");
    browser.signs_in();
    browser.says("Nobody waits");
    drop((browser, theirs));
    plant.stop();
    let said = plant.evidence().both_say(0);
    assert!(said.contains("WHOLE"), "{said}");
}
