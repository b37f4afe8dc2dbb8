//! Power cuts: random chats are cut off at any file operation, and start again on what a disk may then hold.
//!
//! The model of the disk: what was synced stays. Of what was written since, each sector may be there or be zeros, and the
//! file may have any length from the synced to the written one. Directory entries change in the order of the operations, up
//! to any of those after the last sync of the directory. A power cut may come in any of several lives of the server, also
//! while it starts.

use crate::history::{Place, boot, open, say};
use salon::chat::answer::{Answer, HistoryRequest, Position};
use salon::chat::history::History;
use salon::chat::journal::disk::{self, Operation};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const SECTOR: usize = 512;
/// The numbers of two lives differ by more than this.
const SKIP: u64 = 1_000_000;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// A file, whatever its names are.
#[derive(Clone, Default)]
struct Content {
    written: Vec<u8>,
    synced: usize,
}

impl Content {
    /// One of the contents that the file may have after a power cut: `choose` takes a number below its argument.
    fn after_cut(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<u8> {
        // It ends where a sector ends, or with what was written or synced last.
        let ends: BTreeSet<usize> = (self.synced..self.written.len()).filter(|end| end % SECTOR == 0).collect();
        let ends: Vec<usize> = [self.synced].into_iter().chain(ends).chain([self.written.len()]).collect();
        let mut content = self.written[..ends[choose(ends.len())]].to_owned();
        let mut at = self.synced;
        while at < content.len() {
            let end = content.len().min((at / SECTOR + 1) * SECTOR);
            if choose(2) == 0 {
                content[at..end].fill(0);
            }
            at = end;
        }
        content
    }
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
struct Disk {
    contents: Vec<Content>,
    /// The names that the directory may have after a power cut, oldest first; the last ones are those of now.
    names: Vec<Names>,
    /// What the open files are; `None` for the directory.
    opened: BTreeMap<usize, Option<usize>>,
}

impl Disk {
    fn begin(files: &BTreeMap<PathBuf, Vec<u8>>) -> Disk {
        let contents = files.values().map(|bytes| Content { written: bytes.clone(), synced: bytes.len() }).collect();
        let names = files.keys().cloned().zip(0..).collect();
        Disk { contents, names: vec![names], opened: BTreeMap::new() }
    }

    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.names.last().expect("there are always some").clone();
        change(&mut names);
        self.names.push(names);
    }

    fn make(&mut self, operation: &Operation) {
        match operation {
            Operation::Open { file, path, creates } => {
                if *creates {
                    self.contents.push(Content::default());
                    let content = self.contents.len() - 1;
                    self.change(|names| _ = names.insert(path.clone(), content));
                }
                let names = self.names.last().expect("there are always some");
                self.opened.insert(*file, names.get(path).copied());
            }
            Operation::Write { file, bytes } => {
                let content = self.opened[file].expect("a file");
                self.contents[content].written.extend_from_slice(bytes);
            }
            Operation::Sync { file } => match self.opened[file] {
                Some(content) => self.contents[content].synced = self.contents[content].written.len(),
                None => drop(self.names.drain(..self.names.len() - 1)),
            },
            Operation::Rename { from, to } => self.change(|names| {
                let content = names.remove(from).expect("a file");
                names.insert(to.clone(), content);
            }),
            Operation::Link { from, to } => self.change(|names| _ = names.insert(to.clone(), names[from])),
            Operation::Remove { path } => self.change(|names| _ = names.remove(path)),
            Operation::SetMode { .. } => {}
        }
    }

    /// One of the states in which a power cut may leave the disk.
    fn after_cut(&self, mut choose: impl FnMut(usize) -> usize) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents: Vec<_> = self.contents.iter().map(|content| content.after_cut(&mut choose)).collect();
        let names = &self.names[choose(self.names.len())];
        names.iter().map(|(path, content)| (path.clone(), contents[*content].clone())).collect()
    }
}

/// What was said, and what of it must be there after a power cut.
#[derive(Default)]
struct Said {
    /// All messages that clients have heard, by number, in the order in which they heard them: the history they belong to,
    /// and the text.
    heard: BTreeMap<u64, (String, String)>,
    /// What was on the disk at the last start, or has been synced since.
    safe: BTreeSet<u64>,
    /// What was on the disk at any start.
    loaded: BTreeSet<u64>,
    /// Highest number that was dropped to keep the limits.
    dropped: u64,
    /// Below this, positions have a gap since a damaged file was loaded.
    doubtful: u64,
}

fn all(history: &History) -> Answer<'_> {
    let answer = history.answer(&HistoryRequest::default(), None);
    assert!(!answer.more, "one answer has all");
    answer
}

fn kept(history: &History) -> BTreeMap<u64, String> {
    // JSON, but of a form that this test has made: to decode it would take most of the time.
    let between = |json: &str, before: &str, after: &str| {
        let (_, rest) = json.split_once(before).expect("a field");
        rest.split(after).next().expect("a value").to_owned()
    };
    let pair =
        |json: &str| (between(json, "\"n\":", ",").parse().expect("a number"), between(json, "message\":\"", "\""));
    all(history).messages.into_iter().map(|message| pair(message.get())).collect()
}

fn has_gap(history: &History, n: u64) -> bool {
    let since = Some(Position { boot: boot(history), n });
    history.answer(&HistoryRequest { since, ..HistoryRequest::default() }, None).gap
}

impl Said {
    /// Checks a history that has just been loaded after a power cut, against all that clients know.
    fn check(&mut self, history: &History, random: &mut Random, is_damaged: bool, shown: &str) {
        let (kept, boot, last) = (kept(history), boot(history), all(history).n);
        // Only before the first file was complete there can be another history.
        let heard: BTreeMap<_, _> = self.heard.iter().filter(|(_, (of, _))| *of == boot).collect();
        for (n, text) in &kept {
            assert_eq!(heard.get(n).map(|(_, text)| text), Some(text), "{shown}: message {n}");
        }
        for n in &self.safe {
            assert!(kept.contains_key(n), "{shown}: message {n} was synced and is lost");
        }
        assert!(heard.keys().all(|n| **n <= last), "{shown}: numbers are given out twice");
        let lost: BTreeSet<u64> = heard.keys().map(|n| **n).filter(|n| !kept.contains_key(n)).collect();
        let first = kept.keys().next().copied().unwrap_or(0);
        if is_damaged {
            self.doubtful = last;
        }
        // Some of all, because answers take their time.
        for position in heard.keys().map(|n| **n).filter(|_| random.below(heard.len().div_ceil(8)) == 0) {
            let gap = has_gap(history, position);
            // Whoever lacks a message in front of others of that life is told, and whoever has seen one that is lost. (Nobody
            // can tell that the last messages of a life are lost but those who have seen them.) After one that was dropped,
            // nothing needs to be missing.
            let in_front = |n: &u64| kept.range(n..).next().is_some_and(|(next, _)| next / SKIP == n / SKIP);
            let lacks = lost.range(position + 1..).any(in_front);
            let dropped = self.loaded.contains(&position) || lost.range(..first).next_back() == Some(&position);
            let is_lost = lost.contains(&position) && !dropped;
            assert!(gap || !lacks && !is_lost, "{shown}: nobody tells {position} what is missing: {lacks}, {is_lost}");
            let excused = lost.contains(&position) || position < self.dropped.max(self.doubtful);
            assert!(!gap || lacks || excused, "{shown}: {position} has a gap, and nothing is missing");
        }
        self.loaded.extend(kept.keys());
        self.safe = kept.into_keys().collect();
    }
}

/// A life of a server on this disk: it is cut at a random operation. Returns the disk after that. If the file is a mount
/// point, it cannot be replaced.
fn live(random: &mut Random, files: &BTreeMap<PathBuf, Vec<u8>>, said: &mut Said, place: &Path, shown: &str) -> Disk {
    let mounted = shown.contains("mount");
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).expect("a directory");
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    let operations = Rc::new(RefCell::new(Vec::new()));
    let seen = operations.clone();
    let count = || operations.borrow().len();
    disk::watch(move |operation| {
        if mounted && matches!(operation, Operation::Rename { .. } | Operation::Link { .. }) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        // Only what exists can be removed.
        let vain = matches!(operation, Operation::Remove { path } if !path.exists());
        let other =
            matches!(operation, Operation::Open { path, .. } if path.extension().is_some_and(|end| end == "lock"));
        if !vain && !other {
            seen.borrow_mut().push(operation.clone());
        }
        Ok(())
    });
    let name = format!("{:06}-boot", random.below(1_000_000));
    let mut history = open(&place.join("history"), &name);
    let is_damaged = fs::read_dir(place).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        path.to_string_lossy().contains("damaged") && !files.contains_key(&path)
    });
    // A damaged mount point stays as it is, and is damaged at each start.
    let is_damaged = is_damaged || mounted;
    said.check(&history, random, is_damaged, shown);
    // What is synced after so many operations.
    let mut moments = vec![(count(), said.safe.clone())];
    let mut now = Instant::now();
    let boot = boot(&history);
    let mut heard = Vec::new();
    // Some lives are so long that the file is written anew.
    let (steps, size) = [(40, 20), (40, 600), (80, 3_000)][random.below(10).saturating_sub(7)];
    let steps = random.below(steps);
    for _ in 0..steps {
        if random.below(4) > 0 {
            for _ in 0..1 + random.below(4) {
                let text = format!("{}-{}", random.below(1_000_000_000), "x".repeat(random.below(size)));
                let n = say(&mut history, &text, now).n;
                heard.push((count(), n, text));
            }
        } else {
            now += Duration::from_secs(1);
            history.expire(now);
            assert_eq!(history.is_written(), Some(true), "{shown}");
            moments.push((count(), kept(&history).into_keys().collect()));
        }
    }
    // The limits drop the oldest; which of them were dropped before the cut does not matter here.
    let kept = kept(&history);
    let dropped = said.safe.iter().copied().chain(heard.iter().map(|(_, n, _)| *n)).filter(|n| !kept.contains_key(n));
    said.dropped = said.dropped.max(dropped.max().unwrap_or(0));
    drop(history);
    disk::unwatch();
    let operations = operations.borrow();
    let cut = random.below(operations.len() + 1);
    let mut disk = Disk::begin(files);
    operations[..cut].iter().for_each(|operation| disk.make(operation));
    if let Some((_, safe)) = moments.iter().rev().find(|(count, _)| *count <= cut) {
        said.safe.clone_from(safe);
    }
    let dropped = said.dropped;
    said.safe.retain(|n| *n > dropped);
    for (count, n, text) in heard {
        // The ack leaves after the line was appended.
        if count <= cut {
            let twice = said.heard.insert(n, (boot.clone(), text));
            assert!(twice.is_none_or(|(of, _)| of != boot), "{shown}: {n} was given out twice");
        }
    }
    disk
}

#[test]
fn after_power_cuts_what_was_synced_is_there_and_gaps_are_told() {
    let place = Place::new("power");
    let (mut cuts, mut damaged) = (0, 0);
    for seed in 1..=100_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut said, mut files) = (Said::default(), BTreeMap::new());
        let mount = if seed % 4 == 0 { ", mount point" } else { "" };
        if !mount.is_empty() {
            files.insert(place.file(), Vec::new());
        }
        for life in 0..5 {
            let shown = format!("seed {seed}, life {life}{mount}");
            let disk = live(&mut random, &files, &mut said, &place.0, &shown);
            files = disk.after_cut(|limit| random.below(limit));
            files.retain(|path, _| !path.to_string_lossy().contains("damaged") || random.below(2) == 0);
            cuts += 1;
            damaged += usize::from(files.keys().any(|path| path.to_string_lossy().contains("damaged")));
        }
    }
    println!("{cuts} cuts, {damaged} with a damaged file put aside");
    assert!(damaged > cuts / 40);
}
