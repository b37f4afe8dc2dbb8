//! salon as a process: options, signals, what it does when descriptors run out, and what it does when there is
//! nothing to do.

#[cfg(target_os = "linux")]
use crate::harness::wait_for;
use crate::harness::{Client, POLLING, Server, get, salon};
use salon::config::OPTIONS;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Command, Output},
};

/// Runs the program to its end.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program can be started");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// The program says in one line what is wrong, with these words in it, and fails.
fn check_refused(command: &mut Command, words: &[&str]) {
    let (code, stdout, stderr) = run(command);
    assert_eq!((code, &*stdout), (Some(1), ""), "{command:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{command:?} does not say {word:?}: {stderr}");
    }
}

#[test]
fn help_names_every_option() {
    for flag in ["--help", "-h"] {
        let (code, stdout, stderr) = run(salon().arg(flag));
        assert_eq!((code, &*stderr), (Some(0), ""));
        for option in OPTIONS.iter() {
            let line =
                format!("--{} VALUE, {} (default: {})", option.flag, option.env.replace(' ', ", "), option.default);
            assert!(stdout.contains(&line), "{line} is not in {stdout}");
            assert!(stdout.contains(option.help), "{} is not in {stdout}", option.help);
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    for flag in ["--version", "-V"] {
        assert_eq!(
            run(salon().arg(flag)),
            (Some(0), concat!("salon ", env!("CARGO_PKG_VERSION"), "\n").into(), "".into())
        );
    }
}

#[test]
fn a_bad_value_is_named_with_its_option() {
    for option in OPTIONS.iter() {
        let flag = format!("--{}", option.flag);
        // Any file would do, and so would any password.
        if !["redis-ca", "history", "tls-cert", "tls-key", "password", "title"].contains(&&*option.flag) {
            // Secrets are not shown, not even bad ones.
            let shown = if ["redis", "metrics-token"].contains(&&*option.flag) { "the value" } else { "?!" };
            check_refused(salon().args([&*flag, "?!"]), &[&flag, shown]);
            check_refused(salon().arg(format!("{flag}=?!")), &[&flag, shown]);
            for variable in option.env.split(' ') {
                check_refused(salon().env(variable, "?!"), &[variable, shown]);
            }
        }
        // Alone, a switch means yes.
        if !["yes", "no"].contains(&option.default) {
            check_refused(salon().arg(&flag), &[&flag]);
        }
    }
}

#[test]
fn what_is_no_option_is_named() {
    check_refused(salon().arg("--no-such-thing"), &["--no-such-thing", "--help"]);
    check_refused(salon().arg("-x"), &["-x"]);
    check_refused(salon().arg("chat"), &["chat"]);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_default() {
    let start = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = salon();
        command.env("PORT", "0").env("HOST", "127.0.0.1").envs(env.iter().copied()).args(flags);
        Server::run(command)
    };
    let interval = |server: &Server| {
        let open = server.ask(&get(POLLING)).text().to_owned();
        let (_, rest) = open.split_once(r#""pingInterval":"#).expect("it is told");
        rest.split(',').next().expect("split yields something").to_owned()
    };
    assert_eq!(interval(&start(&[], &[])), "25000");
    assert_eq!(interval(&start(&[], &[("SALON_PING_INTERVAL", "")])), "25000");
    assert_eq!(interval(&start(&[], &[("SALON_PING_INTERVAL", "7s")])), "7000");
    assert_eq!(interval(&start(&["--ping-interval", "3s"], &[("SALON_PING_INTERVAL", "7s")])), "3000");
}

#[test]
fn settings_that_cannot_work_together_are_named() {
    check_refused(
        salon().args(["--max-payload", "10MB", "--max-text", "8MB"]),
        &["--max-queue", "--max-payload", "--max-text"],
    );
    check_refused(salon().args(["--max-queue", "128KiB"]), &["--max-queue", "524288"]);
    check_refused(
        salon().args(["--transports", "websocket", "--max-websockets", "0"]),
        &["--max-websockets", "--transports"],
    );
}

/// Nobody reads what is printed: that is no error. What cannot be written anywhere is one, and no panic.
#[test]
fn printing_to_nobody() {
    use std::io::pipe;
    for (flag, status) in [("--help", 0), ("--version", 0), ("--check", 0), ("--no-such-thing", 1)] {
        for (output, errors) in [(true, false), (true, true), (false, true)] {
            let mut command = salon();
            command.env_remove("SALON_TEST_KERNEL").env_remove("SALON_TEST_TLS");
            command.args([flag, "--max-connections=9", "--max-per-address=8"]);
            let closed = || pipe().expect("a pipe").1;
            if output {
                command.stdout(closed());
            }
            if errors {
                command.stderr(closed());
            }
            let (code, stdout, stderr) = run(&mut command);
            assert_eq!(code, Some(status), "{flag}: {stderr}");
            assert!(stderr.lines().count() <= 1 && (stdout.is_empty() || !output), "{flag}: {stderr}");
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let (code, stdout, stderr) = run(salon().args(["--host", "127.0.0.1", "--port", &port]));
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.contains("127.0.0.1") && stderr.contains(&port) && stderr.contains("in use"), "{stderr}");
}

#[test]
fn without_a_host_all_addresses_are_served() {
    let mut command = salon();
    command.args(["--port", "0"]);
    let server = Server::run(command);
    let port = server.address.port();
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    // There are machines without IPv6.
    if server.address.is_ipv6() {
        addresses.push((Ipv6Addr::LOCALHOST, port).into());
    }
    for address in addresses {
        assert_eq!(Client::connect(address).ask(get("/nowhere")).status, 404, "{address}");
    }
}

#[test]
fn no_more_connections_are_taken_than_allowed() {
    let server = Server::start(&["--max-connections", "3"]);
    // One after the other: at most two may be without a request.
    let clients = [(); 3].map(|()| {
        let mut client = server.connect();
        assert_eq!(client.ask(get("/nowhere")).status, 404);
        client
    });
    let [closed, mut kept @ ..] = clients;
    let mut waiting = server.connect();
    // With TLS nothing can be sent before it is let in.
    let answer = std::thread::spawn(move || waiting.ask(get("/")).status);
    for client in &mut kept {
        assert_eq!(client.ask(get("/nowhere")).status, 404);
    }
    #[cfg(target_os = "linux")]
    wait_for("the server ignores the fourth", || server.ignores().then_some(()));
    drop(closed);
    assert_eq!(answer.join().expect("it is answered"), 200);
    // Sessions are counted too, on however few connections they are made.
    for status in [200, 200, 200, 503] {
        let response = kept[0].ask(get(POLLING));
        assert_eq!((response.status, response.header("Retry-After")), (status, (status == 503).then_some("5")));
    }
}

/// What only Linux tells of a process, or lets be done to it.
#[cfg(target_os = "linux")]
mod linux {
    use super::run;
    use crate::harness::{
        Client, POLLING, Polling, Server, Stopwatch, Talk, WebSocket, get, request, salon, salon_with_descriptors,
        wait_for,
    };
    use crate::secure;
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use std::{
        io::{self, Read, Write},
        net::{Shutdown, SocketAddr, TcpListener, TcpStream},
        thread,
        time::Duration,
    };

    fn signal(server: &Server, signal: Signal) {
        kill(Pid::from_raw(server.pid() as i32), signal).expect("the server is there");
    }

    #[test]
    fn a_signal_ends_the_process_and_tells_everybody() {
        for number in [Signal::SIGTERM, Signal::SIGINT] {
            let mut server = Server::start(&[]);
            let mut polling = Polling::open(&server);
            polling.log_in("polling");
            let mut absent = Polling::open(&server);
            absent.join();
            let mut socket = WebSocket::open(&server);
            socket.join();
            let mut kept = server.connect();
            assert_eq!(kept.ask(get("/nowhere")).status, 404);
            let mut post = server.connect();
            post.send(&request("POST", &absent.target, "", "40/nowhere,")[..20]);
            polling.park();
            server.settle();

            signal(&server, number);
            assert_eq!(polling.answer(), "1");
            // Not the packet `41` that would keep a client from coming back to the next server.
            socket.assert_closed(1001);
            // Who did not wait is still told, on a connection that is there.
            assert_eq!(absent.poll(), "1");
            kept.assert_end();
            assert_eq!(server.ended().code(), Some(0));
        }
    }

    #[test]
    fn a_client_that_does_not_react_does_not_keep_the_process() {
        let mut server = Server::start(&[]);
        let mut socket = WebSocket::open(&server);
        socket.join();
        let mut polling = Polling::open(&server);
        polling.join();
        let mut half = server.connect();
        half.send("GET / HTTP/1.1\r\n");
        server.settle();
        let watch = Stopwatch::start(&server);
        signal(&server, Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
        // The time of --drain, and little more.
        let time = watch.elapsed(&server);
        assert!(time < Duration::from_millis(3500), "{time:?}");
    }

    #[test]
    fn nobody_is_waited_for_if_nobody_is_there() {
        let mut server = Server::start(&[]);
        assert_eq!(server.ask(&get("/nowhere")).status, 404);
        let watch = Stopwatch::start(&server);
        signal(&server, Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
        let time = watch.elapsed(&server);
        assert!(time < Duration::from_millis(1000), "{time:?}");
    }

    /// A full disk: one line, if there is room for it.
    #[test]
    fn printing_to_a_full_disk() {
        let full = || std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        for flag in ["--help", "--version", "--check"] {
            let mut command = salon();
            command.args([flag, "--max-connections=9", "--max-per-address=8"]).stdout(full());
            let line = "salon: cannot write to standard output: No space left on device (os error 28)\n";
            assert_eq!(run(&mut command), (Some(1), "".into(), line.into()), "{flag}");
            assert_eq!(run(command.stdout(full()).stderr(full())), (Some(1), "".into(), "".into()), "{flag}");
        }
        assert_eq!(run(salon().arg("--no-such-thing").stderr(full())).0, Some(1));
    }

    /// What is under way is answered before the end: half a body, half a head.
    #[test]
    fn a_signal_waits_for_requests_under_way() {
        let mut server = Server::start(&["--drain", "1m"]);
        let mut polling = Polling::open(&server);
        polling.log_in("polling");
        let message = request("POST", &polling.target, "", r#"421["new message","the last word"]"#);
        let page = get("/style.css");
        let (mut body, mut head) = (server.connect(), server.connect());
        body.send(&message[..message.len() - 3]);
        head.send(&page[..9]);
        server.settle();
        signal(&server, Signal::SIGTERM);
        server.log_line("stopping");
        // Its turn in the drain has come.
        wait_for("the port is still open", || (server.ask(&get("/healthz")).status == 503).then_some(()));
        body.send(&message[message.len() - 3..]);
        assert_eq!(body.response().brief(), (200, "ok"));
        server.settle();
        let packets = polling.poll();
        assert!(packets.starts_with(r#"431[{"n":1,"#) && packets.ends_with("}]"), "{packets}");
        // The end has a payload of its own, and here each answer is the last of its connection.
        polling.gets = server.connect();
        assert_eq!(polling.poll(), "1");
        // No session is left.
        assert_eq!(server.ask(&get(POLLING)).status, 503);
        head.send(&page[9..]);
        let response = head.response();
        assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
        drop((body, head, polling));
        assert_eq!(server.ended().code(), Some(0));
    }

    /// Official clients that have read `3probe` poll no more until the upgrade is done, whatever becomes of the probe.
    #[test]
    fn a_session_that_is_upgrading_ends_on_the_transport_that_it_still_has() {
        for (sends_upgrade, message) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut server = Server::start(&["--drain", "1m"]);
            let mut polling = Polling::open(&server);
            polling.log_in("polling");
            let mut speaker = WebSocket::open(&server);
            speaker.log_in("speaker");
            assert!(polling.poll().contains("user joined"));
            let mut socket = WebSocket::take_over(&server, &polling.sid);
            socket.send_text("2probe");
            assert_eq!(socket.text(), "3probe");
            if message {
                speaker.send(r#"2["new message","the last word"]"#);
                server.settle();
            }
            signal(&server, Signal::SIGTERM);
            server.log_line("stopping");
            speaker.assert_closed(1001);
            let closed = r#"salon_sessions_ended_total{reason="server_close"} 2"#;
            wait_for("both are closed", || server.ask(&get("/metrics")).text().contains(closed).then_some(()));
            if sends_upgrade {
                socket.send_text("5");
                if message {
                    assert!(socket.text().contains("the last word"));
                }
                assert_eq!(socket.text(), "1");
            } else {
                let packets = polling.poll();
                assert!(packets.ends_with('1') && packets.contains("the last word") == message, "{packets}");
            }
            socket.assert_closed(1000);
            drop((socket, speaker, polling));
            assert_eq!(server.ended().code(), Some(0));
        }
    }

    /// Connections that are kept, silent, or in the middle of a TLS handshake, are no requests.
    #[test]
    fn connections_without_a_request_are_not_waited_for() {
        let mut server = Server::start(&["--drain", "1m"]);
        let mut kept = server.connect();
        assert_eq!(kept.ask(get("/style.css")).status, 200);
        let silent = server.connect();
        let mut handshake = Client::over(TcpStream::connect(server.address).expect("the server accepts"), None);
        if secure::is_on() {
            handshake.send(b"\x16\x03\x01\x02\x00\x01");
        }
        server.settle();
        let watch = Stopwatch::start(&server);
        signal(&server, Signal::SIGTERM);
        assert_eq!(server.ended().code(), Some(0));
        // To linger would take a second.
        let time = watch.elapsed(&server);
        assert!(time < Duration::from_millis(700), "{time:?}");
        drop((kept, silent, handshake));
    }

    #[test]
    fn clients_that_wait_for_room_are_counted() {
        let server = Server::start(&["--max-connections", "3"]);
        let mut clients = [(); 3].map(|()| {
            let mut client = server.connect();
            assert_eq!(client.ask(get("/nowhere")).status, 404);
            client
        });
        let [first, second, third] = &mut clients;
        let mut waited = || {
            let metrics = first.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let name = r#"salon_limits_total{limit="connections"} "#;
            let value = metrics.text().lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
            value.parse::<u32>().expect("a number")
        };
        let mut waiting = Vec::new();
        for number in 0..3 {
            // A full server that works has turned nobody away.
            for _ in 0..20 {
                assert_eq!(second.ask(get("/nowhere")).status, 404);
            }
            assert_eq!(waited(), number);
            waiting.push(TcpStream::connect(server.address).expect("the kernel accepts"));
            wait_for("the next one is counted", || (waited() == number + 1).then_some(()));
        }
        // Those that come at the same time are counted one by one, as soon as there is room for them.
        signal(&server, Signal::SIGSTOP);
        wait_for("the server stands still", || server.is_stopped().then_some(()));
        waiting.extend([(); 4].map(|()| TcpStream::connect(server.address).expect("the kernel accepts")));
        signal(&server, Signal::SIGCONT);
        drop(waiting);
        third.stream.socket().shutdown(Shutdown::Both).expect("a live socket");
        wait_for("all are counted", || (waited() == 7).then_some(()));
        wait_for("all are gone", || (server.connections() == 2).then_some(()));
        assert_eq!(waited(), 7);
        // Who comes while there is room does not wait.
        drop(server.connect());
        assert_eq!((second.ask(get("/nowhere")).status, waited()), (404, 7));
    }

    /// Nobody reads the log: the server goes on, and says later what is missing.
    #[test]
    fn a_log_that_nobody_reads_does_not_stop_the_server() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut command = salon();
        command.env_remove("SALON_TEST_TLS").args(["--port", "0", "--host", "127.0.0.1", "--log", "debug"]);
        let mut child = command.stderr(writer.try_clone().expect("a descriptor")).spawn().expect("it can be started");
        drop(command);
        let mut read = |part: &str| {
            let mut text = Vec::new();
            while !text.ends_with(b"\n") || !String::from_utf8_lossy(&text).contains(part) {
                let mut byte = [0];
                assert_eq!(reader.read(&mut byte).expect("the writer is there"), 1);
                text.push(byte[0]);
            }
            String::from_utf8(text).expect("text")
        };
        let line = read(" listens on http://");
        let address: SocketAddr =
            line.rsplit('/').next().and_then(|text| text.trim().parse().ok()).expect("an address");
        let connect = || Client::over(TcpStream::connect(address).expect("the server accepts"), None);
        let dropped = || {
            let metrics = connect().ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let value = metrics.text().lines().find_map(|line| line.strip_prefix("salon_log_lines_dropped_total "));
            value.expect("a metric").parse::<u32>().expect("a number")
        };
        assert_eq!(dropped(), 0);
        // All of Linux's 16 pages.
        writer.write_all(&[b'-'; 16 * 4096]).expect("the pipe is empty");
        for number in 1..=5 {
            // One line at debug.
            assert_eq!(connect().ask("bad request\r\n\r\n").status, 400);
            assert_eq!(dropped(), number);
        }
        let mut page = vec![0; 16 * 4096];
        reader.read_exact(&mut page).expect("it is there");
        assert_eq!(connect().ask("bad request\r\n\r\n").status, 400);
        let mut rest = Vec::new();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("the server is there");
        child.wait().expect("it is our child");
        drop(writer);
        reader.read_to_end(&mut rest).expect("the end");
        let rest = String::from_utf8(rest).expect("text");
        let lines: Vec<_> = rest.lines().collect();
        assert!(lines[0].ends_with(" (5 lines before it were dropped)"), "{rest}");
        assert!(lines[1..].iter().all(|line| !line.contains("dropped")), "{rest}");
        assert!(rest.ends_with("stopped\n"), "{rest}");
    }

    /// A reader that has gone is no reason to stop either.
    #[test]
    fn a_log_without_a_reader() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let mut command = salon();
        command.env_remove("SALON_TEST_TLS").args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        drop(reader);
        let mut child = command.stderr(writer).spawn().expect("it can be started");
        let client = wait_for("it listens", || TcpStream::connect(address).ok());
        let metrics = Client::over(client, None).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(metrics.text().contains("\nsalon_log_lines_dropped_total 1\n"), "{}", metrics.text());
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("the server is there");
        assert_eq!(child.wait().expect("it is our child").code(), Some(0));
    }

    /// Whatever a line contains, it is one line of at most 4,096 bytes, without the power to clear the screen or to turn
    /// around what stands beside it. Here the text comes from a false Redis.
    #[test]
    fn a_log_line_is_one_line() {
        let evil = "ERR a\n2026-01-01T00:00:00Z INFO  forged\x1b[2J\t\u{85}\u{2028}\u{202e}\u{200b}é b";
        let escaped = r"ERR a\n2026-01-01T00:00:00Z INFO  forged\u{1b}[2J\t\u{85}\u{2028}\u{202e}\u{200b}é b";
        let long = format!("ERR {}", "é".repeat(2000));
        for (text, shown) in [(evil, escaped), (&long, &long[..3800])] {
            let redis = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let url = format!("redis://{}", redis.local_addr().expect("a bound socket"));
            let mut server = Server::start(&["--redis", &url]);
            let (mut link, _) = redis.accept().expect("the server connects");
            link.write_all(format!("-{text}\r\n").as_bytes()).expect("the server reads");
            let line = server.log_line("refuses the connection: ");
            assert!(line.contains(shown) && line.len() < 4096, "{} bytes: {line}", line.len());
            assert_eq!(shown.len() < 3800, line.ends_with(r#"é b"; this node serves its clients alone"#), "{line}");
        }
    }

    #[test]
    fn a_process_with_nothing_to_do_does_not_wake() {
        let server = Server::start(&[]);
        // It has worked before: nothing of that may be left.
        let mut socket = WebSocket::open(&server);
        socket.log_in("user");
        assert_eq!(server.ask(&get("/")).status, 200);
        let mut polling = Polling::open(&server);
        polling.join();
        assert_eq!(polling.post("1").brief(), (200, "ok"));
        drop((socket, polling));
        wait_for("all connections are closed", || (server.connections() == 0).then_some(()));
        server.settle();
        // A machine that stops and continues all processes wakes this one too: one span of three has to be quiet.
        let is_quiet = |_| {
            let before = server.status("voluntary_ctxt_switches");
            thread::sleep(Duration::from_secs(10));
            server.status("voluntary_ctxt_switches") == before
        };
        assert!((0..3).any(is_quiet));
    }

    #[test]
    fn the_process_recovers_when_descriptors_run_out() {
        let mut command = salon_with_descriptors(40);
        command.args(["--port", "0", "--host", "127.0.0.1"]);
        let mut server = Server::run(command);
        let mut socket = WebSocket::open(&server);
        socket.join();
        // The kernel accepts what the server cannot.
        let mut crowd: Vec<Client> = (0..60).map(|_| server.connect()).collect();
        server.log_line("cannot accept");
        socket.assert_quiet();
        assert_eq!(crowd[0].ask(get("/nowhere")).status, 404);

        let watch = Stopwatch::start(&server);
        crowd.clear();
        assert_eq!(server.ask(&get("/nowhere")).status, 404);
        // The first that closes makes room for the next: no need to wait for the second that accept rests.
        let time = watch.elapsed(&server);
        assert!(time < Duration::from_millis(700), "{time:?}");
        socket.assert_quiet();
        let log = server.into_log();
        let complaints = log.iter().filter(|line| line.contains("cannot accept")).count();
        assert_eq!(complaints, 1, "each that closed lets one in, and the next is one too many: {log:#?}");
    }
}
