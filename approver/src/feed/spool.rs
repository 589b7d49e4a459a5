//! The feed on disk: lines in files of bounded size, the oldest of which go when there are too many. Each file begins with a
//! line about itself. What was appended is synced before anybody is given it, so that a cursor never means two things.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cursor;
use super::event::Told;
use super::receivers::furthest;

/// The writer's end. There is one.
pub(super) struct Spool {
    dir: PathBuf,
    source: String,
    log: String,
    bytes_max: u64,
    id: String,
    files: Vec<Filed>,
    open: File,
    end: u64,
    journal: u64,
}

/// A file of the spool.
#[derive(Debug, Clone, Copy)]
struct Filed {
    first: u64,
    bytes: u64,
}

/// The line that each file begins with.
#[derive(Serialize, Deserialize)]
struct Head {
    feed: u8,
    spool: String,
    /// The number of the first event in it.
    first: u64,
    /// Entries of the journal before this one are in earlier files.
    journal: u64,
    /// Which log the journal is.
    log: String,
}

#[derive(Deserialize)]
struct Placed {
    cursor: String,
    journal: Option<u64>,
}

/// The spool is this many files or more, so that what goes at once is a small part of it.
const FILES: u64 = 16;

impl Spool {
    /// Opens it in a folder, or begins one there, and reads no more than its newest file; `log` is the name of the journal, whose entries are numbered anew from
    /// `restored` on where it goes by another name now.
    pub(super) fn open(dir: &Path, source: &str, log: &str, restored: u64, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut firsts = firsts(dir)?;
        while let Some(first) = firsts.pop() {
            let Some(Newest { head, end, journal, bytes, open }) = read_last(dir, first)? else {
                // Its first line was never whole: nothing in it was given to anybody.
                fs::remove_file(path(dir, first))?;
                continue;
            };
            let mut files = Vec::new();
            for first in firsts {
                files.push(Filed { first, bytes: fs::metadata(path(dir, first))?.len() });
            }
            files.push(Filed { first, bytes });
            let (dir, source, is_renamed) = (dir.to_owned(), source.to_owned(), head.log != log);
            let journal = if is_renamed { journal.min(restored) } else { journal };
            let log = log.to_owned();
            let mut spool = Self { dir, source, log, bytes_max, id: head.spool, files, open, end, journal };
            if is_renamed {
                spool.begin_file()?;
            }
            return Ok(spool);
        }
        let id = crate::mint::nonce()[..8].to_owned();
        let head = Head { feed: 1, spool: id.clone(), first: 0, journal: 0, log: log.to_owned() };
        let (open, bytes) = new_file(dir, &head)?;
        let (dir, source, log, files) =
            (dir.to_owned(), source.to_owned(), log.to_owned(), vec![Filed { first: 0, bytes }]);
        Ok(Self { dir, source, log, bytes_max, id, files, open, end: 0, journal: 0 })
    }

    /// The number of the next event.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// The number of the oldest event that is still here.
    pub(super) fn begin(&self) -> u64 {
        self.files.first().map_or(self.end, |file| file.first)
    }

    /// The first entry of the journal that is not in it yet.
    pub(super) const fn journal(&self) -> u64 {
        self.journal
    }

    /// Its name, which cursors bear.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where what belongs to it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends all of these or none; on the disk when it returns.
    pub(super) fn append(&mut self, events: &[Told]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        let (mut end, mut journal) = (self.end, self.journal);
        for event in events {
            end += 1;
            text.extend(event.line(&self.source, &Cursor::new(&self.id, end)));
            journal = event.journal().map_or(journal, |index| index + 1);
        }
        let filed = self.files.last_mut().expect("there is always a file");
        if let Err(cause) = self.open.write_all(&text).and_then(|()| self.open.sync_data()) {
            // What may stand behind the end is cut off, so that the next lines do not follow half a one.
            self.open.set_len(filed.bytes)?;
            self.open.seek(SeekFrom::Start(filed.bytes))?;
            return Err(cause);
        }
        filed.bytes += text.len() as u64;
        let is_full = filed.bytes >= self.bytes_max / FILES;
        (self.end, self.journal) = (end, journal);
        if is_full && let Err(cause) = self.begin_file() {
            tracing::warn!(%cause, "the feed's spool begins no new file; it is tried again");
        }
        Ok(())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let (id, log) = (self.id.clone(), self.log.clone());
        let head = Head { feed: 1, spool: id, first: self.end, journal: self.journal, log };
        let (open, bytes) = new_file(&self.dir, &head)?;
        self.open = open;
        // A file without an event goes by the same name as what follows it.
        self.files.retain(|file| file.first < self.end);
        self.files.push(Filed { first: self.end, bytes });
        while self.files.len() > 1 && self.files.iter().map(|file| file.bytes).sum::<u64>() > self.bytes_max {
            let oldest = self.files.remove(0);
            fs::remove_file(path(&self.dir, oldest.first))?;
        }
        Ok(())
    }
}

/// The file, and how long it is. Where it cannot be made whole, it is not there.
fn new_file(dir: &Path, head: &Head) -> io::Result<(File, u64)> {
    let mut line = serde_json::to_vec(head).expect("a head has string keys and finite numbers");
    line.push(b'\n');
    let path = path(dir, head.first);
    let write = || {
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        open.write_all(&line)?;
        open.sync_data()?;
        File::open(dir)?.sync_all()?;
        Ok(open)
    };
    match write() {
        Ok(open) => Ok((open, line.len() as u64)),
        Err(cause) => fs::remove_file(&path).and(Err(cause)),
    }
}

fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

/// In order.
fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        // Nothing but what is called as we call it is ours.
        firsts.extend(first.filter(|first| path(dir, *first).file_name() == Some(&name)));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The newest file, up to its last whole line.
struct Newest {
    head: Head,
    end: u64,
    journal: u64,
    bytes: u64,
    open: File,
}

impl Placed {
    fn of(line: &[u8]) -> Option<(Cursor, Option<u64>)> {
        let placed: Self = serde_json::from_slice(line).ok()?;
        Some((placed.cursor.parse().ok()?, placed.journal))
    }
}

/// The number of an event by its line.
fn number_of(line: &[u8]) -> Option<u64> {
    Placed::of(line).map(|(cursor, _)| cursor.after)
}

fn damaged(path: &Path, at: u64, why: &str) -> io::Error {
    let what = format!("{} is damaged at byte {at}: {why}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the newest file, and cuts off what a crash left behind its last whole line: nobody was given that. Where whole lines
/// follow on one that is none, it was no crash, and somebody may have them.
///
/// # Errors
/// What the system says, and that it is damaged.
fn read_last(dir: &Path, first: u64) -> io::Result<Option<Newest>> {
    let path = &path(dir, first);
    let mut open = OpenOptions::new().read(true).write(true).open(path)?;
    let mut text = Vec::new();
    open.read_to_end(&mut text)?;
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let Some((head, mut bytes)) = lines.next().and_then(|line| {
        let head: Head = serde_json::from_slice(line).ok()?;
        (head.feed == 1 && head.first == first).then_some((head, line.len() as u64))
    }) else {
        let has_lines = lines.any(|line| number_of(line).is_some());
        return if has_lines { Err(damaged(path, 0, "it does not say what it is")) } else { Ok(None) };
    };
    let (mut end, mut journal) = (first, head.journal);
    while let Some(line) = lines.next() {
        let follows = |(cursor, index): &(Cursor, Option<u64>)| {
            *cursor == Cursor::new(&head.spool, end + 1) && index.is_none_or(|index| index == journal)
        };
        let Some((_, index)) = Placed::of(line).filter(follows) else {
            let is_ours = |line: &[u8]| Placed::of(line).is_some_and(|(cursor, _)| cursor.spool == head.spool);
            if lines.any(is_ours) {
                return Err(damaged(path, bytes, "a line in its middle is none"));
            }
            break;
        };
        end += 1;
        bytes += line.len() as u64;
        journal = index.map_or(journal, |index| index + 1);
    }
    if furthest(dir, &head.spool)? > end {
        return Err(damaged(path, bytes, "a receiver has more of it than there is"));
    }
    open.set_len(bytes)?;
    open.seek(SeekFrom::Start(bytes))?;
    Ok(Some(Newest { head, end, journal, bytes, open }))
}

/// A reader's place in the spool's files.
pub(super) struct Place {
    dir: PathBuf,
    next: u64,
    open: Option<BufReader<File>>,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Whole lines, and the number of the event that comes after them.
    Lines(Vec<u8>, u64),
    /// So many events were dropped before this reader came to them; the next has this number.
    Missed(u64, u64),
}

impl Place {
    /// Before the event of this number.
    pub(super) fn at(dir: &Path, next: u64) -> Self {
        Self { dir: dir.to_owned(), next, open: None }
    }

    /// The number of the event that is read next.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// What stands next, of the events below `end`, in about so many bytes. To be called where there is something.
    pub(super) fn read(&mut self, end: u64, bytes_max: usize) -> io::Result<Found> {
        let mut text = Vec::new();
        loop {
            if self.open.is_none()
                && let Some(missed) = self.open_next(end)?
            {
                return Ok(missed);
            }
            let open = self.open.as_mut().expect("it was opened");
            while self.next < end && text.len() < bytes_max {
                let before = text.len();
                open.read_until(b'\n', &mut text)?;
                if number_of(&text[before..]) != Some(self.next + 1) {
                    // The end of the file, or a line that a disk has changed.
                    text.truncate(before);
                    break;
                }
                self.next += 1;
            }
            if !text.is_empty() {
                return Ok(Found::Lines(text, self.next));
            }
            // What comes next is elsewhere.
            self.open = None;
        }
    }

    /// Opens the file in which the next event stands, there, or says how many are in none.
    fn open_next(&mut self, end: u64) -> io::Result<Option<Found>> {
        let firsts = firsts(&self.dir)?;
        let behind = firsts.iter().skip(1).copied().chain([end]);
        let files = firsts.iter().copied().zip(behind).filter(|(_, last)| *last > self.next);
        for (first, last) in files {
            let Some((open, number)) = open_at(&path(&self.dir, first), first, self.next, last.min(end))? else {
                continue;
            };
            if number > self.next + 1 {
                return Ok(Some(self.missed(number - 1, &firsts)));
            }
            self.open = Some(open);
            return Ok(None);
        }
        Ok(Some(self.missed(end, &firsts)))
    }

    fn missed(&mut self, next: u64, firsts: &[u64]) -> Found {
        let before = std::mem::replace(&mut self.next, next);
        if let Some(first) = firsts.iter().rfind(|first| **first <= before) {
            let (file, from) = (path(&self.dir, *first), before + 1);
            tracing::error!(file = %file.display(), from, to = next, "a disk changed these lines of the feed: nobody gets them");
        }
        Found::Missed(next - before, next)
    }
}

/// The file that begins behind `first` events and ends with the `last`, at its first event behind `after`, and the number of
/// that; none where it has none. Numbers that a disk has changed are not believed: a line stands in its place, or, where an end
/// of a line was changed before it, the next one follows on it.
fn open_at(path: &Path, first: u64, after: u64, last: u64) -> io::Result<Option<(BufReader<File>, u64)>> {
    let mut open = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut line = Vec::new();
    let (mut offset, mut place) = (open.read_until(b'\n', &mut line)? as u64, first);
    let mut doubtful = None;
    loop {
        line.clear();
        let bytes = open.read_until(b'\n', &mut line)? as u64;
        let number = number_of(&line).filter(|number| (after + 1..=last).contains(number));
        let is_believed = |(_, before): &(u64, u64)| match line.ends_with(b"\n") {
            true => number_of(&line) == Some(before + 1),
            false => *before == last,
        };
        place += 1;
        let in_place = number.filter(|number| *number == place).map(|number| (offset, number));
        if let Some((offset, number)) = doubtful.take().filter(is_believed).or(in_place) {
            open.seek(SeekFrom::Start(offset))?;
            return Ok(Some((open, number)));
        }
        if bytes == 0 {
            return Ok(None);
        }
        doubtful = number.map(|number| (offset, number));
        offset += bytes;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn event(journal: Option<u64>) -> Told {
        let event = policies::events::Event::NodeStopped { node: "n".parse().unwrap() };
        match journal {
            Some(index) => Told::journaled(index, Timestamp::UNIX_EPOCH, &event),
            None => Told::not_kept(Timestamp::UNIX_EPOCH, 1),
        }
    }

    fn open(dir: &Path, log: &str, bytes: u64) -> Spool {
        Spool::open(dir, "m/n", log, 3, bytes).unwrap()
    }

    fn numbers(text: &[u8]) -> Vec<u64> {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let number = |line: &[u8]| {
            let placed: Placed = serde_json::from_slice(line).unwrap();
            placed.cursor.parse::<Cursor>().unwrap().after
        };
        lines.map(number).collect()
    }

    fn all(spool: &Spool, from: u64) -> (u64, Vec<u64>) {
        let (mut place, mut missed, mut read) = (Place::at(&spool.dir, from), 0, Vec::new());
        while place.next() < spool.end() {
            match place.read(spool.end(), 1).unwrap() {
                Found::Lines(text, _) => read.extend(numbers(&text)),
                Found::Missed(events, _) => missed += events,
            }
        }
        (missed, read)
    }

    #[test]
    fn what_a_crash_left_behind_the_last_whole_line_was_never_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "j", 1 << 20);
        spool.append(&[event(Some(0)), event(None), event(Some(1))]).unwrap();
        let file = path(folder.path(), 0);
        let whole = fs::read(&file).unwrap();
        drop(spool);
        for junk in [&b"{\"v\":1,\"cursor\":\"x-4\""[..], b"\0\0\0\n", b"{\"cursor\":\"x-9\"}\n", b""] {
            fs::write(&file, [&whole, junk].concat()).unwrap();
            let mut spool = open(folder.path(), "j", 1 << 20);
            assert_eq!((spool.end(), spool.journal()), (3, 2), "{junk:?}");
            assert_eq!(fs::read(&file).unwrap(), whole);
            spool.append(&[event(Some(2))]).unwrap();
            assert_eq!(all(&spool, 0), (0, vec![1, 2, 3, 4]));
        }
    }

    #[test]
    fn what_a_disk_changed_is_no_crash_and_what_was_given_to_somebody_is_not_numbered_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "j", 1 << 20);
        spool.append(&[event(Some(0)), event(None), event(Some(1)), event(None)]).unwrap();
        let (file, id) = (path(folder.path(), 0), spool.id.clone());
        let whole = fs::read_to_string(&file).unwrap();
        drop(spool);
        let refused = |text: String| {
            fs::write(&file, &text).unwrap();
            let refused = Spool::open(folder.path(), "m/n", "j", 3, 1 << 20).err().map(|cause| cause.to_string());
            assert_eq!(fs::read_to_string(&file).unwrap(), text, "it is left as it is");
            refused.unwrap_or_default()
        };
        let changed = |from: &str, to: &str| refused(whole.replacen(from, to, 1));
        assert!(changed("\"feed\":1", "\"feed\":5").contains("is damaged at byte 0: it does not say what it is"));
        for (from, to) in [("-2\"", "-6\""), ("\"journal\":1,", "\"journal\":9,"), ("}}\n{\"v\"", "}}J{\"v\"")] {
            assert!(changed(from, to).contains("a line in its middle is none"), "{from:?}");
        }
        // The last line alone is what a crash may leave, unless somebody has it.
        let torn = whole.replacen("-4\"", "-4X", 1);
        fs::create_dir(folder.path().join("cursors")).unwrap();
        fs::write(folder.path().join("cursors/siem"), crate::checked::sealed(&format!("{id}-4"))).unwrap();
        assert!(refused(torn.clone()).contains("a receiver has more of it than there is"));
        fs::write(folder.path().join("cursors/siem"), crate::checked::sealed(&format!("{id}-3"))).unwrap();
        fs::write(&file, torn).unwrap();
        let spool = open(folder.path(), "j", 1 << 20);
        assert_eq!((spool.end(), spool.journal(), &spool.id), (3, 2, &id));
    }

    #[test]
    fn a_line_that_a_disk_changed_in_an_older_file_is_told_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let bound = 64 << 10;
        let mut spool = open(folder.path(), "j", bound);
        for index in 0..60 {
            spool.append(&[event(Some(index))]).unwrap();
        }
        assert!(spool.files.len() > 2 && spool.begin() == 0);
        let first = path(folder.path(), 0);
        let text = fs::read_to_string(&first).unwrap();
        // Two lines become one, and are neither.
        let place = text.match_indices('\n').nth(5).unwrap().0;
        fs::write(&first, [&text[..place], "J", &text[place + 1..]].concat()).unwrap();
        let read: Vec<u64> = [(1..=4).collect::<Vec<_>>(), (7..=60).collect()].concat();
        assert_eq!(all(&spool, 0), (2, read));
        assert_eq!(all(&spool, 30).1, (31..=60).collect::<Vec<_>>());
    }

    #[test]
    fn a_number_that_a_disk_changed_takes_no_good_line_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let bound = 64 << 10;
        let mut spool = open(folder.path(), "j", bound);
        for index in 0..60 {
            spool.append(&[event(Some(index))]).unwrap();
        }
        let [first, second] = [&spool.files[0], &spool.files[1]].map(|file| file.first);
        let whole = [first, second].map(|first| fs::read_to_string(path(folder.path(), first)).unwrap());
        let damage = |which: usize, changes: &[(u64, &str)]| {
            let text = changes
                .iter()
                .fold(whole[which].clone(), |text, (number, to)| text.replacen(&format!("-{number}\""), to, 1));
            fs::write(path(folder.path(), [first, second][which]), text).unwrap();
        };
        let without = |missing: &[u64], from: u64| (from + 1..=60).filter(|n| !missing.contains(n)).collect::<Vec<_>>();
        for to in ["-300\"", "-9\"", "-2\"", "-1\"", "X", "-4\"", &format!("-{second}\"")] {
            damage(0, &[(3, to)]);
            for from in 0..5 {
                let missing: &[u64] = if from < 3 { &[3] } else { &[] };
                assert_eq!(all(&spool, from), (missing.len() as u64, without(missing, from)), "{to} from {from}");
            }
        }
        // The first and the last of a file, and one between two that are none.
        for lost in [vec![1], vec![second], vec![3, 5], vec![second - 1, second]] {
            damage(0, &lost.iter().map(|number| (*number, "-7000\"")).collect::<Vec<_>>());
            assert_eq!(all(&spool, 0), (lost.len() as u64, without(&lost, 0)), "{lost:?}");
        }
        damage(0, &[]);
        damage(1, &[(second + 1, "-60\"")]);
        assert_eq!(all(&spool, 0), (1, without(&[second + 1], 0)));
    }

    #[test]
    fn a_file_whose_first_line_a_crash_tore_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "j", 1 << 20);
        let id = spool.id.clone();
        spool.append(&[event(Some(0)), event(Some(1))]).unwrap();
        fs::write(path(folder.path(), 2), b"{\"feed\":1,").unwrap();
        let mut spool = open(folder.path(), "j", 1 << 20);
        assert_eq!((spool.end(), spool.journal(), &spool.id), (2, 2, &id));
        spool.append(&[event(Some(2))]).unwrap();
        assert_eq!(all(&spool, 1), (0, vec![2, 3]));
    }

    #[test]
    fn beyond_its_bound_the_oldest_go_and_how_many_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let bound = 64 << 10;
        let mut spool = open(folder.path(), "j", bound);
        for index in 0..1_000 {
            spool.append(&[event(Some(index)), event(None)]).unwrap();
            let bytes: u64 =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes <= bound + bound / FILES, "{bytes}");
        }
        let (missed, read) = all(&spool, 10);
        assert_eq!(missed, spool.begin() - 10);
        assert!(missed > 1_000 && read.len() > 100, "{missed} {}", read.len());
        assert_eq!(read, (spool.begin() + 1..=2_000).collect::<Vec<_>>());
        // Entries are remembered, though the last files may hold none of them.
        for _ in 0..2_000 {
            spool.append(&[event(None)]).unwrap();
        }
        assert_eq!(open(folder.path(), "j", bound).journal(), 1_000);
    }

    #[test]
    fn a_journal_of_another_name_is_read_on_from_where_it_was_restored() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path(), "j", 1 << 20);
        spool.append(&(0..9).map(|index| event(Some(index))).collect::<Vec<_>>()).unwrap();
        drop(spool);
        let mut spool = open(folder.path(), "j/restored", 1 << 20);
        assert_eq!((spool.end(), spool.journal()), (9, 3));
        spool.append(&[event(Some(3))]).unwrap();
        let spool = open(folder.path(), "j/restored", 1 << 20);
        assert_eq!((spool.end(), spool.journal()), (10, 4));
        assert_eq!(all(&spool, 0).1.len(), 10);
    }
}
