//! The file of the history: a header, then one line of JSON per message.
//!
//! The lines of a turn are appended together before any packet of the turn leaves, so `kill -9` loses no message whose ack
//! was sent while the file could be written. The file is synced a second later. At the start, and when the file has grown
//! long, a write has failed or another program has removed or changed the file, the whole content is written to `FILE.new`,
//! which is then renamed to the name of the file. A file that cannot be replaced (a mount point, or in a directory that
//! cannot be written) is only appended to; it may have a line twice, and a header for each start.
//!
//! Tests record the file operations and make them fail, in builds with debug assertions: see tests/seams/disk.rs.

#[cfg(debug_assertions)]
#[path = "../../tests/seams/disk.rs"]
pub mod disk;

#[cfg(debug_assertions)]
use disk as fs;
use fs::{File, OpenOptions, TryLockError};
use serde::{Deserialize, Serialize};
#[cfg(not(debug_assertions))]
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
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
    /// Messages up to this number may be missing.
    pub(super) n: u64,
    /// The highest number that was given out or skipped before this header was written.
    #[serde(default)]
    pub(super) last: u64,
}

impl FileHeader {
    pub(super) fn parse(line: &[u8]) -> Option<FileHeader> {
        serde_json::from_slice(line).ok().filter(|header: &FileHeader| {
            let FileHeader { salon, version, boot, n, last } = header;
            let valid = is_id(boot) && boot.len() >= 6 && *n.max(last) < MAX_NUMBER;
            salon == "history" && *version == 1 && valid
        })
    }
}

/// The file of the history, and the lock, which is held on a second file, `FILE.lock`.
#[derive(Default)]
pub(super) struct Journal {
    path: PathBuf,
    _lock: Option<File>,
    /// Whether the file must not be touched: another process has locked it, or it cannot be read.
    refused: bool,
    /// The file, open for appending; `None` if it must be written anew first.
    pub(super) file: Option<File>,
    length: u64,
    /// The length in bytes at which the file is written anew.
    limit: u64,
    /// The name that a file with invalid lines gets before it is replaced.
    aside: Option<PathBuf>,
    /// Lines to be appended at the end of the turn.
    pub(super) pending: Vec<u8>,
    /// The time at which the file is to be synced or written anew.
    pub(super) due: Option<Instant>,
    /// Whether a failure has been logged since the last success.
    failed: bool,
}

impl Journal {
    /// Waits for the lock, and refuses the file if another process keeps it.
    pub(super) fn lock(path: &Path) -> Journal {
        let mut journal = Journal { path: path.to_owned(), ..Journal::default() };
        let target = follow(path);
        let name = beside(&target, ".lock");
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&name);
        let lock = lock.or_else(|error| File::open(&name).map_err(|_| error));
        // Without a lock file the history itself is locked: where no file can be created, it cannot be replaced either. On
        // Windows a lock would keep even this process from appending.
        let lock = lock.or_else(|error| File::open(&target).ok().filter(|_| cfg!(unix)).ok_or(error));
        let start = Instant::now();
        let locked = lock.map_err(TryLockError::Error).and_then(|lock| {
            while let Err(error) = lock.try_lock() {
                if !matches!(error, TryLockError::WouldBlock) || start.elapsed() > LOCK_TIME {
                    return Err(error);
                }
                thread::sleep(Duration::from_millis(50));
            }
            Ok(lock)
        });
        match locked {
            Ok(lock) => journal._lock = Some(lock),
            Err(TryLockError::WouldBlock) => {
                log::warn!("history: another process has locked {path:?}; messages are kept in memory only");
                journal.refused = true;
            }
            Err(TryLockError::Error(error)) => {
                log::warn!("history: {path:?} cannot be locked: {error}; no other process may use it");
            }
        }
        journal
    }

    /// Calls `read` with each line; it returns whether the line is valid. Returns whether messages may be missing, because
    /// lines are invalid (the file then gets a name with `tag` when it is replaced) or the file cannot be read (it is
    /// refused). An incomplete last line, of a killed process or after a power cut, and empty lines (see `rewrite`) do not
    /// count.
    pub(super) fn load(&mut self, tag: &str, read: impl FnMut(&[u8]) -> bool) -> bool {
        let damaged = match File::open(&self.path) {
            _ if self.refused => return false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            file => file.and_then(|file| self.read(file, read)),
        };
        let path = &self.path;
        match damaged {
            Ok(0) => return false,
            Ok(damaged) => {
                let aside = beside(&follow(path), &format!(".damaged-{tag}"));
                log::warn!(
                    "history: {damaged} lines of {path:?} are invalid; the rest is kept, and the file as {aside:?}"
                );
                self.aside = Some(aside);
            }
            Err(error) => {
                log::warn!("history: {path:?} cannot be read: {error}; it is left alone, the chat goes on in memory");
                self.refused = true;
            }
        }
        true
    }

    /// Reads the lines, opens the file for appending, and returns the number of invalid lines.
    fn read(&mut self, file: File, mut read: impl FnMut(&[u8]) -> bool) -> io::Result<usize> {
        let (mut file, mut first, mut torn, mut damaged, mut line) = (BufReader::new(file), true, false, 0, Vec::new());
        while file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            torn = line.pop_if(|byte| *byte == b'\n').is_none();
            // An incomplete header is invalid: no killed process leaves one, because `FILE.new` is complete when renamed.
            let valid = line.is_empty() || read(&line);
            damaged += usize::from(!valid && (first || !torn));
            first = false;
            line.clear();
        }
        // If the file cannot be appended to, it may still be replaced.
        if self.open().is_ok() && torn {
            self.pending.push(b'\n');
        }
        Ok(damaged)
    }

    fn open(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(&self.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Appends the pending lines to the file. A failure may leave half a line in the file, which must then be written anew.
    pub(super) fn commit(&mut self, now: Instant) {
        if !self.pending.is_empty() && !self.refused {
            self.due.get_or_insert(now + SYNC_TIME);
            let written = self.append();
            self.note(written);
        }
        self.pending.clear();
    }

    fn append(&mut self) -> io::Result<()> {
        let pending = mem::take(&mut self.pending);
        self.length += pending.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&pending))
    }

    /// Checks that the open file still is the one at the path, and that only this process has written to it.
    fn verify(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let (open, named) = (file.metadata()?, fs::metadata(&self.path));
        let same = named.is_ok_and(|named| {
            #[cfg(unix)]
            let same = (open.dev(), open.ino()) == (named.dev(), named.ino());
            #[cfg(not(unix))]
            let same = open.is_file();
            same && named.len() == self.length
        });
        same.then_some(()).ok_or_else(|| io::Error::other("another program has removed or changed it"))
    }

    /// Syncs the file, or writes it anew if it has reached its limit or a write has failed.
    pub(super) fn sync(&mut self, content: impl FnOnce() -> Vec<u8>) {
        if self.refused {
            return;
        }
        self.verify().unwrap_or_else(|error| self.note(Err(error)));
        let done = match &self.file {
            Some(file) if self.length < self.limit => file.sync_data(),
            _ => self.rewrite(&content()),
        };
        self.note(done);
    }

    /// Replaces the file by one with this content: the header, and lines that include the pending ones. If that is
    /// impossible, appends what the file lacks. The error is returned if that fails as well, or if the file would be longer
    /// than 4 * (length of `content` + `SLACK`).
    fn rewrite(&mut self, content: &[u8]) -> io::Result<()> {
        let most = 4 * (content.len() as u64 + SLACK);
        if let Err(error) = self.replace(content) {
            let _ = fs::remove_file(beside(&follow(&self.path), ".new"));
            let header = content.split_inclusive(|byte| *byte == b'\n').next();
            let missing = header.filter(|_| self.file.is_some()).unwrap_or(content);
            if self.file.is_none() && self.open().is_ok() {
                self.pending = vec![b'\n'];
            }
            if self.file.is_none() || self.length + missing.len() as u64 > most {
                return Err(error);
            }
            if !self.failed {
                let path = &self.path;
                log::warn!("history: {path:?} cannot be replaced: {error}; it is appended to, up to {most} bytes");
            }
            self.pending.extend_from_slice(missing);
            self.append()?;
            self.file.as_ref().map_or(Ok(()), File::sync_data)?;
        }
        self.limit = most.min(2 * self.length + SLACK);
        Ok(())
    }

    /// Writes a new file with the mode and, if possible, the owner of the old one, and renames it to the name of the file.
    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        let target = follow(&self.path);
        let new = beside(&target, ".new");
        let _ = fs::remove_file(&new);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        let old = fs::metadata(&target).inspect(|old| {
            options.mode(old.mode() & 0o777);
        });
        let mut file = options.open(&new)?;
        #[cfg(unix)]
        if let Ok(old) = old {
            let group = Some(old.gid());
            let _ = chown(&new, Some(old.uid()), group).or_else(|_| chown(&new, None, group));
            let _ = fs::set_permissions(&new, old.permissions());
        }
        file.write_all(content)?;
        file.sync_all()?;
        if let Some(aside) = &self.aside {
            // Rather a link than a rename: after a crash in between there would be no file.
            fs::hard_link(&target, aside).or_else(|_| fs::rename(&target, aside))?;
            self.aside = None;
        }
        // Windows can neither rename nor replace an open file, so both files are closed first.
        let file = Some(file).filter(|_| cfg!(not(windows)));
        self.file.take_if(|_| cfg!(windows));
        fs::rename(&new, &target)?;
        self.pending.clear();
        (self.file, self.length) = (file, content.len() as u64);
        if self.file.is_none() {
            self.open()?;
        }
        // Syncs the directory, so that the rename above survives a crash. Windows cannot open a directory: no effect there.
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
        Ok(())
    }

    /// Logs the first failure, and the first success after it. A failure closes the file until it is written anew.
    fn note(&mut self, result: io::Result<()>) {
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

/// Returns the file that `path` leads to if it is a symbolic link: the link stays when the file is replaced.
fn follow(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(link) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(link);
    }
    path
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
