//! The embedded page: its files, their compressed copies, and conditional requests.
use salon::config::MIN_QUEUE;
use salon::http::assets::{ASSETS, find, matches};

#[test]
fn paths_are_compared_byte_by_byte() {
    for path in ["/", "/style.css", "/main.js", "/icon.svg", "/socket.io/socket.io.min.js", "/socket.io/LICENSE"] {
        assert_eq!(find(path).expect(path).path, path);
    }
    for path in ["", "//", "/.", "/../Cargo.toml", "/%6dain.js", "/main.js/", "/MAIN.JS", "/build.rs", "/socket.io/"] {
        assert!(find(path).is_none(), "{path}");
    }
}

#[test]
fn types_and_page() {
    let types = [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/socket.io/socket.io.js", "text/javascript; charset=utf-8"),
        ("/socket.io/LICENSE", "text/plain; charset=utf-8"),
    ];
    for (path, content_type) in types {
        assert_eq!(find(path).expect(path).content_type, content_type);
    }
    assert!(ASSETS.iter().all(|asset| asset.page == (asset.path == "/")));
}

/// Decompressed by the crate that compressed them; the browser tests show that Chromium can read them too.
#[test]
fn compressed_copies_are_the_same_file() {
    use std::io::Read;
    for asset in &ASSETS {
        let Some(gzip) = &asset.gzip else { continue };
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&gzip.bytes[..]).read_to_end(&mut plain).expect(asset.path);
        assert_eq!(plain, asset.plain.bytes, "{}", asset.path);
        assert!(gzip.bytes.len() < plain.len());
        assert_eq!(gzip.bytes[4..8], [0; 4], "a time stamp would make builds differ");
    }
    let client = find("/socket.io/socket.io.min.js").expect("the client");
    assert!(client.copy(true).bytes.len() * 2 < client.copy(false).bytes.len());
}

#[test]
fn entity_tags_are_strong_and_differ_per_encoding() {
    let mut tags: Vec<&str> = ASSETS.iter().flat_map(|asset| [&*asset.copy(true).etag, &*asset.plain.etag]).collect();
    assert!(tags.iter().all(|tag| tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"')));
    let packed = ASSETS.iter().filter(|asset| asset.gzip.is_some()).count();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), ASSETS.len() + packed);
}

#[test]
fn the_client_goes_with_its_licences() {
    let text = std::str::from_utf8(&find("/socket.io/LICENSE").expect("there").plain.bytes).expect("UTF-8");
    assert!(text.contains("Permission is hereby granted") && text.contains("engine.io-parser"));
}

#[test]
fn if_none_match() {
    for good in [
        r#""a""#,
        r#"W/"a""#,
        "*",
        " * ",
        r#""b", "a""#,
        r#""b","a""#,
        r#" ,, "b" ,W/"a" "#,
        r#""x,y", "a""#,
        r#"W/"b", W/"a", "c""#,
    ] {
        assert!(matches(good.as_bytes(), r#""a""#), "{good}");
    }
    for bad in [
        "", " ", ",", "a", r#"""#, r#""""#, r#""a"#, r#"a""#, r#""b""#, r#"w/"a""#, "W/", "W/*", r#""A""#, r#"x "a""#,
        r#"'a'"#, r#""a "#,
    ] {
        assert!(!matches(bad.as_bytes(), r#""a""#), "{bad}");
    }
    assert!(matches(b"\"\xff\", \"a\"", r#""a""#), "tags may hold any byte above the controls");
}

#[test]
fn answers() {
    let page = find("/").expect("the page");
    let client = find("/socket.io/socket.io.min.js").expect("the client");
    for (asset, gzip) in [(page, false), (page, true), (client, false), (client, true)] {
        let copy = asset.copy(gzip);
        let common = format!(
            "ETag: {}\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: same-origin\r\n{}",
            copy.etag,
            if asset.page { "Content-Security-Policy: policy\r\n" } else { "" },
        );
        let encoding = if gzip { "Content-Encoding: gzip\r\n" } else { "" };
        let (kind, length) = (asset.content_type, copy.bytes.len());
        let full =
            format!("HTTP/1.1 200 OK\r\n{common}{encoding}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        for if_none_match in [None, Some(&b"\"another\""[..]), Some(asset.copy(!gzip).etag.as_bytes())] {
            let (head, body) = asset.answer(if_none_match, gzip, "policy").encode("", false, true, false);
            assert_eq!(str::from_utf8(&head), Ok(&full[..]));
            assert_eq!(body, copy.bytes);
        }
        let (head, body) = asset.answer(Some(copy.etag.as_bytes()), gzip, "policy").encode("", false, true, false);
        assert_eq!(str::from_utf8(&head), Ok(&format!("HTTP/1.1 304 Not Modified\r\n{common}\r\n")[..]));
        assert_eq!(body, "");
    }
}

/// Every file fits into the smallest outbox that an operator may choose, twice: a second request may be there already.
#[test]
fn files_fit_into_an_outbox() {
    for asset in &ASSETS {
        assert!(2 * (asset.plain.bytes.len() + 1024) < MIN_QUEUE, "{}", asset.path);
    }
}
