//! The file of the history: a header, then one line of JSON per message.
//!
//! The lines of a turn are appended together before any packet of the turn leaves, so `kill -9` loses no message whose ack
//! was sent while the file could be written. The file is synced a second later. At the start, and when the file has grown
//! long or a write has failed, the whole content is written to `FILE.new`, which is then renamed to the name of the file.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{mem, thread};

/// Delay from an append to the sync, or to the rewrite if the append failed. A power cut may lose the messages of this time.
const SYNC_TIME: Duration = Duration::from_secs(1);
/// Maximum time that a starting server waits for the lock: the server that it replaces may still be stopping.
const LOCK_TIME: Duration = Duration::from_secs(10);
/// The file is written anew when it has reached twice its length right after the last rewrite, plus this many bytes.
const SLACK: u64 = 64 * 1024;
/// Maximum bytes of a line. A longer line is read in pieces, which are invalid.
const MAX_LINE: u64 = 16 * 1024 * 1024;
/// Numbers and times from the file or other servers must be below this. In JavaScript, integers are exact up to twice this,
/// so the numbers that follow an accepted one are exact, too.
pub(super) const MAX_NUMBER: u64 = 1 << 52;

/// The first line of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct FileHeader {
    pub(super) salon: String,
    pub(super) version: u32,
    pub(super) boot: String,
    /// All messages in the file have higher numbers than this.
    pub(super) n: u64,
}

impl FileHeader {
    pub(super) fn parse(line: &[u8]) -> Option<FileHeader> {
        serde_json::from_slice(line).ok().filter(|header: &FileHeader| {
            let FileHeader { salon, version, boot, n } = header;
            salon == "history" && *version == 1 && is_id(boot) && boot.len() >= 6 && *n < MAX_NUMBER
        })
    }
}

/// The file of the history, and the lock, which is held on a second file, `FILE.lock`.
#[derive(Default)]
pub(super) struct Journal {
    path: PathBuf,
    _lock: Option<File>,
    /// The file, open for appending; `None` if it must be written anew first.
    pub(super) file: Option<File>,
    pub(super) length: u64,
    /// The length in bytes at which the file is written anew.
    pub(super) limit: u64,
    /// Lines to be appended at the end of the turn.
    pub(super) pending: Vec<u8>,
    /// The time at which the file is to be synced or written anew.
    pub(super) due: Option<Instant>,
    /// Whether a failure has been logged since the last success.
    failed: bool,
}

impl Journal {
    /// Waits for the lock. Returns `None` if another process keeps it. Without a usable lock file, goes on without a lock.
    pub(super) fn lock(path: &Path) -> Option<Journal> {
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(beside(path, ".lock")).ok();
        let start = Instant::now();
        while lock.as_ref().is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
            if start.elapsed() > LOCK_TIME {
                log::warn!("history: another process has locked {path:?}; messages are kept in memory only");
                return None;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Some(Journal { path: path.to_owned(), _lock: lock, ..Journal::default() })
    }

    /// Calls `read(line, is_first)` for each line; `read` returns whether the line is valid. A file with invalid lines is
    /// renamed, with `tag` in its new name. An incomplete last line (of a killed process) does not count as invalid.
    pub(super) fn load(&mut self, tag: &str, mut read: impl FnMut(&[u8], bool) -> bool) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => BufReader::new(file?),
        };
        let (mut first, mut torn, mut damaged, mut line) = (true, false, 0, Vec::new());
        while file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            torn = line.pop_if(|byte| *byte == b'\n').is_none();
            // An incomplete header is invalid: no killed process leaves one, because `FILE.new` is complete when renamed.
            damaged += usize::from(!read(&line, first) && (first || !torn));
            first = false;
            line.clear();
        }
        if damaged > 0 {
            let aside = beside(&self.path, &format!(".damaged-{tag}"));
            let path = &self.path;
            log::warn!(
                "history: {damaged} lines of {path:?} are invalid; the rest is kept, and the file renamed to {aside:?}"
            );
            return fs::rename(path, aside);
        }
        if torn { Ok(()) } else { self.append() }
    }

    fn append(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(&self.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Appends the pending lines to the file. A failure may leave half a line in the file, which must then be written anew.
    pub(super) fn commit(&mut self, now: Instant) {
        if self.pending.is_empty() {
            return;
        }
        let pending = mem::take(&mut self.pending);
        self.length += pending.len() as u64;
        self.due.get_or_insert(now + SYNC_TIME);
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(&pending));
        self.note(written);
    }

    /// Replaces the file by one with this content, which includes the pending lines. If that fails (no space for a second
    /// file, or the file is a mount point), the old file stays in use. The failure is returned only if no file is open, or
    /// if the old file is longer than 4 * (length of `content` + `SLACK`).
    pub(super) fn rewrite(&mut self, content: &[u8]) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        let replaced = File::create(&new).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            // Windows can neither rename nor replace an open file, so both files are closed first.
            drop(file);
            self.file.take_if(|_| cfg!(windows));
            fs::rename(&new, &self.path)
        });
        if let Err(error) = replaced {
            let _ = fs::remove_file(&new);
            if self.file.is_none() || self.length > 4 * (content.len() as u64 + SLACK) {
                return Err(error);
            }
        } else {
            self.append()?;
            self.pending.clear();
            // Syncs the directory, so that the rename above survives a crash. Windows cannot open a directory: no effect
            // there.
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
        }
        self.limit = 2 * self.length + SLACK;
        Ok(())
    }

    /// Logs the first failure, and the first success after it. A failure closes the file until it is written anew.
    pub(super) fn note(&mut self, result: io::Result<()>) {
        let path = &self.path;
        if let Err(error) = result {
            self.file = None;
            if !self.failed {
                log::warn!("history: {path:?} cannot be written: {error}; the chat goes on in memory");
            }
        } else if self.failed && self.file.is_some() {
            log::info!("history: {path:?} is written again");
        }
        self.failed = self.file.is_none();
    }
}

/// Returns `path` with `ending` appended to the name of the file.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Whether `id` is valid as the id of a message or a history, or as the tag of a user: 1 to 64 visible ASCII characters.
pub fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}
