//! The file of the history: whatever the file contains, its valid lines are kept, and new messages are appended.

use bytes::Bytes;
use salon::chat::answer::HistoryRequest;
use salon::chat::history::{History, Message, Stamp};
use salon::config::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A directory that is removed after the test; in memory if possible, because each write is synced.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let place = parent.join(format!("salon-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).expect("a directory");
        Place(place)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("history")
    }

    /// Files beside the history and its lock.
    pub fn others(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.0).expect("a directory").map(|entry| entry.expect("an entry").path());
        all.filter(|path| !["history", "history.lock"].map(|name| self.0.join(name)).contains(path)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn open(path: &Path, boot: &str) -> History {
    open_with(path, boot, 60)
}

/// A history that keeps this number of messages.
pub fn open_with(path: &Path, boot: &str, history_messages: usize) -> History {
    let config = Config { history_messages, history: Some(path.to_owned()), ..Config::default() };
    let mut history = History::new(&config);
    history.begin(boot.into(), &config);
    history
}

/// Keeps a message, in a turn of its own.
pub fn say(history: &mut History, text: &str, now: Instant) -> Stamp {
    let n = history.number(false);
    say_as(n, history, text, now)
}

pub fn say_as(n: u64, history: &mut History, text: &str, now: Instant) -> Stamp {
    let stamp = Stamp { n, time: 1_700_000_000_000 };
    let time = stamp.time;
    let id: String = text.chars().take(40).collect::<String>().replace(' ', "-");
    let json =
        format!(r#"{{"username":"ann","message":"{text}","user":"abcdef","n":{n},"id":"id-{id}","time":{time}}}"#);
    history.keep(stamp, stamp.time, "abcdef", &format!("id-{id}"), Bytes::from(json));
    history.commit(now);
    stamp
}

/// The texts that are kept.
pub fn texts(history: &History) -> Vec<String> {
    let answer = history.answer(&HistoryRequest::default(), None);
    let text = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON")["message"].to_string();
    answer.messages.iter().map(|message| text(message.get()).trim_matches('"').to_owned()).collect()
}

pub fn boot(history: &History) -> String {
    history.answer(&HistoryRequest::default(), None).boot.into_owned()
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_history_goes_on_where_it_was() {
    let place = Place::new("goes-on");
    let now = Instant::now();
    let mut first = open(&place.file(), "first-boot");
    let stamps: Vec<_> = (0..50).map(|number| say(&mut first, &number.to_string(), now)).collect();
    assert_eq!(stamps[49].n, 50);
    drop(first);
    let mut second = open(&place.file(), "second-boot");
    assert_eq!((texts(&second), boot(&second)), (numbers(0..50), "first-boot".into()));
    assert_eq!(second.known("abcdef", "id-7"), Some(stamps[7]));
    // Numbers that were acknowledged but not written are not used again.
    assert!(say(&mut second, "50", now).n > 1_000_000);
    // It is written anew when it is long, and is much shorter then, because few messages are kept.
    for number in 51..3_000 {
        say(&mut second, &number.to_string(), now);
    }
    let length = || fs::metadata(place.file()).expect("a file").len();
    let before = length();
    assert_eq!(second.next_deadline(), Some(now + Duration::from_secs(1)));
    second.expire(now + Duration::from_millis(999));
    assert_eq!(length(), before);
    second.expire(now + Duration::from_secs(1));
    assert!(length() < before / 20, "{} after {before}", length());
    assert_eq!(second.next_deadline(), None);
    say(&mut second, "3000", now);
    drop(second);
    let third = open(&place.file(), "third-boot");
    assert_eq!((texts(&third), boot(&third)), (numbers(2_941..3_001), "first-boot".into()));
    assert_eq!(place.others(), Vec::<PathBuf>::new());
}

#[test]
fn what_was_said_elsewhere_before_the_start_takes_its_place() {
    let place = Place::new("before");
    let now = Instant::now();
    let mut first = open(&place.file(), "first-boot");
    for number in 0..5 {
        say(&mut first, &number.to_string(), now);
    }
    drop(first);
    let mut second = open(&place.file(), "second-boot");
    say(&mut second, "7", now);
    for text in ["5", "6"] {
        let n = second.number(true);
        say_as(n, &mut second, text, now);
    }
    say(&mut second, "8", now);
    assert_eq!(texts(&second), numbers(0..9));
    drop(second);
    // The file has them in the order in which they came.
    let third = open(&place.file(), "third-boot");
    assert_eq!((texts(&third), place.others()), (numbers(0..9), vec![]));
}

#[test]
fn every_prefix_of_a_file_loads() {
    let place = Place::new("prefixes");
    let now = Instant::now();
    let mut whole = open(&place.file(), "whole-boot");
    for number in 0..50 {
        say(&mut whole, &number.to_string(), now);
    }
    drop(whole);
    let content = fs::read(place.file()).expect("a file");
    let head = content.iter().position(|byte| *byte == b'\n').expect("a line");
    for length in 0..=content.len() {
        let prefix = &content[..length];
        fs::write(place.file(), prefix).expect("written");
        let mut history = open(&place.file(), "other-boot");
        let lines = prefix.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
        let kept = texts(&history);
        // The last message may be complete without its end of line.
        let count = lines + usize::from(kept.len() > lines && content[length] == b'\n');
        assert_eq!(kept, numbers(0..count), "{length} bytes");
        // Salon never leaves half a first line, so this is a file of something else, and is kept.
        assert_eq!(place.others().len(), usize::from((1..head).contains(&length)), "{length} bytes");
        place.others().iter().for_each(|path| fs::remove_file(path).expect("removed"));
        say(&mut history, "more", now);
        drop(history);
        let again = open(&place.file(), "third-boot");
        assert_eq!(texts(&again), [kept, vec!["more".into()]].concat(), "{length} bytes");
        assert_eq!(boot(&again), if length < head { "other-boot" } else { "whole-boot" });
        assert_eq!(place.others(), Vec::<PathBuf>::new(), "{length} bytes");
    }
}

#[test]
fn of_a_damaged_file_the_rest_is_kept_and_the_whole_is_put_aside() {
    let place = Place::new("damaged");
    let now = Instant::now();
    let mut whole = open(&place.file(), "whole-boot");
    for number in 0..5 {
        say(&mut whole, &number.to_string(), now);
    }
    drop(whole);
    let content = fs::read_to_string(place.file()).expect("a file");
    let line = |number: usize| content.lines().nth(number).expect("a line");
    let replace = |number: usize, with: &[u8]| {
        let lines = content.lines().enumerate().map(|(at, line)| if at == number { with } else { line.as_bytes() });
        lines.flat_map(|line| [line, b"\n"].concat()).collect::<Vec<u8>>()
    };
    let newer = line(0).replace(r#""version":1"#, r#""version":2"#);
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (replace(3, b"\0\0\0\0"), "0134"),
        (replace(3, b" "), "0134"),
        (replace(3, b"\xff\xfe"), "0134"),
        (replace(3, &line(3).as_bytes()[..40]), "0134"),
        (replace(3, line(3).replace("ann", "\u{e9}").as_bytes().split_at(14).0), "0134"),
        (replace(3, &line(3).replace(r#""n":3"#, r#""n":"3""#).into_bytes()), "0134"),
        (replace(3, &line(3).replace(r#""n":3"#, r#""n":-3"#).into_bytes()), "0134"),
        (replace(3, &line(3).replace(r#""n":3"#, r#""n":99999999999999999999"#).into_bytes()), "0134"),
        (replace(3, &line(3).replace(r#""n":3"#, r#""n":9007199254740991"#).into_bytes()), "0134"),
        (replace(3, &line(3).replace(r#""message":"2""#, r#""message":[[[]]]"#).into_bytes()), "0134"),
        // Another message with a number that was there.
        (replace(3, &line(3).replace(r#""n":3"#, r#""n":2"#).into_bytes()), "0134"),
        (replace(0, newer.as_bytes()), "01234"),
        (replace(0, b"# notes"), "01234"),
        (b"nothing of the kind".to_vec(), ""),
        (b"nothing\nof the\nkind\n".to_vec(), ""),
        ([content.as_bytes(), line(0).replace("whole-boot", "another").as_bytes(), b"\n"].concat(), "01234"),
    ];
    for (damaged, expected) in rows {
        fs::write(place.file(), &damaged).expect("written");
        let mut history = open(&place.file(), "other-boot");
        let shown = String::from_utf8_lossy(&damaged);
        assert_eq!(texts(&history).concat(), expected, "{shown}");
        let aside = place.others();
        assert_eq!(aside.len(), 1, "{shown}");
        assert_eq!(fs::read(&aside[0]).expect("a file"), damaged, "{shown}");
        fs::remove_file(&aside[0]).expect("removed");
        say(&mut history, "more", now);
        drop(history);
        assert_eq!(texts(&open(&place.file(), "third-boot")).concat(), format!("{expected}more"));
        assert_eq!(place.others(), Vec::<PathBuf>::new());
    }
}

#[test]
fn fields_of_a_newer_version_are_kept() {
    let place = Place::new("further");
    let now = Instant::now();
    let mut whole = open(&place.file(), "whole-boot");
    for number in 0..3 {
        say(&mut whole, &number.to_string(), now);
    }
    drop(whole);
    let content = fs::read_to_string(place.file()).expect("a file");
    // A lone surrogate has no form but this one.
    let further = r#""more":{"a":[1.50,null]},"id":"id-1","mark":"\ud800""#;
    let newer = content.replace(r#""id":"id-1""#, further).replace(r#","version":1"#, r#","version":1,"more":[]"#);
    fs::write(place.file(), &newer).expect("written");
    let mut history = open(&place.file(), "other-boot");
    let lines: Vec<_> = newer.lines().skip(1).collect();
    let answer = history.answer(&HistoryRequest::default(), None);
    assert_eq!(answer.messages.iter().map(|message| message.get()).collect::<Vec<_>>(), lines);
    assert_eq!(answer.boot, "whole-boot");
    // It is the same message to a client that sends it again, and the same line when the file has been written anew.
    assert!(history.known("abcdef", "id-1").is_some());
    assert_eq!(place.others(), Vec::<PathBuf>::new());
    say(&mut history, "3", now);
    drop(history);
    drop(open(&place.file(), "third-boot"));
    let again = fs::read_to_string(place.file()).expect("a file");
    assert_eq!(again.lines().skip(1).take(3).collect::<Vec<_>>(), lines);
}

#[test]
fn a_message_of_another_server_keeps_its_further_fields() {
    let json =
        r#"{"colour":"red","username":"ann","user":"abcdef","message":"\ud800","big":1e400,"n":7,"id":"x","time":8}"#;
    let message = Message::parse(json).expect("a message");
    let names: Vec<_> = message.further.keys().map(String::as_str).collect();
    assert_eq!(names, ["big", "colour"]);
    let message = Message { n: Some(9), ..message };
    let known = r#"{"username":"ann","message":"\ud800","user":"abcdef","n":9,"id":"x","time":8"#;
    assert_eq!(serde_json::to_string(&message).expect("JSON"), format!(r#"{known},"big":1e400,"colour":"red"}}"#));
    for (json, why) in [
        (r#"{"username":"ann"}"#, "no text"),
        (r#"{"username":"ann","message":"x","n":"7"}"#, "a number that is none"),
        (r#"{"username":"ann","message":"x","id":5}"#, "an id that is none"),
        (r#"["ann","x",null,null,null,null]"#, "an array"),
        ("7", "a number"),
    ] {
        assert!(Message::parse(json).is_none(), "{why}: {json}");
    }
    let sparse = Message::parse(r#"{"username":"ann","message":"x"}"#).expect("a message");
    assert!(sparse.further.is_empty() && sparse.user.is_none() && sparse.n.is_none() && sparse.id.is_none());
}

#[test]
fn where_nothing_can_be_written_the_chat_goes_on() {
    let place = Place::new("nowhere");
    let now = Instant::now();
    let path = place.0.join("no such directory").join("history");
    let mut history = open(&path, "some-boot");
    say(&mut history, "one", now);
    assert_eq!((texts(&history), history.is_written()), (vec!["one".to_owned()], Some(false)));
    history.expire(now + Duration::from_secs(1));
    assert_eq!((history.is_written(), history.next_deadline()), (Some(false), None));
    // As soon as the file can be written, all kept messages are.
    fs::create_dir(path.parent().expect("a parent")).expect("a directory");
    say(&mut history, "two", now);
    history.expire(now + Duration::from_secs(2));
    assert_eq!(history.is_written(), Some(true));
    drop(history);
    assert_eq!(texts(&open(&path, "other-boot")), ["one", "two"]);
    // The path of a directory.
    assert_eq!(open(&place.0, "some-boot").is_written(), Some(false));
}
