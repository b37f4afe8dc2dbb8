//! When pings leave, and when those who do not answer are closed.

use crate::stage::{Item, Stage};
use crate::wire;
use salon::config::Config;
use std::time::Duration;

const STEP: u64 = 10;

/// Sessions over WebSocket that begin at these times (ms) and answer nothing: how long after that each is pinged, and
/// closed.
fn beats(config: Config, starts: &[u64]) -> Vec<(u64, u64)> {
    let mut stage = Stage::new(config, 1);
    let mut lines = Vec::new();
    let mut beats = vec![(0, 0); starts.len()];
    for now in (0..).step_by(STEP as usize) {
        if starts.contains(&now) {
            let line = stage.connect();
            stage.request(line, &wire::upgrade_request(None));
            lines.push(line);
        }
        stage.pass(Duration::ZERO, |_| ());
        for ((line, start), (ping, close)) in lines.iter().zip(starts).zip(&mut beats) {
            while let Some(item) = stage.receive(*line) {
                match item {
                    Item::Answer { .. } => stage.send(*line, &wire::client_frame(wire::TEXT, b"40")),
                    Item::Frame { opcode: wire::CLOSE, .. } => *close = now - start,
                    Item::Frame { payload, .. } if payload == b"2" => *ping = now - start,
                    Item::Frame { .. } => {}
                }
            }
        }
        if beats.iter().all(|(_, close)| *close > 0) {
            return beats;
        }
        stage.pass(Duration::from_millis(STEP), |_| ());
    }
    unreachable!("the steps do not end")
}

/// A ping may be half a second early, with one that is due. The time for its answer ends when it would have ended.
#[test]
fn pings_leave_together_and_no_deadline_moves() {
    let beats = beats(Config::default(), &[0, 400, 500, 600, 1000]);
    let pings: Vec<_> = beats.iter().map(|(ping, _)| *ping).collect();
    assert_eq!(pings, [25_000, 24_600, 24_500, 25_000, 24_600]);
    assert!(beats.iter().all(|(_, close)| *close == 45_000), "{beats:?}");
}

#[test]
fn short_intervals_are_left_alone() {
    let config = Config { ping_interval: Duration::from_millis(1990), ..Config::default() };
    assert_eq!(beats(config, &[0, 10, 400]), [(1990, 21_990); 3]);
}
