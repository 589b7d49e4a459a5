//! What must never be, looked for in the tree itself. Each rule is a pattern, the places where it is allowed, and an
//! example that must be caught: a rule that catches nothing is decoration.

use std::fs;
use std::path::{Path, PathBuf};

struct Never {
    /// Said when it is found.
    what: &'static str,
    /// Folders it is looked for in.
    below: &'static [&'static str],
    /// Any of these texts in a line of code.
    texts: &'static [&'static str],
    /// Paths that may.
    but: &'static [&'static str],
    /// A line that must be caught.
    example: &'static str,
}

const ALL: &[&str] = &["policies/src", "certs/src", "recordings/src", "approver/src", "proxy/src"];
const ABOVE_CERTS: &[&str] = &["policies/src", "recordings/src", "approver/src", "proxy/src"];

const NEVER: &[Never] = &[
    Never {
        what: "policies does no I/O",
        below: &["policies/src"],
        texts: &[
            "fs::",
            "std::{",
            "std::fs",
            "std::process",
            "std::env",
            "std::thread",
            "std::os",
            "stdin",
            "stdout",
            "stderr",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "tokio",
            "println!",
            "eprint",
        ],
        but: &[],
        example: "let text = std::fs::read_to_string(path)?;",
    },
    Never {
        what: "policies reads no clock and takes no chance",
        below: &["policies/src"],
        texts: &[
            "Timestamp::now",
            "SystemTime",
            "Instant::now",
            "Zoned::now",
            "rand::",
            "Ulid::new()",
            "TimeZone::system",
        ],
        but: &[],
        example: "let now = Timestamp::now();",
    },
    Never {
        what: "approver does not know SSH",
        below: &["approver/src"],
        texts: &["russh"],
        but: &[],
        example: "use russh::server;",
    },
    Never {
        what: "proxy knows stores only where the program is put together",
        below: &["proxy/src"],
        texts: &["sled", "SledDirectory", "tokio_postgres", "aws_sdk_s3"],
        but: &["proxy/src/app.rs", "proxy/src/app/", "proxy/src/serve.rs"],
        example: "let directory = directory::sled::SledDirectory::open(path)?;",
    },
    Never {
        what: "nobody but certs reads a private key",
        below: ABOVE_CERTS,
        texts: &[
            "PrivateKey::from_openssh",
            "PrivateKey::read_openssh_file",
            "load_secret_key",
            "decode_secret_key",
            "IdentityFile",
            "Identity::from_str",
            "x25519::Identity",
        ],
        but: &[],
        example: "let key = russh::keys::load_secret_key(path, None)?;",
    },
    Never {
        what: "nobody but the Desk appends to the journal",
        below: &["approver/src", "proxy/src"],
        texts: &["journal.append(", "journal().append(", "Journal::append(", "log.append("],
        // The adapters, the Desk with its part for a journal at rest, and the ports of tests, which stand before an adapter.
        but: &[
            "approver/src/desk.rs",
            "approver/src/desk/restoring.rs",
            "approver/src/journal/",
            "approver/src/testing.rs",
        ],
        example: "self.journal.append(after, &events, at).await?;",
    },
    Never {
        what: "what may be said of a span is a closed list in one place",
        below: ALL,
        texts: &["opentelemetry"],
        but: &["approver/src/spans.rs", "approver/src/traces.rs"],
        example: "span.set_attribute(opentelemetry::KeyValue::new(\"path\", path));",
    },
    Never {
        what: "nobody but dial opens a socket to a target",
        below: ALL,
        texts: &[
            "TcpStream::connect",
            "TcpSocket",
            "TcpStream::from_std",
            "UdpSocket",
            "UnixStream::connect",
            "net::connect(",
            "net::socket(",
        ],
        but: &[
            "proxy/src/dial.rs",
            "proxy/src/client/",
            // To the vault.
            "proxy/src/vault.rs",
            "approver/src/blobs/s3/connector.rs",
            "approver/src/post.rs",
            "approver/src/feed/syslog.rs",
        ],
        example: "let socket = TcpStream::connect(address).await?;",
    },
    Never {
        what: "nothing of the tests' in the program: they can have people sign what nobody signed",
        below: ALL,
        texts: &["testing::", "testing;"],
        but: &["approver/src/lib.rs", "certs/src/lib.rs"],
        example: "let leased = approver::testing::Leased::to(address).await;",
    },
    Never {
        what: "no task outside a tracker",
        below: ALL,
        texts: &[
            "tokio::spawn(",
            "task::spawn(",
            "thread::spawn(",
            "spawn_local(",
            "current().spawn(",
            "runtime.spawn(",
            "handle.spawn(",
        ],
        // What is carried there is a task of the tracker's.
        but: &["proxy/src/lanes.rs"],
        example: "tokio::spawn(async move { relay.run().await });",
    },
    Never {
        what: "no thread but those whose owner waits for their end",
        below: ALL,
        texts: &["thread::Builder", "thread::scope"],
        but: &[
            "recordings/src/log.rs",
            "recordings/src/press.rs",
            "recordings/src/sealer.rs",
            "recordings/src/spares.rs",
            "approver/src/directory/sled.rs",
            // Whoever decodes waits for those that help within the call.
            "approver/src/journal.rs",
            "proxy/src/app/faces.rs",
            // A lane ends with the tracker's last task, and carries nothing else.
            "proxy/src/lanes.rs",
            // Of the vault's process, which ends as a whole.
            "proxy/src/vault.rs",
        ],
        example: "std::thread::Builder::new().spawn(run)?;",
    },
    Never {
        what: "no unbounded channel",
        below: ALL,
        texts: &["unbounded_channel", "mpsc::channel()", "unbounded()"],
        but: &[],
        example: "let (give, take) = tokio::sync::mpsc::unbounded_channel();",
    },
    Never {
        what: "no channel of which this test cannot tell whether it is bounded: leave the type out",
        below: ALL,
        texts: &["mpsc::channel::<", "unbounded::<"],
        but: &[],
        example: "let (give, take) = std::sync::mpsc::channel::<Line>();",
    },
    Never {
        what: "nobody but the directory's one function flushes sled: alone it loses acknowledged writes",
        below: &["approver/src"],
        texts: &[".flush()", ".flush_async("],
        // The second flushes the stream that a backup is written to, the third a connection to a receiver of the feed.
        but: &["approver/src/directory/sled.rs", "approver/src/api/backup.rs", "approver/src/feed/syslog.rs"],
        example: "self.db.flush()?;",
    },
    Never {
        what: "no unsafe",
        below: ALL,
        texts: &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"],
        but: &[],
        example: "unsafe { libc::fork() }",
    },
    Never {
        what: "no unwrap without its invariant",
        below: ALL,
        texts: &[".unwrap()", ".unwrap_err()", ".expect(\"\")", "unwrap_unchecked"],
        // A test in a file of its own.
        but: &["recordings/src/crash.rs"],
        example: "let head = self.head.lock().unwrap();",
    },
    Never {
        what: "nothing left to do without an owner and a reason",
        below: ALL,
        texts: &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"],
        but: &[],
        example: "todo!()",
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand beside the other crates").to_owned()
}

/// Every file of the program below: none that a `#[cfg(test)]` names as a module, beside it or above, and none of the folder of such a one.
fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    let all: Vec<PathBuf> = fs::read_dir(below).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let named = text(&below.with_extension("rs"));
    let beside = all.iter().flat_map(|path| test_modules(&text(path), ";"));
    let tests: Vec<String> = beside.chain(test_modules(&named, ";")).collect();
    let inside = test_modules(&named, " {");
    let is_one_of =
        |path: &Path, names: &[String]| names.iter().any(|name| path.file_stem().is_some_and(|stem| stem == &**name));
    for path in all {
        if path.is_dir() && !is_one_of(&path, &inside) {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_one_of(&path, &tests) {
            found.push(path);
        }
    }
}

/// The modules that are there for tests alone: each in a file of its own, or, with `" {"`, those that begin in this text.
fn test_modules(text: &str, begins: &str) -> Vec<String> {
    let after = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| rest.lines().next());
    let named = after.filter_map(|line| line.trim().split("mod ").last()?.strip_suffix(begins));
    named.map(str::to_owned).collect()
}

#[test]
fn a_module_for_tests_is_told_by_what_stands_above_it() {
    let text = "mod gate;\n#[cfg(test)]\nmod trial;\n#[cfg(test)]\nmod tests {\n    mod inner;\n}\n";
    assert_eq!((test_modules(text, ";"), test_modules(text, " {")), (vec!["trial".into()], vec!["tests".into()]));
}

/// The lines of a file that are code of the program: no comments, and nothing of what follows a `#[cfg(test)]`, which is
/// one line or goes on to a brace that stands as far left.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    let mut test: Option<Option<usize>> = None;
    let is_code = move |(_, line): &(usize, &str)| match test {
        None if line.trim() == "#[cfg(test)]" => {
            test = Some(None);
            false
        }
        None => !line.trim_start().starts_with("//"),
        Some(None) => {
            let is_attribute = line.trim().starts_with("#[");
            if !is_attribute {
                let is_whole = line.trim_end().ends_with([';', '}']);
                test = if is_whole { None } else { Some(Some(line.len() - line.trim_start().len())) };
            }
            false
        }
        Some(Some(left)) => {
            let is_end = line.len() - line.trim_start().len() == left && line.trim_start().starts_with('}');
            if is_end {
                test = None;
            }
            false
        }
    };
    numbered.filter(is_code)
}

fn found_in(never: &Never, path: &str, text: &str) -> Vec<String> {
    if !never.below.iter().any(|folder| path.starts_with(folder)) || never.but.iter().any(|may| path.starts_with(may)) {
        return Vec::new();
    }
    let is_caught = |line: &str| never.texts.iter().any(|text| line.contains(text));
    code(text)
        .filter(|(_, line)| is_caught(line))
        .map(|(n, line)| format!("{path}:{n}: {}: {}", never.what, line.trim()))
        .collect()
}

#[test]
fn what_must_never_be_is_not() {
    let root = root();
    let mut files = Vec::new();
    for folder in ALL {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 40, "the tree was not found");
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("sources are text");
        let path = file.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        for never in NEVER {
            found.extend(found_in(never, &path, &text));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_rule_catches_its_example_and_spares_what_may() {
    for never in NEVER {
        let path = format!("{}/example.rs", never.below[0]);
        assert!(!found_in(never, &path, never.example).is_empty(), "{}", never.what);
        assert!(found_in(never, &path, &format!("    // {}", never.example)).is_empty());
        for in_a_test in ["mod tests { EXAMPLE }", "#[allow(x)]\nmod tests {\n    EXAMPLE\n    }\n}"] {
            let in_a_test = format!("#[cfg(test)]\n{}", in_a_test.replace("EXAMPLE", never.example));
            assert!(found_in(never, &path, &in_a_test).is_empty());
            let behind_it = format!("{in_a_test}\n{}", never.example);
            assert_eq!(found_in(never, &path, &behind_it).len(), 1, "{behind_it}");
        }
        let behind_a_file = format!("#[cfg(test)]\nmod crash;\n{}", never.example);
        assert_eq!(found_in(never, &path, &behind_a_file).len(), 1);
        for may in never.but {
            assert!(found_in(never, may, never.example).is_empty(), "{may}");
        }
    }
}

/// The crates, bottom up; each may use those before it.
const LINE: [&str; 5] = ["policies", "certs", "recordings", "approver", "proxy"];

fn uses(manifest: &str) -> Vec<&'static str> {
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let names = dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter_map(|name| LINE.into_iter().find(|of_ours| *of_ours == name)).collect()
}

fn looks_up(position: usize, manifest: &str) -> bool {
    uses(manifest).iter().any(|name| LINE.iter().position(|of_ours| of_ours == name) >= Some(position))
}

#[test]
fn crates_look_only_down() {
    for (position, name) in LINE.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("each crate has a manifest");
        assert!(!looks_up(position, &manifest), "{name} looks up");
    }
    assert!(looks_up(0, "[dependencies]\ncerts.workspace = true\n"));
    assert!(!looks_up(1, "[dependencies]\npolicies.workspace = true\n[dev-dependencies]\nproxy.workspace = true\n"));
}

#[test]
fn the_domain_depends_on_nothing_that_acts() {
    let manifest = fs::read_to_string(root().join("policies/Cargo.toml")).expect("each crate has a manifest");
    for name in ["tokio", "rand", "rustix", "tracing", "aws-lc-rs", "ssh-key"] {
        assert!(!manifest.split("[dev-dependencies]").next().unwrap_or_default().contains(name), "{name}");
    }
}
