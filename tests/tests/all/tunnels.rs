//! What nobody looks into, with real tools on both sides: it passes by `tunnel` alone, all of it is recorded, and the record
//! says what could be read of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use recordings::frame::Stream;
use tests::evidence::Evidence;
use tests::peers::{Display, free_port, machine, peer};
use tests::{Options, Plant, Running, eventually, run, start};

const HOUR: Seconds = Seconds(3_600);

/// A plant whose `hmi-3` has one service that nobody looks into, granted to `tess`, and the local port by which it is reached.
fn tunnelled(target_port: u16) -> (Plant, Running, u16) {
    let more = format!(
        "[targets.hmi-3]\nzone = \"packaging\"\n[targets.hmi-3.services.panel]\nprotocol = \"tcp\"\n\
         address = \"127.0.0.1:{target_port}\"\n\
         [[rules]]\nid = \"acme-panel\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"hmi-3\"]\n\
         actions = [\"tunnel\"]\nduration_max = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n"
    );
    let mut plant = Plant::ready(Options { more, ..Options::default() });
    plant.grant("tess", "hmi-3", &[Action::Tunnel], HOUR);
    plant.serve();
    let port = free_port();
    let leads = format!("127.0.0.1:{port}:panel.hmi-3:1");
    let ssh = start(&mut plant.tess().ssh(&["-N", "-L", &leads, &plant.tess().at("")]));
    eventually("ssh listens", || std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
    (plant, ssh, port)
}

/// A command of the auditor's, of the one recording.
fn of_it(evidence: &Evidence, command: &str, more: &[&str]) -> String {
    let session = evidence.recording().recording.id().to_string();
    run(&mut evidence.holdpoint(&[&[command, &session, "--key", "key"], more].concat()), b"").ok().out()
}

#[test]
fn opc_ua_passes_by_a_tunnel_and_can_be_read_by_an_analyser_from_the_recording() {
    let Some(server) = peer("opcua_server.py") else { return };
    let (server, target_port) = machine(server);
    let (mut plant, ssh, port) = tunnelled(target_port);
    let mut client = peer("opcua_client.py").expect("Python is there");
    assert_eq!(run(client.arg(port.to_string()), b"").ok().out(), "was 7\nis 55\n");
    eventually("the machine has it", || server.said().contains("valve 55"));
    drop(ssh);
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let packets = evidence.path("packets.pcapng");
    of_it(&evidence, "export", &["--as", "pcapng", "-o", "packets.pcapng"]);
    let of = |filter: &str| {
        let decode = format!("tcp.port=={target_port},opcua");
        let tshark = ["-d", &decode, "-Y", filter];
        run(Command::new("tshark").arg("-r").arg(&packets).args(tshark), b"").ok().out().lines().count()
    };
    assert!(of("opcua.servicenodeid.numeric == 673") >= 1, "the write, by its number (OPC 10000-6, annex A)");
    assert_eq!(of("tcp.analysis.flags || _ws.malformed"), 0);
}

/// Runs RDP's server in a folder of its own.
fn xrdp(folder: &Path) -> (Running, u16) {
    let port = free_port();
    let openssl = format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {0}/key.pem -out {0}/cert.pem -days 2 -subj /CN=hmi-3",
        folder.display()
    );
    run(Command::new("openssl").args(openssl.split(' ')), b"").ok();
    let settings = format!(
        "[Globals]\nini_version=1\nfork=false\nport=tcp://127.0.0.1:{port}\nsecurity_layer=tls\ncertificate={0}/cert.pem\n\
         key_file={0}/key.pem\nssl_protocols=TLSv1.2, TLSv1.3\nautorun=\nallow_channels=true\nmax_bpp=24\n\
         [Logging]\nLogFile={0}/xrdp.log\nLogLevel=INFO\nEnableSyslog=false\n\
         [Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\nip=127.0.0.1\nport=-1\ncode=20\n",
        folder.display()
    );
    let file = folder.join("xrdp.ini");
    fs::write(&file, settings).expect("a file");
    let server = start(Command::new("/usr/sbin/xrdp").args(["--nodaemon", "--config"]).arg(&file));
    eventually("xrdp listens", || std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
    (server, port)
}

#[test]
fn rdp_passes_by_a_tunnel_with_its_own_encryption_and_the_record_says_that_nobody_can_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, target_port) = xrdp(folder.path());
    let (mut plant, ssh, port) = tunnelled(target_port);
    let desk = Display::virtual_screen("1024x768x24");
    let place = format!("/v:127.0.0.1:{port}");
    let mut freerdp =
        desk.program("xfreerdp", &[&place, "/u:maint", "/p:none", "/cert:ignore", "/sec:tls", "/size:800x600"]);
    let mut client = start(freerdp.env("HOME", folder.path()));
    let log = || fs::read_to_string(folder.path().join("xrdp.log")).unwrap_or_default();
    eventually("who came in is asked for a desktop", || {
        assert!(!client.has_ended(), "{}\n{}", client.said(), log());
        log().contains("connecting to sesman")
    });
    drop(client);
    drop(ssh);
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    assert!(recording.bytes(Stream::In).starts_with(&[3, 0]), "a TPKT, as RDP begins");
    let played = of_it(&evidence, "play", &[]);
    assert!(played.contains("RDP encrypted inside: kept, nobody can read what was done"), "{played}");
}
