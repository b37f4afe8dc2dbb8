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
        // Any file would do.
        if !["redis-ca", "history", "tls-cert", "tls-key"].contains(&&*option.flag) {
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
    let mut clients = [(); 3].map(|()| server.connect());
    for client in &mut clients {
        assert_eq!(client.ask(get("/nowhere")).status, 404);
    }
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
    use crate::harness::{
        Client, Polling, Server, Stopwatch, Talk, WebSocket, get, request, salon_with_descriptors, wait_for,
    };
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use std::{thread, time::Duration};

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
        let before = server.status("voluntary_ctxt_switches");
        thread::sleep(Duration::from_secs(10));
        assert_eq!(server.status("voluntary_ctxt_switches"), before);
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
