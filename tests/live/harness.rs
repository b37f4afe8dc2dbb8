//! What all live tests share: a server that ends with its test, and blocking clients for HTTP, long polling and
//! WebSocket. Whatever waits has a limit, and panics when it is reached.

use crate::secure::{self, Wire};
use rustls::ClientConfig;
use salon::config::OPTIONS;
use socket2::{Domain, Socket, Type};
use std::{
    cell::Cell,
    collections::VecDeque,
    env,
    fmt::Display,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    mem,
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// How long anything may take; only a failure reaches it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Deadlines of a server, but for those that a test names: how long a test takes is no matter of the server.
pub const FAR_DEADLINES: [&str; 10] = [
    "--ping-interval=1h",
    "--ping-timeout=1h",
    "--connect-timeout=1h",
    "--upgrade-timeout=1h",
    "--head-timeout=1h",
    "--body-timeout=1h",
    "--idle-timeout=1h",
    "--message-timeout=1h",
    "--write-timeout=1h",
    "--soft-time=1h",
];
/// The handshake over polling.
pub const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// The handshake over WebSocket.
pub const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// The handshake over WebSocket in this version of Engine.IO.
pub fn websocket(version: u8) -> String {
    format!("/socket.io/?EIO={version}&transport=websocket")
}

/// Whether the server moves one byte per call: what moves much must move less.
pub fn hostile() -> bool {
    env::var("SALON_TEST_KERNEL").is_ok_and(|seed| seed != "0")
}

/// Tries again until there is a result.
pub fn wait_for<T>(what: impl Display, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The program, without the options that the environment of the tests may hold.
pub fn salon() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_salon")))
}

/// The same, with fewer file descriptors than usual.
pub fn salon_with_descriptors(count: usize) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_salon")]);
    clean(command)
}

/// The conformance app: an example, which cargo puts beside the tests. It builds examples only when it is told so, or
/// when it is not told what to test.
pub fn conformance() -> Command {
    let tests = env::current_exe().expect("this program has a path");
    let target = tests.ancestors().nth(2).expect("it is in deps/");
    let program = target.join("examples").join(format!("conformance{}", env::consts::EXE_SUFFIX));
    let built = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    // Cargo leaves a list of all sources beside it: `program: source source ...`.
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let fresh = sources.split_whitespace().skip(1).all(|source| built(Path::new(source)) <= built(&program));
    assert!(!sources.is_empty() && fresh, "{program:?} is missing or old: cargo build --locked --example conformance");
    clean(Command::new(program))
}

fn clean(mut command: Command) -> Command {
    OPTIONS.iter().for_each(|option| {
        command.env_remove(&option.env);
    });
    command
}

/// A running server. It ends with its test, and must not have ended before.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    lines: Receiver<String>,
    log: Vec<String>,
    /// How long it had waited for a processor when it was last seen alive.
    waited: Cell<Duration>,
}

impl Server {
    /// Starts one with these flags on a free port.
    pub fn start(flags: &[&str]) -> Server {
        Server::start_as(salon(), flags)
    }

    /// The same with the conformance app in place of the chat.
    pub fn conformance(flags: &[&str]) -> Server {
        Server::start_as(conformance(), flags)
    }

    fn start_as(mut command: Command, flags: &[&str]) -> Server {
        command.args(["--port", "0", "--host", "127.0.0.1"]).args(FAR_DEADLINES).args(flags);
        Server::run(command)
    }

    /// Starts one as the command says.
    pub fn run(mut command: Command) -> Server {
        secure::equip(&mut command);
        Server::run_as_is(command)
    }

    /// The same, also where all servers have TLS: this one has only if the command says so.
    pub fn run_as_is(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let stderr = child.stderr.take().expect("it was piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Server { child, address, lines, log: Vec::new(), waited: Cell::default() };
        let line = server.log_line(" listens on http");
        let (_, address) = line.split_once("://").expect("the line has it");
        server.address = address.parse().expect("an address");
        server
    }

    /// The next log line that has this in it.
    pub fn log_line(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(error) => panic!("no line {part:?} in the log ({error}): {:#?}", self.log),
            }
            let line = self.log.last().expect("one was pushed");
            if line.contains(part) {
                return line.clone();
            }
        }
    }

    /// All lines of the log: the server is killed to know them.
    pub fn into_log(mut self) -> Vec<String> {
        let _ = self.child.kill();
        self.log.extend(self.lines.iter());
        self.log.clone()
    }

    /// How the server ends, once something else has told it to.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the server ends", || {
            self.waited();
            self.child.try_wait().expect("it is our child")
        })
    }

    /// How long the server could have run, and had to wait for a processor.
    fn waited(&self) -> Duration {
        self.waited.update(|before| waited(&self.pid().to_string()).unwrap_or(before));
        self.waited.get()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> Client {
        Client { server: Some(self.pid()), ..Client::connect(self.address) }
    }

    /// Sends one request on a connection of its own.
    pub fn ask(&self, request: &str) -> Response {
        self.connect().ask(request)
    }

    /// A number of /proc/PID/status: kilobytes, or a count.
    #[cfg(target_os = "linux")]
    pub fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server is there");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{name} is no number of {status}"))
    }

    /// The time that the processor has spent on it, in steps of 10 ms.
    #[cfg(target_os = "linux")]
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server is there");
        let (_, rest) = stat.rsplit_once(") ").expect("the name is in parentheses");
        let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Waits until the server has dealt with all that was sent to it, and sleeps.
    #[cfg(target_os = "linux")]
    pub fn settle(&self) {
        wait_for("the server has read everything and sleeps", || (self.unread() == 0 && self.sleeps()).then_some(()));
    }

    /// There is no way to know elsewhere.
    #[cfg(not(target_os = "linux"))]
    pub fn settle(&self) {
        thread::sleep(Duration::from_millis(300));
    }

    /// Whether the server waits for the kernel to tell it something.
    #[cfg(target_os = "linux")]
    pub fn sleeps(&self) -> bool {
        self.state() == 'S'
    }

    /// Whether SIGSTOP has taken effect.
    #[cfg(target_os = "linux")]
    pub fn is_stopped(&self) -> bool {
        self.state() == 'T'
    }

    #[cfg(target_os = "linux")]
    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server is there");
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state follows the name")
    }

    /// Waits until the server has read what has reached it, or does not want to.
    #[cfg(target_os = "linux")]
    pub fn reads_on(&self) -> bool {
        wait_for("the server reads or sleeps", || match self.sockets().0.iter().all(|socket| socket.to_read == 0) {
            true => Some(true),
            false => self.ignores().then_some(false),
        })
    }

    /// Whether the server sleeps although it has something to read.
    #[cfg(target_os = "linux")]
    pub fn ignores(&self) -> bool {
        // Who sleeps at both ends of a time without falling asleep in between has slept all the time.
        let slept = self.status("voluntary_ctxt_switches");
        let has_slept = || self.sleeps() && self.status("voluntary_ctxt_switches") == slept;
        has_slept() && self.sockets().0.iter().any(|socket| socket.to_read > 0) && has_slept()
    }

    /// How many bytes are on their way to the server or wait in the kernel for it (connections that are not
    /// accepted count one each).
    #[cfg(target_os = "linux")]
    pub fn unread(&self) -> u64 {
        let (at_server, to_server) = self.sockets();
        let waiting = at_server.iter().map(|socket| socket.to_read);
        waiting.chain(to_server.iter().map(|socket| socket.to_send)).sum()
    }

    /// How many connections the server has not closed; those that it has not accepted count.
    #[cfg(target_os = "linux")]
    pub fn connections(&self) -> usize {
        const TIME_WAIT: u64 = 6;
        const LISTEN: u64 = 10;
        self.sockets().0.iter().filter(|socket| ![TIME_WAIT, LISTEN].contains(&socket.state)).count()
    }

    /// What the kernel knows of the server's sockets, and of those at the other end.
    #[cfg(target_os = "linux")]
    fn sockets(&self) -> (Vec<Queues>, Vec<Queues>) {
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
        let hex = |digits: &str| u64::from_str_radix(digits, 16).expect("a number");
        let (mut own, mut others) = (Vec::new(), Vec::new());
        // Other tests leave thousands of them behind.
        for row in table.lines().filter(|row| row.contains(&port)) {
            let fields: Vec<_> = row.split_whitespace().collect();
            let (to_send, to_read) = fields[4].split_once(':').expect("two queues");
            let queues = Queues { state: hex(fields[3]), to_send: hex(to_send), to_read: hex(to_read) };
            match (fields[1].ends_with(&port), fields[2].ends_with(&port)) {
                (true, _) => own.push(queues),
                (_, true) => others.push(queues),
                _ => {}
            }
        }
        (own, others)
    }
}

/// The same for a process or thread, by its name in /proc: the second number of its schedstat, nanoseconds.
fn waited(task: &str) -> Option<Duration> {
    let schedstat = fs::read_to_string(format!("/proc/{task}/schedstat")).ok()?;
    Some(Duration::from_nanos(schedstat.split(' ').nth(1)?.parse().ok()?))
}

/// Measures how long a server takes, as far as that is not the machine's fault: what the server and this thread have waited
/// for a processor is not counted (where /proc tells it).
pub struct Stopwatch {
    begin: Instant,
    waited: Duration,
}

impl Stopwatch {
    pub fn start(server: &Server) -> Stopwatch {
        Stopwatch { begin: Instant::now(), waited: Stopwatch::waited(server) }
    }

    pub fn elapsed(&self, server: &Server) -> Duration {
        self.begin.elapsed().saturating_sub(Stopwatch::waited(server).saturating_sub(self.waited))
    }

    fn waited(server: &Server) -> Duration {
        server.waited() + waited("thread-self").unwrap_or_default()
    }
}

/// A row of /proc/net/tcp.
#[cfg(target_os = "linux")]
struct Queues {
    state: u64,
    to_send: u64,
    to_read: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.extend(self.lines.iter());
        let panicked = self.log.iter().any(|line| line.contains("panicked at"));
        if thread::panicking() {
            eprintln!("the server's log: {:#?}", self.log);
        } else {
            assert!(!panicked, "the server panicked: {:#?}", self.log);
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Status line and header lines.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the only header field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {}", self.head);
        value
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the body is text")
    }

    /// Status and body: all that most tests look at.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, self.text())
    }
}

/// A request with a body if it is a POST; `more` is header lines, each with its CRLF.
pub fn request(method: &str, target: &str, more: &str, body: &str) -> String {
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    // Without a token, metrics are only for those who ask for this machine by its own name.
    let host = if target == "/metrics" { "localhost" } else { "salon.example" };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}{length}\r\n{body}")
}

pub fn get(target: &str) -> String {
    request("GET", target, "", "")
}

/// The target of requests of a session over polling.
pub fn of_session(sid: &str) -> String {
    format!("{POLLING}&sid={sid}")
}

/// A TCP connection, and what has come on it and was not looked at.
pub struct Client {
    pub stream: Wire,
    buffer: Vec<u8>,
    /// The process at the other end, if it is known.
    server: Option<u32>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::new(TcpStream::connect(address).expect("the server accepts"))
    }

    /// A client whose kernel keeps only so much for it. Its segments are short too: the server's kernel keeps a
    /// number of segments, and of the long ones of loopback that is megabytes.
    pub fn connect_small(address: SocketAddr, buffer: usize) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(buffer).expect("before it is connected");
        #[cfg(unix)]
        socket.set_tcp_mss(536).expect("before it is connected");
        socket.connect(&address.into()).expect("the server accepts");
        Client::new(socket.into())
    }

    fn new(stream: TcpStream) -> Client {
        Client::over(stream, secure::is_on().then(secure::client))
    }

    /// A client with this TLS, or without.
    pub fn over(stream: TcpStream, tls: Option<Arc<ClientConfig>>) -> Client {
        stream.set_nodelay(true).expect("a live socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
        Client { stream: Wire::new(stream, tls), buffer: Vec::new(), server: None }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends to a server that may have closed the connection already.
    pub fn send_anyway(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO)).expect("a live socket");
    }

    /// Sends FIN.
    pub fn half_close(&mut self) {
        self.stream.close_notify();
        self.stream.socket().shutdown(Shutdown::Write).expect("a live socket");
    }

    /// Reads more into the buffer; `false` at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let mut late = None;
        loop {
            match self.stream.read(&mut bytes) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return count > 0;
                }
                // Without the goodbye of TLS the second.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return false;
                }
                // A large message takes an unoptimized server seconds, and more on a busy machine: that is not counted.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let server = self.server.and_then(|pid| waited(&pid.to_string())).unwrap_or_default();
                    let waited = server + waited("thread-self").unwrap_or_default();
                    let (since, before) = *late.get_or_insert((Instant::now(), waited));
                    let text = String::from_utf8_lossy(&self.buffer);
                    assert!(
                        since.elapsed() < PATIENCE + waited.saturating_sub(before),
                        "waited in vain after {text:?}"
                    );
                }
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        }
    }

    /// The next so many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    /// All bytes until the connection ends.
    pub fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8(mem::take(&mut self.buffer)).expect("text")
    }

    /// Waits for the end, whatever comes before.
    pub fn skip_to_end(&mut self) {
        while self.fill() {
            self.buffer.clear();
        }
    }

    /// Whether the connection has ended by now, whatever has come before.
    pub fn has_ended(&mut self) -> bool {
        self.stream.socket().set_nonblocking(true).expect("a live socket");
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// For this time nothing comes, not even the end.
    pub fn assert_silent(&mut self, time: Duration) {
        let text = String::from_utf8_lossy(&self.buffer);
        assert!(text.is_empty(), "nothing was expected: {text:?}");
        let socket = self.stream.socket();
        socket.set_read_timeout(Some(time)).expect("a live socket");
        let seen = socket.peek(&mut [0]).map_err(|error| error.kind());
        socket.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        assert!(matches!(seen, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{seen:?}");
    }

    /// The connection ends without another byte.
    pub fn assert_end(&mut self) {
        assert_eq!(self.rest(), "", "nothing but the end was expected");
    }

    /// The same, and the end is no reset.
    pub fn assert_orderly_end(&mut self) {
        assert!(self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
        let end = self.stream.read(&mut [0; 16]);
        assert!(matches!(end, Ok(0)), "{end:?}");
    }

    /// The head of an answer, with a body that is still to come.
    fn response_head(&mut self) -> Response {
        let end = loop {
            match self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => assert!(self.fill(), "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        };
        let head = String::from_utf8(self.take(end)).expect("a head is text");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Response { status: status.unwrap_or_else(|| panic!("no status line: {head:?}")), head, body: Vec::new() }
    }

    /// The answer to HEAD.
    pub fn response_to_head(&mut self) -> Response {
        self.response_head()
    }

    /// The next answer, with its body.
    pub fn response(&mut self) -> Response {
        let mut response = self.response_head();
        let length = response.header("Content-Length").map(|length| length.parse().expect("a number"));
        if let 100..=199 | 204 | 304 = response.status {
            assert_eq!(length, None, "an answer that has no body");
        } else {
            let length = length.unwrap_or_else(|| panic!("rule R9: no length in {}", response.head));
            response.body = self.take(length);
        }
        response
    }

    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }
}

/// Packets as the public example has them: without the fields that salon adds, however often they are encoded.
pub fn classic(packets: &str) -> String {
    let mut classic = packets.to_owned();
    for quote in ["\"", "\\\"", "\\\\\\\""] {
        for name in ["user", "n", "id", "time", "maxText", "maxPayload"] {
            let field = format!(",{quote}{name}{quote}:");
            while let Some(start) = classic.find(&field) {
                let value = start + field.len();
                let length = classic[value..].find([',', '}']).expect("something follows");
                classic.replace_range(start..value + length, "");
            }
        }
    }
    classic
}

/// A client of Socket.IO, whatever carries it.
pub trait Talk {
    /// Sends a packet of Socket.IO; when this returns, the server has acted on it or will before anything sent later.
    fn send(&mut self, packet: &str);

    /// The next packet of Socket.IO.
    fn receive_whole(&mut self) -> String;

    /// The same as the public example has it.
    fn receive(&mut self) -> String {
        classic(&self.receive_whole())
    }

    /// Whether it speaks EIO=2 or EIO=3, and with that an older revision of Socket.IO.
    fn is_old(&self) -> bool {
        false
    }

    fn assert_receives(&mut self, packet: &str) {
        assert_eq!(self.receive(), packet);
    }

    /// The session lives, the server has acted on all that was sent, and nothing came of it but what was received.
    fn assert_quiet(&mut self) {
        self.send("0/nowhere,");
        self.assert_receives(match self.is_old() {
            true => r#"4/nowhere,"Invalid namespace""#,
            false => r#"4/nowhere,{"message":"Invalid namespace"}"#,
        });
    }

    /// Joins the namespace of the chat. An older client is in it, and is told so unasked.
    fn join(&mut self) {
        if self.is_old() {
            return self.assert_receives("0");
        }
        self.send("0");
        let answer = self.receive();
        assert!(answer.starts_with(r#"0{"sid":""#), "{answer}");
    }

    /// Joins the chat under a name.
    fn log_in(&mut self, name: &str) {
        self.join();
        self.send(&format!(r#"2["add user","{name}"]"#));
        let answer = self.receive();
        assert!(answer.starts_with(r#"2["login","#), "{answer}");
    }
}

/// Somebody who speaks over WebSocket, and knows the packets that others get of it to the byte.
pub struct Speaker {
    socket: WebSocket,
    tag: String,
    said: usize,
}

impl Speaker {
    pub fn enter(server: &Server) -> Speaker {
        let mut socket = WebSocket::open(server);
        socket.join();
        socket.send(r#"2["add user","speaker"]"#);
        let login = socket.receive_whole();
        let (_, tag) = login.split_once(r#","user":""#).expect("a tag");
        let tag = tag.split('"').next().expect("its end").to_owned();
        Speaker { socket, tag, said: 0 }
    }

    /// Says something, and returns the packet; `text` is the inside of a JSON string.
    pub fn say(&mut self, text: &str) -> String {
        self.said += 1;
        let id = format!("{}{:03}", self.tag, self.said);
        self.socket.send(&format!(r#"27["new message","{text}",{{"id":"{id}"}}]"#));
        let mut ack = self.socket.receive_whole();
        // On a busy machine a ping may come before, or the news that somebody of an earlier room has left.
        while ack == "2" || ack.starts_with(r#"42["user left""#) {
            if ack == "2" {
                self.socket.send("3");
            }
            ack = self.socket.receive_whole();
        }
        let stamp = ack.strip_prefix(r#"37[{"#).and_then(|ack| ack.strip_suffix("}]"));
        let stamp = stamp.unwrap_or_else(|| panic!("no ack, but {ack}"));
        let (n, time) = stamp.split_once(',').expect("two fields");
        let tag = &self.tag;
        format!(
            r#"42["new message",{{"username":"speaker","message":"{text}","user":"{tag}",{n},"id":"{id}",{time}}}]"#
        )
    }
}

/// A session over polling, with one connection for its GETs and one for its POSTs.
pub struct Polling {
    pub sid: String,
    pub target: String,
    address: SocketAddr,
    pub gets: Client,
    pub posts: Client,
    /// Packets that have come with one that was asked for.
    received: VecDeque<String>,
}

impl Polling {
    pub fn open(server: &Server) -> Polling {
        Polling::open_at(server, POLLING)
    }

    /// The same with a target of one's own.
    pub fn open_at(server: &Server, target: &str) -> Polling {
        let mut gets = server.connect();
        let response = gets.ask(get(target));
        assert_eq!(response.status, 200, "{response:?}");
        let open = response.text().strip_prefix('0').expect("an open packet");
        let open: serde_json::Value = serde_json::from_str(open).expect("JSON");
        let sid = open["sid"].as_str().expect("a string").to_owned();
        let (target, address) = (format!("{target}&sid={sid}"), server.address);
        Polling { sid, target, address, gets, posts: server.connect(), received: VecDeque::new() }
    }

    /// Sends a GET.
    pub fn park(&mut self) {
        self.gets.send(get(&self.target));
    }

    /// The payload that answers it.
    pub fn answer(&mut self) -> String {
        let response = self.gets.response();
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    /// One payload.
    pub fn poll(&mut self) -> String {
        self.park();
        self.answer()
    }

    pub fn post(&mut self, payload: &str) -> Response {
        self.posts.ask(request("POST", &self.target, "", payload))
    }

    /// The server does not know the session any more.
    pub fn assert_gone(&self) {
        let response = Client::connect(self.address).ask(get(&self.target));
        assert_eq!(response.brief(), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    }
}

impl Talk for Polling {
    fn send(&mut self, packet: &str) {
        assert_eq!(self.post(&format!("4{packet}")).brief(), (200, "ok"));
    }

    fn receive_whole(&mut self) -> String {
        if self.received.is_empty() {
            let payload = self.poll();
            self.received.extend(payload.split('\x1e').map(str::to_owned));
        }
        let packet = self.received.pop_front().expect("a payload has a packet");
        packet.strip_prefix('4').unwrap_or_else(|| panic!("no message: {packet:?}")).to_owned()
    }
}

/// Opcodes of frames (RFC 6455 section 5.2).
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame of the server: opcode and payload.
pub type Frame = (u8, Vec<u8>);

/// A masked frame, as clients send it.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(0x80 | opcode, payload.len(), payload)
}

/// The same with a first byte and a length of one's own.
pub fn raw_frame(first: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0xc3, 0x0f, 0x99];
    let mut frame = vec![first];
    match length {
        0..=125 => frame.push(0x80 | length as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A request for a WebSocket, with the key of RFC 6455 section 1.3.
pub fn upgrade(target: &str, more: &str) -> String {
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    request("GET", target, &format!("{lines}{more}"), "")
}

/// The target of a WebSocket that is to take over from polling.
pub fn takeover(sid: &str) -> String {
    format!("{WEBSOCKET}&sid={sid}")
}

/// A WebSocket, upgraded.
pub struct WebSocket {
    pub client: Client,
    old: bool,
    /// Packets of Socket.IO that have come with what was waited for.
    received: VecDeque<String>,
}

impl WebSocket {
    /// A session over WebSocket from the start.
    pub fn open(server: &Server) -> WebSocket {
        WebSocket::open_on(server.connect())
    }

    /// The same on a connection that is there.
    pub fn open_on(client: Client) -> WebSocket {
        WebSocket::upgrade(client, WEBSOCKET).opened()
    }

    /// The session of an older client: `version` is its EIO.
    pub fn open_old(server: &Server, version: u8) -> WebSocket {
        WebSocket { old: true, ..WebSocket::upgrade(server.connect(), &websocket(version)) }.opened()
    }

    /// A WebSocket that asks to take over from polling.
    pub fn take_over(server: &Server, sid: &str) -> WebSocket {
        WebSocket::upgrade(server.connect(), &takeover(sid))
    }

    /// The same for an older client.
    pub fn take_over_old(server: &Server, version: u8, sid: &str) -> WebSocket {
        let target = format!("{}&sid={sid}", websocket(version));
        WebSocket { old: true, ..WebSocket::upgrade(server.connect(), &target) }
    }

    fn upgrade(mut client: Client, target: &str) -> WebSocket {
        client.send(upgrade(target, ""));
        WebSocket::upgraded(client)
    }

    /// Reads the open packet.
    pub fn opened(mut self) -> WebSocket {
        let open = self.text();
        assert!(open.starts_with(r#"0{"sid":""#), "{open}");
        self
    }

    /// Reads the 101 to a request that was sent.
    pub fn upgraded(mut client: Client) -> WebSocket {
        let response = client.response();
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        WebSocket { client, old: false, received: VecDeque::new() }
    }

    pub fn frame(&mut self) -> Frame {
        let head = self.client.take(2);
        assert_eq!(head[0] & 0xf0, 0x80, "frames of the server are whole");
        let length = match head[1] {
            length @ 0..=125 => usize::from(length),
            126 => self.number(2),
            127 => self.number(8),
            _ => panic!("a frame of the server is masked"),
        };
        (head[0] & 0x0f, self.client.take(length))
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.client.take(bytes).into_iter().fold(0, |number, byte| number << 8 | usize::from(byte))
    }

    /// The next packet of Socket.IO; `None` if a pong comes before.
    fn message_or_pong(&mut self) -> Option<String> {
        let (opcode, payload) = self.frame();
        if opcode == PONG {
            return None;
        }
        let packet = String::from_utf8(payload).expect("text frames are text");
        match packet.strip_prefix('4') {
            Some(message) if opcode == TEXT => Some(message.to_owned()),
            _ => panic!("no message: {packet:?}"),
        }
    }

    /// A packet of Engine.IO.
    pub fn text(&mut self) -> String {
        let (opcode, payload) = self.frame();
        assert_eq!(opcode, TEXT, "{payload:?}");
        String::from_utf8(payload).expect("text frames are text")
    }

    pub fn send_text(&mut self, packet: &str) {
        self.client.send(frame(TEXT, packet.as_bytes()));
    }

    /// The server closes with this code, and the connection ends when the client has answered.
    pub fn assert_closed(&mut self, code: u16) {
        self.assert_close_frame(code);
        self.assert_end();
    }

    /// The next frame closes with this code.
    pub fn assert_close_frame(&mut self, code: u16) {
        let (opcode, payload) = self.frame();
        let seen = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        assert_eq!((opcode, seen), (CLOSE, Some(code)), "{:?}", String::from_utf8_lossy(&payload));
    }

    /// Answers a close frame, as clients do. The connection ends; where frames broke the protocol it may have done so before.
    pub fn assert_end(&mut self) {
        self.client.send_anyway(frame(CLOSE, b"\x03\xe8"));
        self.client.assert_end();
    }
}

impl Talk for WebSocket {
    fn is_old(&self) -> bool {
        self.old
    }

    fn send(&mut self, packet: &str) {
        self.send_text(&format!("4{packet}"));
        // Frames are dealt with in order, so the pong shows that this one was.
        self.client.send(frame(PING, b"done?"));
        while let Some(packet) = self.message_or_pong() {
            self.received.push_back(packet);
        }
    }

    fn receive_whole(&mut self) -> String {
        let packet = self.received.pop_front().or_else(|| self.message_or_pong());
        packet.expect("no more pongs than pings")
    }
}
