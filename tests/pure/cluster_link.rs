//! The state machine of a connection to Redis and its replies, with literal bytes and a clock moved by hand.

use salon::base::held::ENTRY;
use salon::base::id::Ids;
use salon::cluster::Cluster;
use salon::cluster::link::{Link, LinkFailure, LinkStep, Role};
use salon::cluster::resp::{RedisReply, command, reply};
use salon::config::{Config, RedisUrl};
use salon::socketio::Publication;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn address() -> SocketAddr {
    "127.0.0.1:6379".parse().expect("an address")
}

fn greeting() -> Vec<Vec<u8>> {
    vec![command(&["AUTH", "secret"]), command(&["PING"])]
}

/// A link after the lookup of these addresses.
fn found(addresses: &[SocketAddr], now: Instant) -> (Link, Result<Option<LinkStep>, LinkFailure>) {
    let mut link = Link::new(greeting(), now);
    assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
    let step = link.resolved(Ok(addresses.to_vec()), now);
    (link, step)
}

/// Redis answers one command with success.
fn fine(link: &mut Link, now: Instant) {
    assert_eq!(link.receive(b"+OK\r\n", now), Ok(Some((RedisReply::Success, 5))));
}

/// A link that has just come up.
fn up(now: Instant) -> Link {
    let (mut link, step) = found(&[address()], now);
    assert_eq!(step, Ok(Some(LinkStep::Connect(address(), greeting().concat()))));
    fine(&mut link, now);
    assert!(!link.is_up());
    fine(&mut link, now);
    assert!(link.is_up());
    link
}

fn fails(step: Result<Option<LinkStep>, LinkFailure>) -> bool {
    matches!(step, Err(LinkFailure { refused: false, .. }))
}

#[test]
fn an_idle_link_is_sent_a_ping_after_15_seconds_and_fails_10_seconds_later() {
    let start = Instant::now();
    let mut link = up(start);
    assert_eq!(link.due(), start + 15 * SECOND);
    assert_eq!(link.expire(start + 15 * SECOND - Duration::from_nanos(1)), Ok(None));
    assert_eq!(link.expire(start + 15 * SECOND), Ok(Some(LinkStep::Send(b"*1\r\n$4\r\nPING\r\n".to_vec()))));
    assert_eq!(link.due(), start + 25 * SECOND);
    assert_eq!(link.expire(start + 24 * SECOND), Ok(None));
    assert!(fails(link.expire(start + 25 * SECOND)));
}

#[test]
fn any_byte_delays_the_ping_and_its_reply_ends_the_wait() {
    let start = Instant::now();
    let mut link = up(start);
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    assert!(matches!(link.receive(message, start + 14 * SECOND), Ok(Some((RedisReply::Message(..), _)))));
    assert_eq!(link.due(), start + 29 * SECOND);
    assert!(matches!(link.expire(start + 29 * SECOND), Ok(Some(LinkStep::Send(_)))));
    // Part of a long publication is a sign of life as well.
    assert_eq!(link.receive(&message[..20], start + 30 * SECOND), Ok(None));
    assert_eq!(link.expire(start + 39 * SECOND), Ok(None));
    fine(&mut link, start + 39 * SECOND);
    assert_eq!(link.due(), start + 54 * SECOND);
}

#[test]
fn a_link_fails_if_a_publication_is_not_answered_for_10_seconds() {
    let start = Instant::now();
    let mut link = up(start);
    link.published(100, None, start + SECOND);
    link.published(50, None, start + 2 * SECOND);
    assert_eq!((link.due(), link.unanswered_bytes), (start + 11 * SECOND, 150));
    fine(&mut link, start + 3 * SECOND);
    assert_eq!((link.due(), link.unanswered_bytes), (start + 12 * SECOND, 50));
    assert_eq!(link.expire(start + 11 * SECOND), Ok(None));
    assert!(fails(link.expire(start + 12 * SECOND)));
}

#[test]
fn retries_slow_down_to_ten_seconds_with_jitter_and_a_success_starts_anew() {
    let mut now = Instant::now();
    let mut link = Link::new(greeting(), now);
    let mut rests = Vec::new();
    for random in [0, 512, 1023].into_iter().cycle().take(12) {
        assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
        assert_eq!(link.fail(false, random, now), None);
        rests.push((link.due() - now).as_secs_f64());
        now = link.due();
    }
    assert!((0.07..0.13).contains(&rests[0]), "{rests:?}");
    assert!(rests[9..].iter().all(|rest| (7.5..12.5).contains(rest)), "{rests:?}");
    assert!(rests[9] < rests[10] && rests[10] < rests[11], "{rests:?}");
    assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
    link.resolved(Ok(vec![address()]), now).expect("an attempt");
    fine(&mut link, now);
    fine(&mut link, now);
    assert_eq!(link.fail(false, 512, now), None);
    assert!(link.due() - now < Duration::from_millis(200));
}

#[test]
fn each_address_is_tried_before_the_retry_delay() {
    let now = Instant::now();
    let other: SocketAddr = "[::1]:6379".parse().expect("an address");
    let (mut link, step) = found(&[other, address()], now);
    assert!(matches!(step, Ok(Some(LinkStep::Connect(to, _))) if to == other));
    assert!(matches!(link.fail(false, 0, now), Some(LinkStep::Connect(to, _)) if to == address()));
    assert_eq!(link.fail(false, 0, now), None);
    // A name without an address, and a lookup that ends too late.
    assert!(fails(found(&[], now).1));
    assert_eq!(link.resolved(Err(std::io::Error::other("no such name")), now), Ok(None));
    // The lookup takes too long, and then the reply to the greeting.
    lookup_times_out(&mut link, Duration::from_secs(5));
    let now = link.due();
    assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
    link.resolved(Ok(vec![address()]), now).expect("an attempt");
    assert_eq!(link.due(), now + 10 * SECOND);
    assert!(fails(link.expire(now + 10 * SECOND)));
}

/// The link waits for its retry, looks up the name, and fails after `time`.
fn lookup_times_out(link: &mut Link, time: Duration) {
    let now = link.due();
    assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
    assert_eq!(link.due(), now + time);
    assert!(fails(link.expire(now + time)));
    assert_eq!(link.fail(false, 0, now + time), None);
}

#[test]
fn a_refusal_is_tried_again_slowly() {
    let now = Instant::now();
    for error in ["WRONGPASS invalid username-password pair", "NOAUTH Authentication required.", "ERR invalid DB index"]
    {
        let (mut link, _) = found(&[address(), address()], now);
        let reply = format!("-{error}\r\n");
        let failure = link.receive(reply.as_bytes(), now);
        assert!(matches!(failure, Err(LinkFailure { refused: true, ref why }) if why.contains(error)), "{failure:?}");
        // Not even at the next address.
        assert_eq!(link.fail(true, 512, now), None);
        assert!(link.due() - now > 7 * SECOND);
    }
}

#[test]
fn replies() {
    let long = "x".repeat(4_000);
    let message =
        |channel: &'static str, content: &'static str| RedisReply::Message(channel.as_bytes(), content.as_bytes());
    for (bytes, expected) in [
        ("+OK\r\n", RedisReply::Success),
        (":3\r\n", RedisReply::Success),
        ("$4\r\nPONG\r\n", RedisReply::Success),
        ("*0\r\n", RedisReply::Success),
        ("*2\r\n$4\r\npong\r\n$0\r\n\r\n", RedisReply::Success),
        ("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", RedisReply::Success),
        ("-NOAUTH x\r\n", RedisReply::Error("NOAUTH x".into())),
        (&format!("-{long}\r\n"), RedisReply::Error(long.as_str().into())),
        ("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", message("c", "hi")),
        ("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncx\r\n$4\r\na\r\nb\r\n", message("cx", "a\r\nb")),
    ] {
        assert_eq!(reply(bytes.as_bytes()), Ok(Some((expected, bytes.len()))), "{bytes:?}");
        // Bytes behind a reply are not read.
        let followed = format!("{bytes}?");
        assert!(matches!(reply(followed.as_bytes()), Ok(Some((_, used))) if used == bytes.len()), "{followed:?}");
        for length in 0..bytes.len() {
            assert_eq!(reply(&bytes.as_bytes()[..length]), Ok(None), "{:?}", &bytes[..length]);
        }
    }
}

#[test]
fn invalid_replies() {
    for invalid in ["*5\r\n", "*-1\r\n", "*x\r\n", "*1\r\n*1\r\n", "*11111111111111111111", "?\r\n", "HTTP/1.1\r\n"] {
        assert!(reply(invalid.as_bytes()).is_err(), "{invalid:?}");
    }
    for invalid in [
        "*\r\n",
        "*1\r\n?",
        "*1\r\n$1\r\nab\r\n",
        "$\r\n",
        "$-1\r\n",
        "$1 \r\n",
        "$1\r\nabc",
        "$0\r\n\n\r",
        // Above the limits, complete or not.
        "$16777217\r\n",
        "$18446744073709551616\r\n",
        &format!("+{}", "x".repeat(5_000)),
        &format!("+{}\r\n", "x".repeat(5_000)),
    ] {
        assert!(reply(invalid.as_bytes()).is_err(), "{:?}", &invalid[..invalid.len().min(50)]);
    }
}

#[test]
fn a_partial_reply_is_bounded() {
    let now = Instant::now();
    let mut link = up(now);
    let part = format!("*2\r\n$16777000\r\n{}\r\n$16777000\r\n", "x".repeat(16_777_000));
    assert_eq!(link.receive(part.as_bytes(), now), Ok(None));
    assert!(fails(link.receive((part + &"x".repeat(1_000)).as_bytes(), now).map(|_| None)));
}

/// Short publications that Redis does not answer are dropped before the queue of the connection, in which each costs an entry
/// besides its bytes, is full: a full queue would end the connection.
#[test]
fn unanswered_publications_stay_below_the_limit_of_a_queue() {
    let (now, config) = (Instant::now(), Config::default());
    let mut ids = Ids::Seeded(1);
    let url = RedisUrl::parse("redis://127.0.0.1").expect("a URL");
    let mut cluster = Cluster::new(config.clone(), url, &["/"], [ids.fresh(), ids.fresh()], now);
    let link = &mut cluster.links[Role::Publish as usize];
    assert_eq!(link.expire(now), Ok(Some(LinkStep::Resolve)));
    link.resolved(Ok(vec![address()]), now).expect("an attempt");
    fine(link, now);
    assert!(link.is_up());
    let short = Publication { namespace: "/".into(), json: "[\"a\"]".into(), ..Publication::default() };
    let mut sent = 0;
    for number in 1.. {
        cluster.publish_broadcast(&short, now);
        if cluster.commands.len() < number {
            break;
        }
        sent += cluster.commands[number - 1].len() + ENTRY;
    }
    assert!((config.max_queue * 9 / 10..config.max_queue).contains(&sent), "{sent} bytes");
}
