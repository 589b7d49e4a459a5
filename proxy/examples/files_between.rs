//! Stands where `ssh` stands, for `scp -S` and `sftp -S`: runs what they ask for on this machine, with the inspection of
//! file copies in between and no SSH at all. `FILES_GRANTED` holds actions, separated by commas; the ledger goes to the
//! file `FILES_LEDGER`, an entry on each line; `SFTP_SERVER` is run for the subsystem.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use policies::actions::Actions;
use proxy::files::judge::{Asked, Verdict, judge};
use proxy::files::{Inspect, Inspected, Malformed};
use recordings::ledger::FileEntry;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let line = arguments.last().cloned().unwrap_or_default();
    let subsystem = arguments.iter().any(|argument| argument == "-s");
    let asked = match subsystem {
        true => Asked::Subsystem(&line),
        false => Asked::Exec { line: line.as_bytes(), on_terminal: false },
    };
    let inspector = match judge(&granted(), "Ask for it.", false, asked) {
        Verdict::Allow(Some(inspector)) => inspector,
        Verdict::Allow(None) => panic!("{line} is no file copy"),
        Verdict::Refuse(words) => {
            eprintln!("{words}");
            return ExitCode::from(1);
        }
    };
    let program = if subsystem { std::env::var("SFTP_SERVER").expect("SFTP_SERVER is set") } else { line };
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {program}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let between = Arc::new(Between::new(inspector, &mut child));
    let upward = Arc::clone(&between);
    std::thread::spawn(move || upward.carry(&mut io::stdin(), |inspector, chunk| inspector.upward(chunk), true));
    let mut from_target = child.stdout.take().expect("it is piped");
    between.carry(&mut from_target, |inspector, chunk| inspector.downward(chunk), false);
    let status = child.wait().expect("the child was not waited for before");
    between.note(&between.inspector.lock().expect("nobody panics").finish());
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

fn granted() -> Actions {
    let names = std::env::var("FILES_GRANTED").expect("FILES_GRANTED is set");
    names.split(',').map(|name| name.parse().expect("FILES_GRANTED holds actions")).collect()
}

struct Between {
    inspector: Mutex<Box<dyn Inspect>>,
    to_target: Mutex<Option<ChildStdin>>,
    to_technician: Mutex<io::Stdout>,
    ledger: Mutex<File>,
}

impl Between {
    fn new(inspector: Box<dyn Inspect>, child: &mut Child) -> Self {
        let ledger = std::env::var("FILES_LEDGER").expect("FILES_LEDGER is set");
        Self {
            inspector: Mutex::new(inspector),
            to_target: Mutex::new(child.stdin.take()),
            to_technician: Mutex::new(io::stdout()),
            ledger: Mutex::new(File::options().create(true).append(true).open(ledger).expect("the ledger opens")),
        }
    }

    fn carry(
        &self,
        from: &mut impl Read,
        show: impl Fn(&mut Box<dyn Inspect>, Bytes) -> Result<Inspected, Malformed>,
        upward: bool,
    ) {
        let mut buffer = vec![0; 128 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let chunk = Bytes::copy_from_slice(&buffer[..read]);
            let mut inspector = self.inspector.lock().expect("nobody panics");
            let inspected = show(&mut inspector, chunk).unwrap_or_else(|malformed| {
                eprintln!("holdpoint: {malformed}");
                std::process::exit(2);
            });
            self.note(&inspected.ledger);
            inspected.say.iter().for_each(|words| eprintln!("{words}"));
            let (ours, theirs) = if upward {
                (&inspected.to_target, &inspected.to_technician)
            } else {
                (&inspected.to_technician, &inspected.to_target)
            };
            let onward: Vec<u8> = inspected.forward.iter().chain(ours).flatten().copied().collect();
            // Not under the lock: who does not read must not stop the other direction.
            drop(inspector);
            self.write(upward, &onward);
            self.write(!upward, &theirs.concat());
        }
        if upward {
            self.to_target.lock().expect("nobody panics").take();
        }
    }

    fn write(&self, to_target: bool, bytes: &[u8]) {
        // An end that is gone shows itself by the other stream's end.
        let _gone = if to_target {
            self.to_target.lock().expect("nobody panics").as_mut().map_or(Ok(()), |target| target.write_all(bytes))
        } else {
            let mut technician = self.to_technician.lock().expect("nobody panics");
            technician.write_all(bytes).and_then(|()| technician.flush())
        };
    }

    fn note(&self, entries: &[FileEntry]) {
        let mut ledger = self.ledger.lock().expect("nobody panics");
        for entry in entries {
            writeln!(ledger, "{}", String::from_utf8_lossy(&entry.encode())).expect("the ledger is written");
        }
    }
}
