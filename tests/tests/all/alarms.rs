//! Alarms of the real program, each brought about: a lockout, a cut, a disk that fills up, a clock that is set. Each stands on
//! the board, is told in the feed when it is raised and when it is cleared, and reaches people as a notice.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tests::browser::Browser;
use tests::{Disk, Faked, Options, Plant, eventually, holdpoint, json, log_in, run, text};

/// A plant that runs, with whoever watches over it.
struct Watched {
    plant: Plant,
    board: Option<Browser>,
    notices: PathBuf,
}

impl Watched {
    fn serve(disk: &Disk, around: &[String]) -> Self {
        let data = Some(disk.path().join("data"));
        let mut plant = Plant::enrolled(Options { data, later: vec!["kim"], ..Options::default() });
        let notices = plant.notices();
        plant.serve_under(&around.iter().map(String::as_str).collect::<Vec<_>>());
        let mut board = Browser::new(&plant);
        if let Some(board) = &mut board {
            board.has_a_passkey();
            board.enrols("kim", &plant.codes["kim"]);
            board.signs_in();
        }
        log_in(&plant, "lee");
        Self { plant, board, notices }
    }

    /// Whether the feed tells this of an alarm of this kind.
    fn feed_tells(&self, id: &str, kind: &str) -> bool {
        let feed = holdpoint(&self.plant, "lee", &["feed"]).ok().out();
        let mut lines = feed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.any(|line| line["id"] == id && line["about"]["alarm"] == kind)
    }

    fn people_are_told(&self, words: &str) {
        eventually(words, || fs::read_to_string(&self.notices).is_ok_and(|told| told.contains(words)));
    }

    /// It stands, and everybody hears of it: these words on the board, and those in a notice.
    #[track_caller]
    fn is_raised(&mut self, kind: &str, on_the_board: &str, in_a_notice: &str) {
        let stands = || json(&self.plant, "lee", &["status"])["alarms"].as_array().expect("a list").clone();
        eventually(kind, || stands().iter().any(|alarm| alarm["alarm"] == kind));
        eventually(kind, || self.feed_tells("HP1903", kind));
        self.people_are_told(in_a_notice);
        if let Some(board) = &mut self.board {
            board.says(on_the_board);
            board.look(&format!("alarm-{kind}"));
        }
    }

    /// It is over, and that is told.
    #[track_caller]
    fn is_cleared(&mut self, kind: &str, on_the_board: &str, in_a_notice: &str) {
        eventually(kind, || self.feed_tells("HP1904", kind));
        self.people_are_told(in_a_notice);
        if let Some(board) = &mut self.board {
            board.until(&format!("!document.body.innerText.includes({on_the_board:?})"));
        }
    }
}

#[test]
fn whatever_is_wrong_stands_on_the_board_and_is_told_in_the_feed_and_to_people() {
    let Some(disk) = Disk::of("420m") else { return };
    let clock = Faked::new();
    let around = clock.as_ref().map(Faked::around).unwrap_or_default();
    let mut watched = Watched::serve(&disk, &around);

    for _ in 0..6 {
        run(&mut watched.plant.as_person("tess", &["login"]), b"000000\n").refused(1, "");
    }
    watched.is_raised("locked", "tess gave too many wrong codes: locked out until", "gave too many wrong codes");

    let cut = text(&json(&watched.plant, "lee", &["cut", "--vendor", "acme"])["cut"]);
    watched.is_raised("cut", "cut of vendor acme stands", &format!("cut {cut} was made"));
    holdpoint(&watched.plant, "lee", &["reopen", &cut, "--reason", "it was a drill"]).ok();
    watched.is_cleared("cut", "cut of vendor acme stands", &format!("cut {cut} was reopened"));

    let filler = disk.fill();
    watched.is_raised("low-space", "nobody new is let in", "the disk for recordings is filling up");
    fs::remove_file(filler).expect("it was there");
    watched.is_cleared("low-space", "nobody new is let in", "no longer: the disk");

    let Some(clock) = clock else { return };
    clock.set_ahead(20);
    watched.is_raised("clock", "the clock was set ahead by", "the clock was set ahead by");
    clock.set_ahead(0);
    watched.board.iter_mut().for_each(|board| board.says("the clock was set back by"));
}
