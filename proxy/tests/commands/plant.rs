//! The plant file adopted by command, credentials, and cuts made at the machine itself.

use policies::digest::Digest;
use serde_json::Value;

use crate::house::{House, Side, Somebody, plant, start};
use crate::machine::Machine;
use crate::work::vendor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plant_file_is_told_in_words_signed_by_two_and_then_in_force() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let file = house.folder.path().join("new.toml");
    let path = file.to_str().unwrap();
    let old = std::fs::read_to_string(house.folder.path().join("gate/plant.toml")).unwrap();
    std::fs::write(&file, &old).unwrap();
    assert!(lee.run(&["adopt", path]).await.done().out.contains("in force already"));
    std::fs::write(&file, old.replace("duration_max", "duration_mux")).unwrap();
    ada.run(&["adopt", path]).await.failed(2, "duration_mux");
    std::fs::write(&file, old.replace("\"4h\"", "\"8h\"")).unwrap();
    lee.run(&["adopt", path, "--yes"]).await.failed(1, "only administrators may do this");
    ada.run(&["adopt", path]).await.failed(2, "--yes");
    let put_up = ada.run(&["adopt", path, "--yes"]).await.done().out;
    assert!(put_up.contains("rule acme-packaging: duration_max was \"4h\", becomes \"8h\""), "{put_up}");
    assert!(put_up.contains("Signed so far by ada"), "{put_up}");
    let signed = lee.run(&["adopt", path, "--yes"]).await.done().out;
    assert!(signed.contains("in force"), "{signed}");
    let digest = Digest::of_bytes(&std::fs::read(&file).unwrap());
    for shown in [&put_up, &signed] {
        let shown = shown.lines().find(|line| line.starts_with("compare")).unwrap();
        assert!(shown.contains(&format!(" {}  (", certs::words::of(&digest))), "{shown}");
    }
    assert!(lee.run(&["adopt", path]).await.done().out.contains("in force already"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_board_is_red_below_the_reserve_and_technicians_are_told_the_port_that_is_forwarded() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    let invite = |name| ["invite", name, "--technician", "acme/maintenance"];
    ada.run(&["contract", "acme", "--until", "2099-12-31", "--sponsor", "lee"]).await.done();
    let port = house.app.addresses().ssh[0].port();
    let told = ada.run(&invite("tess")).await.done().out;
    assert!(told.contains(&format!("ssh -p {port} enrol@gate.mill3.example")), "{told}");
    assert!(lee.run(&["status"]).await.done().out.starts_with("board        green"));

    let before = house.address(Side::Plant).to_string();
    let folder = house.stop().await;
    let file = folder.path().join("gate/holdpoint.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let config = config.replace("64 MiB", "1000000 TiB").replace("[faces.plant]", "ssh_port = 2022\n[faces.plant]");
    std::fs::write(&file, config).unwrap();
    let app = start(folder.path()).await;
    for somebody in [&ada, &lee] {
        let profile = std::fs::read_to_string(somebody.profile()).unwrap();
        std::fs::write(somebody.profile(), profile.replace(&before, &app.addresses().plant[0].to_string())).unwrap();
    }
    let board = lee.run(&["status"]).await.done().out;
    assert!(board.starts_with("board        RED"), "{board}");
    assert!(board.contains("the disk has less room than is reserved for recordings"), "{board}");
    let told = ada.run(&invite("theo")).await.done().out;
    assert!(told.contains("ssh -p 2022 enrol@gate.mill3.example"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_set_listed_by_name_and_forgotten() {
    let house = House::new().await;
    let (ada, lee) = (house.founder("ada").await, house.founder("lee").await);
    ada.run_with(&["secret", "set", "hmi-maint"], "").await.failed(2, "between 1 and");
    lee.run_with(&["secret", "set", "hmi-maint"], "sesame").await.failed(1, "only administrators may do this");
    let set = ada.run_with(&["secret", "set", "hmi-maint"], "sesame").await.done();
    assert!(!format!("{set:?}").contains("sesame"));
    assert_eq!(ada.run(&["secret", "list"]).await.done().out, "hmi-maint\n");
    ada.run(&["secret", "forget", "hmi-maint"]).await.done();
    assert_eq!(ada.run(&["secret", "list", "--json"]).await.done().json::<Value>()["names"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_at_the_machine_works_with_the_gate_running_and_with_the_gate_gone() {
    let house = House::new().await;
    let (ada, mut lee) = (house.founder("ada").await, house.founder("lee").await);
    let tess = vendor(&house, &ada).await;
    let data = house.folder.path().join("gate/data");
    let data = data.to_str().unwrap();
    let local = async |scope: &[&str]| lee_here(&house.folder, &[scope, &["--local", "--data", data]].concat()).await;
    let said = local(&["--vendor", "acme"]).await.done().out;
    assert!(said.contains("A gate runs on this folder"), "{said}");
    let mut cuts = Value::Null;
    tokio::time::timeout(crate::house::HANG, async {
        while cuts["cuts"].as_array().is_none_or(|cuts| cuts.is_empty() || cuts[0]["journaled"] != true) {
            cuts = lee.run(&["cuts", "--json"]).await.done().json();
        }
    })
    .await
    .expect("the cut is not taken up");
    assert_eq!((cuts["cuts"][0]["scope"].as_str(), cuts["cuts"][0]["of"].as_str()), (Some("vendor"), Some("acme")));
    local(&["--technician", "tess"]).await.failed(2, "p_…");
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve"];
    drop(tess.run(&ask).await);

    let (folder, profile) = (house.folder.path().to_owned(), lee.profile());
    let keep = house.stop().await;
    let said = lee_here(&keep, &["--plant", "--local", "--data", data]).await.done().out;
    assert!(said.contains("No gate runs on this folder"), "{said}");
    let elsewhere = folder.join("nowhere");
    lee_here(&keep, &["--plant", "--local", "--data", elsewhere.to_str().unwrap()]).await.failed(2, "holdpoint.toml");

    let app = start(&folder).await;
    let text = std::fs::read_to_string(&profile).unwrap();
    let line = text.lines().find(|line| line.starts_with("address")).unwrap().to_owned();
    let address = format!("address = \"{}\"", app.addresses().plant[0]);
    std::fs::write(&profile, text.replace(&line, &address)).unwrap();
    lee.login().await;
    let cuts = lee.run(&["cuts"]).await.done().out;
    assert!(cuts.contains("everybody, from the whole plant") && cuts.contains("vendor acme"), "{cuts}");
    app.shutdown(std::time::Duration::from_secs(10)).await;
}

/// Somebody at the machine itself, who has no profile.
async fn lee_here(folder: &tempfile::TempDir, scope: &[&str]) -> crate::house::Ran {
    let nobody = crate::house::Somebody::new(&folder.path().join("nobody"));
    nobody.run(&[&["cut"], scope].concat()).await
}

#[tokio::test]
async fn explain_says_for_a_moment_an_address_a_service_and_an_emergency_which_rule_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (machine, nobody) = (Machine::start().await, Somebody::new(folder.path()));
    let written = |name: &str, more: &str| {
        let (path, rule) = (folder.path().join(name), "hours = \"Mon-Fri 06:00-18:00\"\nfrom = [\"192.0.2.0/24\"]\n");
        std::fs::write(&path, plant(&machine, &format!("{rule}{more}"))).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (quiet, ready) = (written("quiet.toml", ""), written("ready.toml", "emergency = true\n"));
    let explain = async |file: &str, words: &[&str]| {
        nobody.run(&[&["explain", "acme/maintenance", "--plant", file], words].concat()).await
    };
    let (monday, sunday) = (["--at", "2026-11-23 14:00"], ["--at", "2026-11-22 14:00"]);
    let may = async |file: &str, words: &[&str]| {
        let said = explain(file, words).await.done().out;
        assert!(
            said.contains(" may ask for shell at hmi-2 (ssh), Mon ") && said.contains("rule: acme-packaging"),
            "{said}"
        );
        explain(file, &[words, &["--json"]].concat()).await.done();
    };
    let may_not = async |file: &str, words: &[&str], why: &str| {
        let ran = explain(file, words).await.failed(1, "");
        assert!(ran.out.contains(" may not ask for shell at hmi-2") && ran.out.contains(why), "{}", ran.out);
        explain(file, &[words, &["--json"]].concat()).await.failed(1, "");
    };
    may(&quiet, &[&["hmi-2/ssh", "shell", "--from", "192.0.2.7"], &monday[..]].concat()).await;
    may(&quiet, &["hmi-2", "shell", "--at", "2026-11-24T01:00+10:00"]).await;
    may_not(&quiet, &["hmi-2", "shell", "--at", "2026-11-23T13:00-08:00"], "lacks hours: opens Tue 06:00").await;
    may_not(&quiet, &[&["hmi-2", "shell"], &sunday[..]].concat(), "lacks hours: opens Mon 06:00").await;
    let far = ["hmi-2", "shell", "--from", "198.51.100.1"];
    may_not(&quiet, &[&far, &monday[..]].concat(), "198.51.100.1 is not in 192.0.2.0/24").await;
    may_not(&quiet, &[&["hmi-2/telnet", "shell"], &monday[..]].concat(), "hmi-2 has no service telnet").await;
    let fire = [&["hmi-2", "shell", "--emergency"], &monday[..]].concat();
    may_not(&quiet, &fire, "emergency").await;
    may(&ready, &fire).await;
    for wrong in [["hmi-2/", "shell"], ["hmi-2/ssh/x", "shell"]] {
        explain(&quiet, &wrong).await.failed(2, "is not a name");
    }
    explain(&quiet, &["hmi-2", "shell", "--from", "nowhere"]).await.failed(2, "IP address");
    explain(&quiet, &["hmi-2", "shell", "--at", "never"]).await.failed(2, "is no time");
}
