//! Enrolling, signing in, inviting and vouching, and each way in which they can go wrong.

use certs::enrolment::EnrolmentCode;
use certs::tls::CaPrefix;
use certs::totp::TotpSecret;
use policies::ids::LinkId;
use serde_json::Value;

use crate::house::{House, Side, Somebody, start};
use crate::pictures;
use crate::work::vendor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_contact_is_no_leap_of_faith() {
    let house = House::new().await;
    let somebody = Somebody::new(&house.folder.path().join("lee"));
    let address = house.address(Side::Plant).to_string();
    let args = ["enrol", "--gate", Side::Plant.origin(), "--address", &address];
    let enrol = async |code: &str| somebody.run_with(&args, code).await;
    enrol("").await.failed(2, "no enrolment code was given");
    let code = house.code("lee");
    enrol(&code[..30]).await.failed(2, "a whole one has 72");
    let (head, last) = code.split_at(code.len() - 1);
    enrol(&format!("{head}{}\n", if last == "2" { "3" } else { "2" })).await.failed(2, "mistyped");
    let other = EnrolmentCode::generate(LinkId::new(7_u128.into()), CaPrefix(*b"0123456789")).reveal().to_string();
    enrol(&other).await.failed(1, "not the gate of this enrolment code");
    assert!(!somebody.folder.exists(), "nothing was made for a gate that is none");

    let ran = enrol(&code).await.done();
    assert!(ran.out.contains("Welcome, lee") && ran.out.contains("Each works once"), "{}", ran.out);
    let secret = ran.out.split("type it in: ").nth(1).unwrap().lines().next().unwrap();
    let url = TotpSecret::from_base32(secret).unwrap().otpauth_url("mill-3", "lee");
    assert_eq!(pictures::read(&ran.out, pictures::On::Screen), *url);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 200));
    enrol(&code).await.failed(2, "is there already");
    let again = Somebody::new(&house.folder.path().join("again"));
    again.run_with(&args, &code).await.failed(1, "this link was used");
    assert!(!again.profile().exists());
}

#[test]
fn a_picture_says_what_it_was_drawn_of_on_a_screen_and_on_paper() {
    let long = format!("otpauth://totp/{}", "Mill%203:tess".repeat(6));
    for text in ["x", "otpauth://totp/Mill%203:tess?secret=JBSWY3DPEHPK3PXP&issuer=Mill%203", &long] {
        assert_eq!(pictures::read(&proxy::picture::picture(text), pictures::On::Screen), text);
        assert_eq!(pictures::read(&proxy::picture::printed(text), pictures::On::Paper), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_signs_in_once_and_the_token_lasts_its_time() {
    let house = House::new().await;
    let mut lee = house.enrolled("lee", Side::Plant, &house.code("lee")).await;
    lee.run(&["status"]).await.failed(1, "not signed in: run `holdpoint login`");
    lee.run_with(&["login"], "").await.failed(2, "no code was given");
    lee.run_with(&["login"], "000000\n").await.failed(1, "name, key and code do not go together");
    let code = lee.codes[0].clone();
    let told = lee.login().await;
    assert!(told["on_duty_until"].is_string() && told["certificate"].is_null(), "{told}");
    lee.run_with(&["login"], &code).await.failed(1, "name, key and code do not go together");
    let status = lee.run(&["status"]).await.done().out;
    assert!(status.contains("board        green") && status.contains("mill-3"), "{status}");
    assert!(status.contains("ssh CA       @cert-authority * ssh-ed25519"), "{status}");
    let status: Value = lee.run(&["status", "--json"]).await.done().json();
    assert_eq!(status["deployment"], "mill-3");

    let file = lee.folder.join("token.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut token: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let good = token.clone();
    token["expires"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, token.to_string()).unwrap();
    lee.run(&["status"]).await.failed(1, "not signed in");
    token["expires"] = "2100-01-01T00:00:00Z".into();
    let spoiled = format!("{}x", good["token"].as_str().unwrap());
    token["token"] = spoiled.into();
    std::fs::write(&file, token.to_string()).unwrap();
    lee.run(&["status"]).await.failed(1, "Run `holdpoint login`");
    assert!(!file.exists(), "a token that is not taken is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_gone_or_another_is_told_apart() {
    let house = House::new().await;
    let lee = house.founder("lee").await;
    let (profile, address) = (std::fs::read_to_string(lee.profile()).unwrap(), house.address(Side::Plant));
    let other = House::new().await;
    let elsewhere = profile.replace(&address.to_string(), &other.address(Side::Plant).to_string());
    std::fs::write(lee.profile(), elsewhere).unwrap();
    lee.run(&["status"]).await.failed(1, "not the gate of this profile");
    let renamed = profile.replace("holdpoint.mill3.example", "other.mill3.example");
    std::fs::write(lee.profile(), renamed).unwrap();
    lee.run_with(&["login"], "123456\n").await.failed(1, "not the gate of this profile");
    let renamed = profile.replace("holdpoint.mill3.example", "holdpoint.mill3.example:9999");
    std::fs::write(lee.profile(), renamed).unwrap();
    lee.run_with(&["login"], "123456\n").await.failed(2, "the gate calls itself \"https://holdpoint.mill3.example\"");
    std::fs::write(lee.profile(), &profile).unwrap();
    let folder = house.stop().await;
    lee.run(&["status"]).await.failed(3, "cannot reach https://holdpoint.mill3.example");
    std::fs::remove_file(lee.folder.join("ca.pem")).unwrap();
    lee.run(&["status"]).await.failed(3, "ca.pem");
    std::fs::write(lee.profile(), "name = 1").unwrap();
    lee.run(&["status"]).await.failed(2, "is no profile");
    std::fs::remove_file(lee.profile()).unwrap();
    lee.run(&["status"]).await.failed(2, "holdpoint enrol");
    drop(start(folder.path()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_new_counts_once_an_administrator_and_the_group_have_vouched() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    lee.run(&["invite", "omar", "--operator"]).await.failed(1, "only administrators may do this");
    ada.run(&["invite", "omar"]).await.failed(2, "required");
    ada.run(&["invite", "omar", "--auditor", "--group", "x"]).await.failed(2, "cannot be used with");
    ada.run(&["invite", "lee", "--operator"]).await.failed(1, "lee");
    let invited: Value =
        ada.run(&["invite", "omar", "--operator", "--group", "shift-lead", "--json"]).await.done().json();
    let mut omar = house.enrolled("omar", Side::Plant, invited["code"].as_str().unwrap()).await;
    assert_eq!(omar.told["standing"], "enrolled");
    let code = omar.codes.pop_front().unwrap();
    omar.run_with(&["login"], &code).await.failed(1, "nobody has vouched for your key yet");
    ada.run(&["certify", "nobody"]).await.failed(1, "nobody is called");
    ada.run(&["certify", "omar"]).await.failed(2, "--yes");
    let signed = ada.run(&["certify", "omar", "--yes"]).await.done();
    assert!(signed.out.contains("shift-lead") && signed.out.contains("SHA256:"), "{}", signed.out);
    assert!(signed.out.contains("So far: ada"), "{}", signed.out);
    let signed = lee.run(&["certify", "omar", "--yes"]).await.done();
    assert!(signed.out.contains("omar counts now"), "{}", signed.out);
    omar.login().await;
    ada.run(&["rename", "omar", "omar-haddad"]).await.done();
    let people = lee.run(&["people"]).await.done().out;
    let line = people.lines().find(|line| line.starts_with("omar-haddad")).unwrap();
    assert!(line.contains("operator: shift-lead") && line.contains("on duty"), "{people}");
    ada.run(&["disable", "omar-haddad"]).await.done();
    omar.run(&["status"]).await.failed(1, "your access was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_signs_for_a_public_key_and_says_when_it_cannot() {
    let house = House::new().await;
    let folder = house.folder.path().join("lee");
    std::fs::create_dir(&folder).unwrap();
    let key = folder.join("yubi");
    certs::sshsig::make_private(&key, "lee").unwrap();
    let socket = folder.join("agent");
    let mut agent = tokio::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::time::timeout(crate::house::HANG, async {
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let mut lee = Somebody::new(&folder);
    let (address, public) = (house.address(Side::Plant).to_string(), key.with_extension("pub"));
    let public = public.to_str().unwrap();
    let args = ["enrol", "--json", "--gate", Side::Plant.origin(), "--address", &address, "--key", public];
    let told: Value = lee.run_with(&args, &house.code("lee")).await.done().json();
    let code = told["recovery_codes"][0].as_str().unwrap();
    lee.run_with(&["login"], code).await.failed(3, "none answers");
    lee.agent = Some(socket.clone());
    lee.run_with(&["login"], code).await.failed(3, "ssh-add");
    let add = async |how: &str, key: &std::path::Path| {
        let mut add = tokio::process::Command::new("ssh-add");
        assert!(add.arg(how).arg(key).env("SSH_AUTH_SOCK", &socket).status().await.unwrap().success());
    };
    add("-q", &key).await;
    std::fs::remove_file(&key).unwrap();
    lee.run_with(&["login"], code).await.done();
    assert!(lee.run(&["status"]).await.done().out.contains("green"));
    // A verdict is signed by the agent too, and whoever checks the journal finds it right.
    let ada = house.founder("ada").await;
    let tess = vendor(&house, &ada).await;
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--json"];
    let asked: Value = tess.run(&ask).await.done().json();
    let approved = lee.run(&["approve", asked["request"].as_str().unwrap(), "--yes"]).await.done().out;
    assert!(approved.contains("is granted"), "{approved}");
    let (trust, data) = (house.folder.path().join("gate/trust.toml"), lee.folder.join("taken"));
    let (trust, data) = (trust.to_str().unwrap(), data.to_str().unwrap());
    lee.run(&["fetch", "-o", data]).await.done();
    let verified = lee.run(&["verify", data, "--trust", trust, "--json"]).await.json::<Value>();
    assert_eq!(
        (verified["verdict"].as_str(), verified["decisions"]["grants"].as_u64()),
        (Some("open"), Some(1)),
        "{verified}"
    );
    agent.kill().await.unwrap();
    lee.run(&["status"]).await.failed(3, "none answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_of_the_first_hour_who_lost_everything_comes_back_by_two_signatures() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    ada.run(&["reinvite", "noor"]).await.failed(1, "one of the first people");
    let mut noor = house.founder("noor").await;
    lee.run(&["reinvite", "noor"]).await.failed(1, "only administrators may do this");
    let told = ada.run(&["reinvite", "noor"]).await.done().out;
    assert!(told.contains("holdpoint certify noor"), "{told}");
    noor.run(&["status"]).await.done();
    let mut again = house.enrolled("noor-again", Side::Plant, told.lines().next().unwrap()).await;
    noor.run(&["status"]).await.failed(1, "no longer yours");
    let code = noor.codes.pop_front().unwrap();
    noor.run_with(&["login"], &format!("{code}\n")).await.failed(1, "do not go together");
    for voucher in [&ada, &lee] {
        let code = again.codes.pop_front().unwrap();
        assert_eq!(again.run_with(&["login"], &format!("{code}\n")).await.code, 1);
        voucher.run(&["certify", "noor", "--yes"]).await.done();
    }
    again.login().await;
    again.run(&["status"]).await.done();

    let data = house.folder.path().join("gate/data").to_str().unwrap().to_owned();
    let trust = house.folder.path().join("gate/trust.toml").to_str().unwrap().to_owned();
    let _folder = house.stop().await;
    let verified = ada.run(&["verify", &data, "--trust", &trust]).await;
    assert!(verified.out.contains("WHOLE: nothing"), "{}", verified.out);
}
