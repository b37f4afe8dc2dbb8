//! The server's own TLS: helpers to run all live tests over it, and the tests of TLS itself.

use crate::harness::{
    Client, FAR_DEADLINES, PATIENCE, POLLING, Server, Talk, WEBSOCKET, WebSocket, get, of_session, request, salon,
    upgrade,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};
use std::{
    env, fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Whether all live tests use TLS.
pub fn is_on() -> bool {
    env::var("SALON_TEST_TLS").is_ok_and(|value| value != "0")
}

/// A certificate and its key, as files.
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes a self-signed certificate for localhost, valid in these years.
pub fn new_files(years: std::ops::Range<i32>) -> Files {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let key = KeyPair::generate().expect("ring has random bytes");
    let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let cert = params.self_signed(&key).expect("ring can sign");
    let name = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let write = |end: &str, text: String| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{end}.pem"));
        fs::write(&path, text).expect("a directory for tests");
        path
    };
    Files { cert: write("cert", cert.pem()), key: write("key", key.serialize_pem()) }
}

/// The certificate of servers for which the test needs no particular one.
pub fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| new_files(2020..4000))
}

/// Configures `files()` for a server if all live tests use TLS.
pub fn equip(command: &mut Command) {
    if is_on() {
        command.env("SALON_TLS_CERT", &files().cert).env("SALON_TLS_KEY", &files().key);
    }
}

/// Whether this line, with an origin in it, can come from a page of the server: with TLS an http page cannot, nor a program
/// that has connected by ws.
pub fn may_be_ours(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    !is_on() || !line.contains("http://") && !line.contains("ws://")
}

/// The configuration of a client that trusts `cert`. It resumes sessions if the server agrees.
fn trust(cert: &Path, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).expect("a certificate")).expect("a good one");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_protocol_versions(versions).expect("ring has them");
    config.with_root_certificates(roots).with_no_client_auth()
}

/// The configuration of a client that trusts `files()`.
pub fn client() -> Arc<ClientConfig> {
    static CLIENT: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CLIENT.get_or_init(|| Arc::new(trust(&files().cert, rustls::DEFAULT_VERSIONS))))
}

/// The stream of a client. The first read or write also makes the handshake.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub fn new(socket: TcpStream, tls: Option<Arc<ClientConfig>>) -> Wire {
        let Some(config) = tls else { return Wire::Plain(socket) };
        let name = ServerName::try_from("localhost").expect("a name");
        Wire::Tls(Box::new(StreamOwned::new(ClientConnection::new(config, name).expect("a client"), socket)))
    }

    pub fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    /// The state of TLS, with what was negotiated.
    pub fn session(&self) -> &ClientConnection {
        match self {
            Wire::Plain(_) => panic!("there is no TLS"),
            Wire::Tls(stream) => &stream.conn,
        }
    }

    /// Makes the handshake now instead of with the first bytes.
    pub fn complete_handshake(&mut self) {
        if let Wire::Tls(stream) = self {
            let StreamOwned { conn, sock } = &mut **stream;
            conn.complete_io(sock).expect("a handshake");
        }
    }

    /// Sends the close_notify alert.
    pub fn close_notify(&mut self) {
        if let Wire::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush().expect("the server reads");
        }
    }
}

impl Wire {
    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => {
                if stream.conn.is_handshaking() {
                    return stream.read(buffer);
                }
                // Not `stream.read`, which first writes what is still queued: the server may no longer read it.
                loop {
                    match stream.conn.reader().read(buffer) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return result,
                    }
                    stream.conn.read_tls(&mut stream.sock)?;
                    stream.conn.process_new_packets().map_err(io::Error::other)?;
                }
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_once(buffer) {
                // A read with a timeout fails so when the process is stopped and continued (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// Starts a server with these files, whether or not all live tests use TLS.
fn start(files: &Files, flags: &[&str]) -> Server {
    let mut command = salon();
    command.args(["--port", "0", "--host", "127.0.0.1", "--log", "debug"]).args(FAR_DEADLINES);
    command.arg("--tls-cert").arg(&files.cert).arg("--tls-key").arg(&files.key).args(flags);
    Server::run_as_is(command)
}

fn connect(server: &Server, config: &Arc<ClientConfig>) -> Client {
    Client::over(TcpStream::connect(server.address).expect("the server accepts"), Some(Arc::clone(config)))
}

fn connect_plain(address: SocketAddr) -> Client {
    Client::over(TcpStream::connect(address).expect("the server accepts"), None)
}

/// Panics if the server does not serve a correct client.
fn assert_served(server: &Server, config: &Arc<ClientConfig>) {
    assert_eq!(connect(server, config).ask(get("/healthz")).brief(), (200, "ok"));
}

/// The error message of a program that cannot start.
fn refusal(command: &mut Command) -> String {
    let output = command.output().expect("the program can be started");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn both_versions_are_spoken_and_sessions_resumed() {
    for (version, name) in [(&version::TLS12, "1.2"), (&version::TLS13, "1.3")] {
        let server = start(files(), &[]);
        let config = Arc::new(trust(&files().cert, &[version]));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(&server, &config);
            assert_eq!(client.ask(get("/healthz")).brief(), (200, "ok"));
            assert_eq!(client.stream.session().handshake_kind(), Some(kind), "{name}");
            assert_eq!(client.stream.session().protocol_version(), Some(version.version));
        }
    }
}

#[test]
fn http_1_1_is_agreed_on_and_nothing_else() {
    let server = start(files(), &[]);
    let offer = |names: &[&str]| {
        let mut config = trust(&files().cert, rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        connect(&server, &Arc::new(config))
    };
    for (names, agreed) in [(&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let mut client = offer(names);
        assert_eq!(client.ask(get("/healthz")).status, 200);
        assert_eq!(client.stream.session().alpn_protocol(), agreed);
    }
    let error = offer(&["h2"]).stream.write_all(b"GET").expect_err("no common protocol");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

/// With TLS the server knows its own scheme, so an http page of the same host is another origin.
#[test]
fn a_page_of_http_is_another_origin() {
    let server = start(files(), &[]);
    for (origin, status) in [("https://salon.example", 200), ("http://salon.example", 403)] {
        let line = format!("Origin: {origin}\r\n");
        assert_eq!(connect(&server, &client()).ask(request("GET", POLLING, &line, "")).status, status, "{origin}");
    }
}

/// A client does not read for a while and is sent some megabytes: what the kernel does not take waits in the server as
/// plaintext, and arrives completely and in order.
#[test]
fn bulk_ciphertext_waits_for_a_slow_reader() {
    let server = start(files(), &["--max-queue", "16MiB", "--soft-queue", "16MiB", "--max-text", "900000"]);
    let open = || {
        let mut client = connect(&server, &client());
        client.send(upgrade(WEBSOCKET, ""));
        WebSocket::upgraded(client).opened()
    };
    let (mut slow, mut speaker) = (open(), open());
    slow.join();
    speaker.log_in("speaker");
    slow.assert_receives(r#"2["user joined",{"username":"speaker","numUsers":1}]"#);
    let text = |number: usize| format!("{number}{}", "x".repeat(500_000));
    for number in 0..12 {
        speaker.send(&format!(r#"2["new message","{}"]"#, text(number)));
    }
    for number in 0..12 {
        slow.assert_receives(&format!(r#"2["new message",{{"username":"speaker","message":"{}"}}]"#, text(number)));
    }
}

#[test]
fn a_stalled_handshake_is_logged_and_ended() {
    let mut server = start(files(), &["--head-timeout", "2s"]);
    // One client sends nothing, the other stops in the middle of its first record.
    let mut stalled = [connect_plain(server.address), connect_plain(server.address)];
    stalled[1].send(b"\x16\x03\x01\x02\x00\x01");
    stalled.iter_mut().for_each(Client::skip_to_end);
    let line = server.log_line("TLS handshake not complete in time");
    assert!(line.contains("WARN") && line.contains("127.0.0.1"), "{line}");
    assert_served(&server, &client());
}

#[test]
fn plain_http_is_answered_in_plain() {
    let mut server = start(files(), &[]);
    let mut lost = connect_plain(server.address);
    let answer = lost.ask(get("/"));
    assert_eq!(answer.brief(), (400, "this port expects HTTPS, not plain HTTP"));
    assert_eq!(answer.header("Connection"), Some("close"));
    lost.assert_end();
    server.log_line("plain HTTP request on the HTTPS port (127.0.0.1); see --tls-cert");
    // Plain HTTP opens no session, and gets no second answer.
    let mut lost = connect_plain(server.address);
    lost.send([get(POLLING), upgrade(WEBSOCKET, "")].concat());
    assert_eq!(lost.response().status, 400);
    lost.assert_end();
    assert_served(&server, &client());
    let lines = server.into_log();
    assert_eq!(lines.iter().filter(|line| line.contains("plain HTTP")).count(), 1, "{lines:#?}");
}

/// The request of `--probe` is answered without TLS too, and is not counted as plain HTTP. Other requests are, and a second
/// request on the same connection gets no answer.
#[test]
fn the_health_check_works_without_tls() {
    let server = start(files(), &[]);
    let mut probe = connect_plain(server.address);
    probe.send(get("/healthz").repeat(2));
    let answer = probe.response();
    assert_eq!((answer.brief(), answer.header("Connection")), ((200, "ok"), Some("close")));
    probe.assert_end();
    for other in [request("POST", "/healthz", "", ""), get("/healthz/"), get("/metrics")] {
        let mut lost = connect_plain(server.address);
        assert_eq!(lost.ask(other).brief(), (400, "this port expects HTTPS, not plain HTTP"));
        lost.assert_end();
    }
    let metrics = connect(&server, &client()).ask(get("/metrics"));
    assert!(metrics.text().contains("\nsalon_limits_total{limit=\"plain_http\"} 3\n"), "{}", metrics.text());
}

#[test]
fn a_failed_handshake_is_logged() {
    let mut server = start(files(), &[]);
    // A client that does not trust the certificate; then one that sends no TLS record and gets an alert (RFC 8446 section 6).
    let stranger = Arc::new(trust(&new_files(2020..4000).cert, rustls::DEFAULT_VERSIONS));
    let error = connect(&server, &stranger).stream.write_all(b"GET").expect_err("another certificate is trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
    server.log_line("TLS failed (127.0.0.1: received fatal alert: ");
    let mut rubbish = connect_plain(server.address);
    rubbish.send(b"\x01\x02\x03\x04\x05\x06");
    assert_eq!(rubbish.take(3), [21, 3, 3], "an alert");
    rubbish.skip_to_end();
    assert_served(&server, &client());
}

/// The size of a handshake message is limited.
#[test]
fn a_handshake_that_grows_is_cut_off() {
    let mut server = start(files(), &[]);
    let mut endless = connect_plain(server.address);
    // A ClientHello with a length of 16 MiB, in records of 16 KiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([0; 0x4000]);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    for _ in 0..20 {
        endless.send_anyway(&record);
        record[5..9].copy_from_slice(&[0; 4]);
    }
    server.log_line("TLS failed (127.0.0.1: ");
    assert_served(&server, &client());
}

/// A ClientHello with random errors, cut into random records, neither stops the server nor hangs a connection.
#[test]
fn damaged_handshakes_harm_nobody() {
    let server = start(files(), &[]);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut hello = Vec::new();
    ClientConnection::new(client(), name).expect("a client").write_tls(&mut hello).expect("memory takes it");
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..300 {
        let mut message = hello[5..].to_vec();
        for _ in 0..random(4) {
            let at = random(message.len());
            message[at] = random(256) as u8;
        }
        message.truncate(message.len() - random(2) * random(message.len()));
        // Most records keep the type handshake (22), others become alerts, application data or unknown types.
        let mut bytes = Vec::new();
        while !message.is_empty() {
            let part: Vec<u8> = message.drain(..(1 + random(message.len())).min(message.len())).collect();
            let kind = if random(8) == 0 { 20 + random(6) as u8 } else { 22 };
            bytes.extend([kind, 3, random(4) as u8]);
            bytes.extend((part.len() as u16).to_be_bytes());
            bytes.extend(part);
        }
        let mut damaged = connect_plain(server.address);
        damaged.send_anyway(&bytes);
        // The server may have reset the connection by now.
        let _ = damaged.stream.socket().shutdown(Shutdown::Write);
        damaged.skip_to_end();
        if round % 50 == 0 {
            assert_served(&server, &client());
        }
    }
}

#[test]
fn unusable_files_are_named_in_the_error() {
    let (one, other) = (files(), new_files(2020..4000));
    let missing = Path::new("no-such-file.pem");
    let rows: [(Option<&Path>, Option<&Path>, &[&str]); 7] = [
        (Some(&one.cert), Some(&other.key), &["does not belong to the certificate", "key.pem", "cert.pem"]),
        (Some(&one.cert), None, &["--tls-cert needs --tls-key"]),
        (None, Some(&one.key), &["--tls-key needs --tls-cert"]),
        (Some(missing), Some(&one.key), &["--tls-cert no-such-file.pem: "]),
        (Some(&one.cert), Some(missing), &["--tls-key no-such-file.pem: "]),
        (Some(&one.key), Some(&one.key), &["--tls-cert ", "no certificate in it"]),
        (Some(&one.cert), Some(&one.cert), &["--tls-key "]),
    ];
    for (cert, key, words) in rows {
        let command = || {
            let mut command = salon();
            command.env_remove("SALON_TEST_KERNEL").env_remove("SALON_TEST_TLS");
            command.args(["--port", "0", "--max-connections", "9"]);
            cert.iter().for_each(|cert| _ = command.arg("--tls-cert").arg(cert));
            key.iter().for_each(|key| _ = command.arg("--tls-key").arg(key));
            command
        };
        let text = refusal(&mut command());
        let check = command().arg("--check").output().expect("the program can be started");
        let checked = String::from_utf8(check.stdout).expect("text");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
            let warned = checked.lines().any(|line| line.starts_with("warning: ") && line.contains(word));
            assert!(check.status.code() == Some(1) && warned, "no {word:?} in {checked}");
        }
    }
    let text = refusal(salon().args(["--redirect-http", "0"]));
    assert!(text.contains("--redirect-http means nothing without --tls-cert"), "{text}");
}

/// A certificate with a bad date is used, since there is no better one, but the log warns that clients reject it.
#[test]
fn a_bad_date_of_a_certificate_is_a_warning() {
    let check = |files: &Files| {
        let mut command = salon();
        command.env_remove("SALON_TEST_KERNEL").env_remove("SALON_TEST_TLS").args([
            "--check",
            "--max-connections",
            "9",
            "--max-per-address",
            "8",
        ]);
        let output = command.arg("--tls-cert").arg(&files.cert).arg("--tls-key").arg(&files.key).output();
        String::from_utf8(output.expect("the program can be started").stdout).expect("text")
    };
    for (years, word) in [(2001..2002, "it expired "), (3000..4000, "it is not valid yet")] {
        let files = new_files(years);
        let mut command = salon();
        command.args(["--port", "0", "--host", "127.0.0.1", "--tls-cert"]).arg(&files.cert);
        command.arg("--tls-key").arg(&files.key);
        let mut server = Server::run_as_is(command);
        let config = Arc::new(trust(&files.cert, rustls::DEFAULT_VERSIONS));
        let error = connect(&server, &config).stream.write_all(b"GET").expect_err("a bad date");
        assert!(error.to_string().contains("certificate"), "{error}");
        server.log_line("TLS failed (127.0.0.1: received fatal alert: CertificateExpired");
        let lines = server.into_log();
        assert!(lines.iter().any(|line| line.contains("WARN") && line.contains(word)), "no {word:?} in {lines:#?}");
        let text = check(&files);
        assert!(text.lines().any(|line| line.starts_with("warning: --tls-cert") && line.contains(word)), "{text}");
    }
    assert!(!check(files()).contains("warning"));
}

/// Reads until the server ends its side: it must say so by close_notify (RFC 8446 section 6.1).
fn assert_goodbye(client: &mut Client, what: &str) {
    let mut bytes = [0; 4096];
    let begin = Instant::now();
    loop {
        match client.stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            // The machine may be busy.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && begin.elapsed() < 6 * PATIENCE => {}
            Err(error) => panic!("{what}: no close_notify, but {error}"),
        }
    }
}

/// Opens a session over polling, and returns the target of its requests.
fn open_session(mut client: Client) -> String {
    let open = client.ask(get(POLLING));
    of_session(open.text().split('"').nth(3).expect("a sid"))
}

/// However the server ends a connection in order, the client can tell that nothing was cut off.
#[test]
fn the_server_says_goodbye() {
    for version in [&version::TLS12, &version::TLS13] {
        let server = start(files(), &["--idle-timeout", "1s", "--head-timeout", "2s", "--body-timeout", "1s"]);
        let config = Arc::new(trust(&files().cert, &[version]));
        let sending = |bytes: &str| {
            let mut client = connect(&server, &config);
            client.stream.complete_handshake();
            client.send(bytes);
            client
        };
        let post = |target: &str| format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
        let websocket = || {
            let mut client = sending(&upgrade(WEBSOCKET, ""));
            client.response();
            client
        };
        let mut wrong = websocket();
        wrong.send(b"\x81\x01x");
        let twice = post(&open_session(sending("")));
        let mut ended = [
            ("the first of two POSTs", sending(&twice)),
            ("idle", sending(&get("/healthz"))),
            ("silent", sending("")),
            ("half a head", sending("GET / HT")),
            ("half a body", sending(&post(&open_session(sending(""))))),
            ("a refusal", sending("nonsense\r\n\r\n")),
            ("the last answer", sending("GET / HTTP/1.0\r\n\r\n")),
            ("a refused upgrade", sending(&upgrade("/socket.io/?transport=websocket", ""))),
            ("a WebSocket that breaks the rules", wrong),
        ];
        server.settle();
        assert_eq!(sending(&twice).response().status, 400);
        ended.iter_mut().for_each(|(what, client)| assert_goodbye(client, what));
        // Those whose client has ended its side get it too.
        for with_notice in [true, false] {
            let mut left = [
                ("a WebSocket", websocket()),
                ("half a request", sending("GET / HT")),
                ("nothing", sending(&get("/healthz"))),
                ("a parked GET", sending(&get(&open_session(sending(""))))),
            ];
            for (what, client) in &mut left {
                match with_notice {
                    true => client.half_close(),
                    false => client.stream.socket().shutdown(Shutdown::Write).expect("a live socket"),
                }
                assert_goodbye(client, what);
            }
        }
    }
}

/// Ciphertext of a connection that is closing is thrown away up to a limit, also while the client does not read.
#[test]
fn bulk_a_closing_connection_takes_only_so_much_more() {
    let server = start(files(), &["--max-queue", "64MiB", "--soft-queue", "64MiB", "--max-text", "900000"]);
    let open = || {
        let mut client = connect(&server, &client());
        client.send(upgrade(WEBSOCKET, ""));
        WebSocket::upgraded(client).opened()
    };
    let (mut slow, mut speaker) = (open(), open());
    slow.join();
    speaker.log_in("speaker");
    let text = "x".repeat(500_000);
    (0..12).for_each(|_| speaker.send(&format!(r#"2["new message","{text}"]"#)));
    // A frame without a mask.
    slow.client.send(b"\x81\x01x");
    let piece = [b'x'; 64 * 1024];
    let error = (0..4096).find_map(|_| slow.client.stream.write_all(&piece).err()).expect("256 MiB are not read");
    let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionAborted];
    assert!(kinds.contains(&error.kind()), "{error}");
    speaker.assert_quiet();
}

#[test]
fn the_second_port_leads_to_https() {
    let mut server = start(files(), &["--redirect-http", "0"]);
    let line = server.log_line(" redirects there");
    let address = line.split_once("http://").and_then(|(_, rest)| rest.split(' ').next()).expect("the line has it");
    let address = address.parse().expect("an address");
    let port = server.address.port();
    let ask = |head: &str| connect_plain(address).ask(head.to_owned() + "\r\n\r\n");
    for (head, to) in [
        ("GET / HTTP/1.1\r\nHost: chat.example", "https://chat.example:PORT/"),
        ("GET /a/b?c=d&e HTTP/1.1\r\nHost: chat.example:80", "https://chat.example:PORT/a/b?c=d&e"),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080", "https://[::1]:PORT/"),
        // This looks like another host, but is a path on this server.
        ("GET //evil.example/ HTTP/1.1\r\nHost: chat.example", "https://chat.example:PORT//evil.example/"),
        ("GET http://chat.example/x HTTP/1.1\r\nHost: other.example", "https://chat.example:PORT/x"),
    ] {
        let answer = ask(head);
        assert_eq!(answer.status, 308, "{head}");
        assert_eq!(answer.header("Location"), Some(&*to.replace("PORT", &port.to_string())), "{head}");
    }
    for head in [
        "POST / HTTP/1.1\r\nHost: chat.example\r\nContent-Length: 0",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nHost: ",
        "GET / HTTP/1.1\r\nHost: evil.example/@chat.example",
        "GET / HTTP/1.1\r\nHost: a:b:c",
        "GET / HTTP/1.1\r\nHost: chat.example:80:80",
        "GET / HTTP/1.1\r\nHost: chat.example:http",
        "GET / HTTP/1.1\r\nHost: user@chat.example",
        "GET / HTTP/1.1\r\nHost: ::1",
        "GET / HTTP/1.1\r\nHost: [::1",
        "GET / HTTP/1.1\r\nHost: [::1]chat.example",
        "GET / HTTP/1.1\r\nHost: [chat.example]",
        "GET / HTTP/1.1\r\nHost: :80",
        "GET / HTTP/1.1\r\nHost: chat%zz.example",
        "GET http://a:b:c/ HTTP/1.1\r\nHost: chat.example",
        "GET / HTTP/1.1\r\nHost: chat.example\r\nHost: evil.example",
        "OPTIONS * HTTP/1.1\r\nHost: chat.example",
    ] {
        let answer = ask(head);
        assert_eq!((answer.status, answer.header("Location")), (400, None), "{head}");
    }
    let mut head = connect_plain(address);
    head.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.response_to_head().status, 308);
    head.assert_end();
    // The second port serves nothing else.
    assert_eq!(ask("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a").status, 308);
    assert_served(&server, &client());
}

#[cfg(unix)]
mod sighup {
    use super::*;
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    #[test]
    fn the_health_check_without_tls_shows_the_stop() {
        let mut server = start(files(), &["--drain", "1m"]);
        // The drain closes sessions one after the other, and takes a second or more with these.
        let mut last = connect(&server, &client());
        for _ in 0..20 {
            assert_eq!(last.ask(get(POLLING)).status, 200);
        }
        kill(Pid::from_raw(server.pid() as i32), Signal::SIGTERM).expect("the server is there");
        server.log_line("stopping");
        assert_eq!(connect_plain(server.address).ask(get("/healthz")).status, 503);
    }

    #[test]
    fn a_stopping_server_says_goodbye() {
        let mut server = start(files(), &[]);
        let mut idle = connect(&server, &client());
        assert_eq!(idle.ask(get("/healthz")).status, 200);
        let mut websocket = connect(&server, &client());
        websocket.send(upgrade(WEBSOCKET, ""));
        websocket.response();
        kill(Pid::from_raw(server.pid() as i32), Signal::SIGTERM).expect("the server is there");
        assert_goodbye(&mut websocket, "a WebSocket");
        assert_goodbye(&mut idle, "idle");
        assert!(server.ended().success());
    }

    fn reload(server: &Server) {
        kill(Pid::from_raw(server.pid() as i32), Signal::SIGHUP).expect("the server is there");
    }

    #[test]
    fn new_files_are_for_new_connections() {
        let own = new_files(2020..4000);
        let mut server = start(&own, &[]);
        let old = Arc::new(trust(&own.cert, rustls::DEFAULT_VERSIONS));
        let mut kept = connect(&server, &old);
        kept.send(upgrade(WEBSOCKET, ""));
        let mut kept = WebSocket::upgraded(kept).opened();
        kept.join();

        let new = new_files(2020..4000);
        fs::copy(&new.cert, &own.cert).expect("a directory for tests");
        // The new certificate with the old key: the old pair stays in use, and the log says why.
        reload(&server);
        let line = server.log_line("stays in use");
        assert!(line.contains("ERROR") && line.contains("does not belong to the certificate"), "{line}");
        // A client that has no session ticket.
        let fresh = || {
            let mut config = ClientConfig::clone(&old);
            config.resumption = Resumption::disabled();
            Arc::new(config)
        };
        assert_served(&server, &fresh());

        fs::copy(&new.key, &own.key).expect("a directory for tests");
        reload(&server);
        server.log_line("certificate reloaded");
        assert_served(&server, &Arc::new(trust(&new.cert, rustls::DEFAULT_VERSIONS)));
        assert!(connect(&server, &fresh()).stream.write_all(b"GET").is_err(), "the old certificate is out of use");
        kept.assert_quiet();
        // Tickets stay valid with the new certificate.
        let mut resumed = connect(&server, &old);
        assert_eq!(resumed.ask(get("/healthz")).status, 200);
        assert_eq!(resumed.stream.session().handshake_kind(), Some(HandshakeKind::Resumed));
    }

    /// Without a certificate to reread, SIGHUP has its usual effect: the server ends with its terminal.
    #[test]
    fn without_tls_it_ends_the_process() {
        let mut command = salon();
        command.args(["--port", "0", "--host", "127.0.0.1"]);
        let mut server = Server::run_as_is(command);
        reload(&server);
        assert_eq!(server.ended().code(), None);
    }
}
