//! TCP services of targets, reached by stock `ssh -L` and `-W`: recorded, granted, limited and ended like any session.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use policies::actions::Action;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use rustix::process::Signal;
use tests::commands::{find, holdpoint, json, log_in, text};
use tests::peers::{free_port, machine, mbpoll, peer};
use tests::person::PLANT_FACE;
use tests::process::start_on_a_terminal;
use tests::{Echo, Ended, Options, Person, Plant, Running, eventually, long_or, python, run, start};

const HOUR: Seconds = Seconds(3_600);
const OBSERVE: [Action; 1] = [Action::Observe];
const TUNNEL: [Action; 1] = [Action::Tunnel];

/// A plant with `plc-7`, whose one service is `panel` or `modbus`.
fn options(protocol: &str, port: u16, more: &str) -> Options {
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.{protocol}]\nprotocol = \"{protocol}\"\n\
         address = \"127.0.0.1:{port}\"\n{more}\n\
         [[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"plc-7\"]\n\
         actions = [\"observe\", \"operate\", \"program\", \"tunnel\"]\nhold_max = \"20s\"\nduration_max = \"4h\"\nidle = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n"
    );
    Options { more, ..Options::default() }
}

fn serving(options: Options, actions: &[Action], lasts: Seconds) -> Plant {
    let mut plant = Plant::ready(options);
    plant.grant("tess", "plc-7", actions, lasts);
    plant.serve();
    plant
}

/// A technician's `ssh -N -L`, and the local port it leads from.
fn forward(tess: &Person, target_port: u16) -> (Running, u16) {
    forward_with(tess, "-N", target_port)
}

/// As [`forward`], with the lobby beside it, where they read what is refused.
fn forward_with_lobby(tess: &Person, target_port: u16) -> (Running, u16) {
    forward_with(tess, "-tt", target_port)
}

fn forward_with(tess: &Person, how: &str, target_port: u16) -> (Running, u16) {
    let port = free_port();
    let leads = format!("127.0.0.1:{port}:plc-7:{target_port}");
    let ssh = start(&mut tess.ssh(&[how, "-L", &leads, &tess.at("")]));
    eventually("ssh listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (ssh, port)
}

fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("ssh listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket
}

/// Says something and hears it back.
fn chats(socket: &mut TcpStream, text: &str) -> bool {
    let mut heard = vec![0; text.len()];
    socket.write_all(text.as_bytes()).is_ok() && socket.read_exact(&mut heard).is_ok() && heard == text.as_bytes()
}

fn is_closed(socket: &mut TcpStream) -> bool {
    matches!(socket.read(&mut [0; 16]), Ok(0))
}

fn through(tess: &Person, place: &str, input: &[u8]) -> Ended {
    run(&mut tess.ssh(&["-W", place, &tess.at("")]), input)
}

#[test]
fn a_service_is_reached_by_stock_ssh_and_every_byte_of_both_directions_is_recorded() {
    let echo = Echo::listen();
    let mut plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    let tess = plant.tess();
    let by_port = through(tess, &format!("plc-7:{}", echo.port), b"hello, machine\n").ok();
    assert_eq!(by_port.out(), "hello, machine\n");
    let by_name = through(tess, "tcp.plc-7:1", b"and again\n").ok();
    assert_eq!(by_name.out(), "and again\n");
    assert_eq!([echo.next_end(), echo.next_end()], ["FIN", "FIN"]);
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recordings = evidence.recordings();
    assert_eq!(recordings.len(), 2);
    let notes = recordings[0].notes();
    assert_eq!(recordings[0].bytes(Stream::In), recordings[0].bytes(Stream::Out));
    let to = format!("127.0.0.1:{}", echo.port);
    let opened = Note::ChannelOpen { kind: "direct-tcpip".into(), to: Some(to.as_str().into()), from: None };
    assert!(notes.contains(&&opened), "{notes:?}");
    assert!(notes.contains(&&Note::Eof { from_target: false }) && notes.contains(&&Note::ChannelClose), "{notes:?}");
}

#[test]
fn whoever_may_not_or_asks_for_what_is_not_there_reads_what_to_type() {
    let echo = Echo::listen();
    let port = echo.port;
    let mut plant = Plant::ready(options("tcp", port, ""));
    plant.serve();
    let tess = plant.tess();
    let place = format!("plc-7:{port}");
    through(tess, &place, b"x").says_no("no grant for plc-7+tcp is open. Ask for one: ssh");
    through(tess, "plc-7:9", b"x").says_no(&format!("plc-7 has nothing at port 9: plc-7:{port} is tcp"));
    through(tess, "plc-9:502", b"x").says_no("there is no target plc-9");
    through(tess, "10.0.0.1:502", b"x").says_no("only a target's name is forwarded to");
    assert!(echo.ends.try_recv().is_err(), "nothing was dialled");
}

#[test]
fn a_target_takes_as_many_connections_as_the_plant_says_and_a_silent_one_of_ones_own_gives_way() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, "connections_max = 1"), &TUNNEL, HOUR);
    let (first_ssh, first_port) = forward(plant.tess(), echo.port);
    echo.next_end();
    let mut first = connect(first_port);
    assert!(chats(&mut first, "one"));
    let (second_ssh, second_port) = forward(plant.tess(), echo.port);
    let mut refused = connect(second_port);
    assert!(!chats(&mut refused, "two"));
    eventually("the words are read", || {
        second_ssh.said().contains("plc-7 takes 1 connection at once, and it is in use")
    });
    // As after a pulled cable: the old connection stands, and says nothing.
    eventually("the silent one gives way", || chats(&mut connect(second_port), "three"));
    assert!(is_closed(&mut first), "{}", first_ssh.said());
}

#[test]
fn at_its_deadline_a_connection_ends_in_tcps_order_and_the_technician_reads_why() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, Seconds(8));
    let (ssh, port) = forward(plant.tess(), echo.port);
    echo.next_end();
    let mut socket = connect(port);
    assert!(chats(&mut socket, "still there"));
    assert_eq!(echo.next_end(), "FIN");
    assert!(is_closed(&mut socket));
    ssh.ends().says_no("time");
}

#[test]
fn more_time_moves_the_deadline_of_a_connection_that_stands() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, Seconds(20));
    log_in(&plant, "lee");
    let begun = Instant::now();
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut socket = connect(port);
    assert!(chats(&mut socket, "in time"));
    run(&mut plant.tess().ssh(&[&plant.tess().at(""), "extend", "10m", "--at", "plc-7", "a valve sticks"]), b"").ok();
    let ask = find(&json(&plant, "lee", &["requests", "--all"]), "ask").expect("the extension waits");
    holdpoint(&plant, "lee", &["approve", &ask, "--yes"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(20), "this machine is too slow to see anything here");
    eventually("its first deadline is behind it", || {
        assert!(chats(&mut socket, "still there"), "after {:?}", begun.elapsed());
        begun.elapsed() > Duration::from_secs(22)
    });
}

#[test]
fn where_an_escort_is_required_requests_pass_only_while_somebody_says_that_they_are_there() {
    let echo = Echo::listen();
    let mut escorted = options("modbus", echo.port, "");
    escorted.more = escorted.more.replace("hold_max", "escort = \"required\"\nhold_max");
    let plant = serving(escorted, &[Action::Observe, Action::Operate], HOUR);
    log_in(&plant, "lee");
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut tool = connect(port);
    let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    let mut passes = || {
        let mut answer = [0; 9];
        tool.write_all(&write).and_then(|()| tool.read_exact(&mut answer)).expect("an answer");
        if answer[7] == 0x86 {
            return false;
        }
        tool.read_exact(&mut [0; 3]).expect("the rest of it");
        true
    };
    assert!(!passes(), "nobody watches");
    assert!(echo.heard().is_empty());
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    let mut watching = start_on_a_terminal(&plant.as_person("lee", &["watch", &session]));
    watching.until("SPACE says that you are there. Nobody is there: INPUT WAITS.");
    assert!(!passes(), "an open window proves nobody");
    watching.type_in(" ");
    watching.until("There: lee.");
    eventually("it passes while somebody is there", &mut passes);
    watching.until("refused to write 55 to holding register 40101");
    watching.until(" wrote 55 to holding register 40101");
    drop(watching);
    eventually("it is refused when nobody is any more", || !passes());
}

#[test]
fn a_line_of_an_operator_is_read_in_the_lobby_and_where_nobody_could_read_it_that_is_said() {
    let echo = Echo::listen();
    let mut plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    log_in(&plant, "lee");
    let session = |plant: &Plant| find(&json(plant, "lee", &["sessions"]), "session");
    let tell = |plant: &Plant, words: &str| {
        let session = session(plant).expect("it runs");
        holdpoint(plant, "lee", &["tell", &session, words]).ok().out()
    };
    let (ssh, port) = forward(plant.tess(), echo.port);
    let mut socket = connect(port);
    assert!(chats(&mut socket, "here"));
    let told = tell(&plant, "hold on");
    assert!(told.contains("NOT SHOWN"), "{told}");
    drop((socket, ssh));
    eventually("it is over", || session(&plant).is_none());
    let (mut ssh, port) = forward_with_lobby(plant.tess(), echo.port);
    let mut socket = connect(port);
    assert!(chats(&mut socket, "here"));
    let told = tell(&plant, "wait\u{1b}[2J for \u{202e}the crane");
    assert!(told.contains("Shown in the lobby"), "{told}");
    ssh.until("lee writes: wait[2J for the crane");
    drop((socket, ssh));
    eventually("it is over", || session(&plant).is_none());
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let notices: Vec<String> = evidence
        .recordings()
        .iter()
        .flat_map(|opened| opened.notes().into_iter().cloned().collect::<Vec<_>>())
        .filter_map(|note| match note {
            Note::Notice { text } if text.starts_with("lee writes: ") => Some(text),
            _ => None,
        })
        .collect();
    let not_shown = "lee writes: hold on (NOT SHOWN: nobody read lines of this session)";
    assert_eq!(notices, [not_shown, "lee writes: wait[2J for the crane"]);
}

#[test]
fn a_cut_closes_the_connection_at_once_and_the_technician_reads_why() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    let (ssh, port) = forward(plant.tess(), echo.port);
    echo.next_end();
    let mut socket = connect(port);
    assert!(chats(&mut socket, "still there"));
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["cut", "--technician", "tess"]).ok();
    assert!(is_closed(&mut socket) || !chats(&mut socket, "x"));
    ssh.ends().says_no("cut");
    through(plant.tess(), &format!("plc-7:{}", echo.port), b"x").says_no("cut");
}

#[test]
fn an_operator_frees_a_place_that_hangs_and_the_session_goes_on() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    log_in(&plant, "lee");
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut socket = connect(port);
    assert!(chats(&mut socket, "one"));
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    assert!(holdpoint(&plant, "lee", &["disconnect", &session]).ok().out().contains("closed; the session goes on"));
    assert!(is_closed(&mut socket));
    assert!(chats(&mut connect(port), "two"));
    assert_eq!(find(&json(&plant, "lee", &["sessions"]), "session"), Some(session));
}

#[test]
fn one_side_may_finish_and_still_listen() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut socket = connect(port);
    socket.write_all(&[7; 100_000]).expect("it is taken");
    socket.shutdown(Shutdown::Write).expect("a socket");
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).expect("all of it");
    assert!(heard == [7; 100_000], "{} bytes", heard.len());
}

#[test]
fn a_panel_that_polls_is_nobody_and_its_session_ends_when_nobody_else_is_there() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (_controller, port) = machine(command);
    let mut options = options("modbus", port, "");
    options.more = options.more.replace("idle = \"4h\"", "idle = \"3s\"");
    let plant = serving(options, &OBSERVE, HOUR);
    let (ssh, local) = forward(plant.tess(), port);
    let mut panel = connect(local);
    let read = [0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    eventually("it is over although the panel polls", || {
        panel.write_all(&read).is_err() || panel.read_exact(&mut [0; 11]).is_err()
    });
    ssh.ends().says_no("Nobody");
}

/// Writes one file record: 21, which loads configuration or logic.
const LOADS: [u8; 17] = [0, 9, 0, 0, 0, 11, 1, 21, 8, 6, 0, 1, 0, 0, 0, 1, 7];

#[test]
fn a_program_transfer_outlives_the_deadline_and_nothing_else_does() {
    let echo = Echo::listen();
    let mut load = LOADS.to_vec();
    load.push(7);
    load[5] = u8::try_from(load.len() - 6).expect("it is short");
    load[8] = u8::try_from(load.len() - 9).expect("it is short");
    let mut plant = serving(options("modbus", echo.port, ""), &[Action::Observe, Action::Program], Seconds(8));
    log_in(&plant, "lee");
    let (ssh, port) = forward(plant.tess(), echo.port);
    let mut tool = connect(port);
    let mut asks = |request: &[u8], length: usize| {
        let mut answer = vec![0; length];
        tool.write_all(request).and_then(|()| tool.read_exact(&mut answer)).map(|()| answer)
    };
    eventually("the time is up, and the transfer goes on", || {
        assert_eq!(asks(&load, load.len()).expect("it is let finish"), load);
        holdpoint(&plant, "lee", &["sessions"]).ok().out().contains("PROGRAM TRANSFER RUNS")
    });
    let read = [0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    assert_eq!(asks(&read, 9).expect("an answer"), [0, 1, 0, 0, 0, 3, 1, 0x83, 1]);
    assert_eq!(asks(&load, load.len()).expect("it is let finish"), load);
    // Nothing of it comes for ten seconds: it is done.
    assert_eq!(echo.next_end(), "FIN");
    assert!(asks(&load, load.len()).is_err());
    ssh.ends().says_no("time");
    assert!(plant.gate().said().contains("outlives its session's time"), "it is an alarm");
    plant.stop();
    plant.evidence().verify().ok();
}

#[test]
fn an_operator_stops_input_where_a_gate_only_decodes_and_nothing_inside_is_torn() {
    let echo = Echo::listen();
    let plant = serving(options("modbus", echo.port, "gate = \"decode\""), &TUNNEL, HOUR);
    log_in(&plant, "lee");
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut tool = connect(port);
    let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    let mut answer = [0; 12];
    tool.write_all(&write).and_then(|()| tool.read_exact(&mut answer)).expect("it passes");
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    holdpoint(&plant, "lee", &["freeze", &session]).ok();
    tool.write_all(&write).expect("it waits at the gate");
    tool.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    assert!(tool.read_exact(&mut answer).is_err(), "input is stopped");
    assert_eq!(echo.heard().len(), write.len());
    holdpoint(&plant, "lee", &["thaw", &session]).ok();
    tool.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    tool.read_exact(&mut answer).expect("it goes on");
    assert_eq!(answer, write);
}

/// What comes back for a request: as many bytes.
fn answer(tool: &mut TcpStream, request: &[u8], bytes: usize) -> Vec<u8> {
    let mut answer = vec![0; bytes];
    tool.write_all(request).and_then(|()| tool.read_exact(&mut answer)).expect("an answer");
    answer
}

#[test]
fn a_plant_says_what_its_controllers_functions_are_and_which_data_nobody_reaches() {
    let echo = Echo::listen();
    let keys = "functions = { \"6\" = \"control\", \"100\" = \"operate\" }\nblocked = [\"holding-registers 200-209\"]";
    let plant = serving(options("modbus", echo.port, keys), &[Action::Observe, Action::Operate], HOUR);
    let (ssh, port) = forward_with_lobby(plant.tess(), echo.port);
    let mut tool = connect(port);
    let write = [0, 1, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    assert_eq!(answer(&mut tool, &write, 9), [0, 1, 0, 0, 0, 3, 1, 0x86, 1], "it counts as control there");
    let own = [0, 2, 0, 0, 0, 4, 1, 100, 7, 7];
    assert_eq!(answer(&mut tool, &own, 10), own, "the controller's own function is known there");
    let read = |first: u8| [0, 3, 0, 0, 0, 6, 1, 3, 0, first, 0, 10];
    assert_eq!(answer(&mut tool, &read(190), 12), read(190));
    for first in [191, 209] {
        assert_eq!(answer(&mut tool, &read(first), 9), [0, 3, 0, 0, 0, 3, 1, 0x83, 2], "{first}");
    }
    assert_eq!(echo.heard().len(), 10 + 12);
    eventually("why is told", || ssh.said().contains("the plant lets nobody reach these addresses"));
}

#[test]
fn a_controller_gets_requests_as_fast_as_it_takes_them_and_each_is_judged_in_its_turn() {
    let echo = Echo::listen();
    let keys = "requests_per_second = 5";
    let plant = serving(options("modbus", echo.port, keys), &[Action::Observe, Action::Operate], HOUR);
    log_in(&plant, "lee");
    let (ssh, port) = forward_with_lobby(plant.tess(), echo.port);
    let (mut tool, mut other) = (connect(port), connect(port));
    let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(answer(&mut tool, &write, 12), write);
        assert_eq!(answer(&mut other, &write, 12), write);
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "six of two connections took {:?}", begun.elapsed());
    assert!(!ssh.said().contains("wait their turn"));

    tool.write_all(&write.repeat(40)).expect("they wait at the gate");
    eventually("it is told", || ssh.said().contains("plc-7 takes 5 requests a second: yours wait their turn"));
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    holdpoint(&plant, "lee", &["freeze", &session]).ok();
    let mut answers = Vec::new();
    while answers.last().is_none_or(|answer: &[u8; 9]| answer[7] != 0x86) {
        let mut answer = [0; 9];
        tool.read_exact(&mut answer).expect("an answer to each");
        if answer[7] == 6 {
            tool.read_exact(&mut [0; 3]).expect("the rest of it");
        }
        answers.push(answer);
    }
    assert!(answers.len() < 40, "what waits when input is stopped does not pass");
    let passed = echo.heard().len();
    assert_eq!(passed, (6 + answers.len() - 1) * write.len());
}

#[test]
fn technicians_who_ask_one_controller_share_its_turns() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (_controller, port) = machine(command);
    let mut shared = options("modbus", port, "requests_per_second = 5\nconnections_max = 4");
    shared.technicians = vec![("tess", "acme"), ("tom", "acme")];
    let mut plant = Plant::ready(shared);
    for who in ["tess", "tom"] {
        plant.grant(who, "plc-7", &OBSERVE, HOUR);
    }
    plant.serve();
    let (first_ssh, first_port) = forward(plant.person("tess"), port);
    let (second_ssh, second_port) = forward(plant.person("tom"), port);
    let read = [0, 7, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    let (mut first, mut second) = (connect(first_port), connect(second_port));
    let begun = Instant::now();
    for _ in 0..5 {
        first.write_all(&read).and_then(|()| second.write_all(&read)).expect("they wait at the gate");
        for tool in [&mut first, &mut second] {
            tool.read_exact(&mut [0; 11]).expect("an answer to each");
        }
    }
    // Ten, of two sessions: nine spaces of a fifth of a second.
    assert!(begun.elapsed() >= Duration::from_millis(1_700), "ten of two people took {:?}", begun.elapsed());
    drop((first_ssh, second_ssh));
}

#[test]
fn where_everything_passes_a_connection_ends_with_the_widening_that_let_it_in() {
    let echo = Echo::listen();
    let mut plant = Plant::ready(options("modbus", echo.port, "gate = \"enforce\""));
    plant.grant("tess", "plc-7", &OBSERVE, HOUR);
    plant.serve();
    log_in(&plant, "lee");
    log_in(&plant, "ada");
    // The plant trusts its gate no longer to know what matters there.
    let text = fs::read_to_string(plant.installation().join("plant.toml")).expect("a plant file");
    let decoding = plant.installation().join("decoding.toml");
    fs::write(&decoding, text.replace("gate = \"enforce\"", "gate = \"decode\"")).expect("a file");
    for signer in ["ada", "lee"] {
        holdpoint(&plant, signer, &["adopt", decoding.to_str().expect("a path"), "--yes"]).ok();
    }
    let place = format!("plc-7:{}", echo.port);
    through(plant.tess(), &place, b"x").says_no("tunnel");
    let lobby = plant.tess().at("");
    run(
        &mut plant.tess().ssh(&[&lobby, "widen", "tunnel", "--for", "12s", "--at", "plc-7", "it has to be loaded"]),
        b"",
    )
    .ok();
    let ask = find(&json(&plant, "lee", &["requests", "--all"]), "ask").expect("the widening waits");
    holdpoint(&plant, "lee", &["approve", &ask, "--yes"]).ok();
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut tool = connect(port);
    assert!(chats(&mut tool, "engineering"));
    let widened = Instant::now();
    assert!(is_closed(&mut tool), "the widening is over, and so is what it let in");
    assert!(widened.elapsed() < Duration::from_secs(15), "{:?}", widened.elapsed());
    through(plant.tess(), &place, b"x").says_no("tunnel");
}

#[test]
fn what_cannot_be_read_is_no_request_that_would_wait_for_its_turn() {
    let echo = Echo::listen();
    let plant = serving(options("modbus", echo.port, "gate = \"decode\"\nrequests_per_second = 5"), &TUNNEL, HOUR);
    let (_ssh, port) = forward(plant.tess(), echo.port);
    let mut tool = connect(port);
    // No Modbus from the first byte on; at eight bytes a turn it would take hours.
    assert!(chats(&mut tool, &"engineering ".repeat(10_000)));
}

/// Writes register 100, again and again, until the connection breaks.
fn write_until_it_breaks(port: u16) {
    let mut tool = connect(port);
    for value in 0u32.. {
        let [high, low] = u16::try_from(value % 0x1_0000).expect("it was made to fit").to_be_bytes();
        let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, high, low];
        let mut answer = [0; 12];
        if tool.write_all(&write).is_err() || tool.read_exact(&mut answer).is_err() {
            return;
        }
        assert_eq!(answer, write);
    }
}

#[test]
fn each_write_that_a_controller_took_is_in_the_recording_whenever_the_gate_is_killed() {
    let echo = Echo::listen();
    let mut plant = serving(options("modbus", echo.port, ""), &[Action::Observe, Action::Operate], HOUR);
    let taken_until_killed: Vec<Vec<u8>> = (0..long_or(100, 3))
        .map(|kill| {
            let (ssh, port) = forward(plant.tess(), echo.port);
            let writing = thread::spawn(move || write_until_it_breaks(port));
            let taken = || echo.heard().len();
            eventually("writes flow", || taken() > 12 * (20 + 13 * (kill % 10)));
            plant.kill();
            writing.join().expect("it only stops");
            drop(ssh);
            plant.serve();
            std::mem::take(&mut *echo.heard())
        })
        .collect();
    plant.stop();
    let evidence = plant.evidence();
    let recordings = evidence.recordings();
    assert_eq!(recordings.len(), taken_until_killed.len());
    for (recording, taken) in recordings.iter().zip(&taken_until_killed) {
        let recorded = recording.bytes(Stream::In);
        assert!(recorded.starts_with(taken), "{} of {} bytes", recorded.len(), taken.len());
    }
    evidence.verify().ok();
}

#[test]
fn a_write_is_refused_to_who_may_look_and_passes_once_an_operator_said_yes_on_the_same_connection() {
    let Some(command) = peer("modbus_server.py") else { return };
    let (controller, port) = machine(command);
    let mut plant = serving(options("modbus", port, ""), &OBSERVE, HOUR);
    let (_ssh, local) = forward(plant.tess(), port);
    let mut panel = connect(local);
    let mut asks = |request: &[u8], length: usize| {
        panel.write_all(request).expect("it is taken");
        let mut answer = vec![0; length];
        panel.read_exact(&mut answer).expect("an answer");
        answer
    };
    let read = [0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 1];
    let write = [0, 2, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    assert_eq!(asks(&read, 11), [0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7]);
    assert_eq!(asks(&write, 9), [0, 2, 0, 0, 0, 3, 1, 0x86, 1]);
    assert!(!controller.said().contains("seen 6"));
    log_in(&plant, "lee");
    let lobby = plant.tess().at("");
    run(&mut plant.tess().ssh(&[&lobby, "widen", "operate", "the pump trips"]), b"").ok();
    let cards = json(&plant, "lee", &["requests", "--all"]);
    let ask = find(&cards, "ask").expect("the widening waits");
    holdpoint(&plant, "lee", &["approve", &ask, "--yes"]).ok();
    eventually("the write passes", || asks(&write, 9 + 3) == write);
    eventually("the controller has said so", || controller.said().contains("seen 6"));
    mbpoll(local, &["-t", "4", "-r", "100", "-c", "1", "127.0.0.1"]).ok();
    drop(panel);
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    let lines: Vec<String> = recording
        .notes()
        .into_iter()
        .filter_map(|note| match note {
            Note::GateVerdict { words, operation: Some(operation), .. } => {
                assert_eq!(operation.rule.as_ref().map(ToString::to_string).as_deref(), Some("acme-plc"));
                Some(words.to_string())
            }
            _ => None,
        })
        .collect();
    for line in [
        "read holding register 40101 (address 100), unit 1",
        "refused to write 55 to holding register 40101 (address 100), unit 1",
        "wrote 55 to holding register 40101 (address 100), unit 1",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line:?} not in {lines:#?}");
    }
}

/// The lines of what passed and was refused, of the one session.
fn lines(plant: &mut Plant) -> Vec<String> {
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    let line = |note: &&Note| match note {
        Note::GateVerdict { words, operation: Some(_), .. } => Some(words.to_string()),
        _ => None,
    };
    recording.notes().iter().filter_map(line).collect()
}

#[test]
fn an_s7_controller_is_looked_at_with_stock_snap7_and_not_touched() {
    let Some(command) = peer("s7_server.py") else { return };
    let (controller, port) = machine(command);
    let mut plant = serving(options("s7", port, "gate = \"enforce\""), &OBSERVE, HOUR);
    let (_ssh, local) = forward(plant.tess(), port);
    let mut client = peer("s7_client.py").expect("Python is there");
    run(client.args([&local.to_string(), "observing"]), b"").ok();
    assert!(!controller.said().contains("Write"), "{}", controller.said());
    let lines = lines(&mut plant);
    let told = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(told("refused to write") && told("read"), "{lines:#?}");
}

#[test]
fn where_a_gate_only_decodes_a_tunnel_is_asked_for_and_what_passes_is_told() {
    let Some(command) = peer("cip_server.py") else { return };
    let (_controller, port) = machine(command);
    let mut plant = serving(options("cip", port, ""), &TUNNEL, HOUR);
    let (_ssh, local) = forward(plant.tess(), port);
    let mut client = Command::new(python().expect("Python is there"));
    client.args(["-m", "cpppo.server.enip.client", "-a", &format!("127.0.0.1:{local}"), "-p"]);
    assert!(run(client.arg("SCADA[0-1]=(INT)7,8"), b"").ok().text().contains("7, 8"));
    let lines = lines(&mut plant);
    assert!(lines.iter().any(|line| line.contains("SCADA")), "{lines:#?}");
}

/// What tshark makes of packets.
fn tshark(file: &Path, port: u16, arguments: &[&str]) -> String {
    let decode = format!("tcp.port=={port},mbtcp");
    run(Command::new("tshark").arg("-r").arg(file).args(["-d", &decode]).args(arguments), b"").ok().out()
}

#[test]
fn the_plants_own_eyes_see_what_reaches_a_controller_while_it_does() {
    if Command::new("tshark").arg("-v").output().is_err() {
        println!("SKIPPED: tshark is not installed (Debian: tshark)");
        return;
    }
    let echo = Echo::listen();
    let plant = serving(options("modbus", echo.port, ""), &[Action::Observe, Action::Operate], HOUR);
    log_in(&plant, "lee");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, port) = (folder.path().join("live.pcapng"), echo.port);
    let pipe = format!(
        "\"$0\" capture --target plc-7 --zone packaging | tee '{}' | tshark -l -r - -d tcp.port=={port},mbtcp -Y modbus \
         -T fields -e tcp.dstport -e modbus.func_code",
        file.display()
    );
    let mut eyes =
        start(plant.person("lee").tool("sh").args(["-c", &pipe]).arg(plant.as_person("lee", &[]).get_program()));
    eventually("it reads along", || file.metadata().is_ok_and(|metadata| metadata.len() > 0));
    let (_ssh, local) = forward(plant.tess(), port);
    let mut tool = connect(local);
    let mut asks = |request: &[u8], length: usize| {
        let mut answer = vec![0; length];
        tool.write_all(request).and_then(|()| tool.read_exact(&mut answer)).expect("an answer");
        answer
    };
    let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    assert_eq!(asks(&write, 12), write);
    eyes.until(&format!("{port}\t6\n"));
    // The gate refuses this one: it reaches nobody.
    assert_eq!(asks(&[0, 8, 0, 0, 0, 6, 1, 0x63, 0, 0, 0, 0], 9)[7], 0xe3);
    assert_eq!(asks(&write, 12), write);
    drop(tool);
    eventually("its end is seen", || tshark(&file, port, &["-Y", "tcp.flags.fin == 1"]).lines().count() == 2);
    assert_eq!(tshark(&file, port, &["-Y", "modbus"]).lines().count(), 4, "two writes and two answers");
    assert_eq!(tshark(&file, port, &["-Y", "modbus.func_code == 99"]), "");
    assert_eq!(tshark(&file, port, &["-Y", "tcp.analysis.flags || _ws.malformed"]), "");
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    let opened = tshark(&file, port, &["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"]);
    assert!(opened.starts_with(&format!("session {session} of p_")), "{opened}");
    holdpoint(&plant, "lee", &["capture", "--target", "plc-8"]).refused(1, "there is no target plc-8");
}

#[test]
fn a_sensor_reads_by_itself_for_months_comes_back_after_a_restart_and_is_put_out_in_one_act() {
    let echo = Echo::listen();
    let mut plant = Plant::ready(options("tcp", echo.port, ""));
    plant.grant("tess", "plc-7", &TUNNEL, HOUR);
    plant.serve();
    let (own, origin) = (plant.faces.plant[0], format!("https://{PLANT_FACE}:9443"));
    log_in(&plant, "ada");
    let code = text(&json(&plant, "ada", &["invite", "ids-1", "--sensor"])["code"]);
    let sensor = plant.newcomer("ids-1");
    let mut enrol = sensor.tool(tests::plant::program());
    enrol.args(["enrol", "--gate", &origin, "--address", &own.to_string(), "--key", "key"]);
    let told = run(&mut enrol, format!("{code}\n").as_bytes()).ok().out();
    assert!(told.contains("enrolled as a sensor") && !told.contains("authenticator"), "{told}");
    plant.add(sensor);
    assert!(holdpoint(&plant, "ada", &["people"]).ok().out().contains("sensor"));
    let file = plant.person("ids-1").path("live.pcapng");
    let reading = plant.as_person("ids-1", &["capture", "-o", file.to_str().expect("a path")]);
    let reading = start(&mut { reading });
    let has =
        |words: &str| fs::read(&file).unwrap_or_default().windows(words.len()).any(|have| have == words.as_bytes());
    let passes = |plant: &Plant, words: &str| {
        through(plant.tess(), &format!("plc-7:{}", echo.port), words.as_bytes()).ok();
        eventually("it is read", || has(words));
    };
    eventually("it reads along", || file.metadata().is_ok_and(|metadata| metadata.len() > 0));
    passes(&plant, "before the restart");
    // The same port again, as a gate has it.
    plant.edit_config(|text| {
        let at = text.rfind("127.0.0.1:0").expect("the plant face's");
        format!("{}{own}{}", &text[..at], &text[at + "127.0.0.1:0".len()..])
    });
    plant.stop();
    plant.serve();
    eventually("it is back", || reading.said().contains("Reading again."));
    passes(&plant, "after the restart");
    if Command::new("tshark").arg("-v").output().is_ok() {
        assert_ne!(tshark(&file, echo.port, &["-Y", "frame contains \"after the restart\""]), "");
    }
    holdpoint(&plant, "ids-1", &["sessions"]).refused(1, "only people of the plant");
    log_in(&plant, "ada");
    holdpoint(&plant, "ada", &["disable", "ids-1"]).ok();
    reading.ends_within(Duration::from_secs(30)).refused(1, "your access was ended");
}

/// Sends much, hears it all back, and says how long that took.
fn bulk(port: u16, mebibytes: usize) -> Duration {
    let begun = Instant::now();
    let mut socket = connect(port);
    let mut writing = socket.try_clone().expect("a descriptor");
    let writer = thread::spawn(move || {
        let piece: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 7 + at / 251) as u8).collect();
        (0..mebibytes).for_each(|_| writing.write_all(&piece).expect("it is taken"));
        writing.shutdown(Shutdown::Write).expect("a socket");
    });
    let mut piece = vec![0; 1 << 20];
    let mut heard = 0;
    while heard < mebibytes << 20 {
        let read = socket.read(&mut piece).expect("it comes back");
        assert!(read > 0, "{heard} bytes came back");
        heard += read;
    }
    writer.join().expect("it only writes");
    begun.elapsed()
}

#[test]
fn a_reader_who_does_not_read_is_no_brake_and_sees_later_what_was_missed() {
    let echo = Echo::listen();
    let plant = serving(options("tcp", echo.port, ""), &TUNNEL, HOUR);
    log_in(&plant, "lee");
    let (_ssh, local) = forward(plant.tess(), echo.port);
    let alone = bulk(local, 24);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("live.pcapng");
    let mut slow = start(plant.as_person("lee", &["capture", "-o"]).arg(&file));
    eventually("it reads along", || file.metadata().is_ok_and(|metadata| metadata.len() > 0));
    slow.signal(Signal::STOP);
    let beside = bulk(local, 24);
    assert!(beside < alone * 2 + Duration::from_secs(2), "{alone:?} alone, {beside:?} beside it");
    slow.signal(Signal::CONT);
    let mut socket = connect(local);
    let has = |words: &[u8]| fs::read(&file).expect("a file").windows(words.len()).any(|window| window == words);
    // Nothing is taken for it before it has read half of what waits.
    eventually("it has caught up", || chats(&mut socket, "the last words") && has(b"the last words"));
    assert!(!slow.has_ended(), "{}", slow.said());
    assert!(has(b"the reader was too slow"));
    assert!(fs::metadata(&file).expect("a file").len() < 40 << 20, "some was missed");
    if Command::new("tshark").arg("-v").output().is_ok() {
        let told = tshark(
            &file,
            echo.port,
            &["-Y", "frame.comment contains \"too slow\"", "-T", "fields", "-e", "frame.comment"],
        );
        assert!(told.contains("are missing"), "{told}");
        let odd = tshark(&file, echo.port, &["-Y", "tcp.analysis.retransmission || tcp.analysis.out_of_order"]);
        assert_eq!(odd, "");
    }
    holdpoint(&plant, "lee", &["capture", "-o", file.to_str().expect("UTF-8")]).refused(2, "is there already");
}
