//! Names of hosts, looked up beside the loop: part of `net`, because it wakes the loop.
//!
//! The system's look-up blocks, for seconds when a name server is away. So a thread asks, hands the answer over and ends;
//! it touches no state. Who asks gives up after some seconds; the thread then ends when the system lets it.

use super::{Net, WAKER};
use mio::Waker;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::{io, thread};

/// The answer to a look-up, under the number it was asked with.
pub type Answer = (usize, io::Result<Vec<SocketAddr>>);

pub struct Resolver {
    waker: Arc<Waker>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl<P> Net<P> {
    /// Looks a name up; [`Wake::Resolved`](super::Wake::Resolved) tells when [`Net::resolved`] has the answer.
    pub fn resolve(&mut self, number: usize, host: &str, port: u16) -> io::Result<()> {
        if self.resolver.is_none() {
            let waker = Arc::new(Waker::new(self.poll.registry(), WAKER)?);
            let (sender, answers) = mpsc::channel();
            self.resolver = Some(Resolver { waker, sender, answers });
        }
        let Some(Resolver { waker, sender, .. }) = &self.resolver else { return Ok(()) };
        let (waker, sender, host) = (Arc::clone(waker), sender.clone(), host.to_owned());
        thread::Builder::new().name("resolve".into()).spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Neither fails while the loop runs, and after that nobody waits.
            let _ = sender.send((number, addresses));
            let _ = waker.wake();
        })?;
        Ok(())
    }

    /// The next answer.
    pub fn resolved(&mut self) -> Option<Answer> {
        self.resolver.as_ref()?.answers.try_recv().ok()
    }
}
