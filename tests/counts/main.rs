//! Instruction counts: what five fixed scenarios cost, as callgrind counts it.
//!
//! A count is the same on a busy machine and on an idle one, so that a few per cent more are seen at once, which no
//! stopwatch could. The scenarios run in the world of tests/world: the server without sockets, seeded ids, a clock
//! moved by hand. Only the turns of the server are counted, not the clients, and nothing before the scenario.
//!
//! What is counted is the code of a release build: same optimizations, same LTO. Only the crate `salon` itself has debug
//! assertions, for these put the pipes in the place of sockets (src/net/kernel.rs); it contains no other. A count of the
//! test profile would say what unoptimized iterators cost. The real binary over loopback was no choice: how many
//! connections become ready in one turn depends on the machine, and with that the count.
//! What is left to chance are the seeds of the hash maps: two runs differ by less than 0.02 %.
//!
//! `make test` fails when a count has grown by more than 5 % and counts.txt has not; `make counts` writes counts.txt.
//! Another compiler or another architecture counts differently, and then nothing is compared.

#[cfg(debug_assertions)]
#[path = "../world/client.rs"]
#[allow(dead_code)]
mod client;
#[cfg(debug_assertions)]
mod compare;
#[cfg(debug_assertions)]
mod scenarios;
#[cfg(debug_assertions)]
#[path = "../world/stage.rs"]
#[allow(dead_code)]
mod stage;
#[cfg(debug_assertions)]
#[path = "../bench/wire.rs"]
#[allow(dead_code)]
mod wire;

#[cfg(debug_assertions)]
fn main() -> std::process::ExitCode {
    compare::main()
}

#[cfg(not(debug_assertions))]
fn main() {
    eprintln!("the pipes need debug assertions: see COUNTS in the Makefile");
}
