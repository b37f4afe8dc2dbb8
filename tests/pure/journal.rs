//! What others do to the file of the history: it cannot be replaced or read, is a link, has a mode, disappears.

use crate::history::{Place, boot, numbers, open, open_with, say, texts};
use salon::chat::answer::{HistoryRequest, Position};
use salon::chat::history::History;
use salon::chat::journal::disk::{self, Operation};
use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SLACK: u64 = 64 * 1024;

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

/// Says a message, and lets a second pass.
fn say_and_sync(history: &mut History, text: &str, now: &mut Instant) {
    say(history, text, *now);
    *now += Duration::from_secs(1);
    history.expire(*now);
}

fn has_gap(history: &History, n: u64) -> bool {
    let since = Some(Position { boot: boot(history), n });
    history.answer(&HistoryRequest { since, ..HistoryRequest::default() }, None).gap
}

/// Operations fail as the kernel has them fail on a mount point (`ResourceBusy`, and links to other file systems), until the
/// cell is false.
fn forbid_replacement() -> Rc<Cell<bool>> {
    let forbidden = Rc::new(Cell::new(true));
    let seen = forbidden.clone();
    disk::watch(move |operation| match operation {
        Operation::Rename { .. } if seen.get() => Err(ErrorKind::ResourceBusy.into()),
        Operation::Link { .. } if seen.get() => Err(ErrorKind::CrossesDevices.into()),
        _ => Ok(()),
    });
    forbidden
}

#[test]
fn a_file_that_cannot_be_replaced_is_appended_to_up_to_four_times_its_limit() {
    let place = Place::new("mounted");
    let mut now = Instant::now();
    fs::write(place.file(), "").expect("written");
    let forbidden = forbid_replacement();
    let mut history = open(&place.file(), "first-boot");
    for number in 0..50 {
        say_and_sync(&mut history, &number.to_string(), &mut now);
        assert_eq!(history.is_written(), Some(true));
    }
    drop(history);
    // A restart appends a header, and what was said is there.
    let mut history = open(&place.file(), "second-boot");
    assert_eq!((texts(&history), boot(&history)), (numbers(0..50), "first-boot".into()));
    let content = 60 * 1_300;
    let text = |number: usize| format!("{number:<1100}");
    let mut count = 50;
    while history.is_written() == Some(true) {
        say_and_sync(&mut history, &text(count), &mut now);
        count += 1;
        let most = 4 * (content + SLACK);
        assert!(length(&place.file()) < most + 1_300, "{} of {most}", length(&place.file()));
    }
    // All were written, but for the last one at most.
    assert!(length(&place.file()) > 3 * (content + SLACK), "{}", length(&place.file()));
    assert_eq!(place.others(), [] as [&Path; 0]);
    say_and_sync(&mut history, &text(count), &mut now);
    assert_eq!(history.is_written(), Some(false));
    drop(history);
    let mut history = open(&place.file(), "third-boot");
    assert_eq!(history.is_written(), Some(false), "it is too long at the start as well");
    let kept: Vec<String> = (count - 61..count - 1).map(text).collect();
    assert_eq!(texts(&history)[..59], kept[1..], "and is read nevertheless");
    // As soon as it can be replaced, it is.
    forbidden.set(false);
    say_and_sync(&mut history, "last", &mut now);
    assert_eq!(history.is_written(), Some(true));
    assert!(length(&place.file()) < content);
    drop(history);
    assert_eq!(texts(&open(&place.file(), "other-boot")).last().map(String::as_str), Some("last"));
    disk::unwatch();
}

#[test]
fn a_file_that_cannot_be_replaced_is_completed_after_a_failure() {
    let place = Place::new("completed");
    let mut now = Instant::now();
    fs::write(place.file(), "").expect("written");
    let full = Rc::new(Cell::new(false));
    let seen = full.clone();
    let path = place.file();
    disk::watch(move |operation| match operation {
        Operation::Rename { .. } | Operation::Link { .. } => Err(ErrorKind::ResourceBusy.into()),
        Operation::Write { bytes, .. } if seen.get() => {
            // There is room for a part.
            let mut file = fs::File::options().append(true).open(&path)?;
            file.write_all(&bytes[..bytes.len() / 2])?;
            Err(ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    let mut history = open(&place.file(), "first-boot");
    for number in 0..30 {
        full.set((10..20).contains(&number));
        say_and_sync(&mut history, &number.to_string(), &mut now);
        assert_eq!(history.is_written(), Some(!full.get()), "{number}");
    }
    drop(history);
    // A half line, as a kill or a power cut leaves it, does not stop it either.
    let whole = fs::read(place.file()).expect("a file");
    // When there was room again, all was appended once more, on lines of its own.
    let shown = String::from_utf8_lossy(&whole);
    let last = shown.lines().rev().position(|line| line.starts_with(r#"{"salon""#));
    assert_eq!(last, Some(30), "{shown}");
    for cut in [1, 30, 80] {
        fs::write(place.file(), &whole[..whole.len() - cut]).expect("written");
        let mut history = open(&place.file(), "second-boot");
        let kept = texts(&history);
        assert_eq!(kept, numbers(0..if cut == 1 { 30 } else { 29 }));
        say_and_sync(&mut history, "more", &mut now);
        assert_eq!(history.is_written(), Some(true));
        drop(history);
        let history = open(&place.file(), "third-boot");
        assert_eq!((texts(&history), boot(&history)), ([kept, vec!["more".into()]].concat(), "first-boot".into()));
        // The half lines stay, and nobody knows what they were.
        assert!(has_gap(&history, 1));
        assert_eq!(place.others(), [] as [&Path; 0]);
    }
    disk::unwatch();
}

#[test]
fn of_a_damaged_file_that_cannot_be_put_aside_nothing_is_lost() {
    let place = Place::new("stuck");
    let mut now = Instant::now();
    let mut history = open(&place.file(), "first-boot");
    (0..5).for_each(|number| say_and_sync(&mut history, &number.to_string(), &mut now));
    drop(history);
    let content = fs::read_to_string(place.file()).expect("a file").replace(r#""n":3"#, r#""n":-3"#);
    fs::write(place.file(), &content).expect("written");
    let forbidden = forbid_replacement();
    let mut history = open(&place.file(), "second-boot");
    assert_eq!((texts(&history).concat(), history.is_written()), ("0134".into(), Some(true)));
    say_and_sync(&mut history, "more", &mut now);
    drop(history);
    assert!(fs::read_to_string(place.file()).expect("a file").starts_with(&content));
    assert_eq!(place.others(), [] as [&Path; 0]);
    forbidden.set(false);
    let history = open(&place.file(), "third-boot");
    assert_eq!((texts(&history).concat(), history.is_written()), ("0134more".into(), Some(true)));
    assert_eq!(place.others().len(), 1, "now it is put aside");
    disk::unwatch();
}

#[test]
fn a_file_that_cannot_be_read_is_left_alone() {
    let place = Place::new("unreadable");
    let mut now = Instant::now();
    say(&mut open(&place.file(), "first-boot"), "one", now);
    let content = fs::read(place.file()).expect("a file");
    let path = place.file();
    disk::watch(move |operation| match operation {
        Operation::Open { path: opened, .. } if *opened == path => Err(ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    let mut history = open(&place.file(), "second-boot");
    for text in ["two", "three"] {
        say_and_sync(&mut history, text, &mut now);
        assert_eq!((history.is_written(), history.next_deadline()), (Some(false), None));
    }
    assert_eq!(texts(&history), ["two", "three"], "the chat goes on");
    drop(history);
    disk::unwatch();
    assert_eq!(fs::read(place.file()).expect("a file"), content);
    assert_eq!(place.others(), [] as [&Path; 0]);
    assert_eq!(texts(&open(&place.file(), "third-boot")), ["one"]);
}

#[test]
fn a_removed_changed_or_replaced_file_is_written_anew_at_the_next_sync() {
    let place = Place::new("removed");
    let mut now = Instant::now();
    let mut history = open(&place.file(), "first-boot");
    say(&mut history, "0", now);
    let content = fs::read(place.file()).expect("a file");
    let replacement = place.0.join("replacement");
    let changes: [&dyn Fn(); 5] = [
        &|| fs::remove_file(place.file()).expect("removed"),
        &|| fs::write(place.file(), "").expect("written"),
        &|| fs::write(place.file(), [content.as_slice(), b"# notes\n"].concat()).expect("written"),
        // The same bytes in another file.
        &|| {
            fs::copy(place.file(), &replacement).expect("copied");
            fs::rename(&replacement, place.file()).expect("renamed");
        },
        &|| {
            fs::remove_file(place.file()).expect("removed");
            fs::create_dir(place.file()).expect("a directory");
        },
    ];
    let mut number = 0;
    let mut next = || {
        number += 1;
        number.to_string()
    };
    for (change, before) in changes.iter().flat_map(|change| [(change, true), (change, false)]) {
        if before {
            change();
        }
        say(&mut history, &next(), now);
        if !before {
            change();
        }
        now += Duration::from_secs(1);
        history.expire(now);
        assert_eq!(history.is_written(), Some(place.file().is_file()), "the metric says whether it is written");
        if place.file().is_dir() {
            fs::remove_dir(place.file()).expect("a directory");
            say_and_sync(&mut history, &next(), &mut now);
            assert_eq!(history.is_written(), Some(true));
        }
        // What is said now is in the file at once.
        say(&mut history, &next(), now);
        let copy = place.0.join("copy");
        fs::copy(place.file(), &copy).expect("copied");
        assert_eq!(texts(&open(&copy, "other-boot")), texts(&history));
    }
    assert_eq!(texts(&history), numbers(0..number + 1));
}

#[test]
fn an_id_that_was_used_again_after_its_message_was_dropped_is_no_damage() {
    let place = Place::new("twice");
    let now = Instant::now();
    let mut history = open_with(&place.file(), "first-boot", 2);
    for text in ["a", "b", "c", "a"] {
        say(&mut history, text, now);
    }
    assert_eq!(texts(&history), ["c", "a"]);
    drop(history);
    let mut history = open_with(&place.file(), "second-boot", 5);
    // Clients have heard all four; the ack of the id is the last one that was sent.
    assert_eq!((texts(&history).concat(), place.others().len()), ("abca".into(), 0));
    assert_eq!(history.known("abcdef", "id-a").map(|stamp| stamp.n), Some(4));
    // It is still known when the first of the two is dropped and forgotten, and no longer when the second one is.
    for text in "defghijklm".chars() {
        say(&mut history, &text.to_string(), now);
        assert_eq!(history.known("abcdef", "id-a").is_some(), text != 'm', "{text}");
    }
}

#[test]
fn a_position_whose_messages_were_lost_has_a_gap() {
    let place = Place::new("lost");
    let now = Instant::now();
    let mut history = open(&place.file(), "first-boot");
    let start = fs::read(place.file()).expect("a file");
    for number in 0..5 {
        say(&mut history, &number.to_string(), now);
    }
    let content = fs::read_to_string(place.file()).expect("a file");
    drop(history);
    let restart = |content: &[u8]| {
        fs::write(place.file(), content).expect("written");
        open(&place.file(), "other-boot")
    };
    // Lost are 4 and 5: only a client that has seen one of them can tell.
    let length = content.lines().take(4).map(|line| line.len() + 1).sum::<usize>();
    let mut history = restart(&content.as_bytes()[..length]);
    let position = history.answer(&HistoryRequest::default(), None).n;
    let rows = [(0, false), (1, false), (3, false), (4, true), (5, true), (position, false)];
    rows.iter().for_each(|(n, gap)| assert_eq!(has_gap(&history, *n), *gap, "{n}"));
    let next = say(&mut history, "next", now);
    let lost = fs::read(place.file()).expect("a file");
    rows.iter().for_each(|(n, gap)| assert_eq!(has_gap(&history, *n), *gap, "{n} and a message"));
    drop(history);
    // Also after another restart, in which the message of the first one is lost, or not.
    for (content, is_lost) in [(&lost[..lost.len() - 100], true), (&lost[..], false)] {
        let history = restart(content);
        rows.iter().for_each(|(n, gap)| assert_eq!(has_gap(&history, *n), *gap, "{n} and a restart"));
        assert_eq!(has_gap(&history, next.n), is_lost);
        assert!(history.answer(&HistoryRequest::default(), None).n > next.n, "no number is given out twice");
    }
    // All messages are lost.
    let mut history = restart(&start);
    assert!((1..=5).all(|n| has_gap(&history, n)) && !has_gap(&history, 0));
    assert!(say(&mut history, "next", now).n > 5);
    drop(history);
    // One in the middle is damaged.
    let mut history = restart(content.replace(r#""n":3"#, r#""n":-3"#).as_bytes());
    assert_eq!([0, 1, 2, 4, 5].map(|n| has_gap(&history, n)), [true, true, true, true, false]);
    say(&mut history, "next", now);
    drop(history);
    let history = open(&place.file(), "third-boot");
    assert_eq!(
        [0, 1, 2, 4, 5].map(|n| has_gap(&history, n)),
        [true, true, true, true, false],
        "after a restart as well"
    );
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    #[test]
    fn mode_and_owner_are_kept() {
        let place = Place::new("mode");
        let mut now = Instant::now();
        let mode = |path: &Path| fs::metadata(path).expect("a file").mode() & 0o7777;
        for wanted in [0o600, 0o640, 0o666, 0o400] {
            fs::write(place.file(), "").expect("written");
            fs::set_permissions(place.file(), PermissionsExt::from_mode(wanted)).expect("a mode");
            // As root, the owner as well.
            let owned = chown(place.file(), Some(1234), Some(5678)).is_ok();
            let new = place.0.join("history.new");
            fs::write(&new, "of a crash").expect("written");
            fs::set_permissions(new, PermissionsExt::from_mode(0o666)).expect("a mode");
            // Nobody else may open it at any time: what is open can be read later.
            disk::watch(move |operation| {
                if let Operation::SetMode { path } = operation {
                    assert_eq!(mode(path) & !wanted, 0);
                }
                Ok(())
            });
            let inode = fs::metadata(place.file()).expect("a file").ino();
            let mut history = open(&place.file(), "first-boot");
            say_and_sync(&mut history, "one", &mut now);
            assert_eq!((history.is_written(), mode(&place.file())), (Some(true), wanted), "{wanted:o}");
            let metadata = fs::metadata(place.file()).expect("a file");
            assert_ne!(metadata.ino(), inode, "it was replaced");
            assert!(!owned || (metadata.uid(), metadata.gid()) == (1234, 5678));
            disk::unwatch();
            fs::remove_file(place.file()).expect("removed");
        }
    }

    #[test]
    fn a_link_stays_a_link() {
        let place = Place::new("link");
        let mut now = Instant::now();
        let (folder, other) = (place.0.join("a"), place.0.join("b"));
        fs::create_dir_all(&folder).expect("a directory");
        fs::create_dir_all(&other).expect("a directory");
        symlink("second", folder.join("first")).expect("a link");
        symlink("../b/target", folder.join("second")).expect("a link");
        // First the target does not exist; then it is replaced, and later the link is.
        for (round, target) in ["target", "target", "moved"].iter().enumerate() {
            fs::remove_file(folder.join("second")).expect("removed");
            symlink(format!("../b/{target}"), folder.join("second")).expect("a link");
            let mut history = open(&folder.join("first"), "first-boot");
            say_and_sync(&mut history, "0", &mut now);
            for link in ["again", target] {
                fs::remove_file(folder.join("second")).expect("removed");
                symlink(format!("../b/{link}"), folder.join("second")).expect("a link");
                say_and_sync(&mut history, link, &mut now);
                assert_eq!(history.is_written(), Some(true));
                let content = fs::read_to_string(other.join(link)).expect("the target");
                assert!(content.contains(&format!("id-{link}")), "round {round}: {content}");
            }
            assert!(folder.join("first").is_symlink() && folder.join("second").is_symlink());
            assert_eq!(fs::read_dir(&folder).expect("a directory").count(), 2, "nothing else lies beside the links");
            let kept = texts(&history);
            drop(history);
            assert_eq!(texts(&open(&folder.join("first"), "second-boot")), kept);
            fs::remove_file(other.join("again")).expect("removed");
        }
        // Links that lead nowhere but to each other.
        symlink("round", place.0.join("round")).expect("a link");
        let mut history = open(&place.0.join("round"), "first-boot");
        say_and_sync(&mut history, "one", &mut now);
        assert_eq!(history.is_written(), Some(false));
        assert!(place.0.join("round").is_symlink());
    }

    #[test]
    fn where_no_lock_file_can_be_created_the_file_itself_is_locked() {
        let place = Place::new("locked");
        let now = Instant::now();
        say(&mut open(&place.file(), "first-boot"), "one", now);
        fs::remove_file(place.0.join("history.lock")).expect("removed");
        let lock = place.0.join("history.lock");
        disk::watch(move |operation| match operation {
            Operation::Open { path, .. } if *path == lock => Err(ErrorKind::PermissionDenied.into()),
            Operation::Open { creates: true, .. } => Err(ErrorKind::PermissionDenied.into()),
            Operation::Rename { .. } => Err(ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        });
        let mut first = open(&place.file(), "second-boot");
        say(&mut first, "two", now);
        assert_eq!(first.is_written(), Some(true));
        let other = fs::File::open(place.file()).expect("a file");
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(first);
        other.try_lock().expect("free now");
        disk::unwatch();
    }
}
