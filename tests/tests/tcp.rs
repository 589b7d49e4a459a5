//! TCP services of targets, reached by stock `ssh -L` and `-W`: recorded, granted and ended like any session.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use policies::actions::Action;
use policies::time::Seconds;
use tests::{Options, Plant, run};

const HOUR: Seconds = Seconds(3_600);

/// A service that says back what it hears, and how often it was connected to.
struct Echo(TcpListener);

impl Echo {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.try_clone().expect("a handle");
        thread::spawn(move || {
            for socket in here.incoming() {
                let Ok(mut socket) = socket else { return };
                thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while let Ok(read) = socket.read(&mut piece) {
                        if read == 0 || socket.write_all(&piece[..read]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }
}

fn options(port: u16) -> Options {
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.panel]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n\
         [[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"plc-7\"]\n\
         actions = [\"tunnel\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n\
         work_order = \"optional\"\n"
    );
    Options { more, ..Options::default() }
}

#[test]
fn a_tcp_service_is_reached_by_stock_ssh_and_recorded() {
    let echo = Echo::listen();
    let mut plant = Plant::ready(options(echo.port()));
    plant.grant("tess", "plc-7", &[Action::Tunnel], HOUR);
    plant.serve();
    let tess = plant.tess();
    let there = format!("plc-7:{}", echo.port());
    let said = run(&mut tess.ssh(&["-W", &there, &tess.at("")]), b"hello, machine\n").ok();
    assert_eq!(said.out(), "hello, machine\n");
}
