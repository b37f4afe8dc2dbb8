//! The file in which messages outlive the process.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// From a write to the sync that a power cut cannot undo; and from a failure to the next attempt.
pub(super) const SYNC_TIME: Duration = Duration::from_secs(1);
/// How long the file may be in another process's hands: a server that is replaced is still going.
const LOCK_TIME: Duration = Duration::from_secs(10);
/// What the file may have grown by, besides as much again as is kept, before it is written anew.
const SLACK: u64 = 64 * 1024;

/// No message has a number or a time above: in JavaScript they are exact, and there is room for more.
pub(super) const MAX_NUMBER: u64 = 1 << 52;
/// The first line of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct FileHeader {
    pub(super) salon: String,
    pub(super) version: u32,
    pub(super) boot: String,
    /// All messages that follow have higher numbers.
    pub(super) n: u64,
}

impl FileHeader {
    pub(super) fn is_ours(&self) -> bool {
        self.salon == "history" && self.version == 1 && is_id(&self.boot) && self.boot.len() >= 6 && self.n < MAX_NUMBER
    }
}

/// The file.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) _lock: Option<File>,
    /// `None`: it cannot be written, and must be written anew.
    pub(super) file: Option<File>,
    pub(super) length: u64,
    /// At this length it is written anew.
    pub(super) limit: u64,
    /// Lines to be written in this turn.
    pub(super) pending: Vec<u8>,
    /// When it is to be synced.
    pub(super) due: Option<Instant>,
    /// What is wrong has been said.
    pub(super) complained: bool,
}

impl Journal {
    /// Goes on with the file that is there.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        Ok(())
    }

    /// Writes all that is kept into a new file, which then takes the place of the old one. If there is no room for it, but for
    /// more lines in the old one, that is gone on with.
    pub(super) fn rewrite<'a>(&mut self, boot: &str, n: u64, lines: impl Iterator<Item = &'a Bytes>) -> io::Result<()> {
        let head = FileHeader { salon: "history".into(), version: 1, boot: boot.to_owned(), n };
        let mut content = serde_json::to_vec(&head).expect("memory takes it");
        for line in lines {
            content.push(b'\n');
            content.extend_from_slice(line);
        }
        content.push(b'\n');
        let new = beside(&self.path, ".new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_all()
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            self.limit = 2 * self.length + SLACK;
            return if self.file.is_some() { Ok(()) } else { Err(error) };
        }
        // Windows gives the name of a file to another one only when it is closed.
        self.file = None;
        fs::rename(&new, &self.path)?;
        self.open()?;
        self.pending.clear();
        self.length = content.len() as u64;
        self.limit = 2 * self.length + SLACK;
        // So that the new name lasts; where a directory cannot be opened for that, it does by itself.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
        Ok(())
    }

    /// A file that has failed is not gone on with. Says once what is wrong, and once that it is right again.
    pub(super) fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.file = None;
            if !self.complained {
                log::warn!("history: {:?} cannot be written: {error}; the chat goes on in memory", self.path);
            }
        } else if self.complained && self.file.is_some() {
            log::info!("history: {:?} is written again", self.path);
        }
        self.complained = self.file.is_none();
    }
}

/// A path with something behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes sure that no other process has the file, or fails. Where there are no locks there is none.
pub(super) fn lock(path: &Path) -> Result<Option<File>, ()> {
    let Ok(file) = OpenOptions::new().create(true).write(true).truncate(false).open(path) else { return Ok(None) };
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_TIME => return Err(()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Whether this can be the id of a message: 1 to 64 visible ASCII characters.
pub fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}
