//! What stops the server from outside, as events of the loop.

pub use system::Watch;

#[cfg(unix)]
mod system {
    //! SIGTERM and SIGINT.
    use crate::net::Net;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook_mio::v1_0::Signals;
    use std::io;

    pub struct Watch(Signals);

    impl Watch {
        pub fn new<P: Default>(net: &mut Net<P>) -> io::Result<Watch> {
            let mut signals = Signals::new([SIGTERM, SIGINT])?;
            net.watch_signals(&mut signals)?;
            Ok(Watch(signals))
        }

        /// How often we were asked to stop since the last call.
        pub fn received(&mut self) -> usize {
            self.0.pending().count()
        }
    }
}

#[cfg(not(unix))]
mod system {
    //! Ctrl+C and Ctrl+Break, which Windows brings on a thread of its own: it only counts, and wakes the loop.
    use crate::net::Net;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub struct Watch(Arc<AtomicUsize>);

    impl Watch {
        pub fn new<P: Default>(net: &mut Net<P>) -> io::Result<Watch> {
            let (count, waker) = (Arc::new(AtomicUsize::new(0)), net.waker()?);
            let seen = Arc::clone(&count);
            let handler = move || {
                seen.fetch_add(1, Ordering::SeqCst);
                // Fails only when the loop is gone.
                let _ = waker.wake();
            };
            ctrlc::set_handler(handler).map_err(io::Error::other)?;
            Ok(Watch(count))
        }

        /// How often we were asked to stop since the last call.
        pub fn received(&mut self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }
}
