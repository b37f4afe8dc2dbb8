//! Connections to Redis and the account of held bytes, with a false Redis that reads and answers only what it is told to.

use crate::harness::{PATIENCE, Server, Speaker, get, hostile, wait_for};
use socket2::{Domain, Socket, Type};
use std::{
    io::{BufRead, BufReader, Read, Write},
    iter,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
};

/// A false Redis. The kernel keeps little for it, as in `Client::connect_small`: what it does not read waits in the server.
fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("before it listens");
    socket.set_tcp_mss(536).expect("before it listens");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    socket.listen(8).expect("it is bound");
    socket.into()
}

/// Starts a server of that Redis.
fn start(redis: &TcpListener, flags: &[&str]) -> Server {
    let url = format!("redis://{}", redis.local_addr().expect("a bound socket"));
    Server::start(&[&["--redis", &url, "--history-messages=0"], flags].concat())
}

/// The words of the next command.
fn command(reader: &mut impl BufRead) -> Vec<String> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    };
    let count = line().strip_prefix('*').and_then(|count| count.parse().ok()).expect("a command");
    (0..count).map(|_| [line(), line()]).map(|[_length, word]| word).collect()
}

/// Accepts both connections of a server and answers their greetings: the one that publishes, and the one that subscribes.
fn accept(redis: &TcpListener) -> [TcpStream; 2] {
    let [mut publishes, mut subscribes] = [None, None];
    while publishes.is_none() || subscribes.is_none() {
        let (stream, _) = redis.accept().expect("the server connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        let mut reader = BufReader::new(&stream);
        let last = loop {
            let words = command(&mut reader);
            (&stream).write_all(b"+OK\r\n").expect("the server reads");
            if words[0] == "PING" || words.iter().any(|word| word.contains("-history#")) {
                break words;
            }
        };
        *(if last[0] == "PING" { &mut publishes } else { &mut subscribes }) = Some(stream);
    }
    [publishes, subscribes].map(|stream| stream.expect("both are there"))
}

fn held(server: &Server, kind: &str) -> usize {
    let metrics = server.ask(&get("/metrics"));
    let name = format!("salon_held_bytes{{kind=\"{kind}\"}} ");
    let sample = metrics.text().lines().find_map(|line| line.strip_prefix(&name));
    sample.expect("a sample").parse().expect("a number")
}

/// The number of publications of `blocked`, and the length of each, at least.
const COUNT: usize = 40;
const LENGTH: usize = 15_000;

/// A server whose Redis reads nothing more, so that most of its publications wait.
fn blocked(redis: &TcpListener) -> (Server, [TcpStream; 2]) {
    let mut server = start(redis, &["--event-burst=1000"]);
    let streams = accept(redis);
    server.log_line("redis: connected");
    let mut speaker = Speaker::enter(&server);
    let text = "x".repeat(LENGTH);
    (0..COUNT).for_each(|_| drop(speaker.say(&text)));
    (server, streams)
}

#[test]
fn bulk_publications_that_wait_for_redis_count_as_held() {
    let redis = listen();
    let (server, [mut publishes, _subscribes]) = blocked(&redis);
    let waiting = held(&server, "buffers");
    let published = COUNT * LENGTH;
    assert!((published / 2..published * 11 / 10).contains(&waiting), "{waiting} bytes");
    // What Redis reads does not count any more.
    publishes.read_exact(&mut vec![0; published]).expect("the server writes");
    wait_for("nothing is held for Redis", || (held(&server, "buffers") < 20_000).then_some(()));
}

/// A Redis that ends does not read what waits for it: the connection is given up at once, and there is a new one.
#[test]
fn bulk_a_connection_that_redis_ends_is_not_written_to_any_more() {
    let redis = listen();
    let (mut server, [publishes, _subscribes]) = blocked(&redis);
    publishes.shutdown(Shutdown::Write).expect("a live socket");
    let line = server.log_line("redis: lost the connection");
    assert!(line.contains("the connection was closed"), "{line}");
    redis.accept().expect("the server connects again");
    assert!(held(&server, "buffers") < 20_000, "what waited is dropped");
}

/// Redis is read however much is held, also for Redis itself: it is no client that could be dropped for it.
#[test]
fn redis_is_read_above_the_limit_of_held_bytes() {
    let redis = listen();
    let mut server = start(&redis, &["--max-text=1000", "--max-held=32KiB"]);
    let [publishes, mut subscribes] = accept(&redis);
    server.log_line("redis: connected");
    let padding = "x".repeat(if hostile() { 100_000 } else { 400_000 });
    let request = format!(r#"{{"uid":"other","requestId":"long","type":0,"padding":"{padding}"}}"#);
    let (channel, length) = ("socket.io-request#/#", request.len());
    let message = format!("*3\r\n$7\r\nmessage\r\n$20\r\n{channel}\r\n${length}\r\n{request}\r\n");
    subscribes.write_all(message.as_bytes()).expect("the server reads");
    let mut reader = BufReader::new(publishes);
    let answer = iter::repeat_with(|| command(&mut reader)).find(|words| words[1] == "socket.io-response#/#");
    assert!(answer.is_some_and(|words| words[2].contains(r#""requestId":"long""#)));
}

/// Publications that do not fit behind those that Redis has not taken are dropped, unless the history keeps them; the log says
/// so, with both lengths.
#[test]
fn bulk_what_is_too_long_for_the_queue_is_logged() {
    let redis = listen();
    let queue = ["--max-queue=524288", "--soft-queue=500000", "--recovery-bytes=200000", "--event-burst=1000"];
    let mut server = start(&redis, &[&queue[..], &["--history-messages=0"]].concat());
    let [mut publishes, _subscribes] = accept(&redis);
    server.log_line("redis: connected");
    let mut speaker = Speaker::enter(&server);
    let text = "x".repeat(LENGTH);
    (0..COUNT).for_each(|_| drop(speaker.say(&text)));
    let line = server.log_line("redis: a publication of ");
    let lengths: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(line.contains(" bytes on \"socket.io#/#\" is dropped: ") && line.contains("see --max-queue"), "{line}");
    assert!((LENGTH..LENGTH + 500).contains(&lengths[0]), "{line}");
    assert!((524_288 - LENGTH - 3_000..524_288).contains(&lengths[1]), "{line}");
    // The link is as it was: once Redis reads and answers, there is room again.
    publishes.read_exact(&mut vec![0; 400_000]).expect("the server writes");
    publishes.write_all(&b":0\r\n".repeat(25)).expect("the server reads");
    let marker = "y".repeat(1_000);
    wait_for("a publication is sent again", || {
        speaker.say(&marker);
        let mut bytes = [0; 100_000];
        let count = publishes.read(&mut bytes).expect("the server writes");
        bytes[..count].windows(marker.len()).any(|window| window == marker.as_bytes()).then_some(())
    });
}
