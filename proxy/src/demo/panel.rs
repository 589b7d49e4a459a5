//! The simulated machine: a cartoner with values that move, an alarm that can be cured, a log and some files, and the
//! small command language of its panel. It knows no network; `hmi` puts it behind SSH.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The machine. Everybody who is connected sees the same one.
#[derive(Debug)]
pub(super) struct Panel {
    begun: Instant,
    machine: Mutex<Machine>,
}

/// What a command is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Ends with a line's end, unless there is nothing to say.
    pub(super) text: String,
    /// As a shell's: 0, or 1 where it was not done.
    pub(super) status: u32,
    /// Whether the visitor leaves.
    pub(super) leaves: bool,
}

#[derive(Debug)]
struct Machine {
    speed_set: f64,
    glue_set: f64,
    glue_set_at: Duration,
    glue_was: f64,
    acknowledged: bool,
    log: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
}

/// Below this the glue does not hold, and the alarm is on.
const GLUE_MIN: f64 = 155.0;
/// What the glue warms or cools within a second.
const GLUE_PER_SECOND: f64 = 8.0;
/// Lines of the log that are kept.
const LOG_MAX: usize = 100;
/// Bytes of all files: nobody fills the memory of a demo.
const FILES_BYTES_MAX: usize = 4 << 20;
/// What the panel's prompt looks like.
pub(super) const PROMPT: &str = "hmi-2> ";

const HELP: &str = "\
status           the line at a glance
tags             every value
set TAG VALUE    change line.speed_sp or glue.temp_sp
ack              acknowledge the alarm
log              what happened
ls, cat FILE     files of this panel; copy them with sftp or scp
exit             leave
";

const RECIPE: &str = "\
# Recipe 12: carton 250 x 180 x 90, double flap
line.speed_sp  = 42      # cartons/min
glue.temp_sp   = 165     # C; below 155 the flaps open on the pallet
glue.pressure  = 2.4     # bar
";

impl Panel {
    /// A machine whose glue is getting cold.
    pub(super) fn new() -> Self {
        let files = [("recipe-12.txt", RECIPE.to_owned()), ("trend-glue.csv", trend())];
        let machine = Machine {
            speed_set: 42.0,
            glue_set: 140.0,
            glue_set_at: Duration::ZERO,
            glue_was: 149.0,
            acknowledged: false,
            log: vec!["00:00 E-207 glue temperature low".to_owned()],
            files: files.map(|(name, text)| (name.to_owned(), text.into_bytes())).into(),
        };
        Self { begun: Instant::now(), machine: Mutex::new(machine) }
    }

    /// What is seen first.
    pub(super) fn greeting(&self) -> String {
        format!("Cartoner 2, operator panel hmi-2. `help` lists what there is.\n{}", self.obey("status").text)
    }

    /// Does what a line says.
    pub(super) fn obey(&self, line: &str) -> Answer {
        let (mut machine, now) = (self.machine(), self.begun.elapsed());
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => Answer::done(String::new()),
            ["help" | "?"] => Answer::done(HELP.to_owned()),
            ["status"] => Answer::done(machine.status(now)),
            ["tags"] => Answer::done(machine.tags(now)),
            ["set", tag, value] => machine.set(tag, value, now),
            ["ack", ..] => machine.acknowledge(now),
            ["log"] => Answer::done(machine.log.join("\n") + "\n"),
            ["ls", ..] => Answer::done(machine.list()),
            ["cat", name] => machine.show(name),
            ["exit" | "quit" | "logout"] => Answer { leaves: true, ..Answer::done("Goodbye.\n".to_owned()) },
            [other, ..] => Answer::not_done(format!("{}: no such command; `help` lists them\n", printable(other))),
        }
    }

    /// The files, by name, with their sizes.
    pub(super) fn files(&self) -> Vec<(String, usize)> {
        self.machine().files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect()
    }

    /// One file.
    pub(super) fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.machine().files.get(name).cloned()
    }

    /// Changes a file, or makes it; `false` where the panel has no room for it.
    pub(super) fn write_file(&self, name: &str, offset: usize, bytes: &[u8]) -> bool {
        let mut machine = self.machine();
        let kept: usize = machine.files.values().map(Vec::len).sum();
        let Some(end) = offset.checked_add(bytes.len()).filter(|end| kept.saturating_add(*end) <= FILES_BYTES_MAX)
        else {
            return false;
        };
        let file = machine.files.entry(name.to_owned()).or_default();
        file.resize(file.len().max(end), 0);
        file[offset..end].copy_from_slice(bytes);
        true
    }

    /// Makes a file empty, or makes it.
    pub(super) fn clear_file(&self, name: &str) {
        self.machine().files.insert(name.to_owned(), Vec::new());
    }

    /// Whether there was such a file.
    pub(super) fn remove_file(&self, name: &str) -> bool {
        self.machine().files.remove(name).is_some()
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    const fn done(text: String) -> Self {
        Self { text, status: 0, leaves: false }
    }

    const fn not_done(text: String) -> Self {
        Self { text, status: 1, leaves: false }
    }
}

impl Machine {
    fn glue(&self, now: Duration) -> f64 {
        let moved = now.saturating_sub(self.glue_set_at).as_secs_f64() * GLUE_PER_SECOND;
        let to_go = self.glue_set - self.glue_was;
        self.glue_was + to_go.clamp(-moved, moved) + ripple(now, 0.4)
    }

    fn speed(&self, now: Duration) -> f64 {
        let slowed = if self.glue(now) < GLUE_MIN { 0.5 } else { 1.0 };
        self.speed_set * slowed + ripple(now, 0.8)
    }

    fn alarm(&self, now: Duration) -> &'static str {
        match (self.glue(now) < GLUE_MIN, self.acknowledged) {
            (true, false) => "E-207 glue temperature low",
            (true, true) => "E-207 glue temperature low (acknowledged)",
            (false, _) => "none",
        }
    }

    fn status(&self, now: Duration) -> String {
        let (speed, glue, alarm) = (self.speed(now), self.glue(now), self.alarm(now));
        format!("line {speed:5.1} cartons/min   glue {glue:5.1} C   alarm: {alarm}\n")
    }

    fn tags(&self, now: Duration) -> String {
        let cartons = 18_204 + now.as_secs() * 42 / 60;
        let values = [
            ("line.speed", self.speed(now), "cartons/min"),
            ("line.speed_sp", self.speed_set, "cartons/min"),
            ("glue.temp", self.glue(now), "C"),
            ("glue.temp_sp", self.glue_set, "C"),
            ("glue.pressure", 2.4 + ripple(now, 0.05), "bar"),
            ("motor3.current", 6.1 + ripple(now, 0.3), "A"),
        ];
        let mut text = String::new();
        for (tag, value, unit) in values {
            writeln!(text, "{tag:<16} {value:>8.1} {unit}").expect("text takes text");
        }
        writeln!(text, "{:<16} {cartons:>8}", "cartons.today").expect("text takes text");
        text
    }

    fn set(&mut self, tag: &str, value: &str, now: Duration) -> Answer {
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        match (tag, number) {
            ("glue.temp_sp", Some(to)) if (20.0..=190.0).contains(&to) => {
                (self.glue_was, self.glue_set_at) = (self.glue(now), now);
                self.glue_set = to;
            }
            ("line.speed_sp", Some(to)) if (0.0..=60.0).contains(&to) => self.speed_set = to,
            ("glue.temp_sp", _) => return Answer::not_done("glue.temp_sp takes 20 to 190 C\n".to_owned()),
            ("line.speed_sp", _) => return Answer::not_done("line.speed_sp takes 0 to 60 cartons/min\n".to_owned()),
            _ => return Answer::not_done(format!("{}: cannot be set\n", printable(tag))),
        }
        let said = format!("{tag} set to {}", printable(value));
        self.note(now, &said);
        Answer::done(said + "\n")
    }

    fn acknowledge(&mut self, now: Duration) -> Answer {
        if self.alarm(now) == "none" {
            return Answer::not_done("no alarm is on\n".to_owned());
        }
        self.acknowledged = true;
        self.note(now, "E-207 acknowledged");
        Answer::done("E-207 acknowledged\n".to_owned())
    }

    fn note(&mut self, now: Duration, what: &str) {
        if self.log.len() >= LOG_MAX {
            self.log.remove(0);
        }
        self.log.push(format!("{:02}:{:02} {what}", now.as_secs() / 60, now.as_secs() % 60));
    }

    fn list(&self) -> String {
        self.files.iter().map(|(name, bytes)| format!("{:>8}  {name}\n", bytes.len())).collect()
    }

    fn show(&self, name: &str) -> Answer {
        match self.files.get(name) {
            Some(bytes) => Answer::done(String::from_utf8_lossy(bytes).into_owned()),
            None => Answer::not_done(format!("{}: no such file\n", printable(name))),
        }
    }
}

/// Nothing in a real machine stands still.
fn ripple(now: Duration, by: f64) -> f64 {
    by * (now.as_secs_f64() * 1.7).sin()
}

/// A night's trend, as the panel would have written it.
fn trend() -> String {
    let mut text = String::from("minute,glue_c\n");
    for minute in 0..480_u32 {
        let glue = 165.0 - f64::from(minute) / 30.0 + ripple(Duration::from_secs(minute.into()), 0.4);
        writeln!(text, "{minute},{glue:.1}").expect("text takes text");
    }
    text
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_on_until_the_glue_is_warm() {
        let panel = Panel::new();
        assert!(panel.obey("status").text.contains("E-207"));
        assert_eq!(panel.obey("ack").status, 0);
        assert!(panel.obey("status").text.contains("(acknowledged)"));
        assert_eq!(panel.obey("set glue.temp_sp 165").text, "glue.temp_sp set to 165\n");
        let machine = panel.machine();
        assert_eq!(machine.alarm(Duration::from_secs(60)), "none");
        assert!(machine.log.last().expect("a line").contains("glue.temp_sp set to 165"));
    }

    #[test]
    fn what_cannot_be_done_has_a_status_and_words() {
        let panel = Panel::new();
        for line in ["set glue.temp_sp 900", "set glue.temp_sp NaN", "set motor3.current 1", "cat nothing", "rm x"] {
            let answer = panel.obey(line);
            assert!(answer.status == 1 && answer.text.ends_with('\n'), "{line}: {answer:?}");
        }
        assert!(panel.obey("exit").leaves);
    }

    #[test]
    fn files_cannot_fill_the_memory() {
        let panel = Panel::new();
        assert!(panel.write_file("new.txt", 3, b"abc"));
        assert_eq!(panel.file("new.txt").expect("written"), b"\0\0\0abc");
        assert!(!panel.write_file("new.txt", FILES_BYTES_MAX, b"x"));
        assert!(!panel.write_file("new.txt", usize::MAX, b"xx"));
    }
}
