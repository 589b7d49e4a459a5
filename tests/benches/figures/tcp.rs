//! TCP services through the gate: a stream beside what others end TLS with, and many connections that poll a controller.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use policies::actions::Action;
use policies::time::Seconds;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tests::person::GATE;
use tests::{Options, Plant, Running, eventually, log_in, run, start};

use crate::{MIB, median, percentiles, processor_of};

/// How much of everything.
pub(crate) struct Size {
    pub(crate) rounds: usize,
    pub(crate) bulk: usize,
    /// Connections to one controller at once, at most 100.
    pub(crate) connections: usize,
    /// How often each of them asks.
    pub(crate) polls: usize,
    /// Controllers for the many that poll once a second.
    pub(crate) controllers: usize,
}

/// Asks for a stream: what is to come, or what was sent, in bytes.
const HEAD_BYTES: usize = 9;

/// A service that takes or gives as many bytes as it is asked to.
fn sink() -> u16 {
    serve(|mut socket| {
        let mut head = [0; HEAD_BYTES];
        while socket.read_exact(&mut head).is_ok() {
            let bytes = usize::from_be_bytes(head[1..].try_into().expect("eight"));
            let mut piece = vec![0; 256 << 10];
            let mut left = bytes;
            while left > 0 {
                let some = left.min(piece.len());
                let moved = match head[0] {
                    b'u' => socket.read(&mut piece[..some]),
                    _ => socket.write_all(&piece[..some]).map(|()| some),
                };
                match moved {
                    Ok(moved) if moved > 0 => left -= moved,
                    _ => return,
                }
            }
            if head[0] == b'u' && socket.write_all(b".").is_err() {
                return;
            }
        }
    })
}

/// A controller that answers each read of ten registers.
fn controller() -> u16 {
    serve(|mut socket| {
        let mut request = [0; 12];
        while socket.read_exact(&mut request).is_ok() {
            let mut answer = vec![request[0], request[1], 0, 0, 0, 23, request[6], 3, 20];
            answer.resize(9 + 20, 7);
            if socket.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            socket.set_nodelay(true).expect("a socket");
            let each = each.clone();
            thread::spawn(move || each(socket));
        }
    });
    port
}

/// A plant whose machines `plc-1`, … have a service each, granted to a technician who is signed in.
fn plant(protocol: &str, port: u16, machines: usize, action: Action) -> Plant {
    let services: String = (1..=machines)
        .map(|number| {
            format!(
                "[targets.plc-{number}]\nzone = \"packaging\"\n[targets.plc-{number}.services.panel]\n\
                 protocol = \"{protocol}\"\naddress = \"127.0.0.{number}:{port}\"\nconnections_max = 100\n"
            )
        })
        .collect();
    let more = format!(
        "{services}[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\"]\n\
         actions = [\"{action}\"]\nduration_max = \"4h\"\nidle = \"4h\"\nconnections = 100\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n"
    );
    let mut plant = Plant::ready(Options { more, ..Options::default() });
    plant.edit_config(|text| {
        let lines = text.lines().filter(|line| !line.starts_with("pages = "));
        let lines = lines.map(|line| if line.starts_with("ssh = ") { "listen = [\"127.0.0.1:0\"]" } else { line });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    });
    for number in 1..=machines {
        plant.grant("tess", &format!("plc-{number}"), &[action], Seconds(4 * 3_600));
    }
    plant.serve();
    log_in(&plant, "tess");
    plant
}

/// Who ends TLS before the service.
struct Way {
    name: &'static str,
    at: SocketAddr,
    /// As which it is met, and by whom it is certified.
    server: ServerName<'static>,
    client: Option<Arc<ClientConfig>>,
    process: Option<u32>,
    _running: Option<Running>,
}

/// TLS 1.3 with AES-128-GCM, so that all have the same to compute.
pub(crate) fn client(ca: &Path, own: Option<&Path>) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a file") {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it has it")
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(file) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).expect("a file").collect();
            let key = PrivateKeyDer::from_pem_file(file).expect("a key");
            config.with_client_auth_cert(chain.expect("certificates"), key).expect("they fit")
        }
    };
    Arc::new(config)
}

/// A certificate for `localhost` and who made it, in files.
fn certified(folder: &Path) -> (PathBuf, PathBuf) {
    let openssl = |arguments: &str| {
        run(Command::new("openssl").current_dir(folder).args(arguments.split(' ')), b"").ok();
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=bench -days 2",
    );
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.csr -subj /CN=localhost");
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("a file");
    openssl("x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names");
    let both = [folder.join("own.pem"), folder.join("own.key")].map(|file| fs::read_to_string(file).expect("a file"));
    fs::write(folder.join("both.pem"), both.concat()).expect("a file");
    (folder.join("ca.pem"), folder.join("both.pem"))
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port")
}

/// Where Debian's package of this name puts its program.
fn installed(package: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let program = places.map(|place| Path::new(place).join(package)).into_iter().find(|path| path.exists());
    if program.is_none() {
        println!("{package} is not installed (sudo apt-get install {package}): it is left out");
    }
    program
}

fn haproxy(folder: &Path, own: &Path, port: u16) -> Option<(SocketAddr, Running)> {
    let program = installed("haproxy")?;
    let at = free();
    let text = format!(
        "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen panel\n  bind {at} ssl crt {} ssl-min-ver TLSv1.3\n  server panel 127.0.0.1:{port}\n",
        own.display()
    );
    fs::write(folder.join("haproxy.cfg"), text).expect("a file");
    let running = start(Command::new(program).arg("-f").arg(folder.join("haproxy.cfg")).arg("-db"));
    eventually("HAProxy listens", || TcpStream::connect(at).is_ok());
    Some((at, running))
}

fn stunnel(folder: &Path, own: &Path, port: u16) -> Option<(SocketAddr, Running)> {
    let program = installed("stunnel4")?;
    let at = free();
    let text = format!(
        "foreground = yes\npid =\nsslVersionMin = TLSv1.3\n[panel]\naccept = {at}\nconnect = 127.0.0.1:{port}\ncert = {}\n",
        own.display()
    );
    fs::write(folder.join("stunnel.conf"), text).expect("a file");
    let running = start(Command::new(program).arg(folder.join("stunnel.conf")));
    eventually("stunnel listens", || TcpStream::connect(at).is_ok());
    Some((at, running))
}

/// A stream there and back by whoever ends TLS. The gate's is recorded, durably, before it passes; the others record nothing.
pub(crate) fn bulk(size: &Size) {
    let port = sink();
    let mut plant = plant("tcp", port, 1, Action::Tunnel);
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, own) = certified(folder.path());
    let (their_client, there) = (client(&ca, None), ServerName::try_from("localhost").expect("a name"));
    let file = plant.tess().path("client.pem");
    let mut connect = start(plant.as_person("tess", &["connect", "--json", "plc-1", "--certificate"]).arg(&file));
    connect.until("\"event\":\"certificate\"");
    let direct = Way {
        name: "direct, no TLS",
        at: ([127, 0, 0, 1], port).into(),
        server: there.clone(),
        client: None,
        process: None,
        _running: None,
    };
    let of = |name, (at, running): (SocketAddr, Running)| Way {
        name,
        at,
        server: there.clone(),
        client: Some(Arc::clone(&their_client)),
        process: Some(running.id()),
        _running: Some(running),
    };
    let mut ways = vec![direct];
    ways.extend(haproxy(folder.path(), &own, port).map(|haproxy| of("HAProxy", haproxy)));
    ways.extend(stunnel(folder.path(), &own, port).map(|stunnel| of("stunnel", stunnel)));
    ways.push(Way {
        name: "Holdpoint",
        at: plant.faces.pages[0],
        server: ServerName::try_from(format!("panel.plc-1.{GATE}")).expect("a name"),
        client: Some(client(&plant.tess().path("../../ca.pem"), Some(&file))),
        process: Some(plant.gate().id()),
        _running: None,
    });
    for up in [false, true] {
        let direction = if up { "to the target" } else { "from the target" };
        println!("\ntcp-bulk: {} MiB {direction} over TLS, {} interleaved rounds", size.bulk / MIB, size.rounds);
        let rounds: Vec<Vec<(f64, f64)>> =
            (0..size.rounds).map(|_| ways.iter().map(|way| copy(way, up, size.bulk)).collect()).collect();
        for (at, way) in ways.iter().enumerate() {
            let rate = median(rounds.iter().map(|round| size.bulk as f64 / MIB as f64 / round[at].0));
            let ratio = median(rounds.iter().map(|round| round[1].0 / round[at].0));
            let cost = median(rounds.iter().map(|round| round[at].1 * 1024.0 * MIB as f64 / size.bulk as f64));
            println!("  {:<24} {rate:>6.0} MiB/s   {ratio:.2} x {}   {cost:.2} CPU s/GiB", way.name, ways[1].name);
        }
    }
}

/// Seconds it took, and seconds of CPU of whoever ended TLS.
fn copy(way: &Way, up: bool, bytes: usize) -> (f64, f64) {
    let before = way.process.map_or(0.0, processor_of);
    let socket = TcpStream::connect(way.at).expect("it listens");
    let took = match &way.client {
        None => move_bytes(socket, up, bytes),
        Some(config) => {
            let tls = ClientConnection::new(Arc::clone(config), way.server.clone()).expect("a name");
            move_bytes(StreamOwned::new(tls, socket), up, bytes)
        }
    };
    (took, way.process.map_or(0.0, processor_of) - before)
}

fn move_bytes(mut stream: impl Read + Write, up: bool, bytes: usize) -> f64 {
    let mut piece = vec![0; 256 << 10];
    let mut head = vec![if up { b'u' } else { b'd' }];
    head.extend_from_slice(&bytes.to_be_bytes());
    let began = Instant::now();
    stream.write_all(&head).expect("it is carried");
    let mut left = bytes;
    while left > 0 {
        let some = left.min(piece.len());
        left -= if up {
            stream.write_all(&piece[..some]).expect("it is carried");
            some
        } else {
            let read = stream.read(&mut piece[..some]).expect("it is carried");
            assert!(read > 0, "it ended before all was there");
            read
        };
    }
    if up {
        stream.flush().and_then(|()| stream.read_exact(&mut [0])).expect("all of it arrived");
    }
    began.elapsed().as_secs_f64()
}

/// Where `connect` opened the services, in the order of the machines.
fn opened(plant: &Plant, machines: usize) -> (Running, Vec<SocketAddr>) {
    let places: Vec<(String, SocketAddr)> = (1..=machines).map(|number| (format!("plc-{number}"), free())).collect();
    let arguments: Vec<String> = places.iter().map(|(name, at)| format!("{name}={at}")).collect();
    let connect = start(plant.as_person("tess", &["connect", "--json"]).args(&arguments));
    let ports: Vec<SocketAddr> = places.into_iter().map(|(_, at)| at).collect();
    eventually("connect listens", || ports.iter().all(|at| TcpListener::bind(at).is_err()));
    (connect, ports)
}

/// A program that polls one connection.
struct Poller(TcpStream);

impl Poller {
    /// Connected as far as the target, which the first poll brings about. One after the other, because the gate lets no more
    /// than 40 of one source shake hands at once.
    fn joined(at: SocketAddr) -> Self {
        let socket = TcpStream::connect(at).expect("it listens");
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
        let mut poller = Self(socket);
        poller.poll();
        poller
    }

    /// One poll, in milliseconds.
    fn poll(&mut self) -> f64 {
        let began = Instant::now();
        self.0.write_all(&[0, 7, 0, 0, 0, 6, 1, 3, 0, 100, 0, 10]).expect("it is carried");
        self.0.read_exact(&mut [0; 29]).expect("an answer");
        began.elapsed().as_secs_f64() * 1000.0
    }
}

/// Polls so often at this pace, all at once but not in step; how long each poll took.
fn poll_all(pollers: Vec<Poller>, polls: usize, apart: Duration) -> (Vec<f64>, Vec<Poller>) {
    let count = pollers.len() as u32;
    let began = Instant::now();
    let threads = pollers.into_iter().enumerate().map(|(number, mut poller)| {
        thread::spawn(move || {
            let first = began + apart * number as u32 / count;
            let waits: Vec<f64> = (0..polls)
                .map(|poll| {
                    thread::sleep((first + apart * poll as u32).saturating_duration_since(Instant::now()));
                    poller.poll()
                })
                .collect();
            (waits, poller)
        })
    });
    let ended: Vec<_> =
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("it polls")).collect();
    let (waits, pollers): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
    (waits.concat(), pollers)
}

/// A Modbus read and its answer by many connections that poll ten times a second, straight and by `connect` and a gate that
/// enforces.
pub(crate) fn polling(size: &Size) {
    let port = controller();
    let plant = plant("modbus", port, 1, Action::Observe);
    let (_connect, ports) = opened(&plant, 1);
    let straight: SocketAddr = ([127, 0, 0, 1], port).into();
    println!("\nmodbus: {} connections, each polls ten times a second, {} rounds", size.connections, size.rounds);
    let mut rounds: Vec<[(f64, f64); 2]> = Vec::new();
    let apart = Duration::from_millis(100);
    for _ in 0..size.rounds {
        let of = |at| {
            let pollers: Vec<Poller> = (0..size.connections).map(|_| Poller::joined(at)).collect();
            percentiles(&poll_all(pollers, size.polls, apart).0)
        };
        rounds.push([of(straight), of(ports[0])]);
        eventually("the places are free", || plant_is_quiet(port));
    }
    for (at, name) in ["direct", "Holdpoint, `connect`"].into_iter().enumerate() {
        let [p50, p99] = [|both: (f64, f64)| both.0, |both: (f64, f64)| both.1].map(|which| {
            let above = median(rounds.iter().map(|round| which(round[at]) - which(round[0])));
            (median(rounds.iter().map(|round| which(round[at]))), above)
        });
        println!("  {name:<24} p50 {:>6.2} ms ({:+.2})   p99 {:>6.2} ms ({:+.2})", p50.0, p50.1, p99.0, p99.1);
    }
}

/// Whether nobody is connected to the controller any more.
fn plant_is_quiet(port: u16) -> bool {
    let connections =
        run(Command::new("ss").args(["-Htn", "state", "established", &format!("( sport = :{port} )")]), b"");
    connections.out().trim().is_empty()
}

/// Memory of the program for each connection that is open, and what many that poll once a second cost.
pub(crate) fn idle(size: &Size) {
    let port = controller();
    let mut plant = plant("modbus", port, size.controllers, Action::Observe);
    let (_connect, ports) = opened(&plant, size.controllers);
    let open = |count: usize| -> Vec<Poller> {
        let at = |number: usize| ports[number % ports.len()];
        (0..count).map(|number| Poller::joined(at(number))).collect()
    };
    // What sessions take, and what the first connections leave behind.
    let few = open(ports.len());
    let before = plant.memory();
    let many = size.controllers * size.connections - ports.len();
    let pollers = open(many);
    let grown = plant.memory().saturating_sub(before);
    let gate = plant.gate().id();
    let busy = processor_of(gate);
    thread::sleep(Duration::from_secs(10));
    let idle = processor_of(gate) - busy;
    let (busy, polls) = (processor_of(gate), 20);
    let (waits, pollers) = poll_all(pollers, polls, Duration::from_secs(1));
    let busy = processor_of(gate) - busy;
    let (p50, p99) = percentiles(&waits);
    println!("\nmany: {} connections to {} controllers", many + ports.len(), ports.len());
    println!("  {:<24} {:>4} KiB a connection", "memory, each read once", grown / many as u64 / 1024);
    println!("  {:<24} {:.1} ms of CPU a second", "idle", idle * 100.0);
    println!(
        "  {:<24} p50 {p50:.2} ms   p99 {p99:.2} ms   {:.1} ms of CPU a second",
        "each polls once a second",
        busy * 1000.0 / polls as f64
    );
    drop((few, pollers));
}
