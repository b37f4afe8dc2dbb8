//! No dependency in a version that is known to be broken (row 44 of the table in tests/live/security.rs). `make audit` asks
//! the whole database of advisories; this needs no network.

/// The first version that is fixed, of crates that are here or might come by way of others.
const FIXED: &[(&str, [u64; 3])] = &[
    ("base64", [0, 5, 2]),       // CVE-2017-1000430
    ("bytes", [1, 11, 1]),       // CVE-2026-25541
    ("mio", [0, 8, 11]),         // CVE-2020-35922, CVE-2024-27308
    ("rand", [0, 9, 3]),         // RUSTSEC-2026-0097
    ("slab", [0, 4, 11]),        // CVE-2025-55159
    ("tungstenite", [0, 20, 1]), // CVE-2023-43669
];

/// Names and versions in the text of a lock file.
fn locked(text: &str) -> Vec<(&str, [u64; 3])> {
    text.split("[[package]]\n")
        .skip(1)
        .map(|package| {
            let field = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
                line.and_then(|line| line.strip_suffix('"')).expect("every package has it")
            };
            let mut numbers = field("version").split(['.', '-', '+']).map(|number| number.parse().unwrap_or_default());
            (field("name"), [(); 3].map(|()| numbers.next().unwrap_or_default()))
        })
        .collect()
}

/// Those that are too old.
fn broken(text: &str) -> Vec<(&str, [u64; 3])> {
    let old = |name: &str, version| FIXED.iter().any(|(fixed, first)| *fixed == name && version < *first);
    locked(text).into_iter().filter(|(name, version)| old(name, *version)).collect()
}

#[test]
fn fixed_versions() {
    let lock = include_str!("../../Cargo.lock");
    assert!(locked(lock).iter().any(|(name, version)| *name == "mio" && *version >= [1, 0, 0]), "it can be read");
    assert_eq!(broken(lock), []);
    let old = "version = 4\n\n[[package]]\nname = \"bytes\"\nversion = \"1.11.0\"\n\n[[package]]\nname = \"mio\"\nversion = \"1.0.0\"\n";
    assert_eq!(broken(old), [("bytes", [1, 11, 0])]);
}
