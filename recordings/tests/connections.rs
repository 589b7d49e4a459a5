//! TCP connections as they were recorded, and what is made of them for an auditor: packets that other programs read, and
//! the list of what was done.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use policies::actions::Action;
use policies::events::PackOf;
use recordings::frame::Stream;
use recordings::notes::{Note, Splice};
use recordings::pack::{self, Making};
use recordings::read::{Moment, Recording, Store as Records};
use recordings::table::{TableForm, write_operations};
use recordings::timeline::Timeline;
use recordings::verify::{Checks, Verdict, verify};
use recordings::wire::{Side, Survey, WireFault, WireOptions, Written, write_pcapng};
use sha2::{Digest as _, Sha256};

use support::Store;
use support::connections::{ANSWER, READ, REFUSED, TLS, WRITE, opened, read, store, tunnelled};

fn only(store: &Store) -> (Records, Recording) {
    let records = Records::open(store.dir()).unwrap();
    let recording = records.list().recordings.remove(0);
    (records, recording)
}

fn moments(store: &Store) -> Vec<Moment> {
    let (records, recording) = only(store);
    let keys = store.keys.open(records.dir(), &recording.opened).unwrap();
    records.moments(&recording, keys).map(Result::unwrap).collect()
}

fn packets(store: &Store, side: Side) -> Result<(Vec<u8>, Written), WireFault> {
    let (_, recording) = only(store);
    let (mut survey, mut out, moments) = (Survey::default(), Vec::new(), moments(store));
    moments.iter().for_each(|moment| survey.take(moment));
    let options = WireOptions { side, channel: None };
    let written = write_pcapng(&mut out, &recording, moments.into_iter().map(Ok), &survey, &options, "holdpoint")?;
    Ok((out, written))
}

/// What both ends of a stream sent, as tshark follows it, and that it finds nothing odd; none where it is not installed.
fn followed(file: &[u8], stream: u32) -> Option<[Vec<u8>; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.pcapng");
    fs::write(&path, file).unwrap();
    let checked = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];
    let odd = "tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed";
    let odd = tshark(&path, &[&checked[..], &["-d", "tcp.port==502,mbtcp", "-Y", odd]].concat())?;
    assert_eq!(odd, "", "nothing is odd");
    let told = tshark(&path, &["-q", "-z", &format!("follow,tcp,raw,{stream}")])?;
    let mut sides = [Vec::new(), Vec::new()];
    let lines = told.lines().skip_while(|line| !line.starts_with("Node 1")).skip(1);
    for line in lines.take_while(|line| !line.starts_with('=')) {
        let bytes = data_encoding::HEXLOWER.decode(line.trim().as_bytes()).unwrap();
        sides[usize::from(line.starts_with('\t'))].extend(bytes);
    }
    Some(sides)
}

fn tshark(file: &Path, arguments: &[&str]) -> Option<String> {
    let Ok(told) = Command::new("tshark").arg("-r").arg(file).args(arguments).output() else {
        println!("SKIPPED: tshark is not installed (Debian: tshark)");
        return None;
    };
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    Some(String::from_utf8(told.stdout).unwrap())
}

fn digests(sides: [Vec<u8>; 2]) -> [String; 2] {
    sides.map(|side| data_encoding::HEXLOWER.encode(&Sha256::digest(side)))
}

#[test]
fn each_side_of_a_gate_is_the_conversation_that_it_had() {
    let store = store(true);
    let (technician, written) = packets(&store, Side::Technician).unwrap();
    assert_eq!((written.connections, written.is_rough), (2, false));
    let (target, _) = packets(&store, Side::Target).unwrap();
    let sent = [READ, READ, WRITE, READ].concat();
    let answered = [ANSWER, ANSWER, REFUSED, ANSWER].concat();
    let Some(followed_technician) = followed(&technician, 0) else { return };
    assert_eq!(digests(followed_technician), digests([sent, answered]));
    let reached = [READ, READ, READ].concat();
    let came = [ANSWER, ANSWER, ANSWER, b"late"].concat();
    assert_eq!(digests(followed(&target, 0).unwrap()), digests([reached, came]));
    // The other connection is of IPv6, and the same on both sides.
    for file in [&technician, &target] {
        assert_eq!(followed(file, 1).unwrap(), [TLS.to_vec(), TLS.to_vec()]);
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.pcapng");
    fs::write(&path, &technician).unwrap();
    let read = [
        "-d",
        "tcp.port==502,mbtcp",
        "-Y",
        "modbus",
        "-T",
        "fields",
        "-e",
        "modbus.func_code",
        "-e",
        "modbus.exception_code",
    ];
    let read = tshark(&path, &read).unwrap();
    let read: Vec<&str> = read.lines().map(str::trim_end).collect();
    assert_eq!(read, ["3", "3", "3,6", "3", "6\t1", "3", "3"], "as Wireshark reads it");
    let said = ["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"];
    let said = tshark(&path, &said).unwrap();
    assert!(said.contains("holdpoint refused to write 55 to holding register 40101"), "{said}");
    assert!(said.contains("4 bytes that came last did not reach the technician"), "{said}");
    let ends = ["-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0", "-T", "fields", "-e", "ip.src", "-e", "tcp.srcport"];
    let ends = tshark(&path, &ends).unwrap();
    assert!(ends.starts_with("192.0.2.7\t50111\n\t65533"), "{ends:?}");
}

#[test]
fn where_the_gate_put_its_own_bytes_is_not_guessed() {
    let store = store(false);
    let (technician, written) = packets(&store, Side::Technician).unwrap();
    assert!(written.is_rough);
    assert!(matches!(packets(&store, Side::Target), Err(WireFault::NotKnown(1))));
    // All of it is there all the same.
    let Some([sent, answered]) = followed(&technician, 0).or_else(|| Some(Default::default())) else { return };
    if !sent.is_empty() {
        assert_eq!((sent.len(), answered.len()), (3 * READ.len() + WRITE.len(), 3 * ANSWER.len() + REFUSED.len()));
    }
}

#[test]
fn a_recording_that_breaks_off_is_written_as_far_as_it_goes() {
    let (mut store, grant) = Store::granted_to("modbus", Action::Observe);
    let mut session = store.begin_at("modbus", Action::Observe, grant);
    session.note(1, &opened("plc.example:502", None)).data(1, Stream::In, READ).note(1, &read());
    session.data(1, Stream::Out, ANSWER);
    // A place that nothing comes to, as no gate would write it: what belongs there is not held back for ever.
    let nowhere = Splice { from_target: true, at: 1_000_000, left_out: 0, made: REFUSED.len() as u64 };
    session.data(1, Stream::GateOut, REFUSED);
    let words = "answered".into();
    session
        .note(1, &Note::GateVerdict { allowed: true, words, operation: None, spliced: vec![nowhere], checked: None });
    drop(session);
    store.close();
    let (file, written) = packets(&store, Side::Technician).unwrap();
    assert_eq!(written.connections, 1);
    let Some(followed) = followed(&file, 0) else { return };
    assert_eq!(followed, [READ.to_vec(), [ANSWER, REFUSED].concat()]);
}

#[test]
fn a_session_without_a_connection_has_no_packets_and_no_operations() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.note(1, &Note::Shell).data(1, Stream::Out, b"$ ");
    store.end(session);
    store.close();
    assert!(matches!(packets(&store, Side::Technician), Err(WireFault::NoConnection)));
    let none = write_operations(&mut Vec::new(), moments(&store).into_iter().map(Ok), TableForm::Csv, None);
    assert!(none.unwrap_err().to_string().contains("`play` shows"));
}

#[test]
fn what_was_done_is_told_line_by_line() {
    let store = store(true);
    let moments = moments(&store);
    let mut timeline = Timeline::default();
    let rows: Vec<_> = moments.iter().flat_map(|moment| timeline.take(moment)).collect();
    let told: Vec<String> = rows.iter().map(|row| format!("{} {}", row.channel, row.what)).collect();
    assert_eq!(
        told,
        [
            "1 connection (tls) from 192.0.2.7:50111 opened to 10.20.2.7:502",
            "1 read 2 holding registers from 40101 (address 100), unit 1",
            "1 refused to write 55 to holding register 40101 (address 100), unit 1: your grant holds observe",
            "1 read 2 holding registers from 40101 (address 100), unit 1",
            "1 connection closed: 48 bytes from the technician, 43 from the target, 9 of the gate's own",
            "2 connection (tls) opened to [fd00::7]:443",
            "2 connection closed: 13 bytes from the technician, 13 from the target; TLS encrypted inside: kept, nobody can read \
             what was done",
            "0 the session ended: left",
        ]
    );
    assert!(rows[1].until.is_some(), "two alike are one line");
    let mut out = Vec::new();
    let lines = write_operations(&mut out, moments.into_iter().map(Ok), TableForm::Csv, None).unwrap();
    assert_eq!((lines, String::from_utf8(out).unwrap().lines().count()), (4, 5));
}

/// An auditor's pack of the one session, as a folder.
fn packed(store: &Store) -> tempfile::TempDir {
    let trust = support::trust();
    let checks =
        Checks { folder: store.dir(), trust: &trust, keys: Some(&store.keys), remembered: &[], out_of_a_bucket: false };
    let report = verify(&checks, &mut |_| {});
    assert_eq!(report.verdict(), Verdict::Whole, "{:?}", report.findings);
    let (_, recording) = only(store);
    let of = PackOf::Session { session: recording.id() };
    let folder = tempfile::tempdir().unwrap();
    let staged = folder.path().join(pack::DATA);
    pack::stage(store.dir(), &[recording.id()].into(), &staged).unwrap();
    let making = Making {
        of: &of,
        trust: &trust,
        keys: Some(&store.keys),
        texts: &pack::Texts::default(),
        at: store.now(),
        from: pack::Source::Folder,
        program: "0.1.0",
    };
    pack::make(folder.path(), &making, &mut |_| {}).unwrap();
    folder
}

/// What both verifiers say of such a recording, and what stands in its pack.
#[test]
fn its_pack_lists_operations_and_says_what_nobody_can_read() {
    let folder = packed(&store(true));
    let page = fs::read_to_string(folder.path().join("index.html")).unwrap();
    for words in [
        "4 operations, 1 of them refused, by the protocol gate&#39;s reading",
        "read 2 holding registers from 40101 (address 100), unit 1<br>modbus 3, observe",
        "refused to write 55 to holding register 40101 (address 100), unit 1<br>modbus 6, operate",
        "<td>holding register 40101 (address 100), unit 1</td><td>55</td><td><b>refused</b>: your grant holds observe</td>\
         <td>maintenance</td>",
        "2 times",
        "10.20.2.7:502 (tls)",
        "Inside channel 2, to [fd00::7]:443",
        "TLS encrypted inside: kept, nobody can read what was done",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("stood on the screen</dt>"));
    assert_eq!(seen(&folder, "SR 2.8"), "observed");
}

/// How the pack's index by clause says that a clause was seen.
fn seen(folder: &tempfile::TempDir, clause: &str) -> String {
    let evidence = fs::read(folder.path().join("evidence.json")).unwrap();
    let evidence: serde_json::Value = serde_json::from_slice(&evidence).unwrap();
    let clauses = evidence["sessions"][0]["clauses"].as_array().unwrap();
    let of_it = clauses.iter().find(|of| of["clause"] == clause).unwrap_or_else(|| panic!("{clauses:?}"));
    of_it["seen"].as_str().unwrap().to_owned()
}

/// A key opens the recording of a tunnel, and what passed in it all the same nobody can read.
#[test]
fn no_clause_counts_as_observed_what_was_encrypted_inside() {
    let (mut store, grant) = Store::granted_to("modbus", Action::Tunnel);
    let mut session = store.begin_at("modbus", Action::Tunnel, grant);
    tunnelled(&mut session, 1);
    store.end(session);
    store.close();
    let folder = packed(&store);
    for clause in ["SR 2.8", "SR 3.1", "R2.1", "R2.2", "att. 1, 6.3"] {
        assert_eq!(seen(&folder, clause), "encrypted-inside", "{clause}");
    }
    // What does not depend on it is there.
    for clause in ["SR 1.1", "SR 3.9", "SR 4.1, 4.3"] {
        assert_eq!(seen(&folder, clause), "observed", "{clause}");
    }
    let page = fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(page.contains("encrypted inside: nobody can read what was done"), "{page}");
}
