//! A password and a code, for clients without keys: only where the plant takes passwords, and never one without the other.

use approver::testing::new_key;

use crate::gate::{Gate, assert_ok, assert_refused, text, write_key};

const PASSWORD: &str = "correct horse battery";

/// A gate before which the technician has set a password, and then lost the key.
async fn without_a_key(passwords: bool) -> Gate {
    let gate = Gate::with_passwords(passwords).await;
    gate.grant().await;
    let set = gate.run(&["lobby"], &format!("password\n{PASSWORD}\n{PASSWORD}\n")).await;
    let words = if passwords { "It counts together with a code." } else { "This plant takes no passwords" };
    assert_ok(&set, words);
    write_key(&gate.home.path().join("key"), &new_key());
    std::fs::write(gate.home.path().join("password"), PASSWORD).unwrap();
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_a_code_let_in_by_every_way_to_name_a_target() {
    let gate = without_a_key(true).await;
    assert_ok(&gate.run(&["gate", "echo"], "one").await, "one");
    assert_ok(&gate.run(&["lobby"], "connect hmi-2\ntwo\n").await, "two");
    assert_ok(&gate.run(&["hmi-2", "echo"], "three").await, "three");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_plant_takes_no_passwords_none_is_asked_for() {
    let gate = without_a_key(false).await;
    assert_refused(&gate.run(&["gate", "echo"], "").await, "Permission denied (publickey)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_password_wrong_code_and_wrong_name_look_alike() {
    let gate = without_a_key(true).await;
    let _running = gate.let_time_run();
    let mut seen = Vec::new();
    for (name, password, code) in
        [("tara", "wrong horse battery", None), ("tara", PASSWORD, Some("000000")), ("nobody", PASSWORD, None)]
    {
        let user = format!("{name}+hmi-2");
        let ssh = gate.ssh(&["-l", &user, "gate", "echo"]).await;
        std::fs::write(gate.home.path().join("password"), password).unwrap();
        if let Some(code) = code {
            std::fs::write(gate.home.path().join("code"), code).unwrap();
        }
        let output = crate::gate::finish(ssh, "").await;
        assert_refused(&output, "That does not fit");
        seen.push(text(&output.stderr).replace(&gate.port.to_string(), "PORT").replace(name, "NAME"));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}
