//! The smallest and the largest values of any two options together. A server either refuses them at the start, with one line
//! that names one of them, or serves: the page, its largest file, and a chat over both transports.

use crate::stage::{Item, Line, Stage};
use crate::wire;
use salon::config::{Config, MIN_QUEUE, OPTIONS, Settings};
use salon::http::assets::ASSETS;
use std::ffi::OsString;
use std::time::Duration;

/// Loads these flags as `--check` does, which goes on after an error.
fn load(flags: &[(&str, &str)]) -> Settings {
    let flags = flags.iter().map(|(flag, value)| OsString::from(format!("--{flag}={value}")));
    Config::default().load([OsString::from("--check")].into_iter().chain(flags), |_| None).expect("the flags are known")
}

/// Whether a value is in the range of its option. What it cannot be together with others is another matter.
fn is_legal(flag: &str, value: &str) -> bool {
    !load(&[(flag, value)]).errors.iter().any(|error| error.starts_with(&format!("--{flag}: ")))
}

/// The first number from `low` up to `high` for which `test` is true, which then is true of all above.
fn first(mut low: u64, mut high: u64, test: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low.midpoint(high);
        if test(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The extremes of each option that is a number, a size or a time, and those of the transports.
fn extremes() -> Vec<(&'static str, [String; 2])> {
    let mut all = Vec::new();
    // A time without a unit is in milliseconds.
    let numbers = OPTIONS.iter().filter(|option| option.default.starts_with(|first: char| first.is_ascii_digit()));
    for option in numbers.filter(|option| option.flag != "port") {
        let is_legal = |number: u64| is_legal(&option.flag, &number.to_string());
        let some = (0..40).map(|power| 1 << power).find(|number| is_legal(*number)).expect("a power of two is legal");
        let least = first(0, some, is_legal);
        let most = first(some, 1 << 40, |number| !is_legal(number)) - 1;
        all.push((&*option.flag, [least.to_string(), most.to_string()]));
    }
    assert!(all.len() > 30, "{all:?}");
    all.push(("max-websockets", ["0".into(), "1".into()]));
    all.push(("transports", ["polling".into(), "websocket".into()]));
    all
}

/// A client of the chat that has what it sends answered, one after the other. It is not on this machine.
struct Visitor<'a> {
    stage: &'a mut Stage,
    /// The connection for HTTP: opened anew when the server has closed it.
    line: Option<Line>,
}

impl Visitor<'_> {
    fn connect(&mut self) -> Line {
        self.stage.connect_from([192, 0, 2, 1])
    }

    fn ask(&mut self, request: &[u8]) -> (u16, String) {
        let line = self.line.filter(|line| self.stage.is_usable(*line)).unwrap_or_else(|| self.connect());
        self.line = Some(line);
        self.stage.request(line, request);
        self.stage.pass(Duration::ZERO, |_| {});
        match self.stage.receive(line) {
            Some(Item::Answer { status, body }) => (status, String::from_utf8(body).expect("text")),
            other => panic!("no answer to {:.200}: {other:?}", String::from_utf8_lossy(request)),
        }
    }

    fn get(&mut self, path: &str) -> String {
        let (status, body) = self.ask(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
        assert_eq!(status, 200, "{path}");
        body
    }

    fn poll(&mut self, sid: &str) -> String {
        let (status, body) = self.ask(&wire::polling_request(Some(sid), None));
        assert_eq!(status, 200, "{body}");
        body
    }

    fn post(&mut self, sid: &str, packet: &str) {
        assert_eq!(self.ask(&wire::polling_request(Some(sid), Some(packet))), (200, "ok".into()), "{packet}");
    }

    fn chat_over_polling(&mut self) {
        let (status, open) = self.ask(&wire::polling_request(None, None));
        assert_eq!(status, 200, "{open}");
        let sid = open.split('"').nth(3).expect("a sid").to_owned();
        self.post(&sid, "40");
        assert!(self.poll(&sid).starts_with("40{"));
        self.post(&sid, "42[\"add user\",\"A\"]");
        assert!(self.poll(&sid).starts_with("42[\"login\""));
        self.post(&sid, "421[\"new message\",\"x\"]");
        let ack = self.poll(&sid);
        assert!(ack.starts_with("431[{\"n\":"), "{ack}");
    }

    /// What a WebSocket brings next.
    fn text(&mut self, line: Line) -> String {
        match self.stage.receive(line) {
            Some(Item::Frame { opcode: wire::TEXT, payload }) => String::from_utf8(payload).expect("text"),
            other => panic!("no text but {other:?}"),
        }
    }

    /// Chats over a WebSocket that stays open.
    fn chat_over_websocket(&mut self) -> Line {
        let line = self.connect();
        self.stage.request(line, &wire::upgrade_request(None));
        self.stage.pass(Duration::ZERO, |_| {});
        assert!(matches!(self.stage.receive(line), Some(Item::Answer { status: 101, .. })));
        assert!(self.text(line).starts_with("0{"));
        for (packet, answer) in
            [("40", "40{"), ("42[\"add user\",\"B\"]", "42[\"login\""), ("421[\"new message\",\"y\"]", "431[{\"n\":")]
        {
            self.stage.send(line, &wire::client_frame(wire::TEXT, packet.as_bytes()));
            self.stage.pass(Duration::ZERO, |_| {});
            let text = self.text(line);
            assert!(text.starts_with(answer), "{packet}: {text}");
        }
        line
    }
}

/// Everything that a server is for.
fn check_serves(config: Config) {
    let mut stage = Stage::new(config.clone(), 1);
    let mut visitor = Visitor { stage: &mut stage, line: None };
    // The largest file is the last to fit into a queue.
    for asset in [ASSETS.first(), ASSETS.iter().max_by_key(|asset| asset.plain.bytes.len())].into_iter().flatten() {
        assert_eq!(visitor.get(asset.path).as_bytes(), asset.plain.bytes, "{}", asset.path);
    }
    let has_websockets = config.transports.websocket && config.max_websockets != Some(0);
    let listener = has_websockets.then(|| visitor.chat_over_websocket());
    if config.transports.polling {
        visitor.chat_over_polling();
        if let Some(line) = listener {
            assert!(visitor.text(line).starts_with("42[\"user joined\",{\"username\":\"A\""));
            assert!(visitor.text(line).contains("\"message\":\"x\""));
        }
    }
    stage.empty();
}

#[test]
fn the_smallest_and_the_largest_values_of_any_two_options() {
    let extremes = extremes();
    let (mut served, mut refused) = (0, 0);
    for (index, (one, values)) in extremes.iter().enumerate() {
        for (other, others) in &extremes[index + 1..] {
            for (value, second) in values.iter().flat_map(|value| others.iter().map(move |second| (value, second))) {
                let flags = [(*one, &**value), (*other, &**second)];
                let Settings { config, errors, .. } = load(&flags);
                // Its names, as far as they are numbers of the same thing: how many files can be opened is not of interest.
                config.warnings([], None);
                if let Some(error) = errors.first() {
                    let named = [one, other].iter().any(|flag| error.contains(&format!("--{flag}")));
                    assert!(named && errors.len() == 1 && !error.contains('\n'), "{flags:?}: {errors:?}");
                    refused += 1;
                    continue;
                }
                let result = std::panic::catch_unwind(|| check_serves(config));
                assert!(result.is_ok(), "this was with {flags:?}");
                served += 1;
            }
        }
    }
    assert!(served > 1_000 && refused > 10, "{served} served, {refused} refused");
}

/// 200 users with long names, and a history above 256 KiB: both answers at once fit into the smallest queue.
#[test]
fn answers_fit_into_the_smallest_queue() {
    let config = Config { max_queue: MIN_QUEUE, ..Config::default() };
    let mut stage = Stage::new(config, 1);
    let open = |stage: &mut Stage| {
        let line = stage.connect();
        stage.request(line, &wire::upgrade_request(None));
        stage.send(line, &wire::client_frame(wire::TEXT, b"40"));
        line
    };
    let say = |stage: &mut Stage, line, packet: &str| {
        stage.send(line, &wire::client_frame(wire::TEXT, packet.as_bytes()));
    };
    let name = format!("x{}", "\\u0001".repeat(63));
    let lines: Vec<Line> = (0..200).map(|_| open(&mut stage)).collect();
    lines.iter().for_each(|line| say(&mut stage, *line, &format!("42[\"add user\",\"{name}\"]")));
    stage.pass(Duration::ZERO, |_| {});
    let text = format!("x{}", "\\u0001".repeat(16 * 1024 - 1));
    for line in &lines[..4] {
        say(&mut stage, *line, &format!("42[\"new message\",\"{text}\"]"));
        stage.pass(Duration::ZERO, |_| {});
    }
    let line = open(&mut stage);
    say(&mut stage, line, "421[\"history\"]");
    say(&mut stage, line, "422[\"users\"]");
    stage.pass(Duration::ZERO, |_| {});
    let mut bytes = 0;
    while let Some(item) = stage.receive(line) {
        bytes += if let Item::Frame { opcode: wire::TEXT, payload } = item { payload.len() } else { 0 };
    }
    assert!(stage.is_open(line) && bytes > 270 * 1024, "{bytes}");
    stage.empty();
}
