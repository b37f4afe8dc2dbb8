//! Options: the two ways to give one, what is a good value, and how a bad one is named.

use log::LevelFilter;
use salon::config::{self, Action, Config, OPTIONS, Origins, Recovery, Transports};
use std::{ffi::OsString, time::Duration};

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
    let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    match Config::default().load(args.iter().map(OsString::from), find)? {
        Action::Run(config) => Ok(*config),
        other => Err(format!("{other:?}")),
    }
}

/// A good value of each option that is not its default.
const GOOD: &[(&str, &str)] = &[
    ("port", "0"),
    ("host", "127.0.0.1"),
    ("origins", "https://a.example"),
    ("transports", "polling"),
    ("old-clients", "no"),
    ("recovery", "off"),
    ("leave-grace", "0"),
    ("log", "debug"),
    ("max-depth", "7"),
    ("max-headers", "7"),
];

/// Every option works as a flag and as a variable, both spellings of a flag too; the flag wins.
#[test]
fn flags_and_variables() {
    let default = format!("{:?}", Config::default());
    for option in OPTIONS {
        let known = GOOD.iter().find(|(flag, _)| *flag == option.flag).map(|(_, value)| *value);
        let value = known.unwrap_or(if option.default.ends_with('s') { "7s" } else { "7" });
        let flag = format!("--{}", option.flag);
        let by_flag = format!("{:?}", load(&[&flag, value], &[]).unwrap());
        assert_ne!(by_flag, default, "{flag} changes nothing");
        assert_eq!(by_flag, format!("{:?}", load(&[&format!("{flag}={value}")], &[]).unwrap()));
        assert_eq!(by_flag, format!("{:?}", load(&[], &[(option.env, value)]).unwrap()), "{}", option.env);
        let both = load(&[&flag, option.default], &[(option.env, value)]).unwrap();
        assert_eq!(format!("{both:?}"), default, "{flag} does not win");
        // Templates of hosters set variables to nothing.
        assert_eq!(format!("{:?}", load(&[], &[(option.env, "")]).unwrap()), default);
    }
}

/// A bad value is one line that names the option as it was given.
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
        ("origins", "https://a.example/"),
        ("origins", "https://*.example"),
        ("origins", "https://a.example,,null"),
        ("transports", "polling,flash"),
        ("transports", ""),
        ("old-clients", "maybe"),
        ("recovery", "on"),
        ("log", "loud"),
        ("ping-interval", "0"),
        ("ping-interval", "25 s"),
        ("ping-interval", "-5s"),
        ("ping-interval", "1.5s"),
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
            let error = load(&[], &[(option.env, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{}: ", option.env)), "{error}");
        }
    }
    assert!(load(&["--port", r"\\.\pipe\1234"], &[]).unwrap_err().contains("HttpPlatformHandler"));
    assert!(load(&["--prot", "1"], &[]).unwrap_err().contains("--prot"));
    assert!(load(&["--port"], &[]).unwrap_err().contains("--port"));
    assert!(load(&["file"], &[]).unwrap_err().contains("file"));
    assert!(load(&["-p", "1"], &[]).unwrap_err().contains("-p"));
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
        [("1", 1), ("64KiB", 65_536), ("64k", 65_536), ("1MB", 1_000_000), ("3kB", 3000), ("1024MiB", 1 << 30)]
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

/// Help has every option once, and README's table is the same.
#[test]
fn help_and_readme() {
    let help = config::help();
    let readme = include_str!("../../README.md");
    for option in OPTIONS {
        let (flag, env, default) = (option.flag, option.env, option.default);
        assert_eq!(help.matches(&format!("--{flag} VALUE, {env} (default: {default})\n")).count(), 1, "{flag}");
        let row = format!("| `--{flag}` | `{env}` | `{default}` | {} |\n", option.help);
        assert!(readme.contains(&row), "README needs: {row}");
    }
    assert_eq!(readme.matches("| `--").count(), OPTIONS.len());
    for action in ["--help", "-h"] {
        assert_eq!(load(&["--port", "1", action], &[]).unwrap_err(), "Help");
    }
    assert_eq!(load(&["--version"], &[]).unwrap_err(), "Version");
}
