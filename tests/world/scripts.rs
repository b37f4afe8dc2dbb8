//! Scripts that were found, and random ones.
//!
//! A failure is shown as the shortest script found, with the seed that finds it again. `PROPTEST_CASES` plays more.

use crate::client::Which;
use crate::play::{Action, play, scripts};
use crate::stage::{Last, Stage};
use proptest::test_runner::{Config as Cases, RngSeed, TestRunner};
use salon::config::Config;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const SCRIPTS: u32 = 1000;

/// What the random scripts have found before, and what they hardly ever come upon.
#[test]
fn fixed_scripts() {
    let scripts: &[&[Action]] = &[
        // A POST without a body was not answered for a minute.
        &[Action::Send { place: 0, packet: "" }],
        // The noop of a probe was due for ever.
        &[Action::Upgrade { place: 0 }, Action::Turn, Action::Turn],
        // What was said in the turn in which a parked GET was broken off was lost, and the session went on.
        &[
            Action::End { place: 0, which: Which::Get, last: Last::Fin },
            Action::Say { place: 1, padding: 0 },
            Action::Turn,
            Action::Poll { place: 0 },
            Action::Say { place: 1, padding: 0 },
            Action::Turn,
            Action::Return { place: 0, websocket: false },
        ],
        // A POST that could not be read counted as under way for as long as its session was known.
        &[
            Action::Say { place: 0, padding: 0 },
            Action::End { place: 0, which: Which::Get, last: Last::Fin },
            Action::Send { place: 0, packet: "9" },
        ],
        // A GET that is parked when the `5` comes ends with it.
        &[
            Action::Diligent { place: 0, diligent: false },
            Action::Upgrade { place: 0 },
            Action::Turn,
            Action::Hasten { place: 0 },
            Action::Turn,
            Action::Poll { place: 0 },
            Action::Turn,
            Action::Hasten { place: 0 },
            Action::Turn,
        ],
        // What was said about a WebSocket that ended behind unread messages waited for the next turn.
        &[
            Action::Upgrade { place: 1 },
            Action::Pass { millis: 0 },
            Action::Throttle { place: 1, which: Which::Socket, up: 0, down: 0 },
            Action::Say { place: 2, padding: 0 },
            Action::Pass { millis: 0 },
            Action::End { place: 1, which: Which::Socket, last: Last::Fin },
            Action::Turn,
        ],
    ];
    scripts.iter().for_each(|script| play(script, None));
}

/// The scripts need a stage that finds a server and clients which keep each other busy.
#[test]
#[should_panic(expected = "the server does not come to rest")]
fn an_endless_exchange_is_found() {
    let mut stage = Stage::new(Config::default(), 1);
    let line = stage.connect();
    let ask = |stage: &mut Stage| stage.request(line, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    ask(&mut stage);
    stage.pass(Duration::ZERO, |stage| {
        if stage.receive(line).is_some() {
            ask(stage);
        }
    });
}

#[test]
fn random_scripts() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("PROPTEST_RNG_SEED").unwrap_or_else(|| RandomState::new().hash_one(()));
    let cases = Cases {
        cases: number("PROPTEST_CASES").map_or(SCRIPTS, |cases| cases as u32),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Cases::default()
    };
    let result = TestRunner::new(cases).run(&scripts(), |(script, hostile)| {
        play(&script, hostile);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\nagain: PROPTEST_RNG_SEED={seed} cargo test --locked --test world random_scripts");
    }
}
