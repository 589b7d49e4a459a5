//! The whole tree of `--help`, as it is committed: what can be typed changes on purpose only.

use std::path::Path;
use std::process::Command;

fn help(path: &[String], tree: &mut String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
    let output = command.args(path).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success(), "{path:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.starts_with("Usage:") || line.chars().count() <= 100), "{text}");
    *tree += &format!("$ holdpoint {}--help\n{text}\n", path.iter().map(|word| format!("{word} ")).collect::<String>());
    let below = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = below.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        help(&[path, &[name.to_owned()]].concat(), tree);
    }
}

#[test]
fn the_committed_help_is_what_is_shown() {
    let mut tree = String::new();
    help(&[], &mut tree);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    if std::env::var_os("HOLDPOINT_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &tree).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == tree, "tests/golden/help.txt is out of date: run this test with HOLDPOINT_WRITE=1");
}

/// What these say is for a person or is itself a file, or they run until they are stopped.
const FOR_PEOPLE: [&str; 11] =
    ["demo code", "vault", "check", "export", "capture", "feed", "rebuild", "migrate", "restore", "completions", "man"];

#[test]
fn whatever_lists_or_acts_answers_in_json_too() {
    let committed = include_str!("../golden/help.txt");
    let pages = committed.split("$ holdpoint ").skip(1).filter_map(|page| page.split_once(" --help\n"));
    let commands = pages.filter(|(_, text)| !text.contains("\nCommands:\n"));
    let without: Vec<_> = commands.filter(|(_, text)| !text.contains("--json")).map(|(name, _)| name).collect();
    assert_eq!(without, FOR_PEOPLE);
}
