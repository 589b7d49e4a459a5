//! Gates between real clients and real servers of other people: who is refused sees a clean no and goes on on the same
//! connection, and what was refused the server never sees.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use policies::actions::Action;
use proxy::gates::modbus::{self, Profile};
use proxy::gates::{Gate, Mode, cip, s7};
use tests::peers::{machine, mbpoll, peer};
use tests::process::HANG;
use tests::{Between, eventually, python, run};

fn modbus_enforced() -> Box<dyn Gate> {
    modbus::gate(Mode::Enforce, Profile::default())
}

#[test]
fn pymodbus_sees_a_clean_refusal_and_goes_on_on_the_same_connection() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (server, port) = machine(command);
    let between = Between::new(port, &[Action::Observe], modbus_enforced);
    let mut client = peer("modbus_client.py").expect("Python is there");
    let client = run(client.arg(between.address.port().to_string()), b"");
    assert!(client.ok().out().contains("as it should be"));
    let reached: Vec<String> =
        server.said().lines().filter(|line| line.starts_with("seen")).map(str::to_owned).collect();
    assert!(reached.len() == 9 && reached.iter().all(|line| line == "seen 3"), "{reached:?}");
    let told = between.told();
    assert_eq!((told.connections, told.ends.len()), (1, 0));
    let lines = between.lines();
    for line in [
        "read holding registers 40101 to 40102 (addresses 100 to 101), unit 1",
        "refused to write 55 to holding register 40101 (address 100), unit 1",
        "refused to restart communications, unit 1",
        "the target answered illegal data address (02) when asked to read holding registers 40999 to 41007 (addresses 998 to 1006), unit 1",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line:?} not in {lines:#?}");
    }
}

#[test]
fn a_refusal_goes_out_behind_the_answer_to_what_was_asked_before_it() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (server, port) = machine(command);
    let between = Between::new(port, &[Action::Observe], modbus_enforced);
    let mut client = TcpStream::connect(between.address).unwrap();
    client.set_read_timeout(Some(HANG)).unwrap();
    // Both with transaction 0 and in one segment. Of two that reach it so, pymodbus's server answers one.
    let read = [0, 0, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    let write = [0, 0, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    client.write_all(&[read, write].concat()).unwrap();
    let answer = [0, 0, 0, 0, 0, 5, 1, 3, 2, 0, 7];
    let expected = [&answer[..], &[0, 0, 0, 0, 0, 3, 1, 0x86, 1]].concat();
    let mut answers = vec![0; expected.len()];
    client.read_exact(&mut answers).unwrap();
    assert_eq!(answers, expected);
    assert!(!server.said().contains("seen 6"));
}

#[test]
fn mbpoll_reads_writes_with_the_action_and_is_refused_without() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (server, port) = machine(command);
    let read = ["-t", "4", "-r", "100", "-c", "2", "127.0.0.1"];
    let write = ["-t", "4", "-r", "100", "127.0.0.1", "55", "56"];

    let observing = Between::new(port, &[Action::Observe], modbus_enforced);
    assert!(mbpoll(observing.address.port(), &read).ok().out().contains("[100]: \t7"));
    mbpoll(observing.address.port(), &write).says_no("Illegal function");
    assert!(!server.said().contains("seen 16"), "{}", server.said());

    let operating = Between::new(port, &[Action::Observe, Action::Operate], modbus_enforced);
    mbpoll(operating.address.port(), &write).ok();
    assert!(mbpoll(observing.address.port(), &read).ok().out().contains("[101]: \t56"));
    assert_eq!(operating.lines(), ["wrote 55, 56 to holding registers 40101 to 40102 (addresses 100 to 101), unit 1"]);
}

#[test]
fn snap7_sees_a_clean_refusal_and_goes_on_on_the_same_connection() {
    let Some(command) = peer("s7_server.py") else { return };
    let (server, port) = machine(command);
    let between = Between::new(port, &[Action::Observe], || s7::gate(Mode::Enforce));
    let mut client = peer("s7_client.py").expect("Python is there");
    let client = run(client.arg(between.address.port().to_string()).arg("observing"), b"");
    assert!(client.ok().out().contains("as it should be"));
    let said = server.said();
    for reached in ["Write request", "CPU Control", "Block upload", "System clock write", "Security request"] {
        assert!(!said.contains(reached), "{reached}: {said}");
    }
    assert!(said.contains("Read request, Area : DB1") && said.contains("Read SZL request"), "{said}");
    let told = between.told();
    assert_eq!((told.connections, told.ends.len()), (1, 0), "{:?}", told.ends);
    let lines = between.lines();
    for line in [
        "connected as programming device, to rack 0, slot 1",
        "agreed on messages of at most 480 bytes",
        "read 4 bytes from DB1.DBB0",
        "refused to write 1 byte to DB1.DBB0: 55",
        "refused to stop the CPU",
        "refused to start the CPU (PI service P_PROGRAM)",
        "refused to copy RAM to ROM (PI service _MODU)",
        "refused to delete DB1 (PI service _DELE)",
        "refused to start the upload of DB1",
        "refused to set the clock",
        "refused to send a password (masked)",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line:?} not in {lines:#?}");
    }
}

#[test]
fn snap7_does_with_the_actions_what_it_may() {
    let Some(command) = peer("s7_server.py") else { return };
    let (server, port) = machine(command);
    let granted = [Action::Observe, Action::Upload, Action::Operate, Action::Program, Action::Control];
    let between = Between::new(port, &granted, || s7::gate(Mode::Enforce));
    let mut client = peer("s7_client.py").expect("Python is there");
    let client = run(client.arg(between.address.port().to_string()).arg("everything"), b"");
    assert!(client.ok().out().contains("as it should be"));
    for reached in
        ["Write request", "CPU Control request : STOP", "CPU Control request : Warm START", "System clock write"]
    {
        eventually(reached, || server.said().contains(reached));
    }
    let no = "the target answered not permitted in the current protection level (d2 41) when asked to start the upload of DB1";
    assert!(between.lines().iter().any(|line| line == no), "{:#?}", between.lines());
}

#[test]
fn cpppo_reads_and_writes_tags_and_all_of_it_is_told() {
    let Some(command) = peer("cip_server.py") else { return };
    let (_server, port) = machine(command);
    let between = Between::new(port, &[], cip::gate);
    let ask = |options: &[&str], tags: &[&str]| {
        let mut client = Command::new(python().expect("Python is there"));
        client
            .args(["-m", "cpppo.server.enip.client", "-a", &between.address.to_string(), "-p"])
            .args(options)
            .args(tags);
        run(&mut client, b"").ok().out()
    };
    let tags = ["SCADA[0-1]=(INT)7,-8", "SCADA[0-3]", "TEMP[0]=(REAL)1.5"];
    for options in [&[][..], &["-m"]] {
        let said = ask(options, &tags);
        assert!(said.contains("== [7, -8, 0, 0]: 'OK'"), "{said}");
        let told = between.told();
        assert!(told.ends.is_empty(), "{:?}", told.ends);
    }
    let lines = between.lines();
    let once = [
        "opened a session",
        "wrote 7, -8 to SCADA[0] (INT)",
        "read 4 elements of SCADA[0]",
        "wrote 1.5 to TEMP[0] (REAL)",
    ];
    assert_eq!(lines, [once, once].concat());
}
