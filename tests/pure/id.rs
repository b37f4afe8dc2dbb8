//! Ids: 20 random characters, which logs show only in part.

use salon::base::id::{Id, Ids};
use std::collections::HashSet;

#[test]
fn parsed() {
    for good in ["AAAAAAAAAAAAAAAAAAAA", "abcXYZ019-_abcXYZ019", "--------------------", "____________________"] {
        assert_eq!(Id::parse(good).expect(good).to_string(), good);
    }
    for bad in [
        "",
        "AAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAA+",
        "AAAAAAAAAAAAAAAAAAA/",
        "AAAAAAAAAAAAAAAAAAA ",
        "AAAAAAAAAAAAAAAAAAA\n",
        "AAAAAAAAAAAAAAAAAA€",
        "AAAAAAAAAAAAAAAAAé",
        "../../../etc/passwd.",
    ] {
        assert_eq!(Id::parse(bad), None, "{bad:?}");
    }
    // 20 characters, but more than 20 bytes.
    assert_eq!(Id::parse(&"é".repeat(20)), None);
    assert_eq!(Id::parse(&"A".repeat(100_000)), None);
    assert_ne!(Id::parse("AAAAAAAAAAAAAAAAAAAA"), Id::parse("AAAAAAAAAAAAAAAAAAAB"));
}

#[test]
fn a_log_shows_the_start_only() {
    let id = Id::parse("abcdef-SECRET-SECRET").expect("an id");
    assert_eq!(format!("{id:?}"), "abcdef…");
    assert_eq!(format!("{:?}", Some(id)), "Some(abcdef…)");
}

#[test]
fn seeded_ids_can_be_replayed() {
    let some = |seed| {
        let mut ids = Ids::Seeded(seed);
        (0..1000).map(|_| ids.fresh()).collect::<Vec<Id>>()
    };
    assert_eq!(some(1), some(1));
    assert_eq!(some(1).iter().collect::<HashSet<_>>().len(), 1000);
    assert_eq!(some(1)[1..], some(2)[..999]);
    assert!(some(7).iter().all(|id| Id::parse(&id.to_string()) == Some(*id)));
}

#[test]
fn ids_of_the_system_differ() {
    let (mut one, mut two) = (Ids::System, Ids::System);
    let ids: Vec<Id> = (0..50_000).flat_map(|_| [one.fresh(), two.fresh()]).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 100_000);
    let texts: Vec<String> = ids.iter().map(Id::to_string).collect();
    assert!(ids.iter().zip(&texts).all(|(id, text)| text.len() == 20 && Id::parse(text) == Some(*id)));
    // Each of the 20 positions takes all 64 characters within 100,000 ids.
    for at in 0..20 {
        let letters: HashSet<u8> = texts.iter().map(|text| text.as_bytes()[at]).collect();
        assert_eq!(letters.len(), 64, "character {at}");
    }
}
