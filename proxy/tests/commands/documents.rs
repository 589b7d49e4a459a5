//! The documents show commands that exist, and words that are said: every line that begins with the program's name is read
//! by the program itself, and what their tables of trouble quote stands in its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use certs::keys::{KeyStore, Seal};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guides = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let is_text = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    guides.filter(is_text).chain([root.join("README.md")]).collect()
}

/// The commands of the blocks between three backquotes, a backslash at the end of a line joining it to the next.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with("holdpoint ") || line.starts_with("cargo run --release -- ")).collect()
}

/// Words as a shell takes them: quotes hold together, and what follows `#` is for people.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            '#' if !quoted && words.last().is_some_and(String::is_empty) => break,
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words.iter_mut().for_each(|word| *word = filled_in(word));
    let program = words.iter().position(|word| word == "--").filter(|_| words[0] == "cargo").unwrap_or(0);
    words.split_off(program + 1)
}

/// What stands for somebody's own: `r_01kb…`, `age1…`, `SESSION`, `TEXT`.
fn filled_in(word: &str) -> String {
    const ID: &str = "01kb0c4jd0c4jd0c4jd0c4jd0c";
    if let Some((log, _)) = word.split_once('+').filter(|_| word.ends_with('…')) {
        return log_key(log);
    }
    match word.strip_suffix('…').and_then(|begun| begun.split_once('_')) {
        Some((kind, _)) => format!("{kind}_{ID}"),
        None if word == "SESSION" => format!("s_{ID}"),
        None => word.to_owned(),
    }
}

/// Some log's key under this name, as people copy it.
fn log_key(log: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyStore::create(&folder.path().join("keys"), &Seal::File).unwrap();
    keys.log_key().verifier(log).unwrap().to_string()
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for document in documents() {
        for line in commands(&fs::read_to_string(&document).unwrap()) {
            // With `--help` at the end everything before it is read and nothing is done.
            let program =
                Command::new(env!("CARGO_BIN_EXE_holdpoint")).args(words(&line)).arg("--help").output().unwrap();
            tried += 1;
            if !program.status.success() {
                let said = String::from_utf8_lossy(&program.stderr).into_owned();
                wrong.push(format!("{}: {line}\n{said}", document.display()));
            }
        }
    }
    assert!(tried > 20, "the documents show {tried} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the first cells of a guide's last table quote, between backquotes.
fn quoted(guide: &str) -> Vec<String> {
    let table = guide.rsplit_once("\n|---|---|\n").expect("a guide ends with a table").1;
    let cells = table.lines().filter_map(|row| row.split('|').nth(1).map(str::to_owned));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The sources of the program, with texts over several lines as they are printed.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, all);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry).unwrap();
            all.extend(
                text.split("\\\n").enumerate().map(|(at, piece)| if at > 0 { piece.trim_start() } else { piece }),
            );
        }
    }
}

#[test]
fn the_guides_quote_what_the_program_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut said = String::new();
    ["policies", "certs", "recordings", "approver", "proxy"]
        .iter()
        .for_each(|name| sources(&root.join(name).join("src"), &mut said));
    // The folder that is named where it is gone.
    said.push_str("state is gone");
    for (guide, least) in [("operator.md", 4), ("administrator.md", 5)] {
        let quoted = quoted(&fs::read_to_string(root.join("docs").join(guide)).unwrap());
        let unsaid: Vec<_> = quoted.iter().filter(|words| !said.contains(*words)).collect();
        assert!(quoted.len() >= least && unsaid.is_empty(), "{guide}: {unsaid:?} of {quoted:?}");
    }
}
