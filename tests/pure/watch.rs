//! A stopwatch for bounds on the time that parsing takes: other processes on a busy machine do not count.
use std::time::Duration;

#[cfg(target_os = "linux")]
fn now() -> Duration {
    // CPU time of this thread; the other tests run on threads of their own.
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

pub struct Watch(Duration);

impl Watch {
    pub fn start() -> Watch {
        Watch(now())
    }

    pub fn elapsed(&self) -> Duration {
        now().saturating_sub(self.0)
    }
}
