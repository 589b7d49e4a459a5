//! Every mistake is told at once, with its place and with what would be right.

use policies::plant::{Credential, Host, Plant, Protocol, Rule, WorkOrder};
use policies::time::Seconds;

/// As few lines as a plant needs. Cases below change one thing in it.
const SMALL: &str = r#"
[plant]
name = "Mill"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]
[zones.packaging]
[targets.hmi-2]
zone = "packaging"
[targets.hmi-2.services.ssh]
protocol = "ssh"
address = "10.20.2.11:22"
user = "maint"
credential = "hmi-maint"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.plc-7]
zone = "packaging"
[targets.plc-7.services.engineering]
protocol = "tcp"
address = "10.20.2.7:102"
[[rules]]
id = "acme-packaging"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell"]
duration_max = "4h"
approvals = [{ from = "shift-lead", count = 1 }]
"#;

/// The report on a plant file, or nothing.
fn report(text: &str) -> String {
    Plant::parse(text).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
}

/// The report after one change, without the place.
fn after(old: &str, new: &str) -> String {
    assert_eq!(SMALL.matches(old).count(), 1, "{old:?} stands once");
    let lines = report(&SMALL.replace(old, new));
    let told = |line: &str| line.splitn(4, ':').nth(3).expect("a place before it").trim().to_owned();
    lines.lines().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_full_of_mistakes_gets_one_report_of_all_of_them() {
    let report = report(include_str!("plant/many-mistakes.toml"));
    assert_eq!(format!("{report}\n"), include_str!("plant/many-mistakes.txt"));
}
