//! The example in the head of src/socketio/app.rs, compiled: documentation tests are off, because all tests are under tests/.

use salon::base::slab::SocketKey;
use salon::config::Config;
use salon::socketio::{App, ClusterApp, Event, Io, To};

// The example begins.
/// Sends every `say` to all other clients. The ack is the number of messages so far.
#[derive(Default)]
struct Relay {
    messages: u64,
}

impl App for Relay {
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        if event.name != "say" {
            return;
        }
        self.messages += 1;
        cx.broadcast(&To { except: &[socket], ..To::default() }, "said", &event.args, event.attachments);
        cx.ack(socket, event.ack, &(self.messages,), &[]);
    }
}

impl ClusterApp for Relay {}

fn main() -> Result<(), String> {
    salon::start(Config::default(), Relay::default())
}
// The example ends.

#[test]
fn the_example_is_the_one_in_the_docs() {
    let _: fn() -> Result<(), String> = main;
    let own = include_str!("app.rs");
    let own = own.split_once("// The example begins.\n").unwrap().1.split_once("// The example ends.\n").unwrap().0;
    let docs = include_str!("../../src/socketio/app.rs");
    let docs = docs.split_once("//! ```ignore\n").unwrap().1.split_once("//! ```\n").unwrap().0;
    let docs: String = docs
        .lines()
        .map(|line| line.strip_prefix("//!").unwrap())
        .fold(String::new(), |text, line| text + line.strip_prefix(' ').unwrap_or(line) + "\n");
    assert_eq!(own, docs);
}
