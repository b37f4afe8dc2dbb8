//! The file operations of the history file. They are those of `std::fs`, but a test sees each one before it is made, and can
//! have it fail. Stands for `std::fs` in chat/journal in builds with debug assertions.

pub use std::fs::{Metadata, TryLockError, metadata, read_link};
use std::{
    cell::{Cell, RefCell},
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// An operation. The numbers of open files are unique in a thread.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Opens a file or directory; `creates` if it is new.
    Open {
        file: usize,
        path: PathBuf,
        creates: bool,
    },
    /// Appends to a file.
    Write {
        file: usize,
        bytes: Vec<u8>,
    },
    Sync {
        file: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SetMode {
        path: PathBuf,
    },
}

/// Sees an operation; its error is the result of the operation, which is then not made.
type Watcher = Box<dyn FnMut(&Operation) -> io::Result<()>>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    static OPENED: Cell<usize> = const { Cell::new(0) };
}

/// From now on `watcher` sees each operation of this thread.
pub fn watch(watcher: impl FnMut(&Operation) -> io::Result<()> + 'static) {
    WATCHER.set(Some(Box::new(watcher)));
}

/// Ends what `watch` has begun.
pub fn unwatch() {
    WATCHER.set(None);
}

fn see(operation: impl FnOnce() -> Operation) -> io::Result<()> {
    WATCHER.with_borrow_mut(|watcher| watcher.as_mut().map_or(Ok(()), |watcher| watcher(&operation())))
}

pub struct File {
    file: fs::File,
    number: usize,
}

impl File {
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions(fs::File::options().read(true).clone()).open(path)
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.file.try_lock()
    }

    pub fn sync_all(&self) -> io::Result<()> {
        see(|| Operation::Sync { file: self.number })?;
        self.file.sync_all()
    }

    pub fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        see(|| Operation::Write { file: self.number, bytes: bytes.to_owned() })?;
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    #[expect(clippy::new_without_default, reason = "std has none that anybody would use here")]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    pub fn create_new(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create_new(create);
        self
    }

    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let number = OPENED.replace(OPENED.get() + 1);
        see(|| Operation::Open { file: number, path: path.to_owned(), creates: !path.exists() })?;
        Ok(File { file: self.0.open(path)?, number })
    }
}

#[cfg(unix)]
impl std::os::unix::fs::OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }
}

pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    see(|| Operation::Rename { from: from.to_owned(), to: to.to_owned() })?;
    fs::rename(from, to)
}

pub fn hard_link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    see(|| Operation::Link { from: from.to_owned(), to: to.to_owned() })?;
    fs::hard_link(from, to)
}

pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    see(|| Operation::Remove { path: path.to_owned() })?;
    fs::remove_file(path)
}

pub fn set_permissions(path: impl AsRef<Path>, permissions: fs::Permissions) -> io::Result<()> {
    let path = path.as_ref();
    see(|| Operation::SetMode { path: path.to_owned() })?;
    fs::set_permissions(path, permissions)
}
