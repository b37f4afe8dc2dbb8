//! The bench: salon beside two floors, which show what the kernel alone costs. Linux only, for it reads /proc and pins
//! cores.
//!
//! - `rows`: what is measured, and the goals; start here
//! - `report`: tries, medians, the table
//! - `swarm`: the load generator, which checks every delivery; `visitor`: one client, step by step
//! - `floor`: the two floors
//! - `plot`: how cost grows, as a picture
//! - `process`: the measured process and its figures from /proc
//! - `secure`: TLS for the swarm
//! - `wire`: frames, HTTP answers, the chat message

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod secure;
#[cfg(target_os = "linux")]
mod swarm;
#[cfg(target_os = "linux")]
mod visitor;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
mod command;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the bench needs Linux");
}
