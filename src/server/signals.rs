//! Signals (SIGTERM, SIGINT, SIGHUP; on Windows Ctrl+C and Ctrl+Break) as events of the loop.

pub use system::Watch;

#[cfg(unix)]
mod system {
    //! SIGHUP is watched only if there is a certificate to reload; otherwise its default action ends the process.
    use crate::net::{Net, State};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook_mio::v1_0::Signals;
    use std::io;

    pub struct Watch(Signals);

    impl Watch {
        pub fn new<P: State>(net: &mut Net<P>) -> io::Result<Watch> {
            let reload = net.identity.as_ref().map(|_| SIGHUP);
            let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(reload))?;
            net.watch_signals(&mut signals)?;
            Ok(Watch(signals))
        }

        /// Returns an item for each signal since the last call: `true` asks to reload the certificate, `false` to stop.
        pub fn received(&mut self) -> impl Iterator<Item = bool> {
            self.0.pending().map(|number| number == SIGHUP)
        }
    }
}

#[cfg(not(unix))]
mod system {
    //! Windows reports Ctrl+C and Ctrl+Break on a thread of its own. The handler only counts them and wakes the loop.
    use crate::net::{Net, State};
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub struct Watch(Arc<AtomicUsize>);

    impl Watch {
        pub fn new<P: State>(net: &mut Net<P>) -> io::Result<Watch> {
            let (count, waker) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&net.waker));
            let seen = Arc::clone(&count);
            let handler = move || {
                seen.fetch_add(1, Ordering::SeqCst);
                // Waking fails only if the loop has ended.
                let _ = waker.wake();
            };
            ctrlc::set_handler(handler).map_err(io::Error::other)?;
            Ok(Watch(count))
        }

        pub fn received(&mut self) -> impl Iterator<Item = bool> {
            (0..self.0.swap(0, Ordering::SeqCst)).map(|_| false)
        }
    }
}
