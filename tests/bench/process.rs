//! The measured process: started on its core, asked through /proc, ended.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server as it is called in the table and on the command line.
#[derive(Clone)]
pub struct Spec {
    pub name: String,
    /// `{port}` stands for the port, which is in `PORT` as well.
    pub command: Vec<String>,
}

/// Two different cores, if there are two: the server's and the generator's.
pub fn cores() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    Some((cores.next()?, cores.next()?))
}

/// Binds this process, and those it starts from now on, to one core.
pub fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("cannot pin to core {core}: {error}"))
}

pub struct Server {
    child: Child,
    clock: ClockId,
    pub address: SocketAddr,
}

impl Server {
    /// A fresh process on a free port of the loopback. It may not listen yet.
    pub fn start(spec: &Spec, env: &[(&str, String)], cores: Option<(usize, usize)>) -> Result<Server, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("no free port: {error}"))?;
        let port = address.port().to_string();
        let mut command = Command::new(&spec.command[0]);
        command.args(spec.command[1..].iter().map(|word| word.replace("{port}", &port)));
        command.env("PORT", &port).env("HOST", "127.0.0.1").env("NODE_ENV", "production");
        command.envs(env.iter().map(|(key, value)| (key, value)));
        let errors = if std::env::var_os("BENCH_VERBOSE").is_some() { Stdio::inherit() } else { Stdio::null() };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        // A child inherits the core: so this process moves there for a moment.
        cores.map_or(Ok(()), |(server, _)| pin(server))?;
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", spec.command[0]));
        cores.map_or(Ok(()), |(_, generator)| pin(generator))?;
        let child = child?;
        let clock = clock_getcpuclockid(Pid::from_raw(child.id() as i32)).map_err(|error| format!("clock: {error}"))?;
        Ok(Server { child, clock, address })
    }

    /// CPU time, user and kernel, of all its threads so far, in nanoseconds (clock_getcpuclockid; /proc/PID/stat counts
    /// in ticks of 10 ms).
    pub fn cpu(&self) -> Result<Duration, String> {
        self.clock.now().map(Duration::from).map_err(|_| "the server has ended".to_string())
    }

    /// Resident bytes: /proc/PID/smaps_rollup, which is exact where `VmRSS` may lag behind.
    pub fn resident(&self) -> Result<u64, String> {
        let rollup = self.proc("smaps_rollup")?;
        number(&rollup, "Rss:").map(|kilobytes| kilobytes * 1024).ok_or("smaps_rollup without Rss".into())
    }

    /// How often its threads went to sleep of their own will, which is how often they were woken.
    pub fn wakeups(&self) -> Result<u64, String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).map_err(|error| error.to_string())?;
        let of = |task| fs::read_to_string(task).ok().and_then(|text| number(&text, "voluntary_ctxt_switches:"));
        Ok(tasks.flatten().filter_map(|task| of(task.path().join("status"))).sum())
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).map_err(|error| format!("{file}: {error}"))
    }

    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
