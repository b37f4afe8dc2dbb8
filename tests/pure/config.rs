//! Options: flags and variables, valid values, error messages, the warnings of --check, README's tables.

use log::LevelFilter;
use salon::config::{self, Action, Config, OPTIONS, Opt, Origins, Recovery, Settings, Transports, TrustProxy};
use std::{ffi::OsString, net::IpAddr, time::Duration};

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
    let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    let settings = Config::default().load(args.iter().map(OsString::from), find)?;
    assert_eq!(settings.action, Action::Run);
    Ok(settings.config)
}

/// The variable of an option; if it has several, the one that no platform sets.
fn variable(option: &Opt) -> &str {
    let own = |name: &&str| name.starts_with("SALON_") || ["PORT", "HOST", "REDIS_URL"].contains(name);
    option.env.split(' ').find(own).expect("every option has a variable")
}

/// A valid value for each option, other than its default.
const GOOD: &[(&str, &str)] = &[
    ("port", "0"),
    ("host", "127.0.0.1"),
    ("origins", "https://a.example"),
    ("frame-ancestors", "https://a.example"),
    ("transports", "polling"),
    ("old-clients", "no"),
    ("recovery", "off"),
    ("leave-grace", "0"),
    ("metrics-token", "open-sesame"),
    ("base", "/chat"),
    ("trust-proxy", "yes"),
    ("redis", "redis://127.0.0.1"),
    ("log", "debug"),
    ("max-depth", "7"),
    ("max-headers", "17"),
    ("max-packets", "17"),
    ("max-head", "7000"),
    ("max-payload", "7000"),
    ("max-queue", "700KiB"),
    ("max-held", "700KiB"),
    // Below the half of it that --max-half-open may be.
    ("max-connections", "2000"),
];

/// Every option works as `--flag value`, as `--flag=value` and as a variable. The flag wins over the variable.
#[test]
fn flags_and_variables() {
    let default = format!("{:?}", Config::default());
    for option in OPTIONS.iter() {
        let known = GOOD.iter().find(|(flag, _)| *flag == option.flag).map(|(_, value)| *value);
        let value = known.unwrap_or(if option.default.ends_with('s') { "7s" } else { "7" });
        let flag = format!("--{}", option.flag);
        let by_flag = format!("{:?}", load(&[&flag, value], &[]).unwrap());
        assert_ne!(by_flag, default, "{flag} changes nothing");
        assert_eq!(by_flag, format!("{:?}", load(&[&format!("{flag}={value}")], &[]).unwrap()));
        assert_eq!(by_flag, format!("{:?}", load(&[], &[(variable(option), value)]).unwrap()), "{}", option.env);
        let both = load(&[&flag, option.default], &[(variable(option), value)]).unwrap();
        let said = default.replace("knows_proxy: false", &format!("knows_proxy: {}", option.flag == "trust-proxy"));
        assert_eq!(format!("{both:?}"), said, "{flag} does not win");
        // Deployment templates set variables to nothing.
        assert_eq!(format!("{:?}", load(&[], &[(variable(option), "")]).unwrap()), default);
    }
}

/// The error for a bad value is one line that names the flag or variable that has it.
#[test]
fn bad_values() {
    let table = [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("port", r"\\.\pipe\1234"),
        ("host", "a.example"),
        ("host", "300.1.1.1"),
        ("origins", "a.example"),
        ("frame-ancestors", "a.example"),
        ("frame-ancestors", "null"),
        ("frame-ancestors", "file://"),
        ("frame-ancestors", "https://a.example; script-src"),
        ("frame-ancestors", "https://a.example;script-src"),
        ("title", "a\u{7}b"),
        ("origins", "https://a.example/"),
        ("origins", "https://*.example"),
        ("origins", "https://a.example,,null"),
        ("transports", "polling,flash"),
        ("transports", ""),
        ("old-clients", "maybe"),
        ("trust-proxy", "maybe"),
        ("trust-proxy", "256"),
        ("trust-proxy", "1.5"),
        ("trust-proxy", "yes,no"),
        ("trust-proxy", "1,10.0.0.1"),
        ("trust-proxy", "proxy.example"),
        ("trust-proxy", "10.0.0.1,"),
        ("trust-proxy", "10.0.0.1 10.0.0.2"),
        ("trust-proxy", "10.0.0.1:80"),
        ("trust-proxy", "10.0.0/8"),
        ("trust-proxy", "10.0.0.0/"),
        ("trust-proxy", "10.0.0.0/33"),
        ("trust-proxy", "10.0.0.0/-1"),
        ("trust-proxy", "10.0.0.0/8/8"),
        ("trust-proxy", "/8"),
        ("trust-proxy", "2001:db8::/129"),
        ("trust-proxy", "::ffff:10.0.0.0/129"),
        ("trust-proxy", "10.0.0.0/300"),
        ("trust-proxy", "fe80::1%eth0"),
        ("recovery", "on"),
        ("log", "loud"),
        ("ping-interval", "0"),
        ("ping-interval", "-5s"),
        ("ping-interval", "25h"),
        ("ping-interval", "99999999999999999999"),
        ("leave-grace", "5x"),
        ("max-payload", "0"),
        ("max-payload", "2GiB"),
        ("max-payload", "1000000000000000000000"),
        ("max-payload", "1e6"),
        ("max-headers", "65"),
        ("max-depth", "129"),
    ];
    for (flag, value) in table {
        let option = OPTIONS.iter().find(|option| option.flag == flag).unwrap();
        let error = load(&[&format!("--{flag}"), value], &[]).unwrap_err();
        assert!(error.starts_with(&format!("--{flag}: {value:?} is not ")) && !error.contains('\n'), "{error}");
        if !value.is_empty() {
            let error = load(&[], &[(variable(option), value)]).unwrap_err();
            assert!(error.starts_with(&format!("{}: ", variable(option))), "{error}");
        }
    }
    assert!(load(&["--port", r"\\.\pipe\1234"], &[]).unwrap_err().contains("HttpPlatformHandler"));
    assert!(load(&["--prot", "1"], &[]).unwrap_err().contains("--prot"));
    assert!(load(&["--port"], &[]).unwrap_err().contains("--port"));
    assert!(load(&["file"], &[]).unwrap_err().contains("file"));
    assert!(load(&["-p", "1"], &[]).unwrap_err().contains("-p"));
}

/// The error of every option begins with the flag or variable, and the value unless it is secret.
#[test]
fn every_option_refuses_nonsense() {
    for option in OPTIONS.iter() {
        for value in ["?", "-1", "1x", "\u{661}"] {
            // A file may have any name, and Azure sets -1 if there is no limit.
            match (&*option.flag, value) {
                ("redis-ca" | "history" | "tls-cert" | "tls-key" | "password" | "title", _)
                | ("instance" | "redis-prefix", "-1" | "1x") => {
                    continue;
                }
                ("max-websockets", "-1") => continue,
                _ => {}
            }
            let shown = if option.flag == "redis" { "the value".to_owned() } else { format!("{value:?}") };
            let shown = if option.flag == "metrics-token" { "the value".to_owned() } else { shown };
            let error = load(&[&format!("--{}={value}", option.flag)], &[]).unwrap_err();
            assert!(error.starts_with(&format!("--{}: {shown} is not ", option.flag)), "{error}");
            let error = load(&[], &[(variable(option), value)]).unwrap_err();
            assert!(error.starts_with(&format!("{}: {shown} is not ", variable(option))), "{error}");
        }
        if ["redis-ca", "history", "tls-cert", "tls-key", "base"].contains(&&*option.flag) {
            continue;
        }
        assert!(load(&[&format!("--{}=", option.flag)], &[]).is_err(), "an empty flag is no missing variable");
    }
}

#[test]
fn messages() {
    for (args, env, message) in [
        (&["--port", "x"][..], &[][..], r#"--port: "x" is not a port, 0 to 65535"#),
        (&[], &[("PORT", "65536")], r#"PORT: "65536" is not a port, 0 to 65535"#),
        (
            &[],
            &[("PORT", r"\\.\pipe\1a2b")],
            r#"PORT: "\\\\.\\pipe\\1a2b" is not a TCP port but a named pipe, as iisnode gives it: salon needs HttpPlatformHandler"#,
        ),
        (&["--host=h"], &[("HOST", "127.0.0.1")], r#"--host: "h" is not an IP address"#),
        (&[], &[("SALON_MAX_HEADERS", "0")], r#"SALON_MAX_HEADERS: "0" is not a number from 16 to 64"#),
        (&["--max-depth", "0"], &[], r#"--max-depth: "0" is not a number from 4 to 128"#),
        (&["--transports", "ws"], &[], r#"--transports: "ws" is not a list of polling and websocket"#),
        (
            &["--trust-proxy", "a"],
            &[],
            r#"--trust-proxy: "a" is not yes, no, a number of proxies up to 255, or a list of addresses such as 10.0.0.0/8,::1"#,
        ),
        (
            &["--max-payload", "2GB"],
            &[],
            r#"--max-payload: "2GB" is not a number such as 300000 or 300KiB, from 1000 to 1 GiB"#,
        ),
        (&["--log", "all"], &[], r#"--log: "all" is not off, error, warn, info, debug or trace"#),
        (&["--colour", "red"], &[], "unknown option --colour, see --help"),
        (&["--Port", "1"], &[], "unknown option --Port, see --help"),
    ] {
        assert_eq!(load(args, env).unwrap_err(), message);
    }
}

/// A variable is not parsed if the flag is given; of two flags the last counts; spaces around a value do not.
#[test]
fn which_value_counts() {
    let port = |args: &[&str], env: &[(&str, &str)]| load(args, env).map(|config| config.port);
    assert_eq!(port(&["--port", "1"], &[("PORT", "nonsense")]), Ok(1));
    assert_eq!(port(&["--port", "nonsense", "--port", "2"], &[]), Ok(2));
    assert_eq!(port(&["--host", "::1", "--port= 3 "], &[]), Ok(3));
    assert_eq!(port(&[], &[("PORT", " 4\r\n"), ("SALON_PORT", "5"), ("port", "6")]), Ok(4));
    // --help works even if other values are invalid.
    let help = Config::default().load(["-h", "--port", "x"].map(OsString::from), |_| Some("x".into()));
    assert_eq!(help.unwrap().action, Action::Help);
}

/// Variables of IIS and Azure, and the defaults that depend on them.
#[test]
fn platforms() {
    let iis =
        load(&[], &[("HTTP_PLATFORM_PORT", "5000"), ("ASPNETCORE_PORT", "5001"), ("PORT", r"\\.\pipe\1")]).unwrap();
    let one = TrustProxy::Hops(1);
    assert_eq!((iis.port, iis.host, iis.iis), (5000, Some([127, 0, 0, 1].into()), true));
    assert_eq!(iis.trust_proxy, one);
    let core = load(&[], &[("ASPNETCORE_PORT", "5001"), ("PORT", "80"), ("HOST", "::1")]).unwrap();
    assert_eq!((core.port, core.host, core.iis), (5001, Some("::1".parse().unwrap()), true));
    let flag = load(&["--port", "1"], &[("HTTP_PLATFORM_PORT", "5000")]).unwrap();
    assert_eq!((flag.port, flag.host, flag.iis, flag.trust_proxy), (1, None, false, TrustProxy::NONE));
    let azure = load(&[], &[("WEBSITE_SITE_NAME", "x"), ("WEBSOCKET_CONCURRENT_REQUEST_LIMIT", "350")]).unwrap();
    assert_eq!((azure.trust_proxy, azure.max_websockets), (one, Some(350)));
    let own = load(&["--trust-proxy", "no"], &[("WEBSITE_SITE_NAME", "x"), ("SALON_MAX_WEBSOCKETS", "3")]).unwrap();
    assert_eq!((own.trust_proxy, own.max_websockets), (TrustProxy::NONE, Some(3)));
    for (value, limit) in [("-1", None), ("none", None), ("0", Some(0)), ("5", Some(5))] {
        assert_eq!(load(&[], &[("WEBSOCKET_CONCURRENT_REQUEST_LIMIT", value)]).unwrap().max_websockets, limit);
    }
}

/// The flag of a yes/no option needs no value.
#[test]
fn switches() {
    assert_eq!(load(&["--trust-proxy"], &[]).unwrap().trust_proxy, TrustProxy::Hops(1));
    let config = load(&["--trust-proxy", "--port", "1"], &[]).unwrap();
    assert_eq!((config.trust_proxy, config.port), (TrustProxy::Hops(1), 1));
    let config = load(&["--trust-proxy", "no", "--port", "1"], &[]).unwrap();
    assert_eq!((config.trust_proxy, config.port), (TrustProxy::NONE, 1));
    assert!(!load(&["--old-clients=no"], &[]).unwrap().old_clients);
    assert!(load(&["--recovery", "--port", "1"], &[]).is_err());
}

#[test]
fn trusted_proxies() {
    let parse = |text: &str| load(&["--trust-proxy", text], &[]).unwrap().trust_proxy;
    for (text, hops) in [("no", 0), ("false", 0), ("0", 0), ("yes", 1), ("true", 1), ("1", 1), ("2", 2), ("255", 255)] {
        assert_eq!(parse(text), TrustProxy::Hops(hops), "{text}");
    }
    // A list, addresses that have one of its prefixes, and addresses that have none.
    for (text, inside, outside) in [
        ("10.0.0.1", &["10.0.0.1"][..], &["10.0.0.0", "10.0.0.2", "::a00:1"][..]),
        ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0", "a00::"]),
        ("10.1.2.3/8", &["10.0.0.0", "10.255.255.255"], &["11.1.2.3"]),
        ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.128"]),
        ("192.0.2.4/31", &["192.0.2.4", "192.0.2.5"], &["192.0.2.3", "192.0.2.6"]),
        ("192.0.2.4/32", &["192.0.2.4"], &["192.0.2.5"]),
        ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
        ("::/0", &["::", "ffff::1", "10.0.0.1"], &[]),
        ("2000::/3", &["2000::", "3fff::1"], &["4000::", "32.0.0.1"]),
        ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db7::", "2001:db9::", "32.1.13.184"]),
        ("2001:db8::1/128", &["2001:db8::1"], &["2001:db8::"]),
        ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
        ("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.0"]),
        ("::ffff:0:0/96", &["10.9.9.9", "0.0.0.0"], &["::1"]),
        (" 10.0.0.1 ,\t::1, 192.168.0.0/16", &["10.0.0.1", "::1", "192.168.7.7"], &["10.0.0.2", "::2", "192.169.0.0"]),
    ] {
        let proxies = parse(text);
        let is_listed = |address: &&str| proxies.may_be_proxy(address.parse::<IpAddr>().unwrap());
        assert!(inside.iter().all(is_listed), "{inside:?} in {text}");
        assert!(!outside.iter().any(is_listed), "{outside:?} not in {text}");
    }
}

#[test]
fn bases() {
    for (text, base) in [("/", ""), ("/chat", "/chat"), ("/chat/", "/chat"), ("/a/b.c_~-", "/a/b.c_~-")] {
        assert_eq!(load(&["--base", text], &[]).unwrap().base, base);
    }
    for bad in ["chat", "/a//b", "/a b", "/a?b", "/\u{e9}", "/%41"] {
        assert!(load(&["--base", bad], &[]).is_err(), "{bad}");
    }
}

/// The lines and warnings of `--check`.
#[test]
fn checks() {
    let check = |args: &[&str], env: &[(&str, &str)]| {
        let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let args = ["--check"].iter().chain(args).map(OsString::from);
        let Settings { action, config, lines, errors } = Config::default().load(args, find).unwrap();
        assert_eq!((action, errors), (Action::Check, Vec::new()));
        let names = env.iter().map(|(name, _)| (*name).to_owned());
        (config.warnings(names, Some(20_000)), lines)
    };
    let (warnings, settings) = check(&["--redis", "redis://:secret@10.0.0.1", "--drain=1s"], &[("SALON_LOG", "warn")]);
    assert_eq!(warnings, Vec::<String>::new());
    for (args, warns) in [(&["--password", "p"][..], 1), (&["--password", "p", "--trust-proxy", "no"], 0)] {
        let (warnings, settings) = check(args, &[]);
        assert_eq!(warnings.iter().filter(|line| line.starts_with("--password without --trust-proxy")).count(), warns);
        assert!(settings.iter().any(|line| line.starts_with("password ") && line.contains("(a secret)")));
    }
    assert_eq!(settings.len(), OPTIONS.len());
    let (warnings, _) = check(&["--recovery-bytes=9", "--soft-queue=512KiB", "--max-queue=512KiB"], &[]);
    assert_eq!(warnings, Vec::<String>::new());
    let line = |flag: &str, value: &str, source: &str| format!("{flag:17} {value:20} {source}");
    for (flag, value, source) in [
        ("redis", "(a secret)", "--redis"),
        ("drain", "1s", "--drain"),
        ("log", "warn", "SALON_LOG"),
        ("max-text", "16KiB", "default"),
        ("trust-proxy", "no", "default"),
    ] {
        assert!(settings.contains(&line(flag, value, source)), "{settings:#?}");
    }
    let (_, settings) = check(&[], &[("HTTP_PLATFORM_PORT", "1")]);
    assert!(settings.contains(&line("host", "127.0.0.1", "IIS")), "{settings:#?}");
    assert!(settings.contains(&line("trust-proxy", "yes", "IIS")), "{settings:#?}");
    for (args, env, warning) in [
        (&["--trust-proxy", "--ping-interval", "50s"][..], &[][..], "55 s"),
        (&["--trust-proxy", "2", "--ping-interval", "50s"], &[], "55 s"),
        (&["--trust-proxy", "10.0.0.0/8", "--ping-interval", "50s"], &[], "55 s"),
        (&["--host", "127.0.0.1"], &[], "--max-per-address"),
        (&["--host", "::ffff:127.0.0.1", "--trust-proxy", "no"], &[], "--max-per-address"),
        (&["--host", "127.0.0.1", "--trust-proxy", "10.0.0.0/8,::1"], &[], "no address of this machine"),
        (&["--host", "::1", "--trust-proxy", "127.0.0.0/8"], &[], "no address of this machine"),
        (&[], &[("SALON_PINGINTERVAL", "3s")], "SALON_PINGINTERVAL"),
        (&["--origins", "*"], &[], "--origins"),
        (&["--max-text", "2MB", "--history-messages", "0"], &[], "--max-text"),
        (&["--max-text", "100KiB"], &[], "--history-bytes"),
        (&["--max-held", "4000KiB"], &[], "--max-held"),
        (&["--max-packets", "4999"], &[], "--max-packets"),
        (&["--event-burst", "5001"], &[], "--event-burst"),
        (&["--max-per-address", "15000"], &[], "--max-per-address"),
        (&["--max-connections", "1000"], &[], "--max-per-address"),
        (&["--ping-timeout", "999ms"], &[], "--ping-timeout"),
        (&["--connect-timeout", "1ms"], &[], "--connect-timeout"),
        (&["--head-timeout", "1ms"], &[], "--head-timeout"),
        (&["--soft-queue", "8MiB"], &[], "--soft-queue"),
        (&["--recovery-bytes", "8MiB"], &[], "--recovery-bytes"),
        (&["--max-websockets", "5", "--transports", "websocket"], &[], "--max-websockets"),
        (&["--redis", "redis://x.redis.cache.example:6379"], &[], "rediss://"),
        (
            &[
                "--redis",
                "redis://cache",
                "--max-payload=20MiB",
                "--max-text=3MiB",
                "--max-queue=30MiB",
                "--history-messages=0",
            ],
            &[],
            "--redis",
        ),
        (&["--redis", "redis://8.8.8.8"], &[], "rediss://"),
        (&["--redis", "redis://[2001:db8::1]"], &[], "rediss://"),
        (&["--redis", "redis://cache", "--redis-ca", "x"], &[], "--redis-ca"),
        (&["--max-connections", "19990"], &[], "ulimit -n"),
    ] {
        let (warnings, _) = check(args, env);
        assert!(warnings.len() == 1 && warnings[0].contains(warning), "{args:?} {env:?}: {warnings:?}");
    }
    for args in [
        &["--host", "127.0.0.1", "--trust-proxy"][..],
        &["--host", "127.0.0.1", "--trust-proxy", "2"],
        &["--host", "127.0.0.1", "--trust-proxy", "127.0.0.1"],
        &["--host", "::1", "--trust-proxy", "10.0.0.0/8,::1"],
        &["--host", "10.0.0.1", "--trust-proxy", "10.0.0.0/8"],
        &["--trust-proxy", "10.0.0.0/8"],
        &["--ping-interval", "50s", "--trust-proxy", "no"],
    ] {
        assert_eq!(check(args, &[]).0, Vec::<String>::new(), "{args:?}");
    }
}

/// Settings with which nobody could be served are refused at the start, with one line that names them; --check shows it.
#[test]
fn conflicts() {
    for (args, words) in [
        (&["--max-payload", "10MB", "--max-text", "8MB"][..], &["--max-queue", "--max-text", "--max-payload"][..]),
        (&["--max-payload", "4MiB", "--max-text", "1MiB"], &["--max-queue"]),
        (&["--max-queue", "512KiB", "--max-text", "100KiB"], &["--max-queue"]),
        (&["--max-held", "90KiB"], &["--max-held"]),
        (&["--max-held", "1"], &["--max-held"]),
        (&["--max-websockets", "0", "--transports", "websocket"], &["--max-websockets", "--transports"]),
    ] {
        let error = load(args, &[]).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{args:?}: {error}");
        let check = ["--check"].iter().chain(args).map(OsString::from);
        assert_eq!(Config::default().load(check, |_| None).unwrap().errors, [error]);
    }
    for args in [
        &["--max-payload", "10MB", "--max-text", "8MB", "--max-queue", "12MB"][..],
        &["--max-text", "8MB"],
        &["--max-payload", "10MB", "--max-text", "600KiB"],
        &["--max-websockets", "0"],
    ] {
        load(args, &[]).unwrap();
    }
    // What one option alone can make impossible has a range.
    for (flag, value) in [
        ("max-queue", "512"),
        ("max-queue", "128KiB"),
        ("max-payload", "999"),
        ("max-head", "1023"),
        ("max-connections", "2"),
        ("max-per-address", "2"),
        ("max-packets", "15"),
        ("event-burst", "2"),
        ("max-name", "257"),
    ] {
        let error = load(&[&format!("--{flag}"), value], &[]).unwrap_err();
        assert!(error.starts_with(&format!("--{flag}: {value:?} is not a number ")), "{error}");
    }
}

/// Connections without a request never have more than half of the room.
#[test]
fn silent_connections_leave_room() {
    for (connections, half_open, limit) in
        [("50", "1000", 25), ("50", "7", 7), ("3", "1000", 2), ("1000", "1000", 500), ("15000", "1000", 1000)]
    {
        let config = load(&["--max-connections", connections, "--max-half-open", half_open], &[]).unwrap();
        assert_eq!(config.max_half_open, limit, "{half_open} of {connections}");
    }
}

/// `--max-connections` ends where the keys of connections and sockets do: on 32-bit targets, too.
#[test]
fn keys_for_all_connections() {
    let load =
        |value: usize| load(&["--max-connections", &value.to_string()], &[]).map(|config| config.max_connections);
    assert_eq!(load(config::MAX_CONNECTIONS), Ok(config::MAX_CONNECTIONS));
    assert!(load(config::MAX_CONNECTIONS + 1).is_err());
}

#[cfg(unix)]
#[test]
fn values_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let strange = || OsString::from_vec(b"8\xff".to_vec());
    let error = Config::default().load(["--port".into(), strange()], |_| None).unwrap_err();
    assert_eq!(error, r#"--port: "8\xFF" is not UTF-8"#);
    let error = Config::default().load([], |name| (name == "SALON_LOG").then(strange)).unwrap_err();
    assert_eq!(error, r#"SALON_LOG: "8\xFF" is not UTF-8"#);
    // A path need not be UTF-8, and a secret is not shown.
    let settings = Config::default().load(["--history".into(), strange()], |_| None).unwrap();
    assert_eq!(settings.config.history, Some(strange().into()));
    let error = Config::default().load(["--metrics-token".into(), strange()], |_| None).unwrap_err();
    assert_eq!(error, "--metrics-token: the value is not UTF-8");
}

/// Field, flag and variable have the same name.
#[test]
fn names() {
    let fields = format!("{:?}", Config::default());
    for (index, Opt { flag, env, .. }) in OPTIONS.iter().enumerate() {
        let upper = flag.replace('-', "_").to_uppercase();
        // Hosting platforms set these.
        let expected = match &**flag {
            "port" | "host" => upper,
            "redis" => "REDIS_URL".to_owned(),
            _ => format!("SALON_{upper}"),
        };
        assert!(env.split(' ').any(|env| env == expected), "{env}");
        assert!(fields.contains(&format!(" {}: ", flag.replace('-', "_"))), "{flag}");
        assert!(OPTIONS[..index].iter().all(|other| other.flag != *flag && other.env != *env), "{flag} twice");
    }
}

#[test]
fn limits_of_numbers() {
    let time = |text: &str| load(&["--ping-timeout", text], &[]).map(|config| config.ping_timeout.as_millis());
    for (text, millis) in [("1ms", 1), ("007s", 7000), ("86400s", 86_400_000), ("1440m", 86_400_000), ("1h", 3_600_000)]
    {
        assert_eq!(time(text), Ok(millis), "{text}");
    }
    assert_eq!((time("1.5s"), time("2m 5s")), (Ok(1500), Ok(125_000)));
    for text in [
        "0",
        "0h",
        "1us",
        "86401s",
        "86400001",
        "1441m",
        "25h",
        "2d",
        "1M",
        "s",
        "ms",
        "1S",
        "-1",
        "18446744073709551615h",
    ] {
        assert!(time(text).is_err(), "{text}");
    }
    let size = |text: &str| load(&["--soft-queue", text], &[]).map(|config| config.soft_queue);
    for (text, bytes) in [
        ("2KiB", 2048),
        ("2KB", 2000),
        ("2MiB", 2 << 20),
        ("1073741824", 1 << 30),
        ("1GiB", 1 << 30),
        ("1048576KiB", 1 << 30),
        ("1073MB", 1_073_000_000),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in [
        "0",
        "0MiB",
        "0.5",
        "1073741825",
        "1025MiB",
        "1074MB",
        "2GiB",
        "KiB",
        "-1",
        "0x10",
        "1_000",
        "18014398509481985KiB",
    ] {
        assert!(size(text).is_err(), "{text}");
    }
    // Zero is valid where the help text says so.
    let grace = |text: &str| load(&["--leave-grace", text], &[]).map(|config| config.leave_grace.as_millis());
    assert_eq!((grace("0"), grace("7s"), grace("25h").is_err()), (Ok(0), Ok(7000), true));
    let headers = |text: &str| load(&["--max-headers", text], &[]).map(|config| config.max_headers);
    assert_eq!((headers("64"), headers("16"), headers("15").is_err()), (Ok(64), Ok(16), true));
    let depth = |text: &str| load(&["--max-depth", text], &[]).map(|config| config.max_depth);
    assert_eq!((depth("128"), depth("4"), depth("3").is_err(), depth("1k").is_err()), (Ok(128), Ok(4), true, true));
}

#[test]
fn lists() {
    let transports = |text: &str| load(&["--transports", text], &[]).map(|config| config.transports);
    let some = |polling, websocket| Ok(Transports { polling, websocket });
    assert_eq!(transports("polling"), some(true, false));
    assert_eq!(transports("websocket, polling,polling"), some(true, true));
    for bad in [",", "polling,", "Polling", "polling websocket", "*"] {
        assert!(transports(bad).is_err(), "{bad}");
    }
    let origins = |text: &str| load(&["--origins", text], &[]).map(|config| config.origins);
    let listed = |list: &[&str]| Ok(Origins::Listed(list.iter().map(|origin| origin.to_string()).collect()));
    assert_eq!(origins("http://A.b"), listed(&["http://a.b"]));
    assert_eq!(origins("app://x , null"), listed(&["app://x", "null"]));
    for bad in [
        "http://",
        "//a",
        "a:80",
        "http://a/",
        "http://a/b",
        "http://*",
        "http://a b",
        "*,http://a",
        "same,http://a",
        ",",
        "http://ä",
    ] {
        assert!(origins(bad).is_err(), "{bad}");
    }
    for (text, expected) in [("yes", true), ("true", true), ("1", true), ("no", false), ("false", false)] {
        assert_eq!(load(&["--old-clients", text], &[]).map(|config| config.old_clients), Ok(expected));
    }
}

#[test]
fn good_values() {
    let get = |flag: &str, value: &str| load(&[&format!("--{flag}"), value], &[]).unwrap();
    for (text, millis) in
        [("300", 300), ("300ms", 300), ("25s", 25_000), ("2m", 120_000), ("24h", 86_400_000), ("1", 1)]
    {
        assert_eq!(get("ping-interval", text).ping_interval, Duration::from_millis(millis), "{text}");
    }
    for (text, bytes) in
        [("1000", 1000), ("64KiB", 65_536), ("64kB", 64_000), ("1MB", 1_000_000), ("3kB", 3000), ("1024MiB", 1 << 30)]
    {
        assert_eq!(get("max-payload", text).max_payload, bytes, "{text}");
    }
    assert_eq!(get("leave-grace", "0").leave_grace, Duration::ZERO);
    assert_eq!(get("host", "*").host, None);
    assert_eq!(get("host", "localhost").host, Some([127, 0, 0, 1].into()));
    assert_eq!(get("host", "[::1]").host, Some("::1".parse().unwrap()));
    assert_eq!(get("host", "::").host, Some("::".parse().unwrap()));
    assert_eq!(get("origins", "*").origins, Origins::Any);
    assert_eq!(get("origins", "same").origins, Origins::Same);
    for (list, value) in [
        ("same", "'self'"),
        ("*", "*"),
        ("https://A.example, http://b.example:81", "'self' https://a.example http://b.example:81"),
    ] {
        assert_eq!(get("frame-ancestors", list).frame_ancestors, value);
    }
    assert!(load(&["--title", &"é".repeat(64)], &[]).is_ok());
    assert!(load(&["--title", &"é".repeat(65)], &[]).is_err());
    let listed = ["https://a.example:8443", "null", "http://[::1]"].map(str::to_owned).to_vec();
    assert_eq!(get("origins", "HTTPS://A.example:8443, null,http://[::1]").origins, Origins::Listed(listed));
    assert_eq!(get("transports", " websocket ").transports, Transports { polling: false, websocket: true });
    assert_eq!(get("recovery", "always").recovery, Recovery::Always);
    assert_eq!(get("log", "off").log, LevelFilter::Off);
    assert!(!get("old-clients", "0").old_clients);
}

#[test]
fn defaults() {
    let config = load(&[], &[]).unwrap();
    assert_eq!((config.port, config.host), (3000, None));
    assert_eq!((config.ping_interval, config.ping_timeout), (Duration::from_secs(25), Duration::from_secs(20)));
    assert_eq!((config.upgrade_timeout, config.connect_timeout), (Duration::from_secs(10), Duration::from_secs(45)));
    assert_eq!((config.max_payload, config.max_name, config.max_text), (1_000_000, 64, 16_384));
    assert_eq!((config.leave_grace, config.recovery_time), (Duration::from_secs(5), Duration::from_secs(120)));
    assert_eq!(config.transports, Transports { polling: true, websocket: true });
    assert_eq!((config.origins, config.recovery), (Origins::Same, Recovery::Auto));
}

/// The help text and README's two tables have every option exactly once.
#[test]
fn help_and_readme() {
    let help = config::help();
    let readme = include_str!("../../README.md");
    for option in OPTIONS.iter() {
        let (flag, env, default) = (&option.flag, option.env.replace(' ', ", "), option.default);
        assert_eq!(help.matches(&format!("--{flag} VALUE, {env} (default: {default})\n")).count(), 1, "{flag}");
        let env = env.replace(", ", "`, `");
        let row = format!("| `--{flag}` | `{env}` | `{default}` | {} |\n", option.help);
        assert!(readme.contains(&row), "README needs: {row}");
    }
    let (common, others) = readme.split_once("All others:").expect("a second table");
    let rows = [common, others].map(|text| text.matches("\n| `--").count());
    assert_eq!(rows, [12, OPTIONS.len() - 12]);
    for (flag, action) in [
        ("--help", Action::Help),
        ("-h", Action::Help),
        ("--version", Action::Version),
        ("-V", Action::Version),
        ("--check", Action::Check),
        ("--probe", Action::Probe),
    ] {
        let settings = Config::default().load(["--port", "1", flag].map(OsString::from), |_| None).unwrap();
        assert_eq!((settings.action, settings.config.port), (action, 1));
    }
}
