//! The part of the account of bytes held for peers (rule R7) that counts shared buffers: each once, however many queues,
//! sessions and logs have it.
//!
//! A buffer is freed where its last reference is dropped, which no layer of the server sees. So the buffer itself takes its
//! size out of the count. The count is that of the thread, which is that of the server: it has one thread.

use bytes::Bytes;
use std::cell::Cell;

/// Estimated bytes of an allocation besides its content: the count of references, and what the allocator adds to both.
const OVERHEAD: usize = 96;
/// Bytes that an entry of a queue counts as, besides its buffer (rule R7).
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
