//! Counts the bytes of shared buffers, a part of the account of bytes held for peers (rule R7). A buffer counts once,
//! however many references to it there are.
//!
//! A buffer is freed where its last reference is dropped, which no layer of the server sees. So the buffer itself subtracts
//! its size from the count. The count can be thread-local, because only the thread of the event loop has such buffers.

use bytes::Bytes;
use std::cell::Cell;

/// Estimated overhead of a buffer: its reference count, and the allocator's overhead for content and count.
const OVERHEAD: usize = 96;
/// Bytes counted for each entry of a queue, in addition to its buffer (rule R7).
pub const ENTRY: usize = 64;

thread_local! {
    static SHARED: Cell<usize> = const { Cell::new(0) };
}

/// A buffer that is counted until it is dropped.
struct Counted(Vec<u8>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        SHARED.set(SHARED.get() - self.0.capacity() - OVERHEAD);
    }
}

/// Turns a vector into a buffer that is counted once until its last reference is dropped.
pub fn share(bytes: impl Into<Vec<u8>>) -> Bytes {
    let bytes = bytes.into();
    SHARED.set(SHARED.get() + bytes.capacity() + OVERHEAD);
    Bytes::from_owner(Counted(bytes))
}

/// Returns the bytes of all counted buffers that exist.
pub fn shared() -> usize {
    SHARED.get()
}
